"""What the sensors beside the lidar say: their shots that reach the filters at a tick, as measurements."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from filters.models.visibility import Visibility
from filters.models.visibility_sensor import update
from filters.spec import Array, Gaussian, Measurement, RadarScan
from filters.streams import stream
from fogsim.scenario import Scenario
from fogsim.sensors import radar as radars
from fogsim.sensors.schedule import Moment, delivered, moment_at
from fogsim.sensors.visibility import read

GATE = 4.0  # deviations within which a detection may be another candidate's
BODY = 0.4  # m, how far from an object's centre its detections lie


class Readings(NamedTuple):
    """Shots that one tick delivers, oldest first: times (s) with radar scans and with visibilities (m)."""

    radar: tuple[tuple[float, RadarScan], ...] = ()
    visibility: tuple[tuple[float, float], ...] = ()


def readings_at(past: list[Moment], mapped: radars.Reflectors, scenario: Scenario, seed: int) -> Readings:
    """What the last tick of the past delivers."""
    if len(past) < 2:
        return Readings()
    before, now = past[-2].world.time, past[-1].world.time
    radar, sensor = scenario.radar, scenario.visibility_sensor
    scans, seen = [], []
    for k in delivered(radar.rate, radar.latency, before, now) if radar.on else ():
        motion = moment_at(past, k / radar.rate)
        offset = radars.offsets(seed, len(scenario.hazards))
        detections = radars.detect(motion, scenario, radar, mapped, offset, stream(seed, "radar", k))
        scans.append((k / radar.rate, radars.scan_of(detections, motion, radar, mapped)))
    for k in delivered(sensor.rate, sensor.latency, before, now) if sensor.on else ():
        moment = moment_at(past, k / sensor.rate).moment
        seen.append((k / sensor.rate, read(moment, sensor, stream(seed, "visibility sensor", k))))
    return Readings(tuple(scans), tuple(seen))


def learn(visibility: Visibility, readings: Readings, scenario: Scenario) -> Visibility:
    """Perception's fog after the visibility sensor's readings."""
    for _, reading in readings.visibility:
        visibility = update(visibility, scenario.visibility_sensor, reading)
    return visibility


def measurements(readings: Readings, places: list[Gaussian], now: float) -> list[tuple[Measurement, ...]]:
    """What each candidate's filters may read, oldest first, the radar's detections less those of other candidates."""
    told: list[tuple[Measurement, ...]] = []
    for k in range(len(places)):
        scans = [Measurement(t, "radar", less_others(scan, places, k), now - t) for t, scan in readings.radar]
        seen = [Measurement(t, "visibility", v, now - t) for t, v in readings.visibility]
        told.append(tuple(sorted(scans + seen, key=lambda m: m.time)))
    return told


def less_others(scan: RadarScan, places: list[Gaussian], k: int) -> RadarScan:
    """The scan less detections that lie within another candidate's gate, and nearer to it than to candidate k."""
    r, a = scan.detections[:, 0], scan.detections[:, 1] + scan.pose.yaw
    where = np.stack([scan.pose.x + r * np.cos(a), scan.pose.y + r * np.sin(a)], axis=1)
    far = np.array([deviations(where, p) for p in places])
    others = np.delete(far, k, axis=0).min(axis=0, initial=np.inf)
    keep = (others > GATE) | (far[k] < others)
    return scan._replace(detections=scan.detections[keep], background=scan.background[keep])


def deviations(where: Array, place: Gaussian) -> Array:
    """Mahalanobis distance of points (n, 2) from a body somewhere about a place: (n,)."""
    off = where - place.mean
    S = place.covariance + BODY**2 * np.eye(2)
    return np.sqrt(np.einsum("ni,ij,nj->n", off, np.linalg.inv(S), off))
