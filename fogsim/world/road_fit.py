"""The road's plane in a real sweep, and the rotation that levels it."""

from __future__ import annotations

import numpy as np

from filters.spec import Array
from fogsim.errors import UserError


def fit_road(points: Array) -> Array:
    """Plane z = a + b x + c y of the road in x 3..25 m, |y| < 4 m: [a, b, c].

    The low decile of each 1 m cell votes for the slopes and offset that most cells share, which tolerates
    cells under cars; then the points within 10 cm of that plane are fitted by least squares.

    Raises
    ------
    UserError
        If fewer than 100 points agree on a plane.
    """
    near = points[(points[:, 0] > 3.0) & (points[:, 0] < 25.0) & (np.abs(points[:, 1]) < 4.0)]
    plane, count = consensus(cell_lows(near)), 0
    for _ in range(5):
        close = near[np.abs(near[:, 2] - design(near) @ plane) < 0.1]
        count = len(close)
        if count >= 3:
            plane = np.asarray(np.linalg.lstsq(design(close), close[:, 2], rcond=None)[0], np.float64)
    if count < 100:
        raise UserError(
            f"found {count} points of a road 3 to 25 m ahead of the sweep's sensor, expected at least 100:"
            " choose a sweep whose x axis looks along a road"
        )
    return plane


def cell_lows(points: Array) -> Array:
    """Mean x, mean y and low decile of z (cells, 3) of each 1 m cell that has at least 5 points."""
    cell = np.floor(points[:, :2]).astype(int) @ [1000, 1]
    groups = [points[cell == c] for c in np.unique(cell)]
    lows = [[*g[:, :2].mean(axis=0), np.percentile(g[:, 2], 10.0)] for g in groups if len(g) >= 5]
    return np.reshape(np.array(lows, np.float64), (-1, 3))


def design(points: Array) -> Array:
    """Rows [1, x, y] of the plane's regression."""
    return np.column_stack([np.ones(len(points)), points[:, :2]])


def consensus(points: Array) -> Array:
    """The plane through one of the points, its slopes on a grid of +-6 %, that most points lie within 5 cm of."""
    slopes = np.linspace(-0.06, 0.06, 13)
    best, plane = 0, np.zeros(3)
    for b in slopes:
        for c in slopes:
            level = points[:, 2] - b * points[:, 0] - c * points[:, 1]
            votes = (np.abs(level[:, None] - level) < 0.05).sum(axis=1)
            if votes.max(initial=0) > best:
                best, plane = votes.max(), np.array([level[votes.argmax()], b, c])
    return plane


def level_rotation(ahead: float, left: float) -> Array:
    """Rotation (3, 3) whose rows are the world's axes: the road's normal is up, ahead stays ahead."""
    up = np.array([-ahead, -left, 1.0])
    up /= np.linalg.norm(up)
    forward = np.array([1.0, 0.0, 0.0]) - up[0] * up
    forward /= np.linalg.norm(forward)
    return np.array([forward, np.cross(up, forward), up])
