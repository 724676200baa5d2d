"""One solid in one ring of beams: a few short loops over columns, which the compiler turns into vector instructions.

A span is what is left of each beam when the planes so far have cut it: it enters at inverse range w = `enter` through
the surface whose cosine is w times `face`, and leaves at w = `leave`; it is empty unless it enters first.
"""

from __future__ import annotations

import numpy as np

from filters.jit import jit
from fogsim.sensors.bodies import SIDES, Bodies

ZERO, UNCUT = np.float32(0.0), np.float32(1e30)  # inverse ranges: of nothing, and nearer than any surface


@jit
def draw(
    bodies: Bodies, i: int, level: float, up: float, ahead: np.ndarray, aside: np.ndarray, scratch: np.ndarray
) -> None:
    """Inverse range (0 where it misses) and cosine of solid i in a span of a ring, into scratch's first two rows."""
    seen, lit, enter, face, leave = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    for p in range(bodies.open[i]):
        part = 2 * i + p
        planes, fronts = bodies.planes[part], bodies.fronts[part]
        if bodies.curved[part]:
            start_curved(enter, face, leave, bodies.curves[part], bodies.bulges[part], level, up, ahead, aside)
        else:
            start(enter, face, leave)
        for k in range(fronts):
            enter_by(enter, face, planes[k], level, up, ahead, aside)
        for k in range(SIDES - bodies.backs[part], SIDES):
            leave_by(leave, planes[k], level, up, ahead, aside)
        if p == 0:
            for c in range(seen.size):
                seen[c] = enter[c] if enter[c] > leave[c] else ZERO
                lit[c] = enter[c] * face[c]
        else:
            for c in range(seen.size):
                w = enter[c] if enter[c] > leave[c] else ZERO
                better = w > seen[c]
                lit[c] = w * face[c] if better else lit[c]
                seen[c] = w if better else seen[c]


@jit
def start(enter: np.ndarray, face: np.ndarray, leave: np.ndarray) -> None:
    """A span that nothing has cut yet."""
    for c in range(enter.size):
        enter[c] = UNCUT
        face[c] = ZERO
        leave[c] = ZERO


@jit
def enter_by(
    enter: np.ndarray,
    face: np.ndarray,
    plane: np.ndarray,
    level: float,
    up: float,
    ahead: np.ndarray,
    aside: np.ndarray,
) -> None:
    """Cut by a plane that faces the sensor."""
    x, y, z, scale = level * plane[0], level * plane[1], up * plane[2], plane[3]
    for c in range(enter.size):
        w = x * ahead[c] + y * aside[c] + z
        nearer = w < enter[c]
        enter[c] = w if nearer else enter[c]
        face[c] = scale if nearer else face[c]


@jit
def leave_by(
    leave: np.ndarray, plane: np.ndarray, level: float, up: float, ahead: np.ndarray, aside: np.ndarray
) -> None:
    """Cut by a plane that faces away."""
    x, y, z = level * plane[0], level * plane[1], up * plane[2]
    for c in range(leave.size):
        w = x * ahead[c] + y * aside[c] + z
        leave[c] = w if w > leave[c] else leave[c]


@jit
def start_curved(
    enter: np.ndarray,
    face: np.ndarray,
    leave: np.ndarray,
    rows: np.ndarray,
    bulges: int,
    level: float,
    up: float,
    ahead: np.ndarray,
    aside: np.ndarray,
) -> None:
    """A span that a quadric has cut: see `bodies.quadric`."""
    ax, ay, az, beyond = level * rows[0, 0], level * rows[0, 1], up * rows[0, 2], rows[0, 3]
    bx, by, bz, r = level * rows[1, 0], level * rows[1, 1], up * rows[1, 2], rows[1, 3]
    cx, cy, cz, inverse = level * rows[2, 0], level * rows[2, 1], up * rows[2, 2], rows[2, 3]
    ux, uy, uz, u = level * rows[3, 0], level * rows[3, 1], up * rows[3, 2], rows[3, 3]
    vx, vy, vz, v = level * rows[4, 0], level * rows[4, 1], up * rows[4, 2], rows[4, 3]
    wx, wy, wz, o = level * rows[5, 0], level * rows[5, 1], up * rows[5, 2], rows[5, 3]
    for c in range(enter.size):
        p, q = ahead[c], aside[c]
        a, b, d = ax * p + ay * q + az, bx * p + by * q + bz, cx * p + cy * q + cz
        square = a * a - beyond * (b * b + d * d)
        root = np.sqrt(max(square, ZERO))
        w = (root - r * a) * inverse if square > ZERO else ZERO
        out = (-root - r * a) * inverse
        x, y, z = u * w + ux * p + uy * q + uz, v * w + vx * p + vy * q + vz, o * w + wx * p + wy * q + wz
        enter[c] = w if bulges else UNCUT
        face[c] = root / np.sqrt(x * x + y * y + z * z)
        leave[c] = max(out, ZERO)
