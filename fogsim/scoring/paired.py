"""Two sets of scores on the same seeds: their mean difference with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from filters.spec import Array
from fogsim.scoring import metrics
from fogsim.scoring.encounters import MOMENTS, Encounter
from fogsim.scoring.metrics import Interval, bootstrap_columns, group_means
from fogsim.scoring.stack import Stack, stack

REFERENCE = "fused"


class Paired(NamedTuple):
    """Means over the `n` seeds at which both are known, and one less the other."""

    n: int
    one: float
    other: float
    difference: Interval


class BeliefDifference(NamedTuple):
    """One belief less another at one moment: log loss (nats) and Brier score."""

    belief: str
    other: str
    moment: str
    log_loss: Paired
    brier: Paired


def paired(one: Array, seeds: ArrayLike, other: Array, other_seeds: ArrayLike) -> list[Paired]:
    """Columns of (n, k) against those of (m, k) on common seeds, of which each is averaged first.

    The interval is that of a bootstrap over seeds (`fogsim.scoring.metrics.paired_bootstrap`).
    """
    _, at, other_at = np.intersect1d(np.unique(seeds), np.unique(other_seeds), return_indices=True)
    a, b = group_means(one, seeds)[at], group_means(other, other_seeds)[other_at]
    known = np.isfinite(a - b)
    rows = zip(known.T, a.T, b.T, bootstrap_columns(a - b), strict=True)
    return [Paired(int(k.sum()), _mean(x[k]), _mean(y[k]), interval) for k, x, y, interval in rows]


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else float("nan")


def belief_differences(belief: str, one: Stack, other_belief: str, other: Stack) -> list[BeliefDifference]:
    """At each moment."""
    values = [
        np.hstack([metrics.log_loss(s.p, s.truth[:, None]), metrics.brier(s.p, s.truth[:, None])]) for s in (one, other)
    ]
    found, m = paired(values[0], one.seed, values[1], other.seed), len(MOMENTS)
    rows = zip(MOMENTS, found[:m], found[m:], strict=True)
    return [BeliefDifference(belief, other_belief, moment, loss, brier) for moment, loss, brier in rows]


def against_reference(encounters: Sequence[Encounter], names: Sequence[str]) -> list[BeliefDifference]:
    """Each belief less `REFERENCE` at each moment, over the encounters in which both are known."""
    rows: list[BeliefDifference] = []
    for name in names:
        both = [e for e in encounters if {name, REFERENCE} <= set(e.beliefs)] if name != REFERENCE else []
        if both:
            one, other = stack(both, name), stack(both, REFERENCE)
            missing = np.isnan(one.p + other.p)
            one, other = (s._replace(p=np.where(missing, np.nan, s.p)) for s in (one, other))
            rows += belief_differences(name, one, REFERENCE, other)
    return rows
