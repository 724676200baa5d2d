"""Two campaigns, or two beliefs, on the seeds that both drove.

Encounters that share a seed are averaged on each side; differences are of the first less the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import NamedTuple

import numpy as np

from filters.spec import Array
from fogsim.errors import UserError, did_you_mean
from fogsim.frame import POLICIES
from fogsim.scoring.paired import BeliefDifference, Paired, belief_differences, paired
from fogsim.scoring.scores import Score
from fogsim.scoring.stack import stack


class CostDifference(NamedTuple):
    """Cost, collisions and needless brakes an encounter of one less another: drivers', or beliefs' by shadow.

    Beliefs' are those of Bayes' actions at the decision point, where proceeding or slowing into an obstacle collides.
    """

    who: str
    other: str
    cost: Paired
    collisions: Paired
    needless_brakes: Paired


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
        return tuple(_difference(a, _shadow(self.one, a), b, _shadow(self.other, b)) for a, b in self.pairs)

    @cached_property
    def drivers(self) -> tuple[CostDifference, ...]:
        """Each driver of both against itself, or if there is none each of one against each of the other."""
        if not self.drivers_too:
            return ()
        ones, others = self.one.driver_names, self.other.driver_names
        pairs = [(name, name) for name in ones if name in others] or list(product(ones, others))
        return tuple(_difference(a, _driven(self.one, a), b, _driven(self.other, b)) for a, b in pairs)


def _difference(who: str, one: tuple[Array, list[int]], other: str, two: tuple[Array, list[int]]) -> CostDifference:
    return CostDifference(who, other, *paired(*one, *two))


def _shadow(score: Score, belief: str) -> tuple[Array, list[int]]:
    """Cost, collision and needless brake (n, 3) by shadow, and the seeds."""
    held = [(e, e.beliefs.index(belief)) for e in score.encounters if belief in e.beliefs]
    fields, bayes = ("shadow_cost", "shadow_collision", "needless_brake"), POLICIES.index("bayes")
    values = [[getattr(e, field)[b, bayes] for field in fields] for e, b in held]
    return np.array(values, float).reshape(-1, 3), [e.seed for e, _ in held]


def _driven(score: Score, driver: str) -> tuple[Array, list[int]]:
    """Realised cost, collision and needless brake (n, 3), and the seeds."""
    mine = [e for e in score.encounters if e.driver == driver and e.known_outcome]
    values = [[e.realised_cost, e.collided, e.braked_needlessly] for e in mine]
    return np.array(values, float).reshape(-1, 3), [e.seed for e in mine]


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
        raise UserError(f"no seed in common: the first has {_seeds(one)}, the second {_seeds(other)}; drive the same")
    return found


def _seeds(score: Score) -> str:
    seeds = [e.seed for e in score.encounters]
    return f"{min(seeds)} to {max(seeds)}" if len(seeds) > 1 else str(seeds[0])
