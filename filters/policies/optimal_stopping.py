"""Optimal stopping as a driver: it waits while what it will see is worth more than what waiting costs.

There are two ways to wait (`filters.stopping`): at the cruise, which is free but ends where a car at that speed can
still stop, and at the slow speed, which costs what slowing costs, once, ends later, and brings more scans a metre.
So there are two plans, and the first may leave for the second while there is room left to slow down in. What to do
once waiting is over is Bayes' rule on the losses as they are then, less what slowing has cost already, which no action
brings back. Having acted it does not go back to waiting. Where losses follow from distance (`PhysicalLoss`), what is
left of slowing counts as paid too, which makes waiting look cheaper by the seconds that it takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from filters.decision import BRAKE, PROCEED, SLOW, Car, Situation, lower_envelope, outlook
from filters.losses import Losses
from filters.policies.bayes import least_loss
from filters.policy import NO_THRESHOLD, Decision, Reason
from filters.spec import Array, Belief
from filters.stopping import LEAVE, LOG_ODDS, WAIT, Plan, Problem, Rate, solve

SPACING = 0.25  # m between the steps of a plan
FARTHEST = 40.0  # m: farther away than this it does as here
KEEP = 0.5  # m that are not driven up in waiting
# Of the fused belief of Kalman and particle filter, 60 open-loop encounters of creeping_fog, steps that began short of
# 7 nats and 6 m: fit_rate. The spread of those steps is that of four times the nats: evidence comes in jumps.
RATE = Rate(127.0, 8.4)
CUTS = expit(0.5 * (LOG_ODDS[1:] + LOG_ODDS[:-1]))  # q between the log-odds of a plan


class Waited(NamedTuple):
    """Whether it has slowed to see more, and whether it has done with waiting."""

    slowed: bool = False
    acted: bool = False


@dataclass(frozen=True, eq=False)
class OptimalStopping:
    """Two plans, by what is left to the last point at which braking still stops."""

    cruising: Plan
    slowed: Plan

    def init(self) -> Waited:
        return Waited()

    def decide(
        self, state: Waited, beliefs: list[Belief], losses: Array, situation: Situation
    ) -> tuple[Waited, Decision]:
        room = situation.distance - KEEP - situation.car.stopping(situation.speed)
        expected, left = outlook(beliefs, losses, situation).expected, unpaid(losses) if state.slowed else losses
        acted = state._replace(acted=situation.open)
        if state.acted or room < 0.0:
            reason: Reason = "least expected loss" if state.acted else "last moment"
            return acted, least_loss(beliefs, left, situation, reason)._replace(expected=expected)
        seen, plan = outlook(beliefs, left, situation), self.slowed if state.slowed else self.cruising
        row = plan.action[min(int(room / SPACING), len(plan.action) - 1)]
        qs = np.array([seen.q, *further(seen.losses, seen.q)])
        chosen, action = actions(row, qs, seen.losses, state.slowed, situation.open)
        stronger = np.flatnonzero(action > action[0])
        threshold = float(qs[stronger[0]]) if len(stronger) else NO_THRESHOLD
        if chosen[0] in (WAIT, LEAVE):
            state = state._replace(slowed=state.slowed or bool(chosen[0] == LEAVE))
            return state, Decision(int(action[0]), expected, threshold, "worth waiting")
        return acted, Decision(int(action[0]), expected, threshold, "least expected loss")


def unpaid(losses: Array) -> Array:
    """Losses (actions, 2) less what slowing has cost if the path is clear."""
    return np.stack([np.maximum(0.0, losses[:, 0] - losses[SLOW, 0]), losses[:, 1]], axis=1)


def further(losses: Array, q: float) -> Array:
    """Where a decision can change beyond q: just above the cuts of a plan and the thresholds of Bayes' rule."""
    cuts = np.sort(np.concatenate([CUTS, lower_envelope(losses).thresholds]))
    return cuts[cuts > q] * (1.0 + 1e-12)


def actions(
    row: NDArray[np.int_], q: Array, losses: Array, slowed: bool, is_open: bool
) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """What a row of a plan says at each q (...), and what is done then: to act before the choice opens is to go on."""
    chosen = row[np.searchsorted(CUTS, q)]
    bayes = ((1.0 - q)[:, None] * losses[:, 0] + q[:, None] * losses[:, 1]).argmin(axis=1)
    acts = bayes if is_open else np.full(len(q), PROCEED)
    waits = np.full(len(q), SLOW if slowed else PROCEED)
    return chosen, np.select([chosen == WAIT, chosen == LEAVE], [waits, np.full(len(q), SLOW)], acts)


def stopping_policy(
    losses: Losses, point: Situation, visibility: float, margin: float, rate: Rate = RATE
) -> OptimalStopping:
    """The policy of an encounter.

    Parameters
    ----------
    losses : Losses
        The encounter's.
    point : Situation
        At its decision point; what is open and what the car can do are read from it.
    visibility : float
        As reported, m.
    margin : float
        How far before the point at which braking still stops all actions open, m.
    rate : Rate
        Of the belief that drives, at the cruise.
    """
    car = point.car
    slow = car.slow_factor * car.cruise
    slowed = solve(problem(losses, point, rate, visibility, margin, slow))
    left = distances(car, car.cruise)
    row = np.minimum(((left - distances(car, slow)[0]) / SPACING).astype(int), len(slowed.value) - 1)
    paid = np.array([losses.table(point._replace(distance=d))[SLOW, 0] for d in left])
    elsewhere = slowed.value[row] + paid[:, None] * expit(-LOG_ODDS)
    too_near = left < left[0] + car.cruise * car.reaction  # it would be past its last point before it has slowed
    elsewhere[too_near] = np.inf
    return OptimalStopping(solve(problem(losses, point, rate, visibility, margin, car.cruise), elsewhere), slowed)


def distances(car: Car, speed: float) -> Array:
    """Metres left at the steps of a plan."""
    return np.arange(car.stopping(speed) + KEEP, FARTHEST, SPACING)


def problem(losses: Losses, point: Situation, rate: Rate, visibility: float, margin: float, speed: float) -> Problem:
    """Waiting at one speed; at the slow one what slowing costs is paid.

    Scans come by the second, so that a slower car gets more nats a metre.
    """
    car, left = point.car, distances(point.car, speed)
    given = [losses.table(point._replace(distance=d, speed=speed)) for d in left]
    tables = np.array([outlook([], unpaid(t) if speed < car.cruise else t, point).losses for t in given])
    opens = left <= car.stopping(speed) + margin
    opens[0] = True
    tables[~opens, SLOW : BRAKE + 1] = np.inf
    nats = rate(left, visibility) * SPACING * car.cruise / speed
    return Problem(tables, np.zeros((len(left), 2)), nats)
