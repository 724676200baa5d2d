"""Beams, fogs and quadrature for the tests of the echo model: the compiled density beside its twin."""

from itertools import product
from math import factorial, prod
from typing import NamedTuple

import numpy as np
from scipy import stats

from filters.jit import jit
from filters.models.fog import fog_along, fog_at, fog_power, fog_rays
from filters.models.lidar_echo import log_density, stop_at
from filters.models.optics import CENTRES, EDGES, MOST_ECHOES, POWER_CEILING, STRAY, cell_table, echo_table, extinction
from tests import reference
from tests.reference import Surface

ALPHA = float(extinction(60.0))
# Expected powers of a few: then every candidate is at times the strongest, and at times nothing is heard.
HARD = (Surface(22.0, 0.8, 0.3, roughness=0.03, texture=0.15),)
SMOOTH = (Surface(9.0, 0.5, 0.3, roughness=0.02),)  # within the overlap, bright
NEAR = (Surface(0.8, 1.0, 0.3, roughness=0.02, texture=0.15),)  # before the overlap: no fog, no power
EMPTY = (Surface(),)
POROUS = (Surface(17.0, 0.7, 0.15, fill=0.7, roughness=0.06, texture=0.25), Surface(22.0, 0.8, 0.25, texture=0.15))
BEAMS = {"hard": HARD, "smooth": SMOOTH, "near": NEAR, "empty": EMPTY, "porous": POROUS}
POWER_EDGES = (2.8, 3.2, 4.0, 5.0, 6.0, 7.5, 9.0, 12.0)


def stops(beam):
    """(probability, surface) of what stops a beam; nothing where every surface lets it through."""
    left, found = 1.0, []
    for surface in beam:
        found.append((left * surface.fill, surface))
        left *= 1.0 - surface.fill
    return [*found, (left, Surface())] if left > 0.0 else found


@jit
def densities(table, fog, ranges, powers, stop):
    """L of each of many echoes of one beam."""
    result = np.empty(len(ranges))
    for k in range(len(ranges)):
        result[k] = np.exp(log_density(table, fog, ranges[k], powers[k], stop))
    return result


# A bank from 6 to 16 m in haze, and fog that varies by a factor of two: extinctions along the ray's cells.
BANK = np.where((CENTRES > 6.0) & (CENTRES < 16.0), extinction(25.0), extinction(300.0))
PATCHY = extinction(45.0) * np.exp(0.7 * np.sin(CENTRES / 3.0))
FOGS = {"even": ALPHA, "bank": BANK, "patchy": PATCHY}


def ray(optics, fog):
    """The kernels' fog: even for a number, else along the cells of a ray."""
    if isinstance(fog, float):
        return fog_at(echo_table(optics), fog)
    return fog_along(echo_table(optics), fog_rays(optics, fog[None, None]), 0, 0)


def kernel(optics, fog, beam, ranges, powers):
    """exp of the compiled density, the beam's stops mixed, for echoes (n, echoes)."""
    table, fog = echo_table(optics), ray(optics, fog)
    total = np.zeros(len(ranges))
    for weight, s in stops(beam):
        stop = stop_at(table, fog, s.range, s.cosine, s.reflectance, s.roughness, s.texture)
        total += weight * densities(table, fog, ranges, powers, stop)
    return total


def law_of(optics, fog):
    """The twin's fog; the median and P_soft, which test_optics checks, go in."""
    table, compiled = echo_table(optics), ray(optics, fog)
    if isinstance(fog, float):
        return reference.even_fog(optics, fog, lambda stop: fog_power(table, compiled, stop), compiled.location)
    row = round((np.log(compiled.alpha) - table.log_alpha_0) / table.log_alpha_step)
    peaks = cell_table(optics).soft[row]
    return reference.uneven_fog(optics, fog, EDGES, compiled.alpha, table.log_median[row], peaks)


LAWS = {}


def candidates(optics, fog, stop):
    """The twin's candidates."""
    key = (optics, str(fog))
    if key not in LAWS:
        LAWS[key] = law_of(optics, fog)
    return reference.candidates(optics, LAWS[key], stop)


def grids(optics, fog, beam, order=8):
    """Nodes and weights over power and range; panels resolve every candidate of every stop and end at cells' edges."""
    p_edges, r_edges = (
        [optics.threshold, 12.0, POWER_CEILING, *POWER_EDGES],
        [*optics.range_limits, optics.range_limits[1] + STRAY, *range_edges(beam)],
    )
    for _, stop in stops(beam):
        for c in candidates(optics, fog, stop):
            p_edges += [*(c.power + c.spread * np.linspace(-10.0, 10.0, 21)), c.power - 12.0, c.power + 12.0]
        if stop.range > optics.overlap[0]:
            r_edges += list(np.geomspace(optics.overlap[0], min(stop.range, 1000.0), 24))
        if np.isfinite(stop.range):
            narrow, wide = stop.roughness, np.hypot(stop.roughness, optics.range_noise)
            steps = np.concatenate([np.arange(0.0, 8.0, 0.7) * narrow, np.arange(1.0, 10.0, 0.7) * wide])
            r_edges += list(stop.range + steps) + list(stop.range - steps)
    if not isinstance(fog, float):
        r_edges += list(EDGES[1:])
    p_edges, r_edges = np.unique(p_edges), np.unique(r_edges)
    return reference.composite(p_edges[p_edges >= optics.threshold], order), reference.composite(r_edges, order)


