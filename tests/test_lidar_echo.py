"""One model samples and scores: the kernel against its twin, its integral against one, the sampler against it."""

from itertools import product
from math import factorial, prod
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from filters.models.lidar_echo import (
    FOG,
    NOISE,
    NOTHING,
    SURFACE,
    BeamSurfaces,
    fog_at,
    fog_power,
    log_add,
    log_cdf,
    log_density,
    log_density_background,
    sample_scan,
    stop_at,
)
from filters.models.optics import POWER_CEILING, Optics, echo_table, extinction
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
SAMPLED = ("hard", "porous", "empty")
MODES = ("strongest", "all")
DRAWS = 60_000
POWER_EDGES = (2.8, 3.2, 4.0, 5.0, 6.0, 7.5, 9.0, 12.0)


# The kernel on many echoes of one beam


def stops(beam):
    """(probability, surface) of what stops a beam; nothing where every surface lets it through."""
    left, found = 1.0, []
    for surface in beam:
        found.append((left * surface.fill, surface))
        left *= 1.0 - surface.fill
    return [*found, (left, Surface())] if left > 0.0 else found


def kernel(optics, alpha, beam, ranges, powers):
    """exp of the compiled density, the beam's stops mixed, for echoes (n, echoes)."""
    total = np.zeros(len(ranges))
    for weight, s in stops(beam):
        place = [np.full(len(ranges), v) for v in (s.range, s.cosine, s.reflectance)]
        values = log_density_background(
            echo_table(optics), np.array([alpha]), ranges, powers, *place, s.roughness, s.texture
        )
        total += weight * np.exp(values[0])
    return total


def candidates(optics, alpha, stop):
    """The twin's candidates; the table's P_soft and median, which test_optics checks, go in."""
    table = echo_table(optics)
    fog = fog_at(table, alpha)
    return reference.candidates(optics, alpha, fog_power(table, fog, stop.range), fog.location, stop)


# Twin


@st.composite
def reports(draw):
    """A random beam and a report of up to three echoes near what could have made them."""
    optics = Optics(
        mode=draw(st.sampled_from(MODES)),
        threshold=draw(st.sampled_from([2.5, 4.0])),
        glitch=draw(st.sampled_from([0.0, 1e-4, 0.05])),
    )
    stop = Surface(
        draw(st.one_of(st.just(np.inf), st.floats(0.5, 1.0), st.floats(1.3, 60.0))),
        draw(st.floats(0.05, 1.0)),
        draw(st.floats(0.05, 0.8)),
        roughness=draw(st.floats(0.005, 0.1)),
        texture=draw(st.sampled_from([0.0, 0.15, 0.4])),
    )
    alpha = float(extinction(draw(st.floats(8.0, 500.0))))
    found = candidates(optics, alpha, stop)
    echoes = []
    for _ in range(draw(st.integers(0, 1 if optics.mode == "strongest" else 3))):
        source = found[draw(st.integers(0, len(found) - 1))]
        p = max(source.power + source.spread * draw(st.floats(-4.0, 4.0)), optics.threshold + 0.01)
        echoes.append((float(source.draw(p, draw(st.floats(0.001, 0.999)))), float(p)))
    return optics, alpha, stop, echoes


@given(reports())
@settings(max_examples=400, deadline=None)
def test_density_is_the_twins(report):
    optics, alpha, stop, echoes = report
    ranges, powers = np.zeros(3), np.zeros(3)
    for k, (r, p) in enumerate(echoes):
        ranges[k], powers[k] = r, p
    table = echo_table(optics)
    fog = fog_at(table, alpha)
    place = stop_at(table, fog, stop.range, stop.cosine, stop.reflectance, stop.roughness, stop.texture)
    value = np.exp(log_density(table, fog, ranges, powers, place))
    # Terms below e^-72 of their peak are left out by the kernel.
    assert value == pytest.approx(
        reference.density(optics, candidates(optics, alpha, stop), echoes), rel=1e-9, abs=1e-27
    )


