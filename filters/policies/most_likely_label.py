"""The likeliest label, taken for the truth: what accidents are made of, for it throws away how sure it is."""

from __future__ import annotations

from dataclasses import dataclass

from filters.decision import BRAKE, PROCEED, Situation, in_path, outlook
from filters.policy import NO_THRESHOLD, Decision
from filters.spec import Array, Belief


@dataclass(frozen=True)
class MostLikelyLabel:
    """Brake if the likeliest label of the likeliest place is a barrier in the path, else proceed. The baseline."""

    def init(self) -> None: ...

    def decide(self, state: None, beliefs: list[Belief], losses: Array, situation: Situation) -> tuple[None, Decision]:
        sees = any(b.barrier > 0.5 and in_path(b, situation, situation.lateral) > 0.5 for b in beliefs)
        expected = outlook(beliefs, losses, situation).expected
        if not situation.open:
            return None, Decision(PROCEED, expected, NO_THRESHOLD, "not open yet" if sees else "likeliest label")
        return None, Decision(BRAKE if sees else PROCEED, expected, NO_THRESHOLD if sees else 0.5, "likeliest label")
