"""Decisions: a loss table turns a belief into an action, over class AND lateral position.

Actions are rows of a loss table (actions, 2): loss when the path is clear (or it is a bag), and when a
barrier stands in the path. With q = P(barrier and in the path) the expected loss of an action is
(1 - q) L[a, clear] + q L[a, barrier]; Bayes' rule takes the lower envelope of these lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from filters.belief import interval_probability
from filters.spec import BARRIER, Array, Belief

PROCEED, SLOW, CHANGE_LANE, BRAKE = range(4)
LENGTHS = 5  # equally likely lengths that stand for the prior of a barrier's
NEXT_LANE_NEEDED = 30.0  # m of free next lane that a change of lane takes


@dataclass(frozen=True)
class Loss:
    """Loss of each action when (the path is clear or it is a bag, a barrier is in the path)."""

    proceed: tuple[float, float] = (0.0, 100.0)
    slow: tuple[float, float] = (1.0, 40.0)
    change_lane: tuple[float, float] = (3.0, 5.0)
    brake: tuple[float, float] = (6.0, 1.0)

    @property
    def table(self) -> Array:
        """Rows proceed, slow, change_lane, brake; columns clear, barrier."""
        return np.array([self.proceed, self.slow, self.change_lane, self.brake])


class Situation(NamedTuple):
    """Where ego is and what is open to it.

    `lateral` m is ego's path in the lane frame, `next_lane` the centre of the next one, `half_width`
    half of ego's, `gap` the free length of the next lane; before the decision point (`open` False)
    only proceed and slow may be taken. `half_lengths` m are halves of equally likely lengths of a barrier.
    """

    lateral: float
    next_lane: float
    half_width: float
    gap: float
    open: bool
    half_lengths: tuple[float, ...]


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


def expected_losses(beliefs: list[Belief], losses: Array, situation: Situation) -> Array:
    """Expected loss (actions,) over class and lateral position of every candidate.

    A change of lane meets what stands in the next lane, and needs a gap there: both are charged
    as a collision, the loss of proceeding into a barrier.
    """
    clear_own, clear_next = 1.0, 1.0
    for belief in beliefs:
        clear_own *= 1.0 - belief.barrier * in_path(belief, situation, situation.lateral)
        clear_next *= 1.0 - belief.barrier * in_path(belief, situation, situation.next_lane)
    q = 1.0 - clear_own
    expected = (1.0 - q) * losses[:, 0] + q * losses[:, 1]
    blocked = 1.0 if situation.gap < NEXT_LANE_NEEDED else 1.0 - clear_next
    expected[CHANGE_LANE] += blocked * losses[PROCEED, 1]
    return expected


def bayes(beliefs: list[Belief], losses: Array, situation: Situation) -> int:
    """The open action of least expected loss."""
    expected = expected_losses(beliefs, losses, situation)
    return int(np.argmin(expected if situation.open else expected[: SLOW + 1]))


def most_likely_label(beliefs: list[Belief], losses: Array, situation: Situation) -> int:
    """Brake if the likeliest label of the likeliest place is a barrier in the path, else proceed.

    What accidents are made of: it throws away how sure it is.
    """
    sees = any(b.barrier > 0.5 and in_path(b, situation, situation.lateral) > 0.5 for b in beliefs)
    return BRAKE if sees and situation.open else PROCEED


def open_loop(beliefs: list[Belief], losses: Array, situation: Situation) -> int:
    """Only ever proceed: for training and for comparing filters on the same returns."""
    return PROCEED


POLICIES = {"bayes": bayes, "most_likely_label": most_likely_label, "open_loop": open_loop}
