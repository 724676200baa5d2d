"""Where each solid may be seen by a lidar: its window of rings and columns, conservative, and its nearest distance.

All in the sensor's axes. A solid lies within its oriented box, whose corners bound its azimuths and its elevations.
"""

from __future__ import annotations

from math import atan, atan2, ceil, floor, hypot, inf, pi, sqrt
from typing import NamedTuple

import numpy as np

from filters.jit import jit
from filters.models.attitude import Matrix, relative, rotation, turn, turn_back
from filters.models.incidence import standing
from filters.models.shapes import Solids
from filters.spec import Pose

SLACK = 1e-6  # rad, by which a window is wider than it need be: single precision errs by less


class Windows(NamedTuple):
    """Arrays (n,), near to far: solid, inverse of its nearest distance, rings and columns [first, beyond).

    A solid that straddles the seam of the columns has two.
    """

    solid: np.ndarray
    nearness: np.ndarray
    ring: np.ndarray
    last_ring: np.ndarray
    column: np.ndarray
    last_column: np.ndarray


@jit
def windows_of(solids: Solids, pose: Pose, elevation: np.ndarray, azimuth: np.ndarray) -> Windows:
    """The windows of all solids, those without beams left out."""
    view = rotation(pose.yaw, pose.pitch, pose.roll)
    n = solids.x.size
    found = np.empty((2 * n, 5), np.int64)
    nearness = np.empty(2 * n)
    count = 0
    for i in range(n):
        low, high, left, right = sides(solids, i, pose, view)
        ring, last_ring = np.searchsorted(elevation, low - SLACK), np.searchsorted(elevation, high + SLACK)
        if ring == last_ring:
            continue
        near = nearness_of(solids, i, pose, view)
        first = azimuth[0] + (left - azimuth[0]) % (2.0 * pi)
        for lap in range(2):
            column, last_column = columns_between(azimuth, first - 2.0 * pi * lap, right - left)
            if column < last_column:
                found[count] = i, ring, last_ring, column, last_column
                nearness[count] = near
                count += 1
            if column == 0 and last_column == azimuth.size:
                break
    order = np.argsort(-nearness[:count], kind="mergesort")
    found = found[order]
    return Windows(found[:, 0], nearness[order], found[:, 1], found[:, 2], found[:, 3], found[:, 4])


@jit
def columns_between(azimuth: np.ndarray, left: float, width: float) -> tuple[int, int]:
    """First column within a sector and the one beyond its last; all if it leaves no gap."""
    if width + 2.0 * SLACK >= 2.0 * pi:
        return 0, azimuth.size
    step = (azimuth[-1] - azimuth[0]) / (azimuth.size - 1) if azimuth.size > 1 else 1.0
    first = ceil((left - SLACK - azimuth[0]) / step)
    last = floor((left + width + SLACK - azimuth[0]) / step)
    return max(int(first), 0), min(int(last) + 1, azimuth.size)


@jit
def sides(solids: Solids, i: int, pose: Pose, view: Matrix) -> tuple[float, float, float, float]:
    """Lowest and highest elevation and leftmost and rightmost azimuth (ascending) of solid i's box.

    Azimuths are taken about a plan direction u in which the whole box lies ahead; where none of those tried is such,
    the sensor's axis may pierce the box, and every azimuth may see it.
    """
    x, y, z = turn_back(view, solids.x[i] - pose.x, solids.y[i] - pose.y, solids.z[i] - pose.z)
    own = rotation(solids.yaw[i], solids.pitch[i], solids.roll[i])
    m = relative(view, own)
    half = (solids.hx[i], solids.hy[i], solids.hz[i])
    corners = np.empty((8, 3))
    near, far, nearest = inf, 0.0, 0
    for k in range(8):
        a, b, c = (2 * (k & 1) - 1) * half[0], ((k & 2) - 1) * half[1], ((k & 4) // 2 - 1) * half[2]
        u, v, w = turn(m, a, b, c)
        corners[k, 0], corners[k, 1], corners[k, 2] = u + x, v + y, w + z
        reach = hypot(corners[k, 0], corners[k, 1])
        far = max(far, reach)
        if reach < near:
            near, nearest = reach, k
    ahead, ux, uy = ahead_of(corners, corners[nearest, 0], corners[nearest, 1])
    for k in range(3):
        along = m[0][k] * x + m[1][k] * y
        sign = 1.0 if along >= 0.0 else -1.0
        better = ahead_of(corners, sign * m[0][k], sign * m[1][k])
        if better[0] > ahead:
            ahead, ux, uy = better
    low, high = corners[:, 2].min(), corners[:, 2].max()
    low, high = atan2(low, ahead if low < 0.0 else far), atan2(high, ahead if high > 0.0 else far)
    if ahead <= 0.0:
        return low, high, -pi, pi
    left, right = inf, -inf
    for k in range(8):
        slope = (ux * corners[k, 1] - uy * corners[k, 0]) / (ux * corners[k, 0] + uy * corners[k, 1])
        left, right = min(left, slope), max(right, slope)
    middle = atan2(uy, ux)
    return low, high, middle + atan(left), middle + atan(right)


@jit
def ahead_of(corners: np.ndarray, x: float, y: float) -> tuple[float, float, float]:
    """How far ahead in plan direction (x, y) the nearest of the corners lies, at least 0, and the unit direction."""
    length = hypot(x, y)
    if length == 0.0:
        return 0.0, 1.0, 0.0
    x, y = x / length, y / length
    least = inf
    for k in range(8):
        least = min(least, corners[k, 0] * x + corners[k, 1] * y)
    return max(least, 0.0), x, y


@jit
def nearness_of(solids: Solids, i: int, pose: Pose, view: Matrix) -> float:
    """Inverse of the distance from the sensor to solid i's box."""
    o = standing(solids, i, pose, view).origin
    x = max(abs(o[0]) - 1.0, 0.0) * solids.hx[i]
    y = max(abs(o[1]) - 1.0, 0.0) * solids.hy[i]
    z = max(abs(o[2]) - 1.0, 0.0) * solids.hz[i]
    return 1.0 / sqrt(x * x + y * y + z * z)
