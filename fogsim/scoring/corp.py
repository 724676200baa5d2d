"""How far a belief's Brier score is from calibrated, and how far calibrated is from knowing nothing: CORP.

    x̂ = isotonic regression of y on p (pool adjacent violators)      S(q) = mean (q - y)²      ȳ = mean y
    MCB = S(p) - S(x̂)      DSC = S(ȳ) - S(x̂)      UNC = S(ȳ)          S(p) = MCB - DSC + UNC

Dimitriadis, Gneiting & Jordan 2021, PNAS 118:e2016191118. Neither MCB nor DSC is ever negative, so that of n encounters
both are positive in the mean even where p is calibrated, or tells nothing, and a bootstrap of them more so: it lies so
far above that it bounds what very many encounters would show from above only, and generously. Whether there is any is
told by what chance shows, which stands beside them: `Calibration.calibrated` and `useless`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression

from filters.spec import Array
from filters.streams import stream
from fogsim.scoring.metrics import brier, resamples


class Decomposition(NamedTuple):
    """Miscalibration, discrimination and uncertainty: Brier score = mcb - dsc + unc."""

    mcb: float
    dsc: float
    unc: float


class Upper(NamedTuple):
    """A value and its upper 95 % bound."""

    mean: float
    high: float


class Reliability(NamedTuple):
    """The reliability diagram of some beliefs at their `k` distinct probabilities.

    Of p (k,), `found` (k,) is x̂; 95 % of calibrated beliefs with the same p have theirs between `low` and `high` (k,),
    at each p alone.
    """

    p: Array
    found: Array
    low: Array
    high: Array


class Calibration(NamedTuple):
    """A decomposition of `n` encounters with bootstrap bounds, and what chance alone shows beside it.

    `calibrated` is the mean MCB, and its upper 95 % bound, of beliefs with the same p that are calibrated; `p_value` is
    the share of them whose MCB is no less than the one found.
    """

    n: int
    brier: float
    mcb: Upper
    dsc: Upper
    unc: float
    calibrated: Upper
    p_value: float


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
    fits = [_pooled(index, counts, rng.random(group.max() + 1)[group] < p) for _ in range(n)]
    low, high = np.percentile(fits, (2.5, 97.5), axis=0)
    return Reliability(values, _pooled(index, counts, y), low, high)


def calibration(
    p: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None, seed: int = 0, n: int = 1000
) -> Calibration:
    """Decompose, with the 95th percentiles of resampled whole groups of encounters.

    The calibrated beliefs beside it have the same p and truths drawn from it, y ~ Bernoulli(p), by one draw a group.

    Parameters
    ----------
    p, y : array (encounters,)
        P(barrier) and the truth, at least one.
    groups : array (encounters,)
        What is equal here is resampled together, as encounters of one seed are; without, each by itself.
    seed, n : int
        Of the resampling, and how often.
    """
    p, y = np.asarray(p, float), np.asarray(y, float)
    found, rng, size = decompose(p, y), stream(seed, "corp"), len(p)
    _, index = np.unique(np.arange(size) if groups is None else np.asarray(groups), return_inverse=True)
    draws = index.max() + 1
    resampled = [parts(p, y, times[:, index]) for times in resamples(rng, draws, n)]
    mcb, dsc = np.concatenate(resampled, axis=1)
    drawn = [parts(p, truths, np.ones(truths.shape))[0] for truths in _calibrated(rng, p, index, n)]
    calibrated = np.concatenate(drawn)
    return Calibration(
        n=size,
        brier=float(brier(p, y).mean()),
        mcb=_bounded(found.mcb, mcb, draws),
        dsc=_bounded(found.dsc, dsc, draws),
        unc=found.unc,
        calibrated=_chance(calibrated),
        p_value=float((1 + np.count_nonzero(calibrated >= found.mcb - 1e-9)) / (1 + n)),
    )


def useless(p: ArrayLike, y: ArrayLike, seed: int = 0, n: int = 1000) -> Upper:
    """DSC of the same p where it tells nothing of the truth: the truths permuted `n` times."""
    p, y, rng = np.asarray(p, float), np.asarray(y, float), stream(seed, "corp useless")
    return _chance(np.array([decompose(p, rng.permutation(y)).dsc for _ in range(n)]))


def parts(p: Array, y: Array, times: Array) -> Array:
    """MCB and DSC (2, rows) of many resamples: truths (n,) or (rows, n), each counted so many `times` (rows, n).

    One isotonic regression of all: the truths of row k are raised by 2 k, beyond all of the rows before, so that no
    two rows are pooled. As x̂ is a mean within each pool, S(x̂) = ȳ - mean x̂².
    """
    order = np.argsort(p, kind="stable")
    values, starts = np.unique(p[order], return_index=True)
    counted, ones = (np.add.reduceat(a[:, order], starts, axis=1) for a in (times, times * y))
    total, base = counted.sum(axis=1), ones.sum(axis=1) / counted.sum(axis=1)
    row, column = np.nonzero(counted)
    weights = counted[row, column]
    raised = isotonic_regression(ones[row, column] / weights + 2.0 * row, weights=weights).x
    squares = np.bincount(row, weights * (raised - 2.0 * row) ** 2) / total
    own = (counted @ values**2 - 2.0 * ones @ values) / total + base
    return np.stack([own - base + squares, squares - base**2])


def _calibrated(rng: np.random.Generator, p: Array, index: np.ndarray, n: int) -> Iterator[Array]:
    rows = max(1, 1_000_000 // len(p))
    for start in range(0, n, rows):
        yield (rng.random((min(rows, n - start), index.max() + 1))[:, index] < p).astype(float)


def _bounded(found: float, values: Array, draws: int) -> Upper:
    """Without a bound where one group was resampled: it tells nothing of the spread."""
    return Upper(found, float(np.percentile(values, 95.0)) if draws > 1 else float("nan"))


def _chance(values: Array) -> Upper:
    return Upper(float(values.mean()), float(np.percentile(values, 95.0)))
