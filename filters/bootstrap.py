"""A fast bootstrap filter (Gordon, Salmond, Smith 1993) of a model of one's own, in single precision.

Particles pass through in chunks that fit the processor's nearest cache, each by several small loops that LLVM turns
into vector instructions: gather by ancestor, draw normals, move, score, weigh. The model is two kernels on a chunk:

    @jit
    def move(points, noise, parameters):  # (d, CHUNK) in place, noise (noises, CHUNK) standard normal
    @jit
    def log_likelihood(points, z, parameters, values):  # ln p(z | point) into values (CHUNK,)

Write one short loop over `points.shape[1]` per few rows, with float32 constants (a Python number makes it double), and
with the functions of `filters.single`: calls and branches cost tenfold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from filters.jit import jit, uncached
from filters.normals import fill_normals
from filters.resampling import Indices, cumulate, scale_edges, spread, systematic_begins
from filters.single import exp_of_negative, f32
from filters.spec import Array, Gaussian, Info, Status

CHUNK = 1024
Singles = NDArray[np.float32]
NOBODY = f32(-np.inf)
EVERYONE = np.empty(0, np.uint32)


class Cloud(NamedTuple):
    """Points (d, n), normalised log-weights (n,), and their effective sample size."""

    points: Singles
    log_weights: Singles
    ess: float

    def moments(self) -> Gaussian:
        """Weighted mean and covariance, in double precision."""
        w = np.exp(self.log_weights, dtype=float)
        mean = self.points @ (w / w.sum())
        off = self.points - mean[:, None]
        return Gaussian(mean, (off * (w / w.sum())) @ off.T)


@dataclass(frozen=True)
class Bootstrap:
    """Follows one target.

    Parameters
    ----------
    move, log_likelihood : compiled functions
        The model, as above.
    parameters : NamedTuple
        What both are given beside the points; single numbers.
    noises : int
        Standard normals that a move takes; they are drawn by fours.
    enough : float
        Share of effective particles below which the cloud is resampled first.
    """

    move: Callable[..., None]
    log_likelihood: Callable[..., None]
    parameters: Any
    noises: int
    enough: float = 0.5

    def init(self, points: NDArray[np.floating]) -> Cloud:
        """Equally weighted points (d, n)."""
        n = points.shape[1]
        return Cloud(np.ascontiguousarray(points, f32), np.full(n, -np.log(n), f32), float(n))

    def step(self, cloud: Cloud, z: Array, rng: np.random.Generator) -> tuple[Cloud, Info]:
        """Resample if need be, move, and weigh by a measurement z.

        ln p(z | before) = ln Σ w_i p(z | x_i), whose exponentials' product over steps is unbiased. Where no particle
        explains z, or z is NaN, the cloud moves, the weights stay, and the status is `DEPLETED`.
        """
        n = cloud.log_weights.size
        resampled = cloud.ess < self.enough * n
        ancestors = ancestors_of(cloud.log_weights, rng.random()) if resampled else EVERYONE
        before = np.full(n, -np.log(n), f32) if resampled else cloud.log_weights
        new = Cloud(np.empty_like(cloud.points), np.empty_like(before), 0.0)
        key = rng.integers(2**32, size=2, dtype=np.uint32)
        model = self.move, self.log_likelihood, self.parameters, self.noises, np.asarray(z, f32)
        log_sum, size = advance(*model, key, ancestors, cloud.points, before, new)
        if not np.isfinite(log_sum):
            size = float(n) if resampled else cloud.ess
            return Cloud(new.points, before, size), Info(np.zeros(1), size, resampled=resampled, status=Status.DEPLETED)
        return new._replace(ess=size), Info(np.array([log_sum]), size, resampled=resampled)


@jit
def ancestors_of(log_weights: Singles, uniform: float) -> Indices:
    """Systematic ancestors (n,)."""
    n, before = log_weights.size, 0.0
    edges, begins, w = np.empty(n), np.empty(n, np.uint32), np.empty(CHUNK, f32)
    for first in range(0, n, CHUNK):
        some = log_weights[first : first + CHUNK]
        for i in range(some.size):
            w[i] = exp_of_negative(some[i])
        before = cumulate(w[: some.size], before, edges[first : first + CHUNK])
    scale_edges(edges, n)
    systematic_begins(edges, uniform, begins)
    return spread(begins, n)


@uncached
def advance(
    move: Callable[..., None],
    log_likelihood: Callable[..., None],
    parameters: Any,
    noises: int,
    z: Singles,
    key: Indices,
    ancestors: Indices,
    points: Singles,
    log_weights: Singles,
    new: Cloud,
) -> tuple[float, float]:
    """Fill a new cloud, chunk by chunk; returns ln Σ w and the effective sample size."""
    d, n = points.shape
    blocks = (noises + 3) // 4
    here, noise, values = np.zeros((d, CHUNK), f32), np.empty((4 * blocks, CHUNK), f32), np.empty(CHUNK, f32)
    sums = NOTHING
    for first in range(0, n, CHUNK):
        gather(points, ancestors, first, here)
        for block in range(blocks):
            fill_normals(noise[4 * block : 4 * block + 4], first, key, block)
        move(here, noise, parameters)
        log_likelihood(here, z, parameters, values)
        store(here, values, log_weights, first, new)
        sums = add(sums, sums_of(values))
    top, rest = f32(sums.top), np.log(sums.total)
    for i in range(n):  # two steps, as their sum in float32 would lose digits
        new.log_weights[i] = (new.log_weights[i] - top) - f32(rest)
    return sums.top + rest, sums.total * sums.total / sums.squares


@jit
def gather(points: Singles, ancestors: Indices, first: int, here: Singles) -> None:
    """Copy a chunk of ancestors' points (d, n), or of the points themselves where there are no ancestors."""
    d, n = points.shape
    m = min(CHUNK, n - first)
    for k in range(d):
        row, to = points[k], here[k]
        if ancestors.size == 0:
            to[:m] = row[first : first + m]
        else:
            some = ancestors[first : first + m]
            for i in range(m):
                to[i] = row[some[i]]


