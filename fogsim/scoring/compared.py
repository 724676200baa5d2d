"""Two campaigns, or two beliefs, on the seeds that both drove.

Encounters that share a seed are averaged on each side; differences are of the first less the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from fogsim.errors import UserError, did_you_mean
from fogsim.scoring.costs import CostDifference, beliefs_apart, drivers_apart
from fogsim.scoring.paired import BeliefDifference, Paired, belief_differences, paired
from fogsim.scoring.scores import Score
from fogsim.scoring.stack import stack


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two scores; `pairs` names the belief of the first and that of the second, `drivers` whether those count too."""

    one: Score
    other: Score
    pairs: tuple[tuple[str, str], ...]
    drivers_too: bool

    @property
    def seeds(self) -> tuple[int, int, int]:
        """How many the first has, the second, and both."""
        one, other = ({e.seed for e in s.encounters} for s in (self.one, self.other))
        return len(one), len(other), len(one & other)

    @property
    def settings_differ(self) -> bool:
        """Whether an encounter of one had another world, sensors or losses than those of the other."""
        return {e.setting for e in self.one.encounters} != {e.setting for e in self.other.encounters}

    @cached_property
    def beliefs(self) -> tuple[BeliefDifference, ...]:
        """Each pair at each moment."""
        stacked = ((a, stack(self.one.encounters, a), b, stack(self.other.encounters, b)) for a, b in self.pairs)
        return tuple(row for given in stacked for row in belief_differences(*given))

    @cached_property
    def actions(self) -> tuple[CostDifference, ...]:
        """What each pair would have done at the decision point."""
        return tuple(beliefs_apart(a, self.one.encounters, b, self.other.encounters) for a, b in self.pairs)

    @cached_property
    def drivers(self) -> tuple[CostDifference, ...]:
        """Each driver of both against itself, or if there is none each of one against each of the other."""
        if not self.drivers_too:
            return ()
        ones, others = self.one.driver_names, self.other.driver_names
        pairs = [(name, name) for name in ones if name in others] or list(product(ones, others))
        return tuple(drivers_apart(a, self.one.encounters, b, self.other.encounters) for a, b in pairs)

    @cached_property
    def decision_left(self) -> Paired:
        """How far before the object the decision point lay, m."""
        one, other = (score.decision_left[:, None] for score in (self.one, self.other))
        return paired(one, self.one.seeds, other, self.other.seeds)[0]


def compare(one: Score, other: Score, filters: Sequence[str] = ()) -> Comparison:
    """Pair two scores: the first of two `filters` of one with the second of the other, or what both have with itself.

    Raises
    ------
    UserError
        If they have no seed in common, or a belief named is not there.
    """
    if filters and len(filters) != 2:
        raise UserError(f"--filters names {', '.join(filters)}, expected two, of the first and of the second campaign")
    for score, name in zip((one, other), filters, strict=False):
        if name not in score.belief_names:
            raise UserError(f"no belief {name!r} in the logs: {did_you_mean(name, list(score.belief_names))}")
    pairs = (tuple(filters),) if filters else [(n, n) for n in one.belief_names if n in other.belief_names]
    found = Comparison(one, other, tuple((a, b) for a, b in pairs), not filters)
    if not found.seeds[2]:
        n, m = len(one.encounters), len(other.encounters)
        raise UserError(f"no seed in common, of {n} encounters and of {m}: drive both with the same --seed")
    return found
