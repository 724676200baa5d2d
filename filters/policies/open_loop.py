"""No policy: for training, for calibration, and for comparing filters on the same returns."""

from __future__ import annotations

from dataclasses import dataclass

from filters.decision import PROCEED, Situation, outlook
from filters.policy import NO_THRESHOLD, Decision
from filters.spec import Array, Belief


@dataclass(frozen=True)
class OpenLoop:
    """Only ever proceed."""

    def init(self) -> None: ...

    def decide(self, state: None, beliefs: list[Belief], losses: Array, situation: Situation) -> tuple[None, Decision]:
        return None, Decision(PROCEED, outlook(beliefs, losses, situation).expected, NO_THRESHOLD, "open loop")
