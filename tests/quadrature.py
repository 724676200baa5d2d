"""The exact class posterior of a reduced problem by quadrature, in slow NumPy: nothing of the filters' is used.

The object stands still and is seen from known poses; three latents are free, its place (x, y) and v = ln visibility:

    p(class | scans) ∝ p(class) ∫ N(x, y) N(v) Π_scans Π_beams p(echo | class, x, y, v) dx dy dv

The likelihood is smooth in v, where the rule is the trapezoid's, but jumps in (x, y) wherever a beam begins to meet
the object. There it is the midpoint rule on squares: every square that holds more than `share` of the whole, and its
neighbours, are cut in four, until none does. A jump costs at most what the squares it runs through hold.

One beam's density is `slow_beam.py`'s; a beam that may pass mixes the object's with the background's.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from filters.models.model import Model
from filters.models.optics import Optics
from filters.models.shapes import BACKGROUND_ROUGHNESS, BACKGROUND_TEXTURE, BagPrior, BarrierPrior
from filters.spec import BAG, BARRIER, Prior, Scan
from tests.reference import direction_of
from tests.slow_beam import Fogs, Stops, fogs_of, log_density

Array = NDArray[np.float64]
STEP = 0.025  # m: side of the first squares, so small that none misses what an echo's range tells
COARSE = 0.1  # m, where only v is asked for
REACH = 5.0  # deviations of the prior
NODES, LOOKS = 33, 3  # of v, and looks that close in on it: so many that nodes lie about a deviation apart, or closer
NEGLIGIBLE = 1e-7  # of the peak
SHARE = 5e-5


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


class Problem(NamedTuple):
    """What was seen of an object of one known shape; `passed` is ln p(echo | background, v) (V,) of each beam."""

    optics: Optics
    shape: BarrierPrior | BagPrior
    prior: Prior
    scans: list[Scan]
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
        for (r, p, origin, direction, _, ends), passed in zip(beams(self.scans), self.passed, strict=True):
            aside = (place - origin[:2]) @ [-direction[1], direction[0]]
            near = np.flatnonzero(np.abs(aside) < body(self.shape))
            distance, cosine = meet(self.shape, place[near], origin, direction)
            hits = distance < ends
            met = near[hits]
            stops = Stops(distance[hits], cosine[hits], reflectance, self.shape.roughness, self.shape.texture)
            hit = np.exp(log_density(self.optics, self.fogs, r, p, stops))
            total[met] += np.log(fill * hit + (1.0 - fill) * np.exp(passed)) - passed
        return np.asarray(total)


def beams(scans: list[Scan]):
    """(r, p, origin, direction, background, its range) of every beam that was scanned."""
    for scan in scans:
        origin = np.array(scan.pose[:3])
        for i, k in zip(*np.nonzero(scan.scanned), strict=True):
            direction = direction_of(scan.elevation[i], scan.azimuth[k] + scan.pose.yaw)
            background = tuple(float(a[i, k]) for a in scan.background)
            yield scan.range[i, k, 0], scan.power[i, k, 0], origin, direction, background, background[0]


def problem(model: Model, prior: Prior, scans: list[Scan], shape: BarrierPrior | BagPrior, nodes: Array) -> Problem:
    """The background's densities, which no place moves, once per node of v."""
    assert model.optics.mode == "strongest"
    fogs, passed = fogs_of(model.optics, nodes), []
    for r, p, _, _, (far, cosine, reflectance), _ in beams(scans):
        stops = Stops(np.array([far]), np.array([cosine]), reflectance, BACKGROUND_ROUGHNESS, BACKGROUND_TEXTURE)
        passed.append(log_density(model.optics, fogs, r, p, stops)[0])
    return Problem(model.optics, shape, prior, scans, nodes, fogs, np.array(passed))


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
