"""From beliefs to expected losses, over class AND lateral position, and to the thresholds between actions.

Actions are rows of a loss table (actions, 2): loss when the path is clear (or it is a bag), and when a
barrier stands in the path. With q = P(barrier and in the path) the expected loss of an action is
(1 - q) L[a, clear] + q L[a, barrier]; Bayes' rule takes the lower envelope of these lines. What losses there are
is told in `filters.losses`, who decides by them how in `filters.policies`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from filters.belief import interval_probability
from filters.spec import BARRIER, Array, Belief

PROCEED, SLOW, CHANGE_LANE, BRAKE = range(4)  # from the weakest to the strongest
LENGTHS = 5  # equally likely lengths that stand for the prior of a barrier's
NEXT_LANE_NEEDED = 30.0  # m of free next lane that a change of lane takes


class Car(NamedTuple):
    """What ego can do: `cruise` m/s where the way is clear and the share of it at which `slow` drives, the driver's
    `reaction` s, `deceleration` m/s² of full braking and `comfort` m/s² of gentle speeding up and slowing down.
    """

    cruise: float
    slow_factor: float
    reaction: float
    deceleration: float
    comfort: float

    def stopping(self, speed: float) -> float:
        """Distance v t_react + v² / 2a, m, that full braking takes."""
        return speed * self.reaction + speed**2 / (2.0 * self.deceleration)


class Situation(NamedTuple):
    """Where ego is and what is open to it.

    `lateral` m is ego's path in the lane frame, `next_lane` the centre of the next one, `half_width`
    half of ego's, `gap` the free length of the next lane; before the decision point (`open` False)
    only proceed and slow may be taken. `half_lengths` m are halves of equally likely lengths of a barrier.
    `distance` m is left to the near side of the nearest candidate ahead, as perception has it, `speed` m/s ego's;
    `delays` s is how long each action would take to be in effect, 0 of the one that is.
    """

    lateral: float
    next_lane: float
    half_width: float
    gap: float
    open: bool
    half_lengths: tuple[float, ...]
    distance: float
    speed: float
    delays: tuple[float, ...]
    car: Car


@dataclass(frozen=True)
class Envelope:
    """Lower envelope of the lines: `actions` in order of rising q, `thresholds` between them, the dominated ones."""

    actions: tuple[int, ...]
    thresholds: tuple[float, ...]
    dominated: tuple[int, ...]


def lower_envelope(losses: Array) -> Envelope:
    """Which action is best for q from 0 to 1, and where the best one switches.

    Parameters
    ----------
    losses : array (actions, 2)
        Loss when clear, loss when a barrier is in the path.
    """
    losses = np.asarray(losses, float)
    q, action = 0.0, int(np.lexsort((losses[:, 1], losses[:, 0]))[0])
    actions, thresholds = [action], []
    while True:
        rise = losses[:, 1] - losses[:, 0]
        flatter = [b for b in range(len(losses)) if rise[b] < rise[action]]
        crossings = [((losses[b, 0] - losses[action, 0]) / (rise[action] - rise[b]), rise[b], b) for b in flatter]
        crossings = [c for c in crossings if q <= c[0] < 1.0]
        if not crossings:
            break
        q, _, action = min(crossings)
        actions.append(action)
        thresholds.append(q)
    dominated = tuple(a for a in range(len(losses)) if a not in actions)
    return Envelope(tuple(actions), tuple(thresholds), dominated)


def half_lengths(shortest: float, longest: float) -> tuple[float, ...]:
    """Halves of `LENGTHS` equally likely lengths of a uniform prior, m."""
    return tuple(0.5 * (shortest + (longest - shortest) * (k + 0.5) / LENGTHS) for k in range(LENGTHS))


def in_path(belief: Belief, situation: Situation, centre: float) -> float:
    """P(barrier overlaps the path swept about `centre` | it is a barrier), over its place and its length."""
    mean, covariance = belief.position_of(BARRIER)
    return overlap(float(mean[1]), float(covariance[1, 1]), centre, situation.half_width, situation.half_lengths)


@lru_cache(maxsize=256)
def overlap(mean: float, variance: float, centre: float, half_width: float, half_lengths: tuple[float, ...]) -> float:
    """P(|y - centre| < half_width + half length) of y ~ N(mean, variance); every policy asks it of every belief."""
    reaches = [half_width + half for half in half_lengths]
    return sum(interval_probability(mean, variance, centre - r, centre + r) for r in reaches) / len(reaches)


class Outlook(NamedTuple):
    """What decisions rest on: q = P(a barrier stands in the path), the losses of all actions as things stand
    (actions, 2), a change of lane charged with what may stand there, and what they are expected to be (actions,).
    """

    q: float
    losses: Array
    expected: Array


def outlook(beliefs: list[Belief], losses: Array, situation: Situation) -> Outlook:
    """Expected losses over class and lateral position of every candidate.

    A change of lane meets what stands in the next lane, and needs a gap there: both are charged
    as a collision, the loss of proceeding into a barrier.
    """
    clear_own, clear_next = 1.0, 1.0
    for belief in beliefs:
        clear_own *= 1.0 - belief.barrier * in_path(belief, situation, situation.lateral)
        clear_next *= 1.0 - belief.barrier * in_path(belief, situation, situation.next_lane)
    q = 1.0 - clear_own
    blocked = 1.0 if situation.gap < NEXT_LANE_NEEDED else 1.0 - clear_next
    charge = np.zeros(len(losses))
    charge[CHANGE_LANE] = blocked * losses[PROCEED, 1]
    expected = (1.0 - q) * losses[:, 0] + q * losses[:, 1] + charge
    return Outlook(q, losses + charge[:, None], expected)


def next_threshold(losses: Array, q: float) -> float:
    """The q above this one at which the action of least expected loss switches next; NaN where it does not."""
    return next((t for t in lower_envelope(losses).thresholds if t > q), float("nan"))
