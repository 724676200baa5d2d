"""Which echoes may belong to an object: above the road, before the known background; and their clusters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from filters.jit import jit
from filters.models.attitude import places
from filters.spec import Array, Scan

GROUND_CLEARANCE = 0.08  # m: echoes lower than this are the road
BACKGROUND_CLEARANCE = 0.35  # m: echoes this close to the known background are it
BLIND = 2.5  # m: nearer than this fog and objects look alike
BESIDE = 3  # columns within which an echo may be the background of another beam
TALLEST = 0.9  # m: no candidate is taller
LINK = 0.45  # m: echoes nearer than this in plan belong together
FEWEST = 3  # echoes make a cluster
NEIGHBOURS, AGREE, LEVEL = 3, 2, 0.25  # of 2 x 3 beams beside an echo, 2 must echo within 0.25 m: fog rarely does


class Points(NamedTuple):
    """Echoes as points (n, 3) in the odometry frame with power, range, ring and column of the beam."""

    xyz: Array
    power: Array
    range: Array
    ring: np.ndarray
    column: np.ndarray

    def take(self, which: np.ndarray) -> Points:
        """The points at an index or mask."""
        return Points(*(a[which] for a in self))


def object_points(scan: Scan) -> Points:
    """Echoes above the road that the known background does not explain."""
    candidate = (scan.range > BLIND) & ~explained(scan) & scan.scanned[..., None]
    ring, column, echo = np.nonzero(candidate & (agreement(scan) >= AGREE))
    distance = scan.range[ring, column, echo]
    xyz = places(scan.pose, scan.elevation[ring], scan.azimuth[column], distance)
    keep = (xyz[:, 2] > GROUND_CLEARANCE) & (xyz[:, 2] < TALLEST)
    return Points(xyz, scan.power[ring, column, echo], distance, ring, column).take(keep)


def explained(scan: Scan) -> np.ndarray:
    """Echoes at or behind the known background, of their own beam or one beside it: odometry errs by a beam or two."""
    background = scan.background.range[..., None]
    result = scan.range > background - BACKGROUND_CLEARANCE
    for shift in range(1, BESIDE + 1):
        level_left = np.abs(scan.range[:, shift:] - background[:, :-shift]) < BACKGROUND_CLEARANCE
        level_right = np.abs(scan.range[:, :-shift] - background[:, shift:]) < BACKGROUND_CLEARANCE
        result[:, shift:] |= level_left
        result[:, :-shift] |= level_right
    return result


def agreement(scan: Scan) -> np.ndarray:
    """How many of the beams beside each echo, in its ring, echo from nearly the same range."""
    count = np.zeros(scan.range.shape, int)
    heard = np.where(scan.power > 0.0, scan.range, np.inf)
    for shift in range(1, NEIGHBOURS + 1):
        left, right = heard[:, :-shift], heard[:, shift:]
        with np.errstate(invalid="ignore"):  # inf - inf: no echo agrees with no echo
            level = np.abs(left[..., :, None] - right[..., None, :]) < LEVEL
        count[:, :-shift] += level.any(axis=-1)
        count[:, shift:] += level.any(axis=-2)
    return count


def clusters(points: Points) -> list[np.ndarray]:
    """Index arrays of single-linkage clusters in plan, at least `FEWEST` echoes each.

    Quadratic in the number of points: call it on the few that lie near a candidate.
    """
    label = linked(points.xyz, LINK)
    groups = [np.flatnonzero(label == k) for k in range(label.max(initial=-1) + 1)]
    return [g for g in groups if len(g) >= FEWEST]


@jit
def linked(xyz: Array, reach: float) -> NDArray[np.int64]:
    """Which cluster (n,) each point (n, 3) is in: those that steps shorter than `reach` lead to; the first's is 0."""
    n = len(xyz)
    label, waiting, count = np.full(n, -1), np.empty(n, np.int64), 0
    for first in range(n):
        if label[first] >= 0:
            continue
        label[first], waiting[0], left = count, first, 1
        while left > 0:
            left -= 1
            i = waiting[left]
            for j in range(n):
                if label[j] < 0 and (xyz[i, 0] - xyz[j, 0]) ** 2 + (xyz[i, 1] - xyz[j, 1]) ** 2 < reach * reach:
                    label[j], waiting[left] = count, j
                    left += 1
        count += 1
    return label
