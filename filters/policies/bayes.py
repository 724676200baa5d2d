"""Bayes' rule: the action of least expected loss, now; it does not know that it will see more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from filters.decision import SLOW, Situation, next_threshold, outlook
from filters.policy import Decision, Reason
from filters.spec import Array, Belief


@dataclass(frozen=True)
class Bayes:
    """a = argmin (1 - q) L[a, clear] + q L[a, barrier] over the open actions: the lower envelope of their lines."""

    def init(self) -> None: ...

    def decide(self, state: None, beliefs: list[Belief], losses: Array, situation: Situation) -> tuple[None, Decision]:
        return None, least_loss(beliefs, losses, situation, "least expected loss")


def least_loss(beliefs: list[Belief], losses: Array, situation: Situation, reason: Reason) -> Decision:
    """Bayes' rule, for whatever reason it is asked."""
    seen = outlook(beliefs, losses, situation)
    is_open = slice(None if situation.open else SLOW + 1)
    action = int(np.argmin(seen.expected[is_open]))
    return Decision(action, seen.expected, next_threshold(seen.losses[is_open], seen.q), reason)