@pytest.mark.parametrize("visibility", [15.0, 60.0])
@pytest.mark.parametrize("distance", [6.0, 14.0])
def test_without_texture_and_glitch_it_is_the_plain_formula(distance, visibility):
    optics, alpha = Optics(glitch=0.0), float(extinction(visibility))
    table = echo_table(optics)
    fog = fog_at(table, alpha)
    powers = [0.0, fog_power(table, fog, distance), reference.hard_power(optics, alpha, Surface(distance, 0.7, 0.3))]
    law = stats.lognorm(optics.fog_spread, scale=np.exp(fog.location))
    mass = law.cdf(distance) - law.cdf(1.0)
    place = stop_at(table, fog, distance, 0.7, 0.3, 0.02, 0.0)
    for r, p in [
        (0.0, 0.0),
        (distance, 5.0),
        (distance + 0.05, powers[2] + 1.0),
        (3.0, 4.5),
        (3.0, powers[1]),
        (90.0, 4.1),
    ]:
        sigma = np.hypot(0.02, 0.03 * np.sqrt(4.0 / max(p, 4.0)))
        ranges = [
            lambda x: 1.0 / 119.5,
            lambda x: law.pdf(x) / mass * (1.0 < x < distance),
            lambda x, s=sigma: stats.norm.pdf(x, distance, s),
        ]
        value = np.exp(log_density(table, fog, np.array([r]), np.array([p]), place))
        assert value == pytest.approx(reference.section_3(4.0, powers, ranges, r, p), rel=1e-9)


def test_log_cdf_and_log_add():
    x = np.concatenate([np.linspace(-40.0, 8.0, 2001), [-6.0, -5.999, -6.001, -30.0]])
    assert np.array([log_cdf(v) for v in x]) == pytest.approx(stats.norm.logcdf(x), rel=1e-9, abs=2e-12)
    for a, b in [(0.0, 0.0), (-700.0, -701.0), (3.0, -50.0), (-np.inf, 2.0), (-np.inf, -np.inf)]:
        assert log_add(a, b) == pytest.approx(np.logaddexp(a, b))


# Integral


def grids(optics, beam, order=8):
    """Nodes and weights over power and range; panels resolve every candidate of every stop and end at cells' edges."""
    p_edges, r_edges = [optics.threshold, 12.0, 1000.0, *POWER_EDGES], [*optics.range_limits, *range_edges(beam)]
    for _, stop in stops(beam):
        for c in candidates(optics, ALPHA, stop):
            p_edges += [*(c.power + c.spread * np.linspace(-10.0, 10.0, 21)), c.power - 12.0, c.power + 12.0]
        if stop.range > optics.overlap[0]:
            r_edges += list(np.geomspace(optics.overlap[0], min(stop.range, 1000.0), 24))
        if np.isfinite(stop.range):
            narrow, wide = stop.roughness, np.hypot(stop.roughness, optics.range_noise)
            steps = np.concatenate([np.arange(0.0, 8.0, 0.7) * narrow, np.arange(1.0, 10.0, 0.7) * wide])
            r_edges += list(stop.range + steps) + list(stop.range - steps)
    p_edges, r_edges = np.unique(p_edges), np.unique(r_edges)
    return reference.composite(p_edges[p_edges >= optics.threshold], order), reference.composite(r_edges, order)


def single_echoes(optics, beam):
    """Power (P, 1), range (1, R) and probability (P, R) of one echo at every node of the grids."""
    (p, wp), (r, wr) = grids(optics, beam)
    echoes = 1 if optics.mode == "strongest" else 3
    ranges, powers = np.zeros((p.size * r.size, echoes)), np.zeros((p.size * r.size, echoes))
    ranges[:, 0], powers[:, 0] = np.tile(r, p.size), np.repeat(p, r.size)
    value = kernel(optics, ALPHA, beam, ranges, powers).reshape(p.size, r.size)
    return p, r, value * wp[:, None] * wr


def nothing(optics, beam):
    """Probability of no echo."""
    return float(kernel(optics, ALPHA, beam, np.zeros((1, 3)), np.zeros((1, 3)))[0])


@pytest.mark.parametrize("glitch", [0.0, 0.02])
@pytest.mark.parametrize("threshold", [2.5, 4.0])
@pytest.mark.parametrize("name", BEAMS)
def test_strongest_integrates_to_one(name, threshold, glitch):
    optics = Optics(threshold=threshold, glitch=glitch)
    _, _, mass = single_echoes(optics, BEAMS[name])
    assert nothing(optics, BEAMS[name]) + mass.sum() == pytest.approx(1.0, abs=1e-6)


class Draws(NamedTuple):
    """Sets of echoes (n, 3) drawn from the proposal and the kernel's density over the proposal's."""

    ranges: np.ndarray
    powers: np.ndarray
    weights: np.ndarray


