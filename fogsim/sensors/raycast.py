"""Beams against the ground and any solids: a rasteriser that keeps the nearest surfaces of each beam.

What a beam d of the sensor meets is kept as its inverse range w, which is 0 where there is nothing. A plane is met at a
w that is linear in d and needs no division (`bodies.py`). A convex part of a solid is entered through the plane with
the least w of those that face the sensor, unless the greatest w of the others, where the beam leaves it, is greater
(`rows.py`).

Solids come near to far, each only in its window (`windows.py`); blocks of columns that are full of nearer surfaces are
left out (hierarchical z-buffer: Greene, Kass and Miller 1993, SIGGRAPH). Single precision: ranges are right to 1e-6,
and to 1e-7 over the cosine where a beam grazes.
"""

from __future__ import annotations

from math import cos, sin

import numpy as np

from filters.jit import jit
from filters.models.attitude import Vector, rotation
from filters.models.shapes import GROUND, NOTHING, Hits, Solids
from filters.spec import Pose
from fogsim.sensors.bodies import bodies_of
from fogsim.sensors.rows import ZERO, draw
from fogsim.sensors.windows import SLACK, windows_of

BLOCK = 32  # columns whose farthest surface is remembered


@jit
def cast(solids: Solids, pose: Pose, elevation: np.ndarray, azimuth: np.ndarray, depth: int, ground: bool) -> Hits:
    """Cast a grid of beams from a sensor at `pose`; index GROUND is the plane z = 0.

    Beams do not stop: the `depth` nearest surfaces are kept, whatever they let through. Of a solid that is its nearest
    side; a solid that holds the sensor is not seen. Of two at one range the ground comes first, then the solid that
    reaches nearer to the sensor, then the lower index.

    Parameters
    ----------
    solids : Solids
        What stands in the world.
    pose : Pose
        Of the sensor, in any attitude.
    elevation, azimuth : (rings,), (columns,)
        Beam directions about the sensor, rad, each ascending; azimuths evenly spaced over a circle at most.
    depth : int
        How many surfaces to keep per beam.
    ground : bool
        Whether there is ground.
    """
    rings, columns = elevation.size, azimuth.size
    layers = np.empty((3, rings, depth, columns), np.float32)  # in one piece: the system then keeps it for the next
    nearness, cosine, what = layers[0], layers[1], layers.view(np.int32)[2]
    bits = nearness.view(np.int32)
    forward, leftward = around(azimuth)
    ahead, aside = forward.astype(np.float32), leftward.astype(np.float32)
    bodies, windows = bodies_of(solids, pose), windows_of(solids, pose, elevation, azimuth)
    road = ground_plane(pose) if ground else (0.0, 0.0, 0.0)
    scratch = np.empty((5, columns), np.float32)
    names = np.empty(columns, np.int32)
    full = np.empty((columns + BLOCK - 1) // BLOCK, np.int32)
    nearest = (windows.nearness * (1.0 + SLACK)).astype(np.float32).view(np.int32)
    for r in range(rings):
        level, up = np.float32(cos(elevation[r])), np.float32(sin(elevation[r]))
        lay_ground(nearness[r], cosine[r], what[r], ahead, aside, level, up, road, np.float32(abs(pose.z)))
        mark_full(full, bits[r, depth - 1], 0, columns)
        for k in range(windows.solid.size):
            if r < windows.ring[k] or r >= windows.last_ring[k]:
                continue
            i = windows.solid[k]
            first, last = uncovered(full, windows.column[k], windows.last_column[k], nearest[k])
            if first >= last or bodies.open[i] == 0:
                continue
            span, drawn = slice(first, last), scratch[:, : last - first]
            draw(bodies, i, level, up, ahead[span], aside[span], drawn)
            insert(nearness[r, :, span], cosine[r, :, span], what[r, :, span], drawn, names, i)
            mark_full(full, bits[r, depth - 1], first, last)
        invert(nearness[r])
    return Hits(nearness.transpose(0, 2, 1), cosine.transpose(0, 2, 1), what.transpose(0, 2, 1))


@jit
def around(azimuth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines of evenly spaced angles, each from the one before: right to 1e-12."""
    n = azimuth.size
    step = (azimuth[-1] - azimuth[0]) / (n - 1) if n > 1 else 0.0
    c, s, c_step, s_step = cos(azimuth[0]), sin(azimuth[0]), cos(step), sin(step)
    cosine, sine = np.empty(n), np.empty(n)
    for k in range(n):
        cosine[k], sine[k] = c, s
        c, s = c * c_step - s * s_step, s * c_step + c * s_step
    return cosine, sine


@jit
def ground_plane(pose: Pose) -> Vector:
    """The form f of the plane z = 0: a beam d meets it at inverse range f·d. None for a sensor that lies in it."""
    if pose.z == 0.0:
        return 0.0, 0.0, 0.0
    x, y, z = rotation(pose.yaw, pose.pitch, pose.roll)[2]
    return -x / pose.z, -y / pose.z, -z / pose.z


@jit
def lay_ground(
    nearness: np.ndarray,
    cosine: np.ndarray,
    what: np.ndarray,
    ahead: np.ndarray,
    aside: np.ndarray,
    level: float,
    up: float,
    road: Vector,
    height: float,
) -> None:
    """Empty a ring's layers (depth, columns) but for the ground, the plane w = road·d, in the first."""
    x, y, z = level * np.float32(road[0]), level * np.float32(road[1]), up * np.float32(road[2])
    nearness[1:], cosine[1:], what[1:] = ZERO, ZERO, np.int32(NOTHING)
    first, lit, names = nearness[0], cosine[0], what[0]
    for c in range(first.size):
        w = max(x * ahead[c] + y * aside[c] + z, ZERO)
        first[c] = w
        lit[c] = w * height
        names[c] = np.int32(GROUND) if w > ZERO else np.int32(NOTHING)


@jit
def insert(
    nearness: np.ndarray, cosine: np.ndarray, what: np.ndarray, drawn: np.ndarray, names: np.ndarray, i: int
) -> None:
    """Insert a solid's surfaces into a span's layers (depth, columns), near to far, dropping the farthest."""
    seen, lit, name = drawn[0], drawn[1], np.int32(i)
    if nearness.shape[0] == 1:
        replace(nearness[0], cosine[0], what[0], seen, lit, name)
        return
    names[: seen.size] = name
    for k in range(nearness.shape[0]):
        displace(nearness[k], cosine[k], what[k], seen, lit, names)


@jit
def replace(
    near: np.ndarray, bright: np.ndarray, which: np.ndarray, seen: np.ndarray, lit: np.ndarray, name: int
) -> None:
    """Put what is nearer than the only layer in its place."""
    for c in range(seen.size):
        better = seen[c] > near[c]
        which[c] = name if better else which[c]
        bright[c] = lit[c] if better else bright[c]
        near[c] = seen[c] if better else near[c]


@jit
def displace(
    near: np.ndarray, bright: np.ndarray, which: np.ndarray, seen: np.ndarray, lit: np.ndarray, names: np.ndarray
) -> None:
    """Exchange what is nearer than a layer with what the layer held."""
    for c in range(seen.size):
        better = seen[c] > near[c]
        near_c, bright_c, which_c = near[c], bright[c], which[c]
        near[c] = seen[c] if better else near_c
        bright[c] = lit[c] if better else bright_c
        which[c] = names[c] if better else which_c
        seen[c] = near_c if better else seen[c]
        lit[c] = bright_c if better else lit[c]
        names[c] = which_c if better else names[c]


@jit
def mark_full(full: np.ndarray, bits: np.ndarray, first: int, last: int) -> None:
    """Note each block's least inverse range, as the bits of a float32, which are ordered like it."""
    for b in range(first // BLOCK, (last + BLOCK - 1) // BLOCK):
        block = bits[b * BLOCK : (b + 1) * BLOCK]
        least = np.int32(2**31 - 1)
        for c in range(block.size):
            least = min(least, block[c])
        full[b] = least


@jit
def uncovered(full: np.ndarray, first: int, last: int, nearest: int) -> tuple[int, int]:
    """The span less the blocks at its ends where no solid from `nearest` on can be seen."""
    while first < last and full[first // BLOCK] >= nearest:
        first = (first // BLOCK + 1) * BLOCK
    while first < last and full[(last - 1) // BLOCK] >= nearest:
        last = (last - 1) // BLOCK * BLOCK
    return first, last


@jit
def invert(nearness: np.ndarray) -> None:
    """Inverse ranges to ranges: 0 to inf."""
    for k in range(nearness.shape[0]):
        row = nearness[k]
        for c in range(row.size):
            row[c] = np.float32(1.0) / row[c]
