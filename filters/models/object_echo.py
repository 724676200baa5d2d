"""What a scan says of an imagined object: log-likelihood ratio to the background, only beams that meet it."""

from __future__ import annotations

from math import asin, atan2, ceil, cos, exp, floor, hypot, inf, log, pi, sin
from typing import NamedTuple

import numpy as np

from filters.jit import jit
from filters.models.lidar_echo import fog_at, log_add, log_density, stop_at
from filters.models.optics import EchoTable
from filters.models.shapes import BOX, Solids, meet
from filters.models.visibility import Clutter
from filters.spec import Array, Scan, Surfaces

CLEAR = 0.35  # m from the background: nearer echoes are taken to be its
DEEP = 0.2  # m from a candidate's front to its centre
WIDE, TALL = 1.2, 0.6  # m, a middling candidate
BEAMS = 32  # on it at most: of nearer objects only every other column or fewer is used
SPARE_RINGS = 1  # kept above and below those that can meet a candidate, for what they say of the fog


class Window(NamedTuple):
    """The part of a scan that can concern a candidate; arrays (rings, columns, ...) contiguous."""

    x: float
    y: float
    z: float
    yaw: float
    elevation: Array
    azimuth: Array
    range: Array
    power: Array
    scanned: np.ndarray
    background: Surfaces

    def beams(self) -> tuple[Array, Array, Surfaces]:
        """Ranges and powers (n, echoes) and background (n,) of the beams that were scanned."""
        return self.range[self.scanned], self.power[self.scanned], Surfaces(*(a[self.scanned] for a in self.background))


def window_of(scan: Scan, positions: Array, body: float, tallest: float = 0.8) -> Window:
    """Cut the columns and rings that can meet a body (m, radius and height) at any of `positions` (n, 2)."""
    away = positions - np.array([scan.pose.x, scan.pose.y])
    distance = np.maximum(np.hypot(*away.T), body + 0.1)
    bearing = (np.arctan2(away[:, 1], away[:, 0]) - scan.pose.yaw + pi) % (2 * pi) - pi
    half = np.arcsin(np.minimum(body / distance, 1.0))
    nearest, farthest = max(distance.min() - body, 0.5), distance.max() + body
    steepest = np.arctan2(-scan.pose.z, nearest)
    height = tallest - scan.pose.z
    highest = np.arctan2(height, nearest if height > 0.0 else farthest)
    first, last = np.searchsorted(scan.elevation, [steepest, highest])
    rings = slice(max(first - SPARE_RINGS, 0), last + SPARE_RINGS)
    left, right = np.searchsorted(scan.azimuth, [(bearing - half).min(), (bearing + half).max()])
    columns = slice(left, right, thinning(scan, float(np.median(distance))))

    def cut(a: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(a[rings, columns])

    return Window(
        *scan.pose,
        scan.elevation[rings],
        scan.azimuth[columns],
        cut(scan.range),
        cut(scan.power),
        cut(scan.scanned),
        Surfaces(*(cut(a) for a in scan.background)),
    )


def unexplained(window: Window, tallest: float = 0.8) -> Array:
    """Where (x, y) echoes lie that are neither at the known background nor lower or higher than any candidate."""
    background = window.background.range[..., None]
    ring, column, echo = np.nonzero(
        (window.power > 0.0) & (window.range < background - CLEAR) & window.scanned[..., None]
    )
    distance, up = window.range[ring, column, echo], window.elevation[ring]
    level = window.z + distance * np.sin(up)
    bearing = window.azimuth[column] + window.yaw
    flat = distance * np.cos(up) + DEEP
    place = np.stack([window.x + flat * np.cos(bearing), window.y + flat * np.sin(bearing)], axis=1)
    return place[(level > 0.0) & (level < tallest)]


def thinning(scan: Scan, distance: float) -> int:
    """Every how many columns to use at a distance. It is the same for all particles, or the larger would count less."""
    across = WIDE / (distance * np.diff(scan.azimuth[:2])[0]) + 1.0
    up = TALL / (distance * np.diff(scan.elevation[:2])[0]) + 1.0
    return int(np.ceil(across * up / BEAMS))


def clutter_table(window: Window, clutter: Clutter) -> Array:
    """Clutter's ln L as (rings, columns, nodes), 0 where a beam was not scanned."""
    table = np.zeros((*window.scanned.shape, len(clutter.nodes)))
    table[window.scanned] = clutter.log_density.T
    return table


@jit
def object_log_ratios(
    table: EchoTable, solids: Solids, log_visibility: Array, window: Window, nodes: Array, background: Array
) -> Array:
    """ln p(scan | object i, visibility i) - ln p(scan | background, visibility i), one per object (n,).

    Only beams inside the object's own window of columns are cast. The background's density is read
    from `background` (rings, columns, nodes) by linear interpolation in ln visibility.
    """
    result = np.zeros(solids.x.size)
    ahead, aside = np.cos(window.azimuth + window.yaw), np.sin(window.azimuth + window.yaw)
    step = window.azimuth[1] - window.azimuth[0]
    for i in range(solids.x.size):
        visibility = min(max(log_visibility[i], nodes[0]), nodes[-1])
        fog = fog_at(table, log(20.0) / exp(visibility))
        place = (visibility - nodes[0]) / (nodes[1] - nodes[0])
        node = min(max(floor(place), 0), nodes.size - 2)
        share = min(max(place - node, 0.0), 1.0)
        away_x, away_y = solids.x[i] - window.x, solids.y[i] - window.y
        away = hypot(away_x, away_y)
        body = hypot(solids.hx[i], solids.hy[i]) if solids.kind[i] == BOX else solids.hx[i]
        bearing = (atan2(away_y, away_x) - window.yaw + pi) % (2.0 * pi) - pi
        half = asin(min(body / away, 1.0)) if away > 0.0 else pi
        first = max(ceil((bearing - half - window.azimuth[0]) / step), 0)
        last = min(floor((bearing + half - window.azimuth[0]) / step), window.azimuth.size - 1)
        if last < first:
            continue
        near, far = max(away - body, 0.0), away + body
        top = solids.z[i] + solids.hz[i]
        c, s, fill = cos(solids.yaw[i]), sin(solids.yaw[i]), solids.fill[i]
        log_fill, log_gap = log(fill), log(1.0 - fill) if fill < 1.0 else -inf
        total = 0.0
        for r in range(window.elevation.size):
            level, up = cos(window.elevation[r]), sin(window.elevation[r])
            climb = up / level
            if max(climb * near, climb * far) + window.z < 0.0 or min(climb * near, climb * far) + window.z > top:
                continue
            for k in range(first, last + 1):
                if not window.scanned[r, k]:
                    continue
                distance, cosine = meet(
                    solids, i, c, s, window.x, window.y, window.z, level * ahead[k], level * aside[k], up
                )
                if distance >= window.background.range[r, k]:
                    continue
                stop = stop_at(
                    table, fog, distance, cosine, solids.reflectance[i], solids.roughness[i], solids.texture[i]
                )
                met = log_fill + log_density(table, fog, window.range[r, k], window.power[r, k], stop)
                passed = (1.0 - share) * background[r, k, node] + share * background[r, k, node + 1]
                total += log_add(met, log_gap + passed) - passed
        result[i] = total
    return result
