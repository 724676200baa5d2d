"""The filters of a run: one of each per candidate, stepped on what each of them reads."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from filters import known_filters, make_filter
from filters.fusion import pool
from filters.models.model import Model
from filters.models.shapes import BagPrior, BarrierPrior
from filters.spec import Array, Belief, EgoMotion, Filter, Info, Measurement, Prior
from filters.streams import stream
from fogsim.errors import UserError, one_line
from fogsim.frame import JUDGE
from fogsim.perception.perceive import Percept
from fogsim.scenario import Scenario
from fogsim.sensors.lidar import grid

FUSED = "fused"
Shape = TypeVar("Shape", BagPrior, BarrierPrior)


@dataclass
class Follower:
    """One filter on one candidate: its state, its random stream and what it last said, the evidence by sensor too."""

    filter: Filter[Any]
    rng: np.random.Generator
    state: Any
    belief: Belief
    info: Info
    evidence: dict[str, Array] = field(default_factory=dict)

    def step(self, percept: Percept, motion: EgoMotion | None, dt: float, time: float) -> None:
        """Predict over the motion (none before the first scan), update on what this filter reads."""
        if motion is not None:
            self.state = self.filter.predict(self.state, motion, dt, self.rng)
        infos, self.evidence = [], {}
        for measurement in measurements(percept, time):
            if measurement.sensor in self.filter.sensors:
                self.state, info = self.filter.update(self.state, measurement, self.rng)
                infos.append(info)
                before = self.evidence.get(measurement.sensor, 0.0)
                self.evidence[measurement.sensor] = before + info.log_evidence
        self.belief = self.filter.belief(self.state)
        self.info = summary(infos) if infos else Info(np.zeros(len(self.belief.log_probs)))


def measurements(percept: Percept, time: float) -> list[Measurement]:
    """All that may be read of a candidate at a tick, oldest first; no features where the lidar did not look."""
    features = [] if percept.features is None else [Measurement(time, "features", percept.features)]
    return [*percept.readings, *features, Measurement(time, "scan", percept.scan)]


def summary(infos: list[Info]) -> Info:
    """One info of a tick's updates: evidence summed, the worst of the rest, NIS of the last."""
    return Info(
        np.sum([i.log_evidence for i in infos], axis=0),
        float(np.fmin.reduce([i.ess for i in infos])),
        infos[-1].nis,
        any(i.resampled for i in infos),
        max(i.status for i in infos),
        infos[-1].dof,
    )


class Followers:
    """All filters of a scenario on all of its candidates: `rows[filter][candidate]`."""

    def __init__(self, scenario: Scenario, priors: list[Prior], seed: int) -> None:
        model = model_of(scenario)
        self.rows = [
            [start(name, k, prior, model, seed) for k, prior in enumerate(priors)] for name in scenario.filters
        ]
        members = [row for name, row in zip(scenario.filters, self.rows, strict=True) if name != JUDGE]
        self.pooled = members or self.rows
        self.seconds = [0.0 for _ in self.rows]

    def step(self, percepts: list[Percept], motion: EgoMotion | None, dt: float, time: float) -> None:
        """Step every filter on every candidate, timing each filter."""
        for i, row in enumerate(self.rows):
            clock = perf_counter()
            for follower, percept in zip(row, percepts, strict=True):
                follower.step(percept, motion, dt, time)
            self.seconds[i] = perf_counter() - clock

    def beliefs(self) -> list[list[Belief]]:
        """Each filter's belief of each candidate, then the fused ones: without the judge, unless it is alone."""
        rows, pooled = ([[f.belief for f in row] for row in some] for some in (self.rows, self.pooled))
        return [*rows, [pool(list(column)) for column in zip(*pooled, strict=True)]] if rows else []


def start(name: str, candidate: int, prior: Prior, model: Model, seed: int) -> Follower:
    """A filter on a candidate, before its first measurement."""
    made, rng = named(name, model), stream(seed, "filter", name, candidate)
    state = made.init(prior, rng)
    return Follower(made, rng, state, made.belief(state), Info(np.zeros(len(prior.log_probs))))


def named(name: str, model: Model) -> Filter[Any]:
    """The filter of a name; one that refuses the model, or is installed and cannot be made, is told in a line."""
    try:
        return make_filter(name, model)
    except ValueError as error:
        raise UserError(f"filter {name!r}: {one_line(error)}; or leave {name} out of the filters") from error
    except (ImportError, AttributeError, TypeError) as error:
        where = known_filters()[name]
        remedy = f"correct its entry point in the group fogsim.filters, or {where.partition(':')[0]}"
        raise UserError(
            f"filter {name!r} ({where}) cannot be made ({one_line(error)}), expected a class: {remedy}"
        ) from error


def model_of(scenario: Scenario) -> Model:
    """What filters assume: the very values the world is made of, unless `Scenario.assumed` sets them apart."""
    elevation, azimuth = grid(scenario.lidar)
    return Model(
        scenario.assumed_optics,
        assumed_shape(scenario.barrier, scenario),
        assumed_shape(scenario.assumed.bag or scenario.bag, scenario),
        scenario.motion,
        tuple(elevation.tolist()),
        float(azimuth[1] - azimuth[0]),
        scenario.fog.drift,
        scenario.radar,
        scenario.visibility_sensor,
    )


def assumed_shape(prior: Shape, scenario: Scenario) -> Shape:
    """A shape's prior, its reflectances as assumed."""
    low, high = prior.reflectance
    factor = scenario.assumed.reflectance
    return replace(prior, reflectance=(factor * low, factor * high))
