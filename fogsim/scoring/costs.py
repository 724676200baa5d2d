"""What beliefs' actions would have cost, how often they would have missed or braked for nothing, how drivers fared.

Rates are per encounter, with exact intervals (Clopper & Pearson) as of independent encounters: a miss is of those with
an obstacle in the path, a needless brake of those without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from filters.spec import Array
from fogsim.frame import POLICIES
from fogsim.scoring import metrics
from fogsim.scoring.encounters import Encounter
from fogsim.scoring.metrics import Interval, exact_interval
from fogsim.scoring.paired import Paired, paired


class PolicyScore(NamedTuple):
    """What a belief under a policy would have done at the decision point of `n` encounters, `obstacles` of them with an
    obstacle in the path; `expected` is what the belief itself held that the same actions cost. It collides where it
    proceeds or slows though there is an obstacle: that is a miss.
    """

    belief: str
    policy: str
    n: int
    obstacles: int
    cost: Interval
    expected: Interval
    collisions: int
    needless_brakes: int
    miss: Interval
    needless: Interval


class DriverScore(NamedTuple):
    """What came of it when a belief drove under a policy; counts are of the `n` encounters of known outcome.

    `obstacles` of them had one in the path; `collided` and `needless` are the shares of those with and without.
    Distances left, m, are means at the decision point, where it was reached, and at the end.
    """

    driver: str
    n: int
    obstacles: int
    cost: Interval
    collisions: int
    impact_speed: float
    needless_brakes: int
    decision_left: float
    distance_left: float
    collided: Interval
    needless: Interval


class CostDifference(NamedTuple):
    """Cost, collisions and needless brakes an encounter of one less another: drivers', or beliefs' by shadow.

    Beliefs' are those of Bayes' actions at the decision point, where proceeding or slowing into an obstacle collides.
    """

    who: str
    other: str
    cost: Paired
    collisions: Paired
    needless_brakes: Paired


def policy_scores(encounters: Sequence[Encounter], name: str) -> list[PolicyScore]:
    """One belief under each policy, by shadow."""
    held = [(e, e.beliefs.index(name)) for e in encounters if name in e.beliefs]
    decided = [(e, b) for e, b in held if np.isfinite(e.shadow_cost[b]).all()]
    seeds, in_path = [e.seed for e, _ in decided], np.array([e.in_path for e, _ in decided], bool)
    cost, expected, hit, needless = (
        np.array([getattr(e, field)[b] for e, b in decided]).reshape(-1, len(POLICIES))
        for field in ("shadow_cost", "expected_cost", "shadow_collision", "needless_brake")
    )
    means = metrics.over_seeds(np.hstack([cost, expected]), seeds)
    return [
        PolicyScore(
            name,
            policy,
            len(decided),
            int(in_path.sum()),
            means[k],
            means[k + len(POLICIES)],
            *_counts(hit[:, k], needless[:, k]),
            *_rates(hit[:, k], needless[:, k], in_path),
        )
        for k, policy in enumerate(POLICIES)
    ]


def _counts(hit: Array, needless: Array) -> tuple[int, int]:
    return int(hit.sum()), int(needless.sum())


def _rates(hit: Array, needless: Array, in_path: np.ndarray) -> tuple[Interval, Interval]:
    """Shares of hits among those with an obstacle in the path, and of needless brakes among those without."""
    hits, brakes = _counts(hit, needless)
    obstacles = int(in_path.sum())
    return exact_interval(hits, obstacles), exact_interval(brakes, len(in_path) - obstacles)


def driver_score(encounters: Sequence[Encounter], name: str) -> DriverScore:
    """One driver, over what it drove to an outcome that is known."""
    mine = [e for e in encounters if e.driver == name and e.known_outcome]
    cost = metrics.by_group([e.realised_cost for e in mine], [e.seed for e in mine])
    hit, needless, in_path = (
        np.array([getattr(e, field) for e in mine], bool) for field in ("collided", "braked_needlessly", "in_path")
    )
    collisions, brakes = _counts(hit, needless)
    return DriverScore(
        driver=name,
        n=len(mine),
        obstacles=int(in_path.sum()),
        cost=metrics.paired_bootstrap(cost),
        collisions=collisions,
        impact_speed=_mean([e.impact_speed for e in mine if e.collided]),
        needless_brakes=brakes,
        decision_left=_mean([e.decision_left for e in mine if np.isfinite(e.decision_left)]),
        distance_left=_mean([e.distance_left for e in mine]),
        collided=exact_interval(int((hit & in_path).sum()), int(in_path.sum())),
        needless=_rates(hit, needless, in_path)[1],
    )


def driver_difference(encounters: Sequence[Encounter], a: str, b: str) -> CostDifference:
    """One driver against another in the encounters, equal in setting and seed, that both drove."""
    one, other = ({(e.setting, e.seed) for e in encounters if e.driver == d and e.known_outcome} for d in (a, b))
    both = [e for e in encounters if (e.setting, e.seed) in one & other]
    return drivers_apart(a, both, b, both)


def drivers_apart(a: str, one: Sequence[Encounter], b: str, other: Sequence[Encounter]) -> CostDifference:
    """A driver of some encounters less a driver of others, on common seeds."""
    return CostDifference(a, b, *paired(*_driven(one, a), *_driven(other, b)))


def beliefs_apart(a: str, one: Sequence[Encounter], b: str, other: Sequence[Encounter]) -> CostDifference:
    """What a belief of some encounters would have done, less what a belief of others would have, on common seeds."""
    return CostDifference(a, b, *paired(*_shadow(one, a), *_shadow(other, b)))


def _shadow(encounters: Sequence[Encounter], belief: str) -> tuple[Array, list[int]]:
    """Cost, collision and needless brake (n, 3) by shadow, and the seeds."""
    held = [(e, e.beliefs.index(belief)) for e in encounters if belief in e.beliefs]
    fields, bayes = ("shadow_cost", "shadow_collision", "needless_brake"), POLICIES.index("bayes")
    values = [[getattr(e, field)[b, bayes] for field in fields] for e, b in held]
    return np.array(values, float).reshape(-1, 3), [e.seed for e, _ in held]


def _driven(encounters: Sequence[Encounter], driver: str) -> tuple[Array, list[int]]:
    """Realised cost, collision and needless brake (n, 3), and the seeds."""
    mine = [e for e in encounters if e.driver == driver and e.known_outcome]
    values = [[e.realised_cost, e.collided, e.braked_needlessly] for e in mine]
    return np.array(values, float).reshape(-1, 3), [e.seed for e in mine]


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
