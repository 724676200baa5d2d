"""Wald's test as a driver: brake once sure of a barrier, proceed once sure of a clear path, slow between.

    Λ = ln q / (1 - q) - ln π / (1 - π)        brake where Λ >= A, proceed where Λ <= B (`filters.sprt`)

q = P(a barrier stands in the path) now, π = P(a barrier is among the candidates) before the first scan: a barrier
that is known to stand aside makes Λ small, and nobody brakes. The bounds stand at every tick, for what is seen later
may be seen: by Ville's inequality P(Λ ever >= A | clear) <= exp(-A) = a / (1 - b) and P(Λ ever <= B | barrier) <=
exp(B) = b / (1 - a), Wald's own bounds on what is realised. At the decision point waiting is over: between the bounds
it acts by Bayes' rule, so that both errors may be exceeded there, and the reason "last moment" says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from filters.decision import BRAKE, PROCEED, SLOW, Situation, outlook
from filters.policies.bayes import least_loss
from filters.policy import NO_THRESHOLD, Decision
from filters.spec import Array, Belief
from filters.sprt import Bounds, bounds


@dataclass(frozen=True)
class Sprt:
    """The test of two errors.

    Parameters
    ----------
    prior : float
        π.
    false_alarm, miss : float
        a = P(brake | clear), b = P(proceed | barrier in the path).
    """

    prior: float = 0.5
    false_alarm: float = 0.01
    miss: float = 0.001

    @property
    def bounds(self) -> Bounds:
        """As log-likelihood ratios and as q."""
        return bounds(self.false_alarm, self.miss, self.prior)

    def init(self) -> None: ...

    def decide(self, state: None, beliefs: list[Belief], losses: Array, situation: Situation) -> tuple[None, Decision]:
        seen, limits = outlook(beliefs, losses, situation), self.bounds
        if seen.q >= limits.q_high:
            action = BRAKE if situation.open else SLOW
            return None, Decision(action, seen.expected, NO_THRESHOLD, "sure of a barrier")
        if not situation.open and seen.q <= limits.q_low:
            return None, Decision(PROCEED, seen.expected, limits.q_low, "sure of a clear path")
        if not situation.open:
            return None, Decision(SLOW, seen.expected, NO_THRESHOLD, "undecided")
        last = least_loss(beliefs, losses, situation, "last moment")
        if seen.q <= limits.q_low:
            last = Decision(PROCEED, last.expected, max(limits.q_low, last.threshold), "sure of a clear path")
        if last.action != BRAKE:  # which comes at the upper bound if not before
            last = last._replace(threshold=min(limits.q_high, last.threshold))
        return None, last
