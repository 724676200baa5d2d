"""The filters of a run: one of each per candidate, stepped on what each of them reads."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from filters import make_filter
from filters.fusion import pool
from filters.models.model import Model
from filters.spec import Belief, EgoMotion, Filter, Info, Measurement, Prior
from filters.streams import stream
from fogsim.perception.perceive import Percept
from fogsim.scenario import Scenario
from fogsim.sensors.lidar import grid

FUSED = "fused"


@dataclass
class Follower:
    """One filter on one candidate: its state, its random stream and what it last said."""

    filter: Filter[Any]
    rng: np.random.Generator
    state: Any
    belief: Belief
    info: Info

    def step(self, percept: Percept, motion: EgoMotion | None, dt: float, time: float) -> None:
        """Predict over the motion (none before the first scan), update on what this filter reads."""
        if motion is not None:
            self.state = self.filter.predict(self.state, motion, dt, self.rng)
        data = percept.scan if self.filter.sensor == "scan" else percept.features
        if data is None:  # not looked at: no measurement
            self.belief, self.info = self.filter.belief(self.state), Info(np.zeros(len(self.belief.log_probs)))
            return
        self.state, self.info = self.filter.update(self.state, Measurement(time, self.filter.sensor, data), self.rng)
        self.belief = self.filter.belief(self.state)


class Followers:
    """All filters of a scenario on all of its candidates: `rows[filter][candidate]`."""

    def __init__(self, scenario: Scenario, priors: list[Prior], seed: int) -> None:
        model = model_of(scenario)
        self.rows = [
            [start(name, k, prior, model, seed) for k, prior in enumerate(priors)] for name in scenario.filters
        ]
        self.seconds = [0.0 for _ in self.rows]

    def step(self, percepts: list[Percept], motion: EgoMotion | None, dt: float, time: float) -> None:
        """Step every filter on every candidate, timing each filter."""
        for i, row in enumerate(self.rows):
            clock = perf_counter()
            for follower, percept in zip(row, percepts, strict=True):
                follower.step(percept, motion, dt, time)
            self.seconds[i] = perf_counter() - clock

    def beliefs(self) -> list[list[Belief]]:
        """Each filter's belief of each candidate, then the fused ones."""
        rows = [[f.belief for f in row] for row in self.rows]
        return [*rows, [pool(list(column)) for column in zip(*rows, strict=True)]] if rows else []


def start(name: str, candidate: int, prior: Prior, model: Model, seed: int) -> Follower:
    """A filter on a candidate, before its first measurement."""
    made, rng = make_filter(name, model), stream(seed, "filter", name, candidate)
    state = made.init(prior, rng)
    return Follower(made, rng, state, made.belief(state), Info(np.zeros(len(prior.log_probs))))


def model_of(scenario: Scenario) -> Model:
    """What filters assume: the very values the world is made of."""
    elevation, azimuth = grid(scenario.lidar)
    return Model(
        scenario.lidar.optics,
        scenario.barrier,
        scenario.bag,
        scenario.motion,
        tuple(elevation.tolist()),
        float(azimuth[1] - azimuth[0]),
    )
