"""The exact class posterior of a reduced problem by quadrature, in slow NumPy: of the filters' only tables are used.

The object stands still and is seen from known poses; three latents are free, its place (x, y) and v = ln visibility:

    p(class | scans) ∝ p(class) ∫ N(x, y) N(v) Π_scans Π_beams p(echo | class, x, y, v) dx dy dv

The likelihood is smooth in v, where the rule is the trapezoid's, but jumps in (x, y) wherever a beam begins to meet
the object. There it is the midpoint rule on squares: every square that holds more than `share` of the whole, and its
neighbours, are cut in four, until none does. A jump costs at most what the squares it runs through hold.

One beam in the mode "strongest" (README, "The model"); a beam that may pass mixes the object's with the background's.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter
from scipy.special import ndtr

from filters.models.model import Model
from filters.models.optics import LOG_ALPHA, POWER_CEILING, POWER_LIMIT, STOP_STEP, STRAY, Optics, echo_table
from filters.models.shapes import BACKGROUND_ROUGHNESS, BACKGROUND_TEXTURE, BagPrior, BarrierPrior
from filters.spec import BAG, BARRIER, Prior, Scan
from tests.reference import direction_of

Array = NDArray[np.float64]
STEP = 0.025  # m: side of the first squares, so small that none misses what an echo's range tells
COARSE = 0.1  # m, where only v is asked for
REACH = 5.0  # deviations of the prior
NODES, LOOKS = 25, 3  # of v, and looks that close in on it
NEGLIGIBLE = 1e-9  # of the peak
SHARE = 1e-4


# One beam


class Fogs(NamedTuple):
    """Even fogs (V,): extinction, ln median of an echo's range, and P_soft (V, R) before a stop at R · STOP_STEP."""

    alpha: Array
    log_median: Array
    soft: Array

    def before(self, stop: Array) -> Array:
        """P_soft (n, V) before stops (n, 1), linear in between."""
        place = np.minimum(stop[:, 0] / STOP_STEP, self.soft.shape[1] - 1.000001)
        j = place.astype(int)
        share = (place - j)[:, None]
        return np.asarray((1.0 - share) * self.soft[:, j].T + share * self.soft[:, j + 1].T)


def fogs_of(optics: Optics, v: Array) -> Fogs:
    """ln median and P_soft = A alpha/ratio S(alpha, stop), read from the sensor's table, linear in ln alpha.

    As in `tests.echoes.law_of` the table goes in, which test_optics checks: it is part of the one model, and its
    steps of 1 cm and 6 % are worth up to .01 nats where the classes disagree on v.
    """
    table, alpha = echo_table(optics), np.log(20.0) / np.exp(v)
    place = (np.log(alpha) - LOG_ALPHA[0]) / (LOG_ALPHA[1] - LOG_ALPHA[0])
    row = place.astype(int)
    share = place - row
    log_median = (1.0 - share) * table.log_median[row] + share * table.log_median[row + 1]
    peak = (1.0 - share)[:, None] * table.soft[row] + share[:, None] * table.soft[row + 1]
    soft = np.minimum((optics.gain * alpha / optics.lidar_ratio)[:, None] * peak, POWER_LIMIT)
    return Fogs(alpha, log_median, np.insert(soft, 0, 0.0, axis=1))


class Stops(NamedTuple):
    """n surfaces that may stop one beam: range (inf: none), cosine of incidence (n,), and what they are made of."""

    range: Array
    cosine: Array
    reflectance: float
    roughness: float
    texture: float


def log_density(optics: Optics, fogs: Fogs, r: float, p: float, stops: Stops) -> Array:
    """ln p(echo | stop, v) (n, V) of one beam's strongest echo (r, p), p = 0 where it has none."""
    (near, full), (low, high), spread = optics.overlap, optics.range_limits, optics.fog_spread
    at = stops.range[:, None]
    there, foggy = at < high, at > near
    some = np.where(there, at, 1.0)
    xi = np.clip((some - near) / (full - near), 0.0, 1.0)
    lit = optics.gain * stops.reflectance / np.pi * stops.cosine[:, None] * xi / some**2
    hard = np.minimum(lit * np.exp(-2.0 * fogs.alpha * some), POWER_LIMIT)
    s, soft = np.hypot(1.0, stops.texture * hard), fogs.before(at)
    limit = p if p > 0.0 else optics.threshold
    missed_hard = np.where(there, ndtr((limit - hard) / s), 1.0)
    missed_soft = np.where(foggy, ndtr(limit - soft), 1.0)
    missed_noise = ndtr(limit)
    if p <= 0.0:
        sound, glitch = missed_noise * missed_hard * missed_soft, 1.0
    else:
        sigma = np.hypot(stops.roughness, optics.range_noise * np.sqrt(optics.threshold / p))
        of_hard = np.where(there, normal(p, hard, s) * normal(r, some, sigma), 0.0)
        begin, end = ndtr((np.log([[near]]) - fogs.log_median) / spread), np.log(np.maximum(at, near * 1.000001))
        mass = ndtr((end - fogs.log_median) / spread) - begin
        inside = foggy & (near <= r) & (r < at)
        of_soft = np.where(inside, normal(p, soft, 1.0) * normal(np.log(r), fogs.log_median, spread) / r / mass, 0.0)
        of_noise = normal(p, 0.0, 1.0) * (low <= r <= high) / (high - low)
        sound = of_hard * missed_noise * missed_soft + of_soft * missed_noise * missed_hard
        sound = sound + of_noise * missed_soft * missed_hard
        able = low <= r <= high + STRAY and p <= POWER_CEILING
        glitch = able / ((high + STRAY - low) * (POWER_CEILING - optics.threshold))
    return np.asarray(np.log((1.0 - optics.glitch) * sound + 0.5 * optics.glitch * glitch))


