"""A bank of reference posteriors: regimes that were met before, clear air or fog, and are recalled when they return.

Every regime that has led for `SETTLED` batches on end is kept, and again as often: one that returns is learnt from
where it was left, as its posterior is among the newcomers of `rates`, by what it predicts of the new batches. The first
reference, to which posteriors fade, stays as it is: a start for regimes never met. A full bank gives up the regime that
was kept longest ago. When one is kept, and which is given up, is derived here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from filters.adaptation.rates import Mixed, Rates
from filters.posterior.spec import Data, State

SETTLED = 20


@dataclass(frozen=True)
class Bank(Rates[State]):
    """`Rates` whose references become up to `size` beside the first; those given are there from the start."""

    size: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < max(1, len(self.references) - 1):
            found = f"a bank of {self.size} for {len(self.references) - 1} references beside the first"
            raise ValueError(f"found {found}, expected room for them, and for 1 at least")

    def update(self, state: Mixed[State], data: Data, rng: torch.Generator) -> Mixed[State]:
        after = super().update(state, data, rng)
        return after if after.led % SETTLED else self.keep(after)

    def keep(self, state: Mixed[State]) -> Mixed[State]:
        """The leader's posterior as a reference: in its own place, a new one, or that of the longest not kept."""
        number, posterior, origin = self.place(state), state.leader.posterior, state.leader.origin
        references = (*state.references[:number], posterior, *state.references[number + 1 :])
        kept = (*state.kept[:number], state.age, *state.kept[number + 1 :])
        renamed = {number: -state.age, origin: number}  # what came from the one given up no longer does
        hypotheses = tuple(h._replace(origin=renamed.get(h.origin, h.origin)) for h in state.hypotheses)
        return state._replace(references=references, kept=kept, hypotheses=hypotheses)

    def place(self, state: Mixed[State]) -> int:
        """The number under which the leader is kept."""
        if state.leader.origin > 0:
            return state.leader.origin
        if len(state.references) <= self.size:
            return len(state.references)
        return min(range(1, len(state.references)), key=lambda number: state.kept[number])
