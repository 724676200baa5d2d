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
    values, index, counts = np.unique(np.asarray(p, float), return_inverse=True, return_counts=True)
    means = np.bincount(index, np.asarray(y, float), minlength=len(values)) / counts
    return np.asarray(isotonic_regression(means, weights=counts).x[index])


def decompose(p: ArrayLike, y: ArrayLike) -> Decomposition:
    """The three parts of the Brier score of P(barrier) (n,) under the truth (n,), 0 or 1; NaN of none."""
    p, y = np.asarray(p, float), np.asarray(y, float)
    if not p.size:
        return Decomposition(np.nan, np.nan, np.nan)
    best, unc = float(brier(recalibrated(p, y), y).mean()), float(brier(y.mean(), y).mean())
    return Decomposition(float(brier(p, y).mean()) - best, unc - best, unc)


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
        p_value=float((1 + np.count_nonzero(calibrated >= found.mcb - 1e-12)) / (1 + n)),
        useless=_chance(useless),
    )


def _bounds(values: Array) -> tuple[float, float]:
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def _chance(values: Array) -> Chance:
    return Chance(float(values.mean()), float(np.percentile(values, 95.0)))
