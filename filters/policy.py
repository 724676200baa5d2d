"""What a policy is: beliefs, a loss table and the situation in, a decision and its reason out, its memory passed on.

Policies are frozen dataclasses whose fields are all their configuration. Before the decision point
(`Situation.open` False) only proceed and slow may be taken, by any of them.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol, TypeVar, get_args

from filters.decision import Situation
from filters.spec import Array, Belief

Reason = Literal[
    "least expected loss",
    "likeliest label",
    "sure of a barrier",  # beyond the upper bound
    "sure of a clear path",  # beyond the lower one
    "undecided",  # between them, and there is time
    "last moment",  # between them, and there is none: least expected loss
    "above the threshold",
    "below the threshold",
    "not open yet",  # only proceed and slow are
    "held",  # what was decided before still stands
    "worth waiting",
    "open loop",
]
REASONS: tuple[str, ...] = get_args(Reason)
NO_THRESHOLD = float("nan")

S = TypeVar("S")


class Decision(NamedTuple):
    """An action, what all of them are expected to cost (actions,), and why it was this one.

    `threshold` is the q = P(a barrier stands in the path) at which the policy would have taken the next stronger
    action that it knows of; NaN where none is stronger, or no q would make it.
    """

    action: int
    expected: Array
    threshold: float
    reason: Reason


class Policy(Protocol[S]):
    """Decides, tick after tick, for one belief of every candidate."""

    def init(self) -> S: ...

    def decide(self, state: S, beliefs: list[Belief], losses: Array, situation: Situation) -> tuple[S, Decision]: ...
