"""What a scan says of an imagined object: log-likelihood ratio to the background, only beams that meet it."""

from __future__ import annotations

from math import asin, atan2, ceil, exp, floor, hypot, inf, log, pi, sqrt
from typing import NamedTuple

import numpy as np

from filters.jit import jit
from filters.models.attitude import places, rotation, seen_from, turn_back
from filters.models.incidence import meet, standing
from filters.models.lidar_echo import fog_at, log_add, log_density, log_density_one, stop_at
from filters.models.optics import POWER_CEILING, EchoTable
from filters.models.shapes import ELLIPSOID, Solids
from filters.models.visibility import Clutter
from filters.spec import Array, Gaussian, Pose, Scan, Surfaces

CLEAR = 0.35  # m from the background: nearer echoes are taken to be its
DEEP = 0.2  # m from a candidate's front to its centre
WIDE, TALL = 1.2, 0.6  # m, a middling candidate
PLAUSIBLE = 5.0  # deviations of where a candidate may be within which an echo, of its near edge too, is worth a look
SPARE_RINGS = 1  # kept above and below those that can meet a candidate, for what they say of the fog


class Window(NamedTuple):
    """The part of a scan that can concern a candidate; arrays (rings, columns, ...) contiguous.

    Azimuths ascend evenly, beyond pi where the window straddles it.
    """

    pose: Pose
    elevation: Array
    azimuth: Array
    range: Array
    power: Array
    scanned: np.ndarray
    background: Surfaces

    def beams(self) -> tuple[Array, Array, Surfaces]:
        """Ranges and powers (n, echoes) and background (n,) of the beams that were scanned."""
        return self.range[self.scanned], self.power[self.scanned], Surfaces(*(a[self.scanned] for a in self.background))


def believable(scan: Scan, table: EchoTable) -> Scan:
    """The scan without beams that no model gives a chance: echoes that are no numbers, out of range, or too bright.

    No glitch reaches there (`lidar_echo.log_glitch`), so that one such beam would outweigh all others.
    """
    with np.errstate(invalid="ignore"):
        near = (scan.range >= table.range_min) & (scan.range <= table.glitch_max)
        fine = near & (scan.power <= POWER_CEILING) & (scan.power >= 0.0) | (scan.power == 0.0)
    if fine.all():
        return scan
    zero = np.where(fine, scan.range, 0.0), np.where(fine, scan.power, 0.0)
    return scan._replace(range=zero[0], power=zero[1], scanned=scan.scanned & fine.all(axis=2))