@jit
def store(here: Singles, values: Singles, log_weights: Singles, first: int, new: Cloud) -> None:
    """Put a moved chunk in its place, and its new log-weights; NaN is impossible, and so is what is past the end."""
    d, n = new.points.shape
    m = min(CHUNK, n - first)
    for k in range(d):
        row, to = here[k], new.points[k, first : first + m]
        for i in range(m):
            to[i] = row[i]
    some, to = log_weights[first : first + m], new.log_weights[first : first + m]
    for i in range(m):
        value = values[i] + some[i]
        to[i] = values[i] = value if value == value else NOBODY
    values[m:] = NOBODY


class Sums(NamedTuple):
    """Of some weights: the largest logarithm, and with that taken off, Σ w and Σ w²."""

    top: float
    total: float
    squares: float


NOTHING = Sums(-np.inf, 0.0, 0.0)


@jit
def sums_of(values: Singles) -> Sums:
    """Sums of log-weights (CHUNK,), which are used up. Halves are folded on one another, as a vector does that."""
    w, squares = values.copy(), np.empty_like(values)
    half = CHUNK // 2
    while half:
        for i in range(half):
            w[i] = max(w[i], w[half + i])
        half //= 2
    top = w[0]
    if top == NOBODY:
        return NOTHING
    for i in range(CHUNK):
        w[i] = exp_of_negative(values[i] - top)
        squares[i] = w[i] * w[i]
    half = CHUNK // 2
    while half:
        for i in range(half):
            w[i] += w[half + i]
        for i in range(half):
            squares[i] += squares[half + i]
        half //= 2
    return Sums(np.float64(top), np.float64(w[0]), np.float64(squares[0]))


@jit
def add(a: Sums, b: Sums) -> Sums:
    """Sums of both."""
    top = max(a.top, b.top)
    if top == -np.inf:
        return NOTHING
    p, q = np.exp(a.top - top), np.exp(b.top - top)
    return Sums(top, p * a.total + q * b.total, p * p * a.squares + q * q * b.squares)
