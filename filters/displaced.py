"""Beams behind which the known map may not be where it is taken to be, as odometry's errors have added up.

A kerb at a grazing angle moves along the beam by much more than the car is off: seen .17 m too near by a dozen beams in
a row it is, for a map that is sure of itself, best explained by a bag that lies there, by some 90 nats. So is a lamp
post whose edges are elsewhere.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from filters.models.attitude import places
from filters.models.shapes import BACKGROUND_ROUGHNESS
from filters.spec import Array, EgoMotion, Scan

ROAD = 0.03  # m: what lies lower is the road, which is there wherever the car is
NEVER = 1e3  # m: a range for beams that meet nothing


class Odometry(NamedTuple):
    """What the errors of all steps add up to, so that none has to be kept.

    σ²(p) = Σ_steps σ_xy² + |p - pose|² σ_yaw² = `fixed` - 2 p · `turned` + |p|² `yaw` in any direction.
    """

    fixed: float = 0.0
    turned: tuple[float, float] = (0.0, 0.0)
    yaw: float = 0.0

    def after(self, motion: EgoMotion) -> Odometry:
        """With one more step."""
        x, y, turn = *motion.pose[:2], float(motion.covariance[2, 2])
        fixed = 0.5 * np.trace(motion.covariance[:2, :2]) + turn * (x * x + y * y)
        return Odometry(
            self.fixed + float(fixed), (self.turned[0] + turn * x, self.turned[1] + turn * y), self.yaw + turn
        )

    def displacement(self, points: Array) -> Array:
        """Deviation (...) of where a point (..., 2) of the map is, m."""
        square = self.fixed - 2.0 * points @ np.array(self.turned) + self.yaw * (points**2).sum(axis=-1)
        return np.sqrt(np.maximum(square, 0.0))


def certain(scan: Scan, odometry: Odometry, visibility: float) -> Scan:
    """The scan without beams whose surface may be nearer or farther by more than its roughness, as the map may be off.

    The road stays where it is, but for what stands beside a beam that meets it. What stands beyond `visibility` (m) is
    hardly seen and does not matter.
    """
    range_ = np.where(np.isfinite(scan.background.range), scan.background.range, NEVER)
    up, azimuth = np.meshgrid(scan.elevation, scan.azimuth, indexing="ij")
    points = places(scan.pose, up.ravel(), azimuth.ravel(), range_.ravel()).reshape(*range_.shape, 3)
    itself, edges = np.where(points[..., 2] < ROAD, 0.0, 1.0), slope(range_, scan.azimuth)
    sure = odometry.displacement(points[..., :2]) * np.hypot(itself, edges) < BACKGROUND_ROUGHNESS
    return scan._replace(scanned=scan.scanned & (sure | (nearest(range_) > visibility)))


def slope(range_: Array, azimuth: Array) -> Array:
    """|dr / r dφ| (rings, columns), the greater of those to both sides: a post one beam wide has edges only."""
    steep = np.abs(np.diff(range_, axis=1)) / np.diff(azimuth)
    return np.asarray(np.maximum(np.pad(steep, ((0, 0), (1, 0))), np.pad(steep, ((0, 0), (0, 1)))) / nearest(range_))


def nearest(range_: Array) -> Array:
    """The least of a beam's range and its neighbours' (rings, columns)."""
    padded = np.pad(range_, ((0, 0), (1, 1)), mode="edge")
    return np.minimum(range_, np.minimum(padded[:, :-2], padded[:, 2:]))
