"""What the beliefs would do, and what the driver does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from filters.decision import POLICIES as POLICY
from filters.decision import Situation, expected_losses, half_lengths
from filters.spec import Belief, EgoMotion
from fogsim.followers import FUSED
from fogsim.frame import POLICIES
from fogsim.perception.tracks import Track
from fogsim.scenario import Scenario
from fogsim.world.ego import stopping_distance

PASSED = 1.0  # m behind ego's front: an object there is history


class Choice(NamedTuple):
    """The driver's action, whether all actions are open, what each belief would do by each policy, and losses."""

    action: int
    open: bool
    shadow: np.ndarray
    losses: np.ndarray


def belief_names(scenario: Scenario) -> tuple[str, ...]:
    """Who believes, in the order of the log's belief axis."""
    return (*scenario.filters, FUSED) if scenario.filters else ()


def choose(
    beliefs: list[list[Belief]], tracks: tuple[Track, ...], motion: EgoMotion, scenario: Scenario, opened: bool
) -> Choice:
    """What every belief (rows; columns are candidates) would do, and what the driver does.

    The full choice opens when perception's track of a candidate, a standard deviation on the near side,
    is within the stopping distance of ego's front, and stays open: the same moment for all filters.
    """
    losses, road, x = scenario.loss.table, scenario.road, motion.pose.x
    near = min(t.position.mean[0] - np.sqrt(t.position.covariance[0, 0]) for t in tracks)
    open_now = opened or near - x <= stopping_distance(scenario.ego, motion.delta[0] / scenario.dt)
    lane = road.lane_width * round(motion.pose.y / road.lane_width)
    situation = Situation(
        lane,
        road.lane_width,
        0.5 * scenario.ego.width,
        road.next_lane_gap - x,
        open_now,
        half_lengths(*scenario.barrier.length),
    )
    ahead = [[b for b in row if b.position.mean[0] - x > -PASSED] for row in beliefs]
    shadow = np.array([[POLICY[p](row, losses, situation) for p in POLICIES] for row in ahead], np.int8)
    expected = np.array([expected_losses(row, losses, situation) for row in ahead])
    names = belief_names(scenario)
    driving = ahead[names.index(scenario.driver.belief)] if scenario.driver.belief in names else []
    action = POLICY[scenario.driver.policy](driving, losses, situation)
    return Choice(action, open_now, shadow.reshape(-1, len(POLICIES)), expected.reshape(-1, len(losses)))