def mixture_density(tuples, shares, ranges, powers):
    """Density (n,) of ordered echoes under the mixture of tuples of candidates."""
    return sum(
        share * prod(reference.echo(c, ranges[:, k], powers[:, k]) / d for k, (c, d) in enumerate(members))
        for share, members in zip(shares, tuples, strict=True)
    )


def proposed(optics, beam, echoes, n, rng):
    """n sets of `echoes` draws, each from a tuple of one stop's candidates (now and then one twice), or a glitch's."""
    ranges, powers = np.zeros((n, 3)), np.zeros((n, 3))
    tuples, shares = [], []
    for weight, stop in stops(beam):
        found = candidates(optics, ALPHA, stop)
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
        low, high = optics.range_limits
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
    return Draws(ranges, powers, kernel(optics, ALPHA, beam, ranges, powers) / density / factorial(echoes))


@pytest.mark.parametrize("glitch", [0.0, 0.02])
@pytest.mark.parametrize("name", BEAMS)
def test_all_sums_to_one_over_the_number_of_echoes(name, glitch):
    """None exactly, one by quadrature, two and three by importance sampling to a standard error below .002."""
    optics, rng = Optics(mode="all", threshold=1.5, glitch=glitch), np.random.default_rng(3)
    total, variance = nothing(optics, BEAMS[name]) + single_echoes(optics, BEAMS[name])[2].sum(), 0.0
    for echoes, n in ((2, 20_000), (3, 20_000)):
        weights = proposed(optics, BEAMS[name], echoes, n, rng).weights
        total, variance = total + weights.mean(), variance + weights.var() / n
    assert np.sqrt(variance) < 2e-3
    assert total == pytest.approx(1.0, abs=4.0 * np.sqrt(variance) + 1e-6)


# Sampler


def noisy(mode, **changes):
    """A threshold so low that false alarms really occur, and frequent glitches."""
    return Optics(mode=mode, **({"threshold": 2.5, "glitch": 0.02} | changes))


def sample(optics, beam, n, seed):
    """n scans of one beam."""
    columns = [np.tile(np.array([getattr(s, f) for s in beam], float), (n, 1)) for f in Surface._fields]
    surfaces = BeamSurfaces(*columns, np.tile(np.arange(len(beam)), (n, 1)))
    return sample_scan(echo_table(optics), ALPHA, surfaces, np.random.default_rng(seed))


def range_edges(beam):
    """Where the cells of range end: cut finely where the beam has structure."""
    around = 0.05 * np.array([-4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0])
    surfaces = [edge for s in beam if np.isfinite(s.range) for edge in s.range + around]
    return np.sort([1.0, 2.0, 2.5, 3.0, 3.6, 4.5, 6.0, 10.0, 50.0, *surfaces])


def cells(beam, ranges, powers):
    """The cell of power and range that each echo falls into, and how many there are."""
    edges = range_edges(beam)
    across = len(edges) + 1
    return np.searchsorted(POWER_EDGES, powers) * across + np.searchsorted(edges, ranges), across * (
        len(POWER_EDGES) + 1
    )


def fit(optics, beam, scored, scored_beam, seed=5):
    """Chi-square p-value of draws of `beam` under `optics` against the kernel for `scored_beam` under `scored`."""
    ranges, powers, labels = sample(optics, beam, DRAWS, seed)
    count = (powers > 0.0).sum(axis=1)
    assert ((labels == NOTHING) == (powers == 0.0)).all()
    index, size = cells(beam, ranges[:, 0], powers[:, 0])
    p, r, mass = single_echoes(scored, scored_beam)
    at, _ = cells(beam, np.broadcast_to(r, mass.shape), np.broadcast_to(p[:, None], mass.shape))
    observed = [np.array([(count == 0).sum()]), np.bincount(index[count == 1], minlength=size)]
    probability = [np.array([nothing(scored, scored_beam)]), np.bincount(at.ravel(), mass.ravel(), size)]
    error = [np.zeros(1), np.zeros(size)]
    for echoes in (2, 3) if optics.mode == "all" else ():
        draws = proposed(scored, scored_beam, echoes, 60_000, np.random.default_rng(seed + echoes))
        mine, size_2 = coarse(beam, ranges[count == echoes], powers[count == echoes])
        theirs, _ = coarse(beam, draws.ranges, draws.powers)
        n = len(draws.weights)
        mean = np.bincount(theirs, draws.weights, size_2) / n
        observed.append(np.bincount(mine, minlength=size_2))
        probability.append(mean)
        error.append(np.sqrt(np.maximum(np.bincount(theirs, draws.weights**2, size_2) / n - mean**2, 0.0) / n))
    return reference.chi_square(*(np.concatenate(a) for a in (observed, probability, error)))


