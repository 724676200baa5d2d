"""Our fast bootstrap filter beside NumPy with FilterPy's resampler, `particles` and Stone Soup: accuracy and time.

    python scenarios/studies/bearing_range.py [--tracks 100]

A target moves at nearly constant velocity in a plane; bearing and range are measured every second. The first table has
all filters on the same tracks with 10,000 particles: errors of the position, and what each differs from ours in
error and in log-evidence, with the standard error over tracks (Monte-Carlo error is all that should differ). The second
is the shortest step of each, in turns in one process and one thread, resampling at every step. `particles` asks for
NumPy 1 but its bootstrap filter runs with 2: `pip install --no-deps particles==0.4`.
"""

from __future__ import annotations

import argparse
import os
import sys
from time import perf_counter
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from bearing_range_peers import COVARIANCE, DT, MEAN, SPREAD, F, Q, installed

from filters.bootstrap import Bootstrap
from filters.jit import jit
from filters.single import arctan2, f32
from filters.spec import Array
from filters.streams import stream

STEPS, PARTICLES = 50, 10_000
SIZES = (1000, 10_000, 100_000)
ROUNDS, ROUND = 10, 10  # of timing, and steps of one
HALF = f32(0.5)


class Numbers(NamedTuple):
    """What the kernels are given: the step, the root of Q for an axis, 1 / spread, and the density's constant."""

    dt: np.float32
    place: np.float32
    shared: np.float32
    speed: np.float32
    bearing: np.float32
    distance: np.float32
    constant: np.float32


@jit
def move(points: Any, noise: Any, p: Numbers) -> None:
    """x' = F x + root(Q) noise, an axis at a time."""
    for k in range(2):
        place, speed, a, b = points[k], points[k + 2], noise[2 * k], noise[2 * k + 1]
        for i in range(place.size):
            place[i] += p.dt * speed[i] + p.place * a[i]
            speed[i] += p.shared * a[i] + p.speed * b[i]


@jit
def log_likelihood(points: Any, z: Any, p: Numbers, values: Any) -> None:
    """ln N(z; bearing and range of each point, R)."""
    x, y = points[0], points[1]
    sin, cos, distance = np.sin(z[0]), np.cos(z[0]), z[1]
    for i in range(x.size):
        bearing = p.bearing * arctan2(y[i] * cos - x[i] * sin, x[i] * cos + y[i] * sin)
        off = p.distance * (np.sqrt(x[i] * x[i] + y[i] * y[i]) - distance)
        values[i] = p.constant - HALF * (bearing * bearing + off * off)


def filter_of(enough: float = 1.0) -> Bootstrap:
    """Ours; all but never are all particles effective, so that it resamples at every step."""
    (place, _), (shared, speed) = np.linalg.cholesky(Q[::2, ::2])
    constant = -np.log(2.0 * np.pi * np.prod(SPREAD))
    numbers = Numbers(*map(f32, (DT, place, shared, speed, *(1.0 / SPREAD), constant)))
    return Bootstrap(move, log_likelihood, numbers, 4, enough)


class Ours:
    """Ours behind the protocol of `bearing_range_peers`."""

    name = "ours"
    enough = 1.0

    def __init__(self, n: int, seed: int, zs: Array) -> None:
        self.rng, self.filter = stream(seed, self.name, n), filter_of(self.enough)
        self.cloud = self.filter.init(self.rng.multivariate_normal(MEAN, COVARIANCE, n).T)

    def step(self, z: Array) -> None:
        self.cloud, self.info = self.filter.step(self.cloud, z, self.rng)

    def look(self) -> tuple[Array, float]:
        return self.cloud.moments().mean, float(self.info.log_evidence[0])


class Seldom(Ours):
    """Ours as one would run it."""

    name = "ours, resampling below half"
    enough = 0.5


