"""Beams against the ground and a handful of solids: the nearest surfaces of each beam, near to far."""

from __future__ import annotations

from math import cos, inf, sin
from typing import NamedTuple

import numpy as np

from filters.jit import jit
from filters.models.shapes import Solids, meet

GROUND = -1
NOTHING = -2


class Hits(NamedTuple):
    """Surfaces per beam, arrays (rings, columns, depth): range (inf: none), cosine, index of the solid."""

    range: np.ndarray
    cosine: np.ndarray
    what: np.ndarray


@jit
def cast(
    solids: Solids,
    x: float,
    y: float,
    z: float,
    yaw: float,
    elevation: np.ndarray,
    azimuth: np.ndarray,
    depth: int,
    ground: bool,
) -> Hits:
    """Cast a grid of beams from a sensor at (x, y, z) with a yaw; index GROUND is the plane z = 0.

    Beams do not stop: the `depth` nearest surfaces are kept, whatever they let through.
    """
    rings, columns = elevation.size, azimuth.size
    distance = np.full((rings, columns, depth), inf)
    cosine = np.zeros((rings, columns, depth))
    index = np.full((rings, columns, depth), NOTHING)
    turned = np.cos(solids.yaw), np.sin(solids.yaw)
    for r in range(rings):
        level, dz = cos(elevation[r]), sin(elevation[r])
        for c in range(columns):
            dx, dy = level * cos(azimuth[c] + yaw), level * sin(azimuth[c] + yaw)
            if ground and dz < 0.0:
                distance[r, c, 0], cosine[r, c, 0], index[r, c, 0] = -z / dz, -dz, GROUND
            for i in range(solids.x.size):
                hit, incidence = meet(solids, i, turned[0][i], turned[1][i], x, y, z, dx, dy, dz)
                insert(distance[r, c], cosine[r, c], index[r, c], hit, incidence, i)
    return Hits(distance, cosine, index)


@jit
def insert(
    distance: np.ndarray, cosine: np.ndarray, index: np.ndarray, hit: float, incidence: float, what: int
) -> None:
    """Insert a surface into a beam's list, near to far, dropping the farthest."""
    k = distance.size
    while k > 0 and hit < distance[k - 1]:
        k -= 1
    if k == distance.size:
        return
    for j in range(distance.size - 1, k, -1):
        distance[j], cosine[j], index[j] = distance[j - 1], cosine[j - 1], index[j - 1]
    distance[k], cosine[k], index[k] = hit, incidence, what
