"""Perception, once per scan for all filters: scan -> features and masked scan of every candidate."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from filters.models.attitude import seen_from
from filters.models.optics import EchoTable
from filters.models.visibility import Visibility, predict_visibility, update_visibility
from filters.spec import EgoMotion, Features, Measurement, Scan, Surfaces
from fogsim.perception import features as measuring
from fogsim.perception import tracks as tracking
from fogsim.perception.segment import BESIDE, TALLEST, Points, object_points

EDGE = 1.0  # m between the backgrounds of neighbouring beams
FOG_NODES = 11  # of ln visibility: .8 of a deviation apart
CLUTTER_BEAMS = 400  # enough to know the fog to a percent or so


class Perception(NamedTuple):
    """What perception remembers between scans."""

    tracks: tuple[tracking.Track, ...]
    visibility: Visibility


class Percept(NamedTuple):
    """What it makes of one scan for one candidate: features, and the scan less beams of other candidates.

    No features (None) where the lidar does not look at the candidate's place: that is no evidence. `readings`
    are those of the sensors beside the lidar, oldest first.
    """

    features: Features | None
    scan: Scan
    readings: tuple[Measurement, ...] = ()


def predict(memory: Perception, motion: EgoMotion, dt: float, fog_drift: float = 0.0) -> Perception:
    """Carry every track, and what is known of the fog, over a step."""
    fog = predict_visibility(memory.visibility, fog_drift, dt)
    return memory._replace(tracks=tuple(tracking.predict(t, motion, dt) for t in memory.tracks), visibility=fog)


def perceive(memory: Perception, scan: Scan, time: float, table: EchoTable) -> tuple[Perception, list[Percept]]:
    """Segment, assign clusters to tracks, measure features."""
    visibility = update_visibility(memory.visibility, table, *clutter(scan), FOG_NODES)[0]
    points = object_points(scan)
    groups = tracking.assign(list(memory.tracks), points)
    tracks, percepts = [], []
    for k, (track, group) in enumerate(zip(memory.tracks, groups, strict=True)):
        own = points.take(group)
        speed = 0.0
        after = track
        if len(group):
            place = own.xyz[:, :2].mean(axis=0)
            elapsed = time - track.seen_at
            speed = float(np.hypot(*(place - track.seen)) / elapsed) if elapsed > 0.0 else 0.0
            after = tracking.update(track, place, len(group), time)
        others = [points.take(g) for j, g in enumerate(groups) if j != k]
        measured = measuring.measure(scan, own, track.position, speed, visibility.mean, table)
        tracks.append(after)
        looked = len(group) > 0 or in_view(scan, track.position.mean)
        percepts.append(Percept(measured if looked else None, mask(scan, others)))
    return Perception(tuple(tracks), visibility), percepts


def in_view(scan: Scan, place: np.ndarray) -> bool:
    """Whether a place (x, y) lies within the scan's azimuths."""
    x, y, _ = seen_from(scan.pose, np.array([*place, 0.5 * TALLEST]))
    return bool(scan.azimuth[0] <= np.arctan2(y, x) <= scan.azimuth[-1])


def clutter(scan: Scan) -> tuple[np.ndarray, np.ndarray, Surfaces]:
    """Every n-th beam whose background is far or absent: ranges, powers (beams, echoes) and background."""
    free = np.flatnonzero(scan.background.range > 6.0)
    free = free[:: max(1, len(free) // CLUTTER_BEAMS)]
    echoes = scan.range.shape[-1]
    background = Surfaces(*(a.ravel()[free] for a in scan.background))
    return scan.range.reshape(-1, echoes)[free], scan.power.reshape(-1, echoes)[free], background


def mask(scan: Scan, others: list[Points]) -> Scan:
    """The scan less the beams that other tracks' clusters claim, and those the map cannot vouch for."""
    scanned = scan.scanned & ~doubtful(scan.background.range)
    for points in others:
        scanned[points.ring, points.column] = False
    return scan._replace(scanned=scanned)


def doubtful(background: np.ndarray) -> np.ndarray:
    """Beams beside an edge of the known map: odometry errs by a beam or two, so either side may be behind them."""
    distance = np.where(np.isinf(background), 1e3, background)
    result = np.zeros(background.shape, bool)
    for shift in range(1, BESIDE + 1):
        jump = np.abs(distance[:, shift:] - distance[:, :-shift]) > EDGE
        result[:, shift:] |= jump
        result[:, :-shift] |= jump
    return result
