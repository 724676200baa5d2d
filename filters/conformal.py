"""Thresholds that bound how many barriers are missed, whatever the score is worth: conformal risk control.

Brake where score >= λ, λ the k-th smallest of the scores of n barriers that played no part in the filter's making. The
miss rate of fresh barriers, exchangeable with those, is then Beta(k, n + 1 - k) over calibration sets: k / (n + 1) in
the mean, exactly where no scores are equal and no more than that where some are. Two guarantees, two k:

    mean    E[miss rate] <= α               k = ⌊α (n + 1)⌋      Angelopoulos, Bates, Fisch, Lei & Schuster 2024, ICLR
    pac     P(miss rate > α) <= δ           largest k with P(Beta(k, n + 1 - k) > α) <= δ        Vovk 2012, ACML

Of "mean" sets up to every second one has a miss rate above α: it is a promise on many campaigns, "pac" on this one.
k = 0: too few barriers, λ = -∞, always act. Never report on the encounters that set λ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import betabinom, binom

from filters.spec import Array

ROUNDING = 1e-9  # .29 * 100 is 28.999999999999996, and means 29


@dataclass(frozen=True)
class Threshold:
    """Brake where score >= `value`, the k-th smallest of n barriers' scores; -∞ where k = 0.

    `expected_miss` is k / (n + 1). `delta` is the chance that the miss rate exceeds `alpha` over calibration sets: the
    bound asked for, of "pac"; None of "mean", where `exceedance` tells it.
    """

    value: float
    k: int
    n: int
    alpha: float
    guarantee: Literal["mean", "pac"]
    expected_miss: float
    delta: float | None = None


def mean_threshold(scores: ArrayLike, alpha: float) -> Threshold:
    """The threshold that misses at most a share `alpha` of fresh barriers in the mean over calibration sets.

    Parameters
    ----------
    scores : array (barriers,)
        Score of each barrier of the calibration set, one an encounter: higher is surer. Equal ones are allowed.
    alpha : float
        Between 0 and 1; at least 1 / (barriers + 1) for a threshold that does not always act.

    Raises
    ------
    ValueError
        If a score is NaN, or alpha is not between 0 and 1.
    """
    ordered = _ordered(scores, alpha=alpha)
    k = min(int(alpha * (len(ordered) + 1) + ROUNDING), len(ordered))
    return Threshold(_kth(ordered, k), k, len(ordered), alpha, "mean", k / (len(ordered) + 1))


def pac_threshold(scores: ArrayLike, alpha: float, delta: float = 0.05) -> Threshold:
    """The threshold that misses more than a share `alpha` for a share `delta` of calibration sets at most.

    With fewer than ln δ / ln(1 - α) barriers it always acts: δ = 5 % takes 59 for α = 5 %, 299 for α = 1 %.

    Parameters
    ----------
    scores : array (barriers,)
        As of `mean_threshold`.
    alpha, delta : float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If a score is NaN, or alpha or delta is not between 0 and 1.
    """
    ordered = _ordered(scores, alpha=alpha, delta=delta)
    n = len(ordered)
    k = int(np.count_nonzero(exceedance(np.arange(1, n + 1), n, alpha) <= delta))  # it rises with k
    return Threshold(_kth(ordered, k), k, n, alpha, "pac", k / (n + 1), delta)


def exceedance(k: ArrayLike, n: int, alpha: float) -> Array:
    """P(miss rate > alpha) over calibration sets, (...) of k: P(Beta(k, n + 1 - k) > α) = P(Binomial(n, α) < k)."""
    return np.asarray(binom.cdf(np.asarray(k) - 1, n, alpha))


def misses_interval(k: int, n: int, fresh: int, level: float = 0.99) -> tuple[int, int]:
    """The fewest and most of `fresh` barriers that are missed, with probability `level` or more; equal tails.

    Exact over calibration set and fresh barriers, Beta-binomial(fresh, k, n + 1 - k): what a test on other seeds is
    to show. (0, 0) for k = 0.
    """
    if not 0 <= k <= n:
        raise ValueError(f"found k = {k} of n = {n}, expected 0 <= k <= n: give those of a Threshold")
    if k == 0:
        return 0, 0
    law, tail = betabinom(fresh, k, n + 1 - k), 0.5 * (1.0 - level)
    return int(law.ppf(tail)), int(law.isf(tail))


def _ordered(scores: ArrayLike, **shares: float) -> Array:
    """Rising scores, once they and the shares are fit for use."""
    for name, share in shares.items():
        if not 0.0 < share < 1.0:
            raise ValueError(f"found {name} = {share}, expected a share between 0 and 1: 0.05 is 5 %")
    values = np.asarray(scores, float)
    if values.ndim != 1 or np.isnan(values).any():
        raise ValueError(
            f"found scores {values.shape} with NaN or not in a row, expected one number a barrier: leave out"
        )
    return np.sort(values)


def _kth(ordered: Array, k: int) -> float:
    return float(ordered[k - 1]) if k else -np.inf