def track(seed: int) -> tuple[Array, Array]:
    """True states (STEPS, 4) and their measurements (STEPS, 2)."""
    rng = stream(seed, "track")
    x, states = rng.multivariate_normal(MEAN, COVARIANCE), []
    for _ in range(STEPS):
        x = F @ x + rng.multivariate_normal(np.zeros(4), Q)
        states.append(x)
    states = np.array(states)
    truth = np.column_stack([np.arctan2(states[:, 1], states[:, 0]), np.hypot(states[:, 0], states[:, 1])])
    return states, truth + SPREAD * rng.standard_normal(truth.shape)


def follow(tracker: type, n: int, seed: int) -> tuple[float, float]:
    """Root mean square error of the position, m, and log-evidence on one track."""
    states, zs = track(seed)
    filter_, looks = tracker(n, seed, zs), []
    for z in zs:
        filter_.step(z)
        looks.append(filter_.look())
    means, evidence = zip(*looks, strict=True)
    off = np.array(means)[:, :2] - states[:, :2]
    return float(np.sqrt((off**2).sum(axis=1).mean())), float(np.sum(evidence))


def step_times(trackers: list[type], n: int) -> list[float]:
    """Shortest step of each, µs, on the track over and over; in turns, so that a busy machine slows all."""
    zs = track(0)[1]
    times: list[list[float]] = [[] for _ in trackers]
    for seed in range(ROUNDS):
        for tracker, row in zip(trackers, times, strict=True):
            filter_ = tracker(n, seed, zs)
            for z in zs[:ROUND]:
                clock = perf_counter()
                filter_.step(z)
                row.append(perf_counter() - clock)
    return [1e6 * min(row[1:]) for row in times]


def bytes_each(n: int = 4_000_000) -> float:
    """Bytes a particle that a step adds to the process at its worst, the cloud it is given included (Linux)."""
    from resource import RUSAGE_SELF, getrusage

    ours, z = filter_of(), track(0)[1][0]
    ours.step(ours.init(np.ones((4, 10), f32)), z, stream(0, "warm"))
    with open("/proc/self/statm") as pages:
        before = int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    cloud = ours.init(np.repeat(MEAN[:, None].astype(f32), n, axis=1))
    cloud = cloud._replace(ess=0.0)  # so that it resamples
    ours.step(cloud, z, stream(0, "memory"))
    return (1024 * getrusage(RUSAGE_SELF).ru_maxrss - before) / n


def accuracy(trackers: list[type], tracks: int) -> None:
    """Print the first table."""
    from rich.console import Console
    from rich.table import Table

    results = np.array([[follow(t, PARTICLES, seed) for t in trackers] for seed in range(tracks)])
    table = Table(
        "filter", "RMSE, m", "less ours", "log-evidence", "less ours", title=f"{tracks} tracks, 10k particles"
    )
    for k, tracker in enumerate(trackers):
        gap = results[:, k] - results[:, 0]
        error = gap.std(axis=0, ddof=1) / np.sqrt(tracks)
        columns = zip(results[:, k].mean(axis=0), gap.mean(axis=0), error, strict=True)
        cells = [(f"{mean:.4f}", f"{less:+.4f} ± {e:.4f}") for mean, less, e in columns]
        table.add_row(tracker.name, *cells[0], *cells[1])
    Console(width=120).print(table)


def timing(trackers: list[type]) -> None:
    """Print the second table."""
    from rich.console import Console
    from rich.table import Table

    times = np.array([step_times(trackers, n) for n in SIZES]).T
    table = Table("µs a step (times ours)", *(f"{n:,}" for n in SIZES), title="shortest step, one thread")
    for tracker, row in zip(trackers, times, strict=True):
        table.add_row(tracker.name, *(f"{t:.0f} ({t / o:.1f})" for t, o in zip(row, times[0], strict=True)))
    Console(width=120).print(table)
    print(f"ours at {SIZES[-1]:,}: {1000.0 * times[0, -1] / SIZES[-1]:.1f} ns a particle")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracks", type=int, default=100)
    given = parser.parse_args()
    if sys.platform == "linux":
        print(f"ours: {bytes_each():.0f} bytes a particle")
    peers = installed()
    accuracy([Ours, Seldom, *peers], given.tracks)
    timing([Ours, Seldom, *peers])