def single_echoes(optics, fog, beam):
    """Power (P, 1), range (1, R) and probability (P, R) of one echo at every node of the grids."""
    (p, wp), (r, wr) = grids(optics, fog, beam)
    echoes = MOST_ECHOES[optics.mode]
    ranges, powers = np.zeros((p.size * r.size, echoes)), np.zeros((p.size * r.size, echoes))
    ranges[:, 0], powers[:, 0] = np.tile(r, p.size), np.repeat(p, r.size)
    value = kernel(optics, fog, beam, ranges, powers).reshape(p.size, r.size)
    return p, r, value * wp[:, None] * wr


def nothing(optics, fog, beam):
    """Probability of no echo."""
    return float(kernel(optics, fog, beam, np.zeros((1, 3)), np.zeros((1, 3)))[0])


def range_edges(beam):
    """Where the cells of range end: cut finely where the beam has structure."""
    around = 0.05 * np.array([-4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0])
    surfaces = [edge for s in beam if np.isfinite(s.range) for edge in s.range + around]
    return np.sort([1.0, 2.0, 2.5, 3.0, 3.6, 4.5, 6.0, 10.0, 50.0, *surfaces])


class Draws(NamedTuple):
    """Sets of echoes (n, most) drawn from the proposal and the kernel's density over the proposal's."""

    ranges: np.ndarray
    powers: np.ndarray
    weights: np.ndarray


def mixture_density(tuples, shares, ranges, powers):
    """Density (n,) of ordered echoes under the mixture of tuples of candidates."""
    return sum(
        share * prod(reference.echo(c, ranges[:, k], powers[:, k]) / d for k, (c, d) in enumerate(members))
        for share, members in zip(shares, tuples, strict=True)
    )


def proposed(optics, fog, beam, echoes, n, rng):
    """n sets of `echoes` draws, each from a tuple of one stop's candidates (now and then one twice), or a glitch's."""
    shape = (n, MOST_ECHOES[optics.mode])
    ranges, powers = np.zeros(shape), np.zeros(shape)
    tuples, shares = [], []
    for weight, stop in stops(beam):
        found = candidates(optics, fog, stop)
        detected = [1.0 - reference.missed(c, optics.threshold) for c in found]
        for chosen in product(range(len(found)), repeat=echoes):
            tuples.append([(found[i], detected[i]) for i in chosen])
            others = [1.0 - d for i, d in enumerate(detected) if i not in chosen]
            shares.append(
                weight * prod(d for _, d in tuples[-1]) * (prod(others) if len(set(chosen)) == echoes else 0.05)
            )
    shares = np.array(shares) / sum(shares)
    which = rng.choice(len(tuples), n, p=shares)
    for t, k in product(range(len(tuples)), range(echoes)):
        (c, d), mine = tuples[t][k], which == t
        powers[mine, k] = c.power + c.spread * stats.norm.isf(rng.random(mine.sum()) * d)
        ranges[mine, k] = c.draw(powers[mine, k], rng.random(mine.sum()))
    density = mixture_density(tuples, shares, ranges, powers)
    if optics.glitch > 0.0:
        low, high = optics.range_limits[0], optics.range_limits[1] + STRAY
        even = np.flatnonzero(rng.random(n) < 0.2)
        ranges[even, :echoes] = rng.uniform(low, high, (len(even), echoes))
        powers[even, :echoes] = rng.uniform(optics.threshold, POWER_CEILING, (len(even), echoes))
        density = mixture_density(tuples, shares, ranges, powers)
        inside = ((ranges[:, :echoes] >= low) & (ranges[:, :echoes] <= high)).all(axis=1)
        inside &= (powers[:, :echoes] <= POWER_CEILING).all(axis=1)
        area = (high - low) * (POWER_CEILING - optics.threshold)
        density = 0.8 * density + 0.2 * inside / area**echoes
    order = np.argsort(np.where(powers > 0.0, ranges, np.inf), axis=1)
    ranges, powers = np.take_along_axis(ranges, order, 1), np.take_along_axis(powers, order, 1)
    # An unordered set is met in each of its orders.
    return Draws(ranges, powers, kernel(optics, fog, beam, ranges, powers) / density / factorial(echoes))
