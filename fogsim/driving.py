"""What the beliefs would do, and what the driver does."""

from __future__ import annotations

from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from filters.decision import Car, Situation, half_lengths, outlook
from filters.policies import POLICIES as POLICY
from filters.policies import Decision, Hysteresis, Policy
from filters.policies.optimal_stopping import RATE
from filters.spec import Belief, EgoMotion
from fogsim.followers import FUSED
from fogsim.frame import POLICIES
from fogsim.perception.tracks import Track
from fogsim.scenario import Scenario
from fogsim.world.ego import COMFORT, stopping_distance

PASSED = 1.0  # m behind ego's front: an object there is history
FARTHEST = 100.0  # m: with nothing nearer ahead losses are as if it were there


class Choice(NamedTuple):
    """The driver's decision and what its policy remembers, and whether all actions are open; `shadow` (belief, policy)
    is what each belief would do by each policy, `losses` (belief, action) what it expects, `q` (belief,) its P(a
    barrier stands in the path), `table` (action, 2) the loss table, `seconds` how long the driver's decision took.
    """

    decision: Decision
    state: Any
    open: bool
    shadow: np.ndarray
    losses: np.ndarray
    q: np.ndarray
    table: np.ndarray
    seconds: float

    @property
    def action(self) -> int:
        """The driver's."""
        return self.decision.action


def belief_names(scenario: Scenario) -> tuple[str, ...]:
    """Who believes, in the order of the log's belief axis."""
    return (*scenario.filters, FUSED) if scenario.filters else ()


def policy_of(scenario: Scenario) -> Policy[Any]:
    """The driver's policy, told what it must know of the encounter."""
    driver, learnt = scenario.driver, scenario.card.of(scenario.driver.belief)
    clear = float(np.prod([1.0 - h.barrier_probability for h in scenario.hazards]))
    settings: dict[str, dict[str, Any]] = {
        "sprt": {"prior": 1.0 - clear},
        "conformal": {"threshold": learnt.threshold.value if learnt and learnt.threshold else driver.threshold},
        "optimal_stopping": {
            "losses": scenario.loss,
            "point": decision_point(scenario),
            "visibility": scenario.fog.visibility,
            "margin": scenario.ego.margin,
            "rate": (learnt and learnt.rate) or RATE,
        },
    }
    policy = POLICY[driver.policy](**settings.get(driver.policy, {}))
    return Hysteresis(policy, driver.hysteresis) if driver.hysteresis else policy


def choose(
    beliefs: list[list[Belief]],
    tracks: tuple[Track, ...],
    motion: EgoMotion,
    scenario: Scenario,
    opened: bool,
    policy: Policy[Any],
    state: Any,
    delays: tuple[float, ...],
) -> Choice:
    """What every belief (rows; columns are candidates) would do, and what the driver does by its policy and `state`.

    The full choice opens when perception's track of a candidate, a standard deviation on the near side,
    is within the stopping distance of ego's front, and stays open: the same moment for all filters.
    """
    clock, x = perf_counter(), motion.pose.x
    situation = situation_of(tracks, motion, scenario, opened, delays)
    losses = scenario.loss.table(situation)
    ahead = [[b for b in row if b.position.mean[0] - x > -PASSED] for row in beliefs]
    names = belief_names(scenario)
    driving = ahead[names.index(scenario.driver.belief)] if scenario.driver.belief in names else []
    state, decision = policy.decide(state, driving, losses, situation)
    seconds = perf_counter() - clock
    judges = [POLICY[p]() for p in POLICIES]  # they remember nothing
    shadow = [[judge.decide(None, row, losses, situation)[1].action for judge in judges] for row in ahead]
    seen = [outlook(row, losses, situation) for row in ahead]
    return Choice(
        decision,
        state,
        situation.open,
        np.array(shadow, np.int8).reshape(-1, len(POLICIES)),
        np.array([s.expected for s in seen]).reshape(-1, len(losses)),
        np.array([s.q for s in seen]),
        losses,
        seconds,
    )


def situation_of(
    tracks: tuple[Track, ...], motion: EgoMotion, scenario: Scenario, opened: bool, delays: tuple[float, ...]
) -> Situation:
    """Where ego is, by odometry and perception; `delays` follow from what it was told to do."""
    ego, road, x = scenario.ego, scenario.road, motion.pose.x
    speed = motion.delta[0] / scenario.dt
    near = [t.position.mean[0] - np.sqrt(t.position.covariance[0, 0]) - x for t in tracks]
    ahead = [n for n, t in zip(near, tracks, strict=True) if t.position.mean[0] - x > -PASSED]
    return Situation(
        lateral=road.lane_width * round(motion.pose.y / road.lane_width),
        next_lane=road.lane_width,
        half_width=0.5 * ego.width,
        gap=road.next_lane_gap - x,
        open=opened or bool(min(near) <= stopping_distance(ego, speed)),
        half_lengths=half_lengths(*scenario.barrier.length),
        distance=float(max(0.0, min(ahead, default=FARTHEST))),
        speed=float(speed),
        delays=delays,
        car=car_of(scenario),
    )


def car_of(scenario: Scenario) -> Car:
    """What is known beforehand of what ego can do; its cruise is the middle of its approach speeds."""
    ego = scenario.ego
    return Car(0.5 * sum(ego.speed), ego.slow_factor, ego.reaction, ego.deceleration, COMFORT)


def decision_point(scenario: Scenario) -> Situation:
    """Where the full choice opens for a car that has not slowed, in its own lane."""
    car, road = car_of(scenario), scenario.road
    return Situation(
        lateral=0.0,
        next_lane=road.lane_width,
        half_width=0.5 * scenario.ego.width,
        gap=road.next_lane_gap,
        open=True,
        half_lengths=half_lengths(*scenario.barrier.length),
        distance=stopping_distance(scenario.ego, car.cruise),
        speed=car.cruise,
        delays=(0.0, *[car.reaction] * 3),
        car=car,
    )