def coarse(beam, ranges, powers):
    """Cell of a set of several echoes: is each strong, and is each fog-near, before, at or behind the first surface."""
    first = min(beam[0].range, 20.0)
    edges = np.array([3.0, first - 0.2, first - 0.03, first + 0.03, first + 0.2])
    index = np.zeros(len(ranges), int)
    for k in range(3):
        index = index * 18 + np.where(
            powers[:, k] > 0.0, 3 * np.searchsorted(edges, ranges[:, k]) + np.searchsorted([5.0, 9.0], powers[:, k]), 0
        )
    return index, 18**3


@pytest.mark.parametrize(("mode", "name"), list(product(MODES, SAMPLED)))
def test_sampler_fits_the_density(mode, name):
    assert fit(noisy(mode), BEAMS[name], noisy(mode), BEAMS[name]) > 1e-3


@pytest.mark.parametrize(("mode", "name"), list(product(MODES, ("hard", "porous"))))
def test_a_density_with_too_little_range_noise_is_rejected(mode, name):
    smaller = tuple(s._replace(roughness=0.7 * s.roughness) for s in BEAMS[name])
    optics = noisy(mode)
    assert fit(optics, BEAMS[name], noisy(mode, range_noise=0.7 * optics.range_noise), smaller) < 1e-6


@pytest.mark.parametrize(("mode", "name"), list(product(MODES, SAMPLED)))
def test_a_density_without_fog_echoes_is_rejected(mode, name):
    assert fit(noisy(mode), BEAMS[name], noisy(mode, lidar_ratio=1e6), BEAMS[name]) < 1e-6


@pytest.mark.parametrize("mode", MODES)
def test_a_density_without_texture_is_rejected(mode):
    plain = tuple(s._replace(texture=0.0) for s in HARD)
    assert fit(noisy(mode), HARD, noisy(mode), plain) < 1e-6


def marginals(optics, beam, scored, scored_beam, seed=8):
    """Kolmogorov-Smirnov p-values of power and range of single echoes."""
    ranges, powers, _ = sample(optics, beam, DRAWS, seed)
    single = (powers > 0.0).sum(axis=1) == 1
    p, r, mass = single_echoes(scored, scored_beam)

    def p_value(values, nodes, weights):
        return stats.kstest(
            values, lambda x: np.interp(x, nodes, (np.cumsum(weights) - 0.5 * weights) / weights.sum())
        ).pvalue

    return p_value(powers[single, 0], p, mass.sum(axis=1)), p_value(ranges[single, 0], r, mass.sum(axis=0))


@pytest.mark.parametrize(("mode", "name"), list(product(MODES, SAMPLED)))
def test_marginals_of_sampler_and_density_agree(mode, name):
    assert min(marginals(noisy(mode), BEAMS[name], noisy(mode), BEAMS[name])) > 1e-3


@pytest.mark.parametrize("mode", MODES)
def test_marginals_tell_wrong_densities(mode):
    optics = noisy(mode)
    smaller = tuple(s._replace(roughness=0.7 * s.roughness) for s in HARD)
    assert marginals(optics, HARD, noisy(mode, range_noise=0.7 * optics.range_noise), smaller)[1] < 1e-6
    assert min(marginals(optics, HARD, noisy(mode, lidar_ratio=1e6), HARD)) < 1e-6


# Labels


@pytest.mark.parametrize("mode", MODES)
def test_labels_tell_where_an_echo_is_from(mode):
    ranges, powers, labels = sample(noisy(mode, glitch=0.0), POROUS, 20_000, 2)
    for k, surface in enumerate(POROUS):
        own = labels == SURFACE + k
        assert own.sum() > 500
        assert np.abs(ranges[own] - surface.range).max() < 6.0 * np.hypot(surface.roughness, 0.03)
    assert (ranges[labels == FOG] < POROUS[1].range).all()
    assert set(np.unique(labels)) == {NOTHING, NOISE, FOG, SURFACE, SURFACE + 1}
    assert (powers[labels != NOTHING] > 2.5).all()


def test_all_lists_echoes_near_to_far():
    ranges, powers, _ = sample(noisy("all"), POROUS, 5_000, 2)
    assert ((powers > 0.0).sum(axis=1) > 1).sum() > 500
    assert (ranges[:, 1:] > ranges[:, :-1])[powers[:, 1:] > 0.0].all()
