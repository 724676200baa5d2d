"""The beams about a candidate as a small picture: what a network sees that learns from the scan itself.

The picture is a wall of `ROWS` x `COLUMNS` places across the line of sight through the candidate's place, a cell's
width apart, upright on the road. Each cell shows the beam nearest to it, by `CHANNELS`; of its echoes within `DEEP` of
the wall the strongest. A sensor of few rings shows the same beam in several rows, at the height at which it passes.
"""

from __future__ import annotations

import numpy as np

from filters.models.attitude import places, seen_from
from filters.spec import FEATURES, Array, Pose, Scan

ROWS, COLUMNS = 6, 24
TALL, WIDE = 0.9, 2.4  # m
DEEP = 1.2  # m before and behind the wall
BEHIND = 0.35  # m: echoes this close to the known background are its
CHANNELS = ("scanned", "echo", "depth", "log_power", "background", "height")
SCALARS = ("log_distance", "log_visibility")
SIZE = len(CHANNELS) * ROWS * COLUMNS + len(SCALARS)


def place_of(values: Array, pose: Pose) -> Array:
    """Where (2,) perception looked for a candidate, of its features (F,): their distance and lateral place."""
    distance, lateral = values[FEATURES.index("distance")], values[FEATURES.index("lateral")]
    across = lateral - pose.y
    return np.array([pose.x + np.sqrt(max(distance**2 - across**2, 0.0)), lateral])


def patch(scan: Scan, values: Array) -> Array:
    """The picture of a candidate (SIZE,), float32: `CHANNELS` row by row, then `SCALARS`.

    Parameters
    ----------
    scan : Scan
        Its beams; those that are another track's are not scanned.
    values : array (F,)
        Its features in the same scan.
    """
    place = place_of(values, scan.pose)
    ring, column, wall = beams(scan, place)
    heard = scan.power[ring, column]
    near = (heard > 0.0) & (np.abs(scan.range[ring, column] - wall[..., None]) < DEEP)
    strongest = np.argmax(np.where(near, heard, -1.0), axis=-1)[..., None]
    distance = np.take_along_axis(scan.range[ring, column], strongest, -1)[..., 0]
    power = np.take_along_axis(heard, strongest, -1)[..., 0]
    echo = near.any(axis=-1)
    known = scan.background.range[ring, column]
    behind = ((heard > 0.0) & (np.abs(scan.range[ring, column] - known[..., None]) < BEHIND)).any(axis=-1)
    at = places(scan.pose, scan.elevation[ring].ravel(), scan.azimuth[column].ravel(), wall.ravel())
    seen = scan.scanned[ring, column]
    shown = [
        seen,
        echo & seen,
        np.where(echo & seen, (distance - wall) / DEEP, 0.0),
        np.where(echo & seen, np.log(np.maximum(power, 1.0)) / 3.0 - 1.0, 0.0),
        behind & seen,
        np.clip(at[:, 2].reshape(ring.shape) / TALL, -2.0, 3.0),
    ]
    reach = np.log(max(values[FEATURES.index("distance")], 1.0)) - 2.5
    return np.append(np.stack(shown), [reach, values[FEATURES.index("log_visibility")] - 3.5]).astype(np.float32)


def mirrored(pictures: Array) -> Array:
    """Pictures (n, SIZE) seen in a mirror: nearly as likely of either class, as only the street beside it turns."""
    cells = SIZE - len(SCALARS)
    turned = pictures[:, :cells].reshape(len(pictures), -1, COLUMNS)[..., ::-1]
    return np.concatenate([turned.reshape(len(pictures), -1), pictures[:, cells:]], axis=1)


def beams(scan: Scan, place: Array) -> tuple[np.ndarray, np.ndarray, Array]:
    """Ring and column of the beam nearest to each cell, and the cell's distance, arrays (ROWS, COLUMNS)."""
    sight = place - np.array([scan.pose.x, scan.pose.y])
    left = np.array([-sight[1], sight[0]]) / max(np.hypot(*sight), 1e-6)
    across = WIDE * ((np.arange(COLUMNS) + 0.5) / COLUMNS - 0.5)
    up = TALL * (np.arange(ROWS) + 0.5) / ROWS
    points = np.empty((ROWS, COLUMNS, 3))
    points[..., :2] = place + across[None, :, None] * left
    points[..., 2] = up[:, None]
    x, y, z = np.moveaxis(seen_from(scan.pose, points), -1, 0)
    ring = nearest(scan.elevation, np.arctan2(z, np.hypot(x, y)))
    return ring, nearest(scan.azimuth, np.arctan2(y, x)), np.sqrt(x**2 + y**2 + z**2)


def nearest(grid: Array, angle: Array) -> np.ndarray:
    """Indices of the nearest of ascending angles."""
    above = np.clip(np.searchsorted(grid, angle), 1, len(grid) - 1)
    return above - (angle - grid[above - 1] < grid[above] - angle)