def normal(x: Array | float, mean: Array | float, deviation: Array | float) -> Array:
    """N(x; mean, deviation²)."""
    z = (x - mean) / deviation
    return np.asarray(np.exp(-0.5 * z * z) / (np.sqrt(2.0 * np.pi) * deviation))


# Where a beam meets an object whose shape is known


def middle(bounds: tuple[float, float]) -> float:
    """The value of a latent that is none."""
    assert bounds[0] == bounds[1], f"found a latent between {bounds}, expected one value"
    return bounds[0]


def body(shape: BarrierPrior | BagPrior) -> float:
    """No part of it is farther than this from its axis, m."""
    return middle(shape.radius) if isinstance(shape, BagPrior) else float(np.hypot(shape.depth, middle(shape.length)))


def meet(shape: BarrierPrior | BagPrior, place: Array, origin: Array, direction: Array) -> tuple[Array, Array]:
    """Range and cosine (n,) of one beam and objects at places (n, 2); inf, 0 where it misses."""
    if isinstance(shape, BagPrior):
        radius = middle(shape.radius)
        return meet_ball(origin - np.insert(place, 2, radius, axis=1), direction, radius)
    yaw, high = middle(shape.yaw), 0.5 * middle(shape.height)
    turn = np.array([[np.cos(yaw), np.sin(yaw), 0.0], [-np.sin(yaw), np.cos(yaw), 0.0], [0.0, 0.0, 1.0]])
    half = np.array([0.5 * shape.depth, 0.5 * middle(shape.length), high])
    return meet_faces((origin - np.insert(place, 2, high, axis=1)) @ turn.T, turn @ direction, half)


def meet_ball(o: Array, d: Array, radius: float) -> tuple[Array, Array]:
    """The nearer root of t² + 2 (o·d) t + |o|² - radius² = 0, from outside and ahead."""
    b, c = o @ d, (o * o).sum(axis=1) - radius**2
    root = np.sqrt(np.maximum(b * b - c, 0.0))
    met = (b * b > c) & (b < 0.0) & (c > 0.0)
    return np.where(met, -b - root, np.inf), np.where(met, root / radius, 0.0)


def meet_faces(o: Array, d: Array, half: Array) -> tuple[Array, Array]:
    """The nearest of a box's six faces, from outside."""
    best, cosine = np.full(len(o), np.inf), np.zeros(len(o))
    for axis in range(3):
        others = [k for k in range(3) if k != axis]
        for side in (-half[axis], half[axis]):
            t = (side - o[:, axis]) / d[axis] if d[axis] != 0.0 else np.full(len(o), np.inf)
            nearer = (t > 0.0) & (t < best)
            at = o + np.where(nearer, t, 0.0)[:, None] * d
            nearer &= (np.abs(at[:, others]) <= half[others]).all(axis=1)
            best, cosine = np.where(nearer, t, best), np.where(nearer, abs(d[axis]), cosine)
    outside = (np.abs(o) >= half).any(axis=1)
    return np.where(outside, best, np.inf), np.where(outside, cosine, 0.0)


# All beams


class Beam(NamedTuple):
    """One beam's strongest echo (r, p), where it begins and goes, and its background: range, cosine, reflectance."""

    r: float
    p: float
    origin: Array
    direction: Array
    background: tuple[float, float, float]


def beams_of(scans: list[Scan]) -> list[Beam]:
    """Every beam that was scanned."""
    found = []
    for scan in scans:
        origin = np.array(scan.pose[:3])
        for i, k in zip(*np.nonzero(scan.scanned), strict=True):
            direction = direction_of(scan.elevation[i], scan.azimuth[k] + scan.pose.yaw)
            far, cosine, reflectance = (float(a[i, k]) for a in scan.background)
            echo = float(scan.range[i, k, 0]), float(scan.power[i, k, 0])
            found.append(Beam(*echo, origin, direction, (far, cosine, reflectance)))
    return found


