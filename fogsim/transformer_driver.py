"""Encounters as a decision transformer reads them, simulated or logged, and a car that one drives.

An encounter is looked at every `STRIDE` ticks up to its decision point: `fogsim.environment`'s "features". There the
transformer decides, once, and holds what it decided; before, the car proceeds. What was right it learns when ego has
passed: the loss table's column is that of an obstacle in the path if there was one, the costs of all actions in
hindsight are those that `fogsim.scoring` takes shadow actions to have.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from filters.spec import FEATURES, Array
from fogsim.driving import decision_point
from fogsim.environment import Course, EncounterEnv, observed, space_of
from fogsim.frame import ACTIONS, Frame
from fogsim.runner import run
from fogsim.scenario import Driver, Scenario
from fogsim.scoring.encounters import Log, obstacle_in_path

if TYPE_CHECKING:
    from filters.posterior.decision_transformer import Encounter
    from filters.posterior.kalman_transformer import Belief, KalmanTransformer

STRIDE = 4  # ticks from look to look
LOOKS = 4
WIDTH = len(FEATURES) + 2  # numbers of a look: those, ego's speed, and whether the full choice is open
PROCEED, SLOW = ACTIONS.index("proceed"), ACTIONS.index("slow")
SLOWING = 60  # ticks: a logged car slows from one of so many on, any of them alike


class Approach(NamedTuple):
    """What an encounter has shown so far: an observation (WIDTH,) of every tick and the actions between them."""

    observations: list[Array]
    actions: list[int]

    def looks(self) -> tuple[Array, np.ndarray]:
        """The last ones (T, WIDTH), oldest first, and the actions in effect after each but the last (T - 1,)."""
        now = len(self.observations) - 1
        at = np.arange(now, -1, -STRIDE)[:LOOKS][::-1]
        return np.array([self.observations[k] for k in at], float), np.array([self.actions[k] for k in at[:-1]], int)


class Frames(Log, Protocol):
    """A log by its frames, or a run so far."""

    def __getitem__(self, index: int) -> Frame: ...


def logged(log: Frames, dt: float, ego_width: float) -> Encounter | None:
    """A log's encounter, None where it did not come to the decision point."""
    from filters.posterior.decision_transformer import Encounter

    points = np.flatnonzero(log.column("at_decision_point"))
    if not points.size:
        return None
    frames = [log[k] for k in range(int(points[0]) + 1)]
    approach = Approach(observations(frames, dt), [int(f.action) for f in frames[:-1]])
    return Encounter(*approach.looks(), frames[-1].loss_table.copy(), int(obstacle_in_path(log, ego_width)))


def observations(frames: Sequence[Frame], dt: float) -> list[Array]:
    """As the environment has them; the last frame's choice is open."""
    places, space = np.array([f.odometry[:2] for f in frames]), space_of(Scenario(filters=()), "features")
    speeds = np.hypot(*np.diff(places, axis=0, prepend=places[:1]).T) / dt
    last = len(frames) - 1
    return [
        observed(f, "features", space, float(v), k == last) for k, (f, v) in enumerate(zip(frames, speeds, strict=True))
    ]


def simulated(scenario: Scenario, seed: int, rng: np.random.Generator) -> Encounter | None:
    """An encounter up to its decision point, None without one, of a car that slows somewhere on the way or not."""
    scenario = dataclasses.replace(scenario, filters=(), driver=Driver(policy="open_loop"))
    course, slowing = Course(scenario, seed), int(rng.integers(SLOWING))
    driven, action = run(scenario, seed), PROCEED
    frame = next(driven)
    while not frame.at_decision_point:
        action = SLOW if len(course) >= slowing else PROCEED
        course.frames.append(dataclasses.replace(frame, action=np.array(action, np.int8)))
        try:
            frame = driven.send(action)
        except StopIteration:
            return None
    course.frames.append(frame)
    return logged(course, scenario.dt, scenario.ego.width)


def drive(
    env: EncounterEnv, engine: KalmanTransformer, state: Belief, seed: int, rng: np.random.Generator
) -> tuple[Encounter | None, float]:
    """Drive an encounter of an environment that observes "features"; what it was, and its realised cost."""
    from filters.posterior.decision_transformer import Encounter

    losses = env.scenario.loss.table(decision_point(env.scenario))
    look, info = env.reset(seed=seed)
    approach, action, decided, done = Approach([look], []), PROCEED, None, False
    while not done:
        if info["open"] and decided is None:
            decided = approach.looks()
            action = int(engine.forecast(state, *decided, losses, rng).costs.argmin())
        look, _, ended, late, info = env.step(action)
        approach.observations.append(look)
        approach.actions.append(action)
        done = ended or late
    encounter = None if decided is None else Encounter(*decided, losses, int(info["in_path"]))
    return encounter, float(info["realised_cost"])
