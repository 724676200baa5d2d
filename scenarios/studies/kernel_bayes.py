"""Kernel Bayes filters that learned their world from triples, beside filters that are told it: Fukumizu's two problems.

    python scenarios/studies/kernel_bayes.py [--runs 40]

A point circles the origin and is seen through noise, θ' = ∠X_t + η:

    X_t+1 = (1 + b sin Mθ')(cos θ', sin θ') + N(0, .2² I)        Y_t = X_t + N(0, .2² I)

rotation: η = .3, b = 0; oscillation: η = .4, b = .4, M = 8. Each run draws its own n triples (X_t, X_t+1, Y_t) of one
path to learn from and 200 steps of another to be judged on. It prints the mean squared error, summed over both
coordinates, with its standard error over the runs, what it is above the bound's in the same runs, and the time of a
step (the least over the runs of a run's median). The particle filter with the true model is the bound. EKF and UKF are
FilterPy's, with the true model too; the UKF's points (Merwe's, beta 2, kappa 0) stand alpha away. Problems: Fukumizu,
Song, Gretton 2013, JMLR 14:3753, section 5.3. No seed here was used to choose a constant of the filters.
"""

import argparse
import os
from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from filterpy.kalman import ExtendedKalmanFilter, MerweScaledSigmaPoints, UnscentedKalmanFilter
from rich.console import Console
from rich.progress import track
from rich.table import Table

from filters.kernel_filter import KernelFilter, learn
from filters.resampling import systematic
from filters.streams import stream

NOISE = 0.2  # of a step, and of a measurement
STEPS, BURN_IN = 200, 50
PARTICLES = 20_000
FEW, MANY, MANY_RANK = 800, 3000, 64
BOUND = "particle filter, 20k (bound)"
Step = Callable[[np.ndarray], np.ndarray]  # a measurement to an estimate


class Problem(NamedTuple):
    """Turn a step `eta`, and the radius's swing `b` that comes `M` times a turn."""

    eta: float
    b: float
    M: int

    def move(self, x: np.ndarray) -> np.ndarray:
        """E X_t+1 of X_t: (..., 2)."""
        angle = np.arctan2(x[..., 1], x[..., 0]) + self.eta
        radius = 1.0 + self.b * np.sin(self.M * angle)
        return radius[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)

    def slope(self, x: np.ndarray) -> np.ndarray:
        """Jacobian (2, 2) of `move` at (2,): df/dθ' times dθ/dx."""
        angle = np.arctan2(x[1], x[0]) + self.eta
        radius, growth = 1.0 + self.b * np.sin(self.M * angle), self.b * self.M * np.cos(self.M * angle)
        cos, sin = np.cos(angle), np.sin(angle)
        along = np.array([growth * cos - radius * sin, growth * sin + radius * cos])
        return np.outer(along, np.array([-x[1], x[0]]) / (x @ x))

    def path(self, steps: int, rng: np.random.Generator, many: int = 1) -> np.ndarray:
        """States (steps, many, 2) after the start is forgotten."""
        x, states = rng.standard_normal((many, 2)), []
        for _ in range(BURN_IN + steps):
            x = self.move(x) + NOISE * rng.standard_normal(x.shape)
            states.append(x)
        return np.array(states[BURN_IN:])


PROBLEMS = {"rotation": Problem(0.3, 0.0, 1), "oscillation": Problem(0.4, 0.4, 8)}


