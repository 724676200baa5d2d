"""Attitudes: how a sensor or a solid stands in the world, R = Rz(yaw) Ry(pitch) Rx(roll), and what follows from it.

A positive pitch looks down, a positive roll lowers the right side (x ahead, y left, z up).
"""

from __future__ import annotations

from math import cos, sin

import numpy as np

from filters.jit import jit
from filters.spec import Array, Pose

Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]  # rows


@jit
def rotation(yaw: float, pitch: float, roll: float) -> Matrix:
    """Rows of R = Rz(yaw) Ry(pitch) Rx(roll), which takes a body's own axes to the world's."""
    c, s = (cos(yaw), sin(yaw)) if yaw != 0.0 else (1.0, 0.0)  # most things stand upright, and are quick to turn
    cp, sp = (cos(pitch), sin(pitch)) if pitch != 0.0 else (1.0, 0.0)
    cr, sr = (cos(roll), sin(roll)) if roll != 0.0 else (1.0, 0.0)
    return (
        (c * cp, c * sp * sr - s * cr, c * sp * cr + s * sr),
        (s * cp, s * sp * sr + c * cr, s * sp * cr - c * sr),
        (-sp, cp * sr, cp * cr),
    )


@jit
def turn(m: Matrix, x: float, y: float, z: float) -> Vector:
    """The product m (x, y, z)."""
    return (
        m[0][0] * x + m[0][1] * y + m[0][2] * z,
        m[1][0] * x + m[1][1] * y + m[1][2] * z,
        m[2][0] * x + m[2][1] * y + m[2][2] * z,
    )


@jit
def turn_back(m: Matrix, x: float, y: float, z: float) -> Vector:
    """The product of m's transpose with (x, y, z)."""
    return (
        m[0][0] * x + m[1][0] * y + m[2][0] * z,
        m[0][1] * x + m[1][1] * y + m[2][1] * z,
        m[0][2] * x + m[1][2] * y + m[2][2] * z,
    )


@jit
def relative(a: Matrix, b: Matrix) -> Matrix:
    """The product of a's transpose with b: what takes b's axes to a's."""
    x, y, z = (
        turn_back(a, b[0][0], b[1][0], b[2][0]),
        turn_back(a, b[0][1], b[1][1], b[2][1]),
        turn_back(a, b[0][2], b[1][2], b[2][2]),
    )
    return (x[0], y[0], z[0]), (x[1], y[1], z[1]), (x[2], y[2], z[2])


def directions(elevation: Array, azimuth: Array) -> Array:
    """Unit vectors (..., 3) in the sensor's axes of beams at elevations and azimuths that broadcast."""
    level = np.cos(elevation)
    return np.stack(np.broadcast_arrays(level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)), axis=-1)


def places(pose: Pose, elevation: Array, azimuth: Array, distance: Array) -> Array:
    """World points (n, 3) at distances (n,) along beams (n,) of a sensor at `pose`: R (r d) + (x, y, z)."""
    R = np.array(rotation(pose.yaw, pose.pitch, pose.roll))
    return distance[:, None] * directions(elevation, azimuth) @ R.T + np.array([pose.x, pose.y, pose.z])


def seen_from(pose: Pose, points: Array) -> Array:
    """World points (..., 3) in the axes of a sensor at `pose`: R' (p - (x, y, z))."""
    R = np.array(rotation(pose.yaw, pose.pitch, pose.roll))
    return (points - np.array([pose.x, pose.y, pose.z])) @ R
