"""What a filter may be told of one candidate, easy and hard: the courses that `fogsim.testing` puts one through.

A car creeps up to a candidate that stands still, in even fog, and every sensor speaks as in a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from filters.models import radar as radars
from filters.models.optics import echo_table, extinction
from filters.models.shapes import Solids
from filters.models.visibility import visibility_prior
from filters.spec import (
    CLASSES,
    FEATURES,
    EgoMotion,
    Features,
    Gaussian,
    Measurement,
    Pose,
    Prior,
    RadarScan,
    Scan,
)
from filters.streams import stream
from fogsim.background import background_of
from fogsim.followers import measurements
from fogsim.perception import perceive as perceiving
from fogsim.perception import tracks as tracking
from fogsim.runner import scan_of
from fogsim.scenario import Radar, Scenario, VisibilitySensor
from fogsim.sensors import lidar as lidars
from fogsim.sensors.radar import reflectors

SCENARIO = Scenario(radar=Radar(on=True), visibility_sensor=VisibilitySensor(on=True))
FAR = Prior(np.log([0.4, 0.6]), Gaussian(np.array([34.0, -0.6]), np.diag([2.25, 0.36])), 40.0, 0.3)
NEAR = Prior(np.log([0.5, 0.5]), Gaussian(np.array([8.0, 0.0]), 0.09 * np.eye(2)), 60.0, 0.1)  # would be seen from rest
LOOKS, STRIDE, DT = 14, 2.0, 0.4  # of an approach: how many, m and s from one to the next
DRIFT = np.diag([9e-6, 9e-6, 4e-8])  # of odometry over a step: m², m², rad²
SURE = np.array([-1e-6, -13.8])


class Step(NamedTuple):
    """Ego's motion over `dt` s, then what the sensors say."""

    motion: EgoMotion
    dt: float
    told: list[Measurement]


class Course(NamedTuple):
    """A prior and the steps that follow it; `repeated` where they may be gone through over and over."""

    name: str
    prior: Prior
    steps: list[Step]
    repeated: bool = False


def courses(seed: int) -> Iterator[Course]:
    """All of them, the approaches first, one to each class; a seed gives the same ones."""
    rng = stream(seed, "courses")
    bag, barrier = (list(drive(name, FAR, rng, LOOKS, STRIDE)) for name in CLASSES)
    yield Course("an approach to a bag", FAR, bag)
    yield Course("an approach to a barrier", FAR, barrier)
    yield Course("a prior sure of a bag and the echoes of a barrier", replace(FAR, log_probs=SURE), barrier)
    yield Course("a prior sure of a barrier and the echoes of a bag", replace(FAR, log_probs=SURE[::-1]), bag)
    missed = list(drive("", NEAR, rng))
    yield Course("looks that find nothing", NEAR, missed, repeated=True)
    yield Course("scans without any echo", NEAR, [changed(s, without_echoes) for s in missed], repeated=True)
    yield Course("scans of which no beam was fired", NEAR, [changed(s, unfired) for s in missed])
    thick = replace(NEAR, visibility=5.0)
    hidden = list(drive("", thick, rng))
    yield Course("scans full of fog", thick, hidden)
    yield Course("scans full of fog where little was announced", NEAR, hidden)
    sides = [replace(NEAR, position=NEAR.position._replace(mean=np.array([8.0, y]))) for y in (2.0, -2.0)]
    swapped = [s for k, name in enumerate(CLASSES * 3) for s in drive(name, sides[k % 2], rng, 1)]
    yield Course("a bag and a barrier by turns, on either side", NEAR, swapped)
    for scale in (100.0, -100.0, 300.0):
        steps = [changed(s, partial(nonsense, scale=scale)) for s in missed]
        yield Course(f"numbers that no object gives, such as {scale:g}", FAR, steps)


def drive(name: str, prior: Prior, rng: np.random.Generator, looks: int = 3, stride: float = 0.0) -> Iterator[Step]:
    """Looks at the middling object of a class ("" for none), where and in the fog that a prior announces."""
    background, mapped, radar = background_of(SCENARIO), reflectors(SCENARIO.road), SCENARIO.radar
    table, alpha = echo_table(SCENARIO.assumed_optics), extinction(prior.visibility)
    fog = visibility_prior(prior.visibility, prior.visibility_spread)
    memory = perceiving.Perception((tracking.start(prior.position),), fog)
    things, reflectivity = objects(name, prior.position.mean)
    still, velocity = np.zeros((len(reflectivity), 2)), np.array([stride / DT, 0.0])
    for k in range(looks):
        pose, time = Pose(k * stride, 0.0, 0.0, 0.0), k * DT
        motion = EgoMotion(np.array([stride * (k > 0), 0.0, 0.0]), DRIFT, pose)
        memory = perceiving.predict(memory, motion, DT)
        at = lidars.mounted(SCENARIO.lidar, pose.x, pose.y, pose.yaw)
        returns = lidars.scan(things, background(at), at, alpha, SCENARIO.lidar, rng)
        memory, (percept,) = perceiving.perceive(memory, scan_of(returns, pose, SCENARIO, background), time, table)
        rest = mapped.seen_from(radar, pose, velocity)
        seen = radars.sources_of(radar, things, reflectivity, still, pose, velocity)
        both = radars.Sources(*(np.concatenate(parts) for parts in zip(seen, rest, strict=True)))
        z = radars.sample(radar, both, pose, velocity, rng)
        heard = RadarScan(pose, velocity, z, radars.background(radar, rest, pose, velocity, z))
        readings = (Measurement(time, "radar", heard), Measurement(time, "visibility", prior.visibility))
        yield Step(motion, DT, measurements(percept._replace(readings=readings), time))


def objects(name: str, place: np.ndarray) -> tuple[Solids, np.ndarray]:
    """The middling object of a class as solids, and what it reflects of a radar, dB; none for ""."""
    if not name:
        return Solids(*(np.zeros(0) for _ in Solids._fields)), np.zeros(0)
    klass = CLASSES.index(name)
    shape = (SCENARIO.bag, SCENARIO.barrier)[klass]
    solids = shape.solids(place[None].astype(float), np.zeros((1, len(shape.names))))
    return solids, np.array([SCENARIO.radar.material(klass)[0]])


def changed(step: Step, change: Callable[[Any], Any]) -> Step:
    """A step whose sensors say something else."""
    return step._replace(told=[replace(m, data=change(m.data)) for m in step.told])


def without_echoes(data: Any) -> Any:
    """Fired, and nothing came back."""
    if isinstance(data, Scan):
        return data._replace(range=np.zeros_like(data.range), power=np.zeros_like(data.power))
    if isinstance(data, RadarScan):
        return data._replace(detections=data.detections[:0], background=data.background[:0])
    return data


def unfired(data: Any) -> Any:
    """A scan that says nothing of the candidate."""
    return data._replace(scanned=np.zeros_like(data.scanned)) if isinstance(data, Scan) else data


def nonsense(data: Any, scale: float) -> Any:
    """Features, echoes and detections all about a number, said to be the candidate's."""
    if isinstance(data, Features):
        values = np.full(len(FEATURES), scale)
        values[FEATURES.index("detected")] = 1.0
        return Features(values, np.full(2, scale), np.eye(2), data.pose)
    if isinstance(data, Scan):
        strange = np.full_like(data.range, abs(scale) / 3.0)
        return data._replace(range=strange, power=strange)
    if isinstance(data, RadarScan):
        return data._replace(detections=np.full((3, 4), scale), background=np.full(3, 1e-300))
    return abs(scale)
