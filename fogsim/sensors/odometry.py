"""Wheel odometry and gyro: the ego motion that filters are told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from filters.spec import EgoMotion, Pose


@dataclass(frozen=True)
class Odometry:
    """Wheel odometry and gyro: standard deviations of one step's translation (m) and turn (rad)."""

    translation: float = 0.003
    turn: float = 0.0002


def compose(pose: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Pose (x, y, yaw) after a motion (dx, dy, dyaw) given in its own frame."""
    c, s = np.cos(pose[2]), np.sin(pose[2])
    return np.array([pose[0] + c * delta[0] - s * delta[1], pose[1] + s * delta[0] + c * delta[1], pose[2] + delta[2]])


def between(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The motion (dx, dy, dyaw) in the frame of `before` that leads to `after`."""
    c, s = np.cos(before[2]), np.sin(before[2])
    dx, dy = after[:2] - before[:2]
    return np.array([c * dx + s * dy, -s * dx + c * dy, after[2] - before[2]])


def measure(
    before: np.ndarray, after: np.ndarray, estimate: Pose, odometry: Odometry, rng: np.random.Generator
) -> EgoMotion:
    """Odometry of a true motion between poses (x, y, yaw), and the estimated pose it leads to from `estimate`."""
    deviation = np.array([odometry.translation, odometry.translation, odometry.turn])
    delta = between(before, after) + deviation * rng.standard_normal(3)
    x, y, yaw = compose(np.array([estimate.x, estimate.y, estimate.yaw]), delta)
    return EgoMotion(delta, np.diag(deviation**2), Pose(float(x), float(y), estimate.z, float(yaw)))