def log_likelihood(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Log density ln p(y | x) of states (n, 2), but for a constant."""
    apart = x - y
    apart *= apart
    return (apart[:, 0] + apart[:, 1]) * (-0.5 / NOISE**2)


def seen(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return x + NOISE * rng.standard_normal(x.shape)


def particle_filter(problem: Problem, rng: np.random.Generator) -> Step:
    """Bootstrap, resampled at every step."""
    cloud = problem.path(1, rng, PARTICLES)[0]
    weights = np.zeros(0)

    def step(y: np.ndarray) -> np.ndarray:
        nonlocal cloud, weights
        if weights.size:
            cloud = problem.move(cloud[systematic(weights, rng.random())])
            cloud += NOISE * rng.standard_normal(cloud.shape)
        log_weights = log_likelihood(cloud, y)
        weights = np.exp(log_weights - log_weights.max())
        weights /= weights.sum()
        return weights @ cloud

    return step


def kalman_filter(kf: ExtendedKalmanFilter | UnscentedKalmanFilter, predict: Callable, update: Callable) -> Step:
    """One of FilterPy's, begun at the problem's own mean and variance."""
    kf.x, kf.P = np.zeros(2), 0.5 * np.eye(2)
    kf.Q = kf.R = NOISE**2 * np.eye(2)
    started = False

    def step(y: np.ndarray) -> np.ndarray:
        nonlocal started
        if started:
            predict()
        started = True
        update(y)
        return kf.x.copy()

    return step


def ekf(problem: Problem) -> Step:
    kf = ExtendedKalmanFilter(2, 2)

    def predict() -> None:
        F = problem.slope(kf.x)
        kf.x, kf.P = problem.move(kf.x), F @ kf.P @ F.T + kf.Q

    return kalman_filter(kf, predict, lambda y: kf.update(y, lambda x: np.eye(2), lambda x: x))


def ukf(problem: Problem, alpha: float) -> Step:
    points = MerweScaledSigmaPoints(2, alpha, 2.0, 0.0)
    kf = UnscentedKalmanFilter(2, 2, 1.0, lambda x: x, lambda x, dt: problem.move(x), points)
    step = kalman_filter(kf, kf.predict, kf.update)
    kf.sigmas_f = points.sigma_points(kf.x, kf.P)  # for an update before the first predict
    return step


def kernel_filter(filter_: KernelFilter) -> Step:
    state = None

    def step(y: np.ndarray) -> np.ndarray:
        nonlocal state
        state = filter_.init() if state is None else filter_.predict(state)
        state, _ = filter_.update(state, y)
        return filter_.mean(state)

    return step


def methods(problem: Problem, name: str, run: int) -> dict[str, Step]:
    """Every method, ready for the first measurement of a run."""
    rng = stream(0, name, run, "learn")
    x = problem.path(MANY + 1, rng)[:, 0]
    y = seen(x, rng)
    few = learn(x[:FEW], x[1 : FEW + 1], y[:FEW])
    many = learn(x[:MANY], x[1:], y[:MANY], MANY_RANK)
    return {
        "raw observation": lambda y: y,
        BOUND: particle_filter(problem, stream(0, name, run, "particles")),
        "EKF": ekf(problem),
        "UKF, alpha 1": ukf(problem, 1.0),
        "UKF, alpha .1": ukf(problem, 0.1),
        f"original, n = {FEW}": kernel_filter(KernelFilter(few, "original")),
        f"importance-weighted, n = {FEW}": kernel_filter(KernelFilter(few)),
        f"kernel Kalman, n = {FEW}": kernel_filter(KernelFilter(few, "kernel_kalman")),
        f"hybrid, n = {FEW}": kernel_filter(KernelFilter(few, "hybrid", log_likelihood)),
        f"importance-weighted, n = {MANY}": kernel_filter(KernelFilter(many)),
        f"hybrid, n = {MANY}": kernel_filter(KernelFilter(many, "hybrid", log_likelihood)),
    }


def judge(step: Step, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Mean squared error over a path, summed over coordinates, and the median time of a step, µs."""
    estimates, times = np.empty_like(x), np.empty(len(x))
    for k in range(len(x)):
        start = perf_counter()
        estimates[k] = step(y[k])
        times[k] = perf_counter() - start
    return float(((estimates - x) ** 2).sum(axis=1).mean()), 1e6 * float(np.median(times))


def study(name: str, runs: int) -> dict[str, np.ndarray]:
    """Errors and times (runs, 2) of every method on a problem."""
    rows: dict[str, list] = {}
    for run in track(range(runs), name):
        rng = stream(0, name, run, "judge")
        x = PROBLEMS[name].path(STEPS, rng)[:, 0]
        y = seen(x, rng)
        for method, step in methods(PROBLEMS[name], name, run).items():
            rows.setdefault(method, []).append(judge(step, x, y))
    return {method: np.array(values) for method, values in rows.items()}


def report(name: str, rows: dict[str, np.ndarray]) -> None:
    table = Table(name, "error", "s.e.", "above the bound", "µs a step", title=f"{name}: mean squared error")
    bound = rows[BOUND][:, 0].mean()
    for method, values in rows.items():
        error = values[:, 0]
        se = f"{error.std(ddof=1) / np.sqrt(len(error)):.4f}" if len(error) > 1 else "-"
        table.add_row(
            method, f"{error.mean():.4f}", se, f"{error.mean() / bound - 1.0:+.1%}", f"{values[:, 1].min():.1f}"
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=40)
    given = parser.parse_args()
    for problem_name in PROBLEMS:
        report(problem_name, study(problem_name, given.runs))