def window_of(scan: Scan, positions: Array, body: float, tallest: float = 0.8, beams: float = inf) -> Window:
    """Cut the columns and rings that can meet a body (m, radius and height) at any of `positions` (n, 2).

    If it is so near that more than so many `beams` meet it, only every other column or fewer is kept.
    """
    x, y, z = np.moveaxis(seen_from(scan.pose, standing_at(positions, (0.0, tallest))), -1, 0)
    distance = np.maximum(np.hypot(x, y), body + 0.1)
    leaning = body * lean(scan.pose)  # how far a level disc of that radius reaches up and down
    nearest, farthest = max(distance.min() - body, 0.5), distance.max() + body
    low, high = z.min() - leaning, z.max() + leaning
    steepest = np.arctan2(low, nearest if low < 0.0 else farthest)
    highest = np.arctan2(high, nearest if high > 0.0 else farthest)
    first, last = np.searchsorted(scan.elevation, [steepest, highest])
    rings = slice(max(first - SPARE_RINGS, 0), last + SPARE_RINGS)
    columns, azimuth = columns_within(scan.azimuth, np.arctan2(y, x), np.arcsin(np.minimum(body / distance, 1.0)))
    used = slice(None, None, thinning(scan, float(np.median(distance)), beams))

    def cut(a: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(a[rings, columns[used]])

    return Window(
        scan.pose,
        scan.elevation[rings],
        np.ascontiguousarray(azimuth[used]),
        cut(scan.range),
        cut(scan.power),
        cut(scan.scanned),
        Surfaces(*(cut(a) for a in scan.background)),
    )


def standing_at(positions: Array, heights: tuple[float, ...]) -> Array:
    """Points (n, heights, 3) over positions (n, 2)."""
    return np.stack([np.insert(positions, 2, h, axis=1) for h in heights], axis=1)


def lean(pose: Pose) -> float:
    """Sine of the angle between the sensor's axis and the vertical."""
    upright = rotation(pose.yaw, pose.pitch, pose.roll)[2][2]
    return sqrt(max(1.0 - upright * upright, 0.0))


def columns_within(azimuth: Array, bearing: Array, half: Array) -> tuple[np.ndarray, Array]:
    """Indices of the columns inside any of bearing -+ half, and their azimuths, ascending through -+pi."""
    middle = np.arctan2(np.sin(bearing).sum(), np.cos(bearing).sum())
    off = wrap(bearing - middle)
    left, right = (off - half).min(), (off + half).max()
    column = wrap(azimuth - middle)
    inside = np.flatnonzero((left <= column) & (column <= right))
    inside = inside[np.argsort(column[inside])]
    turns = np.rint((middle + column[inside] - azimuth[inside]) / (2.0 * pi))
    around = azimuth[inside] + 2.0 * pi * (turns - turns[:1])
    seam = np.flatnonzero(np.diff(around) > 1.5 * (azimuth[1] - azimuth[0]))  # of a sensor that does not look all round
    if len(seam) == 0:
        return inside, around
    longer = slice(seam[0] + 1) if 2 * (seam[0] + 1) >= len(inside) else slice(seam[0] + 1, None)
    return inside[longer], around[longer]


def wrap(angle: Array) -> Array:
    """The angle in [-pi, pi)."""
    return (angle + pi) % (2.0 * pi) - pi


class Echoes(NamedTuple):
    """Where (m, 2) a candidate's centre may be that was seen by an echo, and ln of how odd it is of the background."""

    places: Array
    oddness: Array


ODDEST = 8.0  # nats: no echo is that much odder than another


def odd_echoes(window: Window, background: Array, where: Gaussian, tallest: float) -> Echoes:
    """Echoes that may be a candidate's, with ln p(beam | background) as given (rings, columns).

    `where` is where one may be at all: within `PLAUSIBLE` deviations.
    """
    places, ring, column = unexplained_beams(window, tallest)
    off = np.linalg.solve(np.linalg.cholesky(where.covariance), (places - where.mean).T)
    near = (off**2).sum(axis=0) < PLAUSIBLE**2
    oddness = -background[ring[near], column[near]]
    return Echoes(places[near], oddness.clip(max=oddness.min(initial=np.inf) + ODDEST))


def unexplained(window: Window, tallest: float = 0.8) -> Array:
    """Where (x, y) echoes lie that are neither at the known background nor lower or higher than any candidate."""
    return unexplained_beams(window, tallest)[0]


def unexplained_beams(window: Window, tallest: float) -> tuple[Array, np.ndarray, np.ndarray]:
    """Their places, and ring and column of each."""
    background = window.background.range[..., None]
    ring, column, echo = np.nonzero(
        (window.power > 0.0) & (window.range < background - CLEAR) & window.scanned[..., None]
    )
    up, bearing, distance = window.elevation[ring], window.azimuth[column], window.range[ring, column, echo]
    z = places(window.pose, up, bearing, distance)[:, 2]
    centre = places(window.pose, up, bearing, distance + DEEP / np.cos(up))[:, :2]
    fit = (z > 0.0) & (z < tallest)
    return centre[fit], ring[fit], column[fit]


def thinning(scan: Scan, distance: float, beams: float) -> int:
    """Every how many columns to use at a distance. It is the same for all particles, or the larger would count less."""
    across = WIDE / (distance * np.diff(scan.azimuth[:2])[0]) + 1.0
    up = TALL / (distance * np.diff(scan.elevation[:2])[0]) + 1.0
    return max(int(np.ceil(across * up / beams)), 1)


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
    if window.azimuth.size < 2:
        return result
    view = rotation(window.pose.yaw, window.pose.pitch, window.pose.roll)
    ahead, aside = np.cos(window.azimuth), np.sin(window.azimuth)
    level, up = np.cos(window.elevation), np.sin(window.elevation)
    step = window.azimuth[1] - window.azimuth[0]
    middle = 0.5 * (window.azimuth[0] + window.azimuth[-1])
    for i in range(solids.x.size):
        visibility = min(max(log_visibility[i], nodes[0]), nodes[-1])
        fog = fog_at(table, log(20.0) / exp(visibility))
        place = (visibility - nodes[0]) / (nodes[1] - nodes[0])
        node = min(max(floor(place), 0), nodes.size - 2)
        share = min(max(place - node, 0.0), 1.0)
        to = standing(solids, i, window.pose, view)
        x, y, z = turn_back(view, solids.x[i] - window.pose.x, solids.y[i] - window.pose.y, solids.z[i] - window.pose.z)
        body, tall = drum(solids, i, min(abs(to.axes[2][2]) * solids.hz[i], 1.0))
        away = hypot(x, y)
        bearing = middle + (atan2(y, x) - middle + pi) % (2.0 * pi) - pi
        half = asin(min(body / away, 1.0)) if away > 0.0 else pi
        first = max(ceil((bearing - half - window.azimuth[0]) / step), 0)
        last = min(floor((bearing + half - window.azimuth[0]) / step), window.azimuth.size - 1)
        if last < first:
            continue
        near, far = max(away - body, 0.0), away + body
        fill = solids.fill[i]
        log_fill, log_gap = log(fill), log(1.0 - fill) if fill < 1.0 else -inf
        total = 0.0
        for r in range(window.elevation.size):
            climb = up[r] / level[r]
            if max(climb * near, climb * far) < z - tall or min(climb * near, climb * far) > z + tall:
                continue
            for k in range(first, last + 1):
                if not window.scanned[r, k]:
                    continue
                distance, cosine = meet(to, level[r] * ahead[k], level[r] * aside[k], up[r])
                if distance >= window.background.range[r, k]:
                    continue
                stop = stop_at(
                    table, fog, distance, cosine, solids.reflectance[i], solids.roughness[i], solids.texture[i]
                )
                if table.echoes == 1:  # to slice the arrays costs half as much as the density
                    met = log_density_one(table, fog, window.range[r, k, 0], window.power[r, k, 0], stop)
                else:
                    met = log_density(table, fog, window.range[r, k], window.power[r, k], stop)
                passed = (1.0 - share) * background[r, k, node] + share * background[r, k, node + 1]
                total += log_add(log_fill + met, log_gap + passed) - passed
        result[i] = total
    return result


@jit
def drum(solids: Solids, i: int, upright: float) -> tuple[float, float]:
    """Radius and half height of a drum along the sensor's axis that holds solid i; `upright` is the cosine between."""
    leaning = sqrt(1.0 - upright * upright)
    corner = hypot(solids.hx[i], solids.hy[i])
    across = max(solids.hx[i], solids.hy[i]) if solids.kind[i] == ELLIPSOID else corner
    return across + leaning * solids.hz[i], upright * solids.hz[i] + leaning * corner