class Problem(NamedTuple):
    """What was seen of an object of one known shape; `passed` is ln p(echo | background, v) (V,) of each beam."""

    optics: Optics
    shape: BarrierPrior | BagPrior
    prior: Prior
    beams: list[Beam]
    nodes: Array
    fogs: Fogs
    passed: Array

    def log_integrand(self, place: Array) -> Array:
        """ln of prior times likelihood (n, V) at places (n, 2) and the nodes of v."""
        mean, P = self.prior.position
        off = np.linalg.solve(np.linalg.cholesky(P), (place - mean).T)
        total = -0.5 * (off**2).sum(axis=0)[:, None] + self.passed.sum(axis=0)
        total = total - 0.5 * ((self.nodes - np.log(self.prior.visibility)) / self.prior.visibility_spread) ** 2
        fill = middle(self.shape.fill) if isinstance(self.shape, BagPrior) else 1.0
        reflectance = middle(self.shape.reflectance)
        for beam, passed in zip(self.beams, self.passed, strict=True):
            aside = (place - beam.origin[:2]) @ [-beam.direction[1], beam.direction[0]]
            near = np.flatnonzero(np.abs(aside) < body(self.shape))
            distance, cosine = meet(self.shape, place[near], beam.origin, beam.direction)
            hits = distance < beam.background[0]
            met = near[hits]
            stops = Stops(distance[hits], cosine[hits], reflectance, self.shape.roughness, self.shape.texture)
            hit = np.exp(log_density(self.optics, self.fogs, beam.r, beam.p, stops))
            total[met] += np.log(fill * hit + (1.0 - fill) * np.exp(passed)) - passed
        return np.asarray(total)


def problem(model: Model, prior: Prior, scans: list[Scan], shape: BarrierPrior | BagPrior, nodes: Array) -> Problem:
    """The background's densities, which no place moves, once per node of v."""
    assert model.optics.mode == "strongest"
    assert all(scan.pose.pitch == scan.pose.roll == 0.0 for scan in scans)
    fogs, beams, passed = fogs_of(model.optics, nodes), beams_of(scans), []
    for beam in beams:
        far, cosine, reflectance = beam.background
        stops = Stops(np.array([far]), np.array([cosine]), reflectance, BACKGROUND_ROUGHNESS, BACKGROUND_TEXTURE)
        passed.append(log_density(model.optics, fogs, beam.r, beam.p, stops)[0])
    return Problem(model.optics, shape, prior, beams, nodes, fogs, np.array(passed))


def marginal(of: Problem, share: float, step: float) -> tuple[float, Array]:
    """ln of a scale, and what the integral over places is at the nodes of v (V,) in units of it."""
    mean, P = of.prior.position
    counts = np.ceil(REACH * np.sqrt(np.diag(P)) / step).astype(int)
    low, whole = mean - counts * step, np.ones(2 * counts, bool)
    scale, total = -np.inf, np.zeros(len(of.nodes))
    while whole.any():
        i, j = np.nonzero(whole)
        values = of.log_integrand(low + step * (np.column_stack([i, j]) + 0.5))
        scale = scale if np.isfinite(scale) else float(values.max())
        held, by_square = step**2 * np.exp(values - scale), np.zeros(whole.shape)
        by_square[i, j] = held.sum(axis=1)
        heavy = whole & (maximum_filter(by_square, 3) > share * (total.sum() + held.sum()))
        total += held[~heavy[i, j]].sum(axis=0)
        if heavy.any():
            heavy, corner = cropped(heavy)
            low = low + step * corner
        whole, step = np.kron(heavy, np.ones((2, 2), bool)), 0.5 * step
    return scale, total


def cropped(grid: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """The least rectangle of a grid that holds all that is True, and its first corner."""
    at = np.argwhere(grid)
    (a, b), (c, d) = at.min(axis=0), at.max(axis=0) + 1
    return grid[a:c, b:d], np.array([a, b])


def log_evidence(
    model: Model, prior: Prior, scans: list[Scan], klass: int, share: float = SHARE, count: int = NODES
) -> float:
    """ln p(scans | class), a constant of the scans and the prior short of it.

    By coarse looks at the places the nodes of v first close in on where anything is.
    """
    shape, mean = model.barrier if klass == BARRIER else model.bag, np.log(prior.visibility)
    nodes = mean + prior.visibility_spread * np.linspace(-REACH, REACH, count)
    for _ in range(LOOKS):
        _, held = marginal(problem(model, prior, scans, shape, nodes), 1.0, COARSE)
        some = np.flatnonzero(held > NEGLIGIBLE * held.max())
        first, last = max(some[0] - 1, 0), min(some[-1] + 1, count - 1)
        nodes = np.linspace(nodes[first], nodes[last], count)
    scale, held = marginal(problem(model, prior, scans, shape, nodes), share, STEP)
    assert max(held[0], held[-1]) < 1e-5 * held.sum(), "found v beyond its nodes, expected none"
    return scale + float(np.log(held.sum() * (nodes[1] - nodes[0])))


def log_odds(model: Model, prior: Prior, scans: list[Scan], share: float = SHARE, count: int = NODES) -> float:
    """ln p(barrier | scans) - ln p(bag | scans)."""
    bag, barrier = (prior.log_probs[k] + log_evidence(model, prior, scans, k, share, count) for k in (BAG, BARRIER))
    return float(barrier - bag)
