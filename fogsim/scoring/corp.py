"""How far a belief's Brier score is from calibrated, and how far calibrated is from knowing nothing: CORP.

    x̂ = isotonic regression of y on p (pool adjacent violators)      S(q) = mean (q - y)²      ȳ = mean y
    MCB = S(p) - S(x̂)      DSC = S(ȳ) - S(x̂)      UNC = S(ȳ)          S(p) = MCB - DSC + UNC

Dimitriadis, Gneiting & Jordan 2021, PNAS 118:e2016191118. Neither MCB nor DSC is ever negative, so that of n encounters
both are positive in the mean even where p is calibrated, or tells nothing, and a bootstrap of them more so. What to
expect then stands beside them: `calibrated` and `useless`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression

from filters.spec import Array
from filters.streams import stream
from fogsim.scoring.metrics import Interval, brier


class Decomposition(NamedTuple):
    """Miscalibration, discrimination and uncertainty: Brier score = mcb - dsc + unc."""

    mcb: float
    dsc: float
    unc: float


class Chance(NamedTuple):
    """Mean and upper 95 % bound."""

    mean: float
    high: float


class Reliability(NamedTuple):
    """The reliability diagram of some beliefs at their `k` distinct probabilities.

    Of p (k,), `found` (k,) is x̂; 95 % of calibrated beliefs with the same p have theirs between `low` and `high` (k,),
    at each p alone; `p_value` is the share of them whose MCB is no less than the one found.
    """

    p: Array
    found: Array
    low: Array
    high: Array
    p_value: float


class Calibration(NamedTuple):
    """A decomposition of `n` encounters with bootstrap intervals, and what chance alone shows beside it.

    `calibrated` is the mean MCB, and its upper 95 % bound, of beliefs with the same p that are calibrated; `p_value` is
    the share of them whose MCB is no less than the one found; `useless` is the mean DSC, and its upper 95 % bound, of
    the same p where it tells nothing of the truth.
    """

    n: int
    brier: float
    mcb: Interval
    dsc: Interval
    unc: float
    calibrated: Chance
    p_value: float
    useless: Chance


def recalibrated(p: ArrayLike, y: ArrayLike) -> Array:
    """x̂ (n,): the non-decreasing function of p nearest to y in squares; equal p get equal x̂."""
    _, index, counts = np.unique(np.asarray(p, float), return_inverse=True, return_counts=True)
    return _pooled(index, counts, y)[index]


def _pooled(index: np.ndarray, counts: np.ndarray, y: ArrayLike) -> Array:
    """x̂ (k,) at k distinct p in order, `counts` (k,) of each; `index` (n,) tells which of them each truth is of."""
    means = np.bincount(index, np.asarray(y, float), minlength=len(counts)) / counts
    return np.asarray(isotonic_regression(means, weights=counts).x)


def decompose(p: ArrayLike, y: ArrayLike) -> Decomposition:
    """The three parts of the Brier score of P(barrier) (n,) under the truth (n,), 0 or 1; NaN of none."""
    p, y = np.asarray(p, float), np.asarray(y, float)
    if not p.size:
        return Decomposition(np.nan, np.nan, np.nan)
    best, unc = float(brier(recalibrated(p, y), y).mean()), float(brier(y.mean(), y).mean())
    return Decomposition(float(brier(p, y).mean()) - best, unc - best, unc)


def reliability(p: ArrayLike, y: ArrayLike, groups: ArrayLike, seed: int = 0, n: int = 1000) -> Reliability:
    """The reliability diagram with the band of Dimitriadis, Gneiting & Jordan 2021: x̂ of truths y ~ Bernoulli(p).

    Its p-value is that of `calibration`, but for the draws and for what encounters have in common.

    Parameters
    ----------
    p, y, groups : array (encounters,)
        P(barrier), the truth, and what encounters have in common, such as their seed: what shares it has one draw
        u ~ U(0, 1), y = [u < p], so that seeing one object twice is no second piece of evidence.
    seed, n : int
        Of the draws, and how many.
    """
    p, rng = np.asarray(p, float), stream(seed, "reliability")
    values, index, counts = np.unique(p, return_inverse=True, return_counts=True)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    draws = (rng.random(group.max() + 1)[group] < p for _ in range(n))
    fits, mcb = zip(*(_fit(p, y, index, counts) for y in draws), strict=True)
    found, own = _fit(p, np.asarray(y, float), index, counts)
    low, high = np.percentile(fits, (2.5, 97.5), axis=0)
    return Reliability(values, found, low, high, _share_beyond(np.array(mcb), own))


def _fit(p: Array, y: Array, index: np.ndarray, counts: np.ndarray) -> tuple[Array, float]:
    """x̂ (k,) and MCB."""
    fit = _pooled(index, counts, y)
    return fit, float(np.mean((p - y) ** 2 - (fit[index] - y) ** 2))


def _share_beyond(calibrated: Array, found: float) -> float:
    """The p-value of an MCB among those of calibrated beliefs, itself counted as one of them."""
    return float((1 + np.count_nonzero(calibrated >= found - 1e-12)) / (1 + len(calibrated)))


def calibration(p: ArrayLike, y: ArrayLike, seed: int = 0, n: int = 1000) -> Calibration:
    """Decompose, with 95 % percentile intervals by resampling whole encounters, one p and y each.

    The calibrated beliefs beside it have the same p and truths drawn from it, y ~ Bernoulli(p); the useless ones the
    same p and the truths permuted.

    Parameters
    ----------
    p, y : array (encounters,)
        P(barrier) and the truth, at least one.
    seed, n : int
        Of the resampling, and how often.
    """
    p, y = np.asarray(p, float), np.asarray(y, float)
    found, rng, size = decompose(p, y), stream(seed, "corp"), len(p)
    picks = (rng.integers(size, size=size) for _ in range(n))
    mcb, dsc, _ = np.array([decompose(p[pick], y[pick]) for pick in picks]).T
    calibrated = np.array([decompose(p, rng.random(size) < p).mcb for _ in range(n)])
    useless = np.array([decompose(p, rng.permutation(y)).dsc for _ in range(n)])
    return Calibration(
        n=size,
        brier=float(brier(p, y).mean()),
        mcb=Interval(found.mcb, *_bounds(mcb)),
        dsc=Interval(found.dsc, *_bounds(dsc)),
        unc=found.unc,
        calibrated=_chance(calibrated),
        p_value=_share_beyond(calibrated, found.mcb),
        useless=_chance(useless),
    )


def _bounds(values: Array) -> tuple[float, float]:
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def _chance(values: Array) -> Chance:
    return Chance(float(values.mean()), float(np.percentile(values, 95.0)))
