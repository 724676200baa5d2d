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
    """

    driver: str
    n: int
    obstacles: int
    cost: Interval
    collisions: int
    impact_speed: float
    needless_brakes: int
    distance_left: float
    collided: Interval
    needless: Interval


class DriverDifference(NamedTuple):
    """Realised cost of one driver less another's on the `n` encounters that both drove."""

    driver: str
    other: str
    n: int
    cost: Interval


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
        distance_left=_mean([e.distance_left for e in mine]),
        collided=exact_interval(int((hit & in_path).sum()), int(in_path.sum())),
        needless=_rates(hit, needless, in_path)[1],
    )


def driver_difference(encounters: Sequence[Encounter], a: str, b: str) -> DriverDifference:
    """One driver against another in the encounters, equal in setting and seed, that both drove."""
    cost_a, cost_b = (
        {(e.setting, e.seed): e.realised_cost for e in encounters if e.driver == d and e.known_outcome} for d in (a, b)
    )
    both = sorted(cost_a.keys() & cost_b.keys())
    gaps = metrics.by_group([cost_a[key] - cost_b[key] for key in both], [seed for _, seed in both])
    return DriverDifference(a, b, len(both), metrics.paired_bootstrap(gaps))


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
