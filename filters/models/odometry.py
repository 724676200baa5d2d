"""Wheel odometry and gyro: how far and whither ego has moved, integrated from samples with white noise.

In a step of `dt` there are N samples of wheel speed and yaw rate. Each gives a small motion d_i, the true one (ego
moves along an arc) plus noise that is as large per sqrt(s) whatever N; they compose to the step's motion:

    d_i = d + N(0, Q dt / N),   delta = d_1 ⊕ ... ⊕ d_N,   Sigma = Σ_i J_i (Q dt / N) J_i'

with J_i the derivative of delta by d_i. To first order in the noise delta is Gaussian about the true motion.
Source: Thrun, Burgard, Fox 2005, Probabilistic Robotics, section 5.4; poses as in Smith and Cheeseman 1986.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from filters.spec import Array, EgoMotion, Pose

STEP = 0.1  # s, over which the noise is stated


@dataclass(frozen=True)
class Odometry:
    """Wheel odometry and gyro.

    It has no latency, unlike the sensors beside it: it runs on the car's own bus and drives dead reckoning, and its
    delay of some ms is below a tick.

    Parameters
    ----------
    translation, turn : float
        Standard deviation of the motion (along and aside, m) and of the turn (rad) over 0.1 s; they grow as the root
        of time. The turn's is an angle random walk of 2.2° per sqrt(hour), a cheap gyro's; that aside is the tyres'.
    rate : float
        Samples per second; at least one a step.
    """

    translation: float = 0.003
    turn: float = 0.0002
    rate: float = 10.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, int | float) and not 0.0 <= value < np.inf:
                raise ValueError(f"odometry.{name} is {value}, expected a finite number >= 0")

    def deviation(self, duration: float) -> Array:
        """Standard deviations of (dx, dy, dyaw) over a duration, s."""
        return np.array([self.translation, self.translation, self.turn]) * np.sqrt(duration / STEP)

    def samples(self, dt: float) -> int:
        """N of a step of `dt`, s."""
        return max(1, round(self.rate * dt))


def compose(pose: Array, delta: Array) -> Array:
    """Pose (x, y, yaw) after a motion (dx, dy, dyaw) given in its own frame."""
    c, s = np.cos(pose[2]), np.sin(pose[2])
    return np.array([pose[0] + c * delta[0] - s * delta[1], pose[1] + s * delta[0] + c * delta[1], pose[2] + delta[2]])


def between(before: Array, after: Array) -> Array:
    """The motion (dx, dy, dyaw) in the frame of `before` that leads to `after`."""
    c, s = np.cos(before[2]), np.sin(before[2])
    dx, dy = after[:2] - before[:2]
    return np.array([c * dx + s * dy, -s * dx + c * dy, after[2] - before[2]])


def part(delta: Array, n: int) -> Array:
    """The motion that composed n times with itself is `delta`: a part of the same arc.

    A turn by t carries a chord of |sin(t/2) / (t/2)| of the arc's length, at half the turn to its start.
    """
    turn = delta[2]
    shrink = np.sinc(turn / n / (2.0 * np.pi)) / np.sinc(turn / (2.0 * np.pi)) / n
    back = 0.5 * turn * (1.0 / n - 1.0)
    c, s = np.cos(back), np.sin(back)
    x, y = shrink * delta[0], shrink * delta[1]
    return np.array([c * x - s * y, s * x + c * y, turn / n])


def sample(odometry: Odometry, before: Array, after: Array, dt: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw what odometry makes of a true motion between poses (x, y, yaw): delta (3,) and its covariance (3, 3)."""
    n = odometry.samples(dt)
    true = between(before, after)
    small = true if n == 1 else part(true, n)
    noise = odometry.deviation(dt / n)
    steps = small + noise * rng.standard_normal((n, 3))
    delta, covariance = steps[0], np.diag(noise**2)
    for step in steps[1:]:
        turned, moved = jacobians(delta, step)
        covariance = turned @ covariance @ turned.T + moved @ np.diag(noise**2) @ moved.T
        delta = compose(delta, step)
    return delta, covariance


def jacobians(pose: Array, delta: Array) -> tuple[Array, Array]:
    """Derivatives (3, 3) of compose(pose, delta) by pose and by delta."""
    c, s = np.cos(pose[2]), np.sin(pose[2])
    by_pose, by_delta = np.eye(3), np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    by_pose[:2, 2] = -s * delta[0] - c * delta[1], c * delta[0] - s * delta[1]
    return by_pose, by_delta


def log_density(motion: EgoMotion, true: Array) -> float:
    """ln N(delta; true, Sigma) of a reported motion given the true one (dx, dy, dyaw)."""
    off = motion.delta - true
    quadratic = off @ np.linalg.solve(motion.covariance, off)
    return float(-0.5 * (quadratic + np.linalg.slogdet(2.0 * np.pi * motion.covariance)[1]))


def moved(pose: Pose, delta: Array) -> Pose:
    """A sensor's pose after a motion: on the ground, so its height and attitude stay."""
    x, y, yaw = compose(np.array([pose.x, pose.y, pose.yaw]), delta)
    return pose._replace(x=float(x), y=float(y), yaw=float(yaw))
