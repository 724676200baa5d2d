"""Wheel odometry and gyro: the ego motion that filters are told."""

from __future__ import annotations

import numpy as np

from filters.models.odometry import Odometry, moved, sample
from filters.spec import EgoMotion, Pose


def measure(
    before: np.ndarray, after: np.ndarray, estimate: Pose, odometry: Odometry, dt: float, rng: np.random.Generator
) -> EgoMotion:
    """Odometry of a true motion between poses (x, y, yaw), and the estimated pose it leads to from `estimate`."""
    delta, covariance = sample(odometry, before, after, dt, rng)
    return EgoMotion(delta, covariance, moved(estimate, delta))
