"""Solids as a rasteriser wants them: planes and quadrics as linear forms over the beams of a sensor.

A beam d of the sensor meets the plane n·x = m at inverse range w = f·d, f = n / (m - n·o), and a quadric as `quadric`
says. A part of a solid is convex: its fronts face the sensor, and the beam leaves it through the others.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np

from filters.jit import jit
from filters.models.attitude import Matrix, Vector, rotation
from filters.models.incidence import standing
from filters.models.shapes import BOX, CYLINDER, ELLIPSOID, JERSEY, KNEE, LOWER_SLOPE, UPPER_SLOPE, Solids
from filters.spec import Pose

SIDES = 8  # planes of a part at most
TINY = 1e-9  # half extents: a sensor nearer to a plane than this lies within it


class Bodies(NamedTuple):
    """Parts of solids, part 2i and for a Jersey barrier 2i + 1 of solid i; float32.

    `planes` (parts, SIDES, 4): forms f and what times w is the cosine, `fronts` of them first and `backs` of them last.
    `curves` (parts, 6, 4): rows of `quadric`; `curved` where there is one, `bulges` where it faces the sensor.
    `open` (n,): how many parts to draw; none of a solid that the sensor is in.
    """

    planes: np.ndarray
    fronts: np.ndarray
    backs: np.ndarray
    curves: np.ndarray
    curved: np.ndarray
    bulges: np.ndarray
    open: np.ndarray


@jit
def bodies_of(solids: Solids, pose: Pose) -> Bodies:
    """The forms of all solids over the beams of a sensor at `pose`."""
    n = solids.x.size
    flags = np.zeros((5, 2 * n), np.int64)
    bodies = Bodies(
        np.empty((2 * n, SIDES, 4), np.float32),
        flags[0],
        flags[1],
        np.empty((2 * n, 6, 4), np.float32),
        flags[2],
        flags[3],
        flags[4],
    )
    view = rotation(pose.yaw, pose.pitch, pose.roll)
    for i in range(n):
        kind, half, o, axes = standing(solids, i, pose, view)
        part = 2 * i
        if kind == ELLIPSOID:
            quadric(bodies, part, o, axes, half)
        elif kind == CYLINDER:
            quadric(bodies, part, (o[0], o[1], 0.0), (axes[0], axes[1], (0.0, 0.0, 0.0)), half)
            pair(bodies, part, o[2], axes[2], half[2], 1.0)
        elif kind == BOX:
            for k in range(3):
                pair(bodies, part, o[k], axes[k], half[k], 1.0)
        elif kind == JERSEY:
            for k in range(2):
                pair(bodies, part, o[k], axes[k], half[k], 1.0)
            pair(bodies, part, o[2], axes[2], half[2], KNEE[1])
            roof(bodies, part, o, axes, half, LOWER_SLOPE)
            for k in range(1, 3):
                pair(bodies, part + 1, o[k], axes[k], half[k], 1.0)
            roof(bodies, part + 1, o, axes, half, UPPER_SLOPE)
        bodies.open[i] = openings(bodies, i, 2 if kind == JERSEY else 1)
    return bodies


@jit
def openings(bodies: Bodies, i: int, parts: int) -> int:
    """How many parts of solid i can be met: none if the sensor is within one."""
    for part in range(2 * i, 2 * i + parts):
        if bodies.fronts[part] + bodies.bulges[part] == 0:
            return 0
    return parts


@jit
def pair(bodies: Bodies, part: int, o: float, axis: Vector, half: float, high: float) -> None:
    """The planes -1 <= x <= high across one axis."""
    plane(bodies, part, high - o, axis, half)
    plane(bodies, part, o + 1.0, (-axis[0], -axis[1], -axis[2]), half)


@jit
def roof(bodies: Bodies, part: int, o: Vector, axes: Matrix, half: Vector, slope: Vector) -> None:
    """The planes nx |x| + nz z <= m."""
    nx, nz, m = slope
    scale = 1.0 / sqrt((nx / half[0]) ** 2 + (nz / half[2]) ** 2)
    a, b = axes[0], axes[2]
    for side in (nx, -nx):
        normal = (side * a[0] + nz * b[0], side * a[1] + nz * b[1], side * a[2] + nz * b[2])
        plane(bodies, part, m - side * o[0] - nz * o[2], normal, scale)


@jit
def plane(bodies: Bodies, part: int, gap: float, normal: Vector, scale: float) -> None:
    """A plane that lies `gap` (in units of the normal) beyond the sensor; cosine = -n·d scale = -w gap scale."""
    if gap < 0.0:
        row = bodies.fronts[part]
        bodies.fronts[part] += 1
    else:
        gap = max(gap, TINY)
        bodies.backs[part] += 1
        row = SIDES - bodies.backs[part]
    form = bodies.planes[part, row]
    form[0], form[1], form[2], form[3] = normal[0] / gap, normal[1] / gap, normal[2] / gap, -gap * scale


@jit
def quadric(bodies: Bodies, part: int, o: Vector, axes: Matrix, half: Vector) -> None:
    """The unit ball, or the unit cylinder where the third components are 0.

    With a the part of d along o, b and c those across it, and r = |o|: |o + t d|² = 1 is met at
    w = (sqrt(a² - (r² - 1)(b² + c²)) - r a) / (r² - 1), and left with the root's other sign.
    The cosine is sqrt(..) w / |(o w + d) / half|.
    Rows: a and r², b and r, c and 1 / (r² - 1), then d / half and o / half for each axis.
    """
    square = o[0] * o[0] + o[1] * o[1] + o[2] * o[2]
    beyond = square - 1.0
    if abs(beyond) < TINY:
        beyond = -TINY
    r = sqrt(square)
    a = (o[0] / r, o[1] / r, o[2] / r) if r > 0.0 else (1.0, 0.0, 0.0)
    flat = sqrt(a[0] * a[0] + a[1] * a[1])
    b = (-a[1] / flat, a[0] / flat, 0.0) if flat > 0.0 else (1.0, 0.0, 0.0)
    c = (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
    rows = bodies.curves[part]
    extra = (beyond, r, 1.0 / beyond)
    for k in range(3):
        e = (a, b, c)[k]
        for j in range(3):
            rows[k, j] = e[0] * axes[0][j] + e[1] * axes[1][j] + e[2] * axes[2][j]
            rows[3 + k, j] = axes[k][j] / half[k]
        rows[k, 3], rows[3 + k, 3] = extra[k], o[k] / half[k]
    bodies.curved[part] = 1
    bodies.bulges[part] = 1 if beyond > 0.0 else 0
