"""How far a belief's place is from the truth: NEES and CRPS of its Gaussian.

NEES = e' P⁻¹ e ~ χ²(2) where mean and covariance P are right, e the error of the mean
CRPS = e (2 Φ(z) - 1) + s (2 φ(z) - 1/√π),  z = e / s      of N(mean, s²), m     Gneiting & Raftery 2007, eq. 21
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from filters.spec import Array


def nees(error: Array, covariance: Array) -> Array:
    """Squared Mahalanobis distance (...) of errors (..., 2) under covariances (..., 2, 2); inf of a singular one."""
    (a, b), (_, d) = np.moveaxis(covariance, (-2, -1), (0, 1))
    x, y = np.moveaxis(error, -1, 0)
    determinant = a * d - b * b
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(determinant == 0.0, np.inf, (d * x * x - 2.0 * b * x * y + a * y * y) / determinant)


def crps(error: Array, deviation: Array) -> Array:
    """Continuous ranked probability score (...) of N(0, deviation²) at an error, in the unit of both; |error| at 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(error == 0.0, 0.0, error / deviation)
    density = np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)
    return np.asarray(error * (2.0 * ndtr(z) - 1.0) + deviation * (2.0 * density - 1.0 / np.sqrt(np.pi)))


def errors(mean: Array, truth: Array, pose: Array, odometry: Array) -> Array:
    """Means (..., 2) less the truth (2,), both in the odometry frame: poses (3,) are ego's, true and estimated."""
    turn = odometry[2] - pose[2]
    c, s = np.cos(turn), np.sin(turn)
    return np.asarray(mean - (odometry[:2] + np.array([[c, -s], [s, c]]) @ (truth - pose[:2])))
