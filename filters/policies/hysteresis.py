"""Against flicker: an action is left for a weaker one only if that is clearly better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from filters.decision import PROCEED, Situation
from filters.policy import Decision, Policy
from filters.spec import Array, Belief


@dataclass(frozen=True)
class Hysteresis:
    """Any policy; its weaker action waits until the expected loss of the one in effect exceeds its own by a margin.

    A stronger one never waits: what a barrier costs is not to be had twice.

    Parameters
    ----------
    policy : Policy
    margin : float
        In units of the losses, >= 0; 0 changes nothing of Bayes' rule.
    """

    policy: Policy[Any]
    margin: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.margin < float("inf"):
            raise ValueError(f"found a margin of {self.margin}, expected >= 0 and finite, in units of the losses")

    def init(self) -> tuple[Any, int]:
        return self.policy.init(), PROCEED

    def decide(
        self, state: tuple[Any, int], beliefs: list[Belief], losses: Array, situation: Situation
    ) -> tuple[tuple[Any, int], Decision]:
        inner, before = state
        inner, decision = self.policy.decide(inner, beliefs, losses, situation)
        weaker = decision.action < before
        if weaker and decision.expected[before] - decision.expected[decision.action] < self.margin:
            decision = decision._replace(action=before, reason="held")
        return (inner, decision.action), decision
