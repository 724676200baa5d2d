"""Conformal risk control as a driver: brake where P(a barrier stands in the path) >= λ.

Where λ was set on open-loop runs to the decision point (`filters.conformal`), the share of barriers missed there
keeps its guarantee only if this encounter is exchangeable with those. So it proceeds until that point, as they did,
and what it decides there to brake for it brakes for: to release the brakes on a second look could only miss more.
A later look may still brake, which misses less.
"""

from __future__ import annotations

from dataclasses import dataclass

from filters.decision import BRAKE, PROCEED, Situation, outlook
from filters.policy import NO_THRESHOLD, Decision, Reason
from filters.spec import Array, Belief


@dataclass(frozen=True)
class Conformal:
    """λ of a `filters.conformal.Threshold`; its state is whether it brakes.

    Parameters
    ----------
    threshold : float
        λ as a probability; 0 always brakes, as -∞ does.
    """

    threshold: float = 0.05

    def init(self) -> bool:
        return False

    def decide(self, state: bool, beliefs: list[Belief], losses: Array, situation: Situation) -> tuple[bool, Decision]:
        seen = outlook(beliefs, losses, situation)
        if not situation.open:
            return False, Decision(PROCEED, seen.expected, NO_THRESHOLD, "not open yet")
        above = seen.q >= self.threshold
        if not (above or state):
            return False, Decision(PROCEED, seen.expected, self.threshold, "below the threshold")
        reason: Reason = "above the threshold" if above else "held"
        return True, Decision(BRAKE, seen.expected, NO_THRESHOLD, reason)
