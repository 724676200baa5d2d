"""Beams behind which the known map may not be where it is taken to be, as odometry's errors have added up.

A kerb at a grazing angle moves along the beam by much more than the car is off: seen .17 m too near by a dozen beams in
a row it is, for a map that is sure of itself, best explained by a bag that lies there, by some 90 nats. So is a lamp
post whose edges are elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from filters.models.attitude import places
from filters.models.shapes import BACKGROUND_ROUGHNESS
from filters.spec import Array, EgoMotion, Scan

ROAD = 0.03  # m: what lies lower is the road, which is there wherever the car is
NEVER = 1e3  # m: a range for beams that meet nothing


def certain(scan: Scan, motions: Iterable[EgoMotion], visibility: float) -> Scan:
    """The scan without beams whose surface is none of the road and may have moved by more than its roughness.

    Surfaces beyond `visibility` (m) are hardly seen and do not matter.
    """
    range_ = np.where(np.isfinite(scan.background.range), scan.background.range, NEVER)
    up, azimuth = np.meshgrid(scan.elevation, scan.azimuth, indexing="ij")
    points = places(scan.pose, up.ravel(), azimuth.ravel(), range_.ravel()).reshape(*range_.shape, 3)
    sure = along_beams(range_, scan.azimuth, displacement(points[..., :2], motions)) < BACKGROUND_ROUGHNESS
    return scan._replace(scanned=scan.scanned & (sure | (points[..., 2] < ROAD) | (range_ > visibility)))


def displacement(points: Array, motions: Iterable[EgoMotion]) -> Array:
    """Deviation (...) of a point (..., 2) of the map in any direction, m: sqrt(Σ_steps σ_xy² + |p - pose|² σ_yaw²)."""
    variance = np.zeros(points.shape[:-1])
    for motion in motions:
        square = ((points - np.array(motion.pose[:2])) ** 2).sum(axis=-1)
        variance += 0.5 * np.trace(motion.covariance[:2, :2]) + motion.covariance[2, 2] * square
    return np.sqrt(variance)


def along_beams(range_: Array, azimuth: Array, moved: Array) -> Array:
    """How far a surface moves along a beam (rings, columns) if it moves so far itself: d sqrt(1 + (dr / r dφ)²)."""
    slope = np.gradient(range_, azimuth, axis=1) / range_
    return np.asarray(moved * np.hypot(1.0, slope))
