"""Beams behind which the known map may not be where it is taken to be, as odometry's errors have added up.

A kerb at a grazing angle moves along the beam by much more than the car is off: seen .17 m too near by a dozen beams in
a row it is, for a map that is sure of itself, best explained by a bag that lies there, by some 90 nats. So is a lamp
post whose edges are elsewhere.
"""

from __future__ import annotations

from math import ceil, cos, hypot, sin, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from filters.jit import jit
from filters.models.attitude import rotation, turn
from filters.models.shapes import BACKGROUND_ROUGHNESS
from filters.spec import Array, EgoMotion, Pose, Scan

ROAD = 0.03  # m: what lies lower is the road, which is there wherever the car is
REACH = 3.0  # deviations that an edge may have moved aside
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


def certain(scan: Scan, odometry: Odometry, visibility: float, reach: float = REACH) -> Scan:
    """The scan without beams whose surface may be nearer or farther by more than its roughness, as the map may be off.

    What stands beyond `visibility` (m) is hardly seen and does not matter. Edges may have moved aside by `reach`
    deviations.
    """
    sure = sure_beams(scan.background.range, scan.elevation, scan.azimuth, scan.pose, odometry, visibility, reach)
    return scan._replace(scanned=scan.scanned & sure)


@jit
def sure_beams(
    range_: Array,
    elevation: Array,
    azimuth: Array,
    pose: Pose,
    odometry: Odometry,
    visibility: float,
    reach: float,
) -> NDArray[np.bool_]:
    """Which beams (rings, columns) are sure to meet their surface where the map has it.

    What moves by d moves along the beam by d sqrt(1 + (dr / r dφ)²), the slope being the greater of those to both
    sides: a post one beam wide has edges only. The road stays where it is, but for what stands beside a beam. A beam
    that is not sure makes those not sure that the nearest of the three surfaces reaches if it has moved aside by
    `reach` deviations.
    """
    sure = np.ones(range_.shape, np.bool_)
    view = rotation(pose.yaw, pose.pitch, pose.roll)
    last = azimuth.size - 1
    spacing = (azimuth[-1] - azimuth[0]) / last if last > 0 else np.inf
    for r in range(elevation.size):
        for k in range(azimuth.size):
            here = min(range_[r, k], NEVER)
            left, right = min(range_[r, max(k - 1, 0)], NEVER), min(range_[r, min(k + 1, last)], NEVER)
            nearest = min(here, left, right)
            if nearest > visibility:
                continue
            x, y, z = turn(
                view, cos(elevation[r]) * cos(azimuth[k]), cos(elevation[r]) * sin(azimuth[k]), sin(elevation[r])
            )
            slope = max(abs(left - here), abs(right - here)) / (spacing * nearest)
            itself = 0.0 if pose.z + here * z < ROAD else 1.0
            moved = displacement(odometry, pose.x + here * x, pose.y + here * y)
            if moved * hypot(itself, slope) >= BACKGROUND_ROUGHNESS:
                edge = displacement(odometry, pose.x + nearest * x, pose.y + nearest * y)
                aside = min(ceil(reach * edge / (spacing * nearest)), last)
                sure[r, max(k - aside, 0) : k + aside + 1] = False
    return sure


@jit
def displacement(odometry: Odometry, x: float, y: float) -> float:
    """Deviation of where a point of the map is, m."""
    turned = x * odometry.turned[0] + y * odometry.turned[1]
    return sqrt(max(odometry.fixed - 2.0 * turned + (x * x + y * y) * odometry.yaw, 0.0))
