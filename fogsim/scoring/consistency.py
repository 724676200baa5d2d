"""How far off a belief's places are, and whether its covariances tell so: CRPS, NEES and NIS over encounters.

Where mean and covariance are right, NEES and NIS are χ² with as many degrees of freedom as the error or the innovation
has: a share of .95 lies between the quantiles at .025 and .975, and the mean of N lies within

    [χ²(.025; D), χ²(.975; D)] / N,   D the sum of their degrees of freedom,                 19 times in 20

which for d each is χ²(d N) / N (Bar-Shalom, Li & Kirubarajan 2001, sec. 5.4). Steps of one run are correlated: each
encounter gives one value a moment. NIS need not be χ² even of a filter that is right: Kalman's is that of the likeliest
class, after noise that did not fit was scaled up, never down.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import gammainc, gammaincinv

from filters.spec import Array
from fogsim.scoring import metrics
from fogsim.scoring.encounters import MOMENTS
from fogsim.scoring.metrics import Interval
from fogsim.scoring.stack import Stack


class Consistency(NamedTuple):
    """Mean of `n` values that should be χ² with `dof` degrees of freedom (their mean), its 95 % band, and the share of
    them within their own central 95 %; a mean beyond the band is of covariances too small, below it too large.
    """

    n: int
    mean: float
    dof: float
    low: float
    high: float
    inside: float


class PlaceScore(NamedTuple):
    """One belief's place at one moment: CRPS along and across the road, m; NEES has 2 degrees of freedom."""

    belief: str
    moment: str
    n: int
    crps_along: Interval
    crps_across: Interval
    nees: Consistency
    nis: Consistency


def consistency(values: Array, dof: Array, seeds: np.ndarray) -> Consistency:
    """Of values (n,) with degrees of freedom (n,); NaN, and those that tell no degrees, are left out.

    Encounters that share a seed are averaged first and count as one in the band, as if they were one and the same.
    """
    known = ~np.isnan(values) & (dof > 0)
    if not known.any():
        return Consistency(0, *[float("nan")] * 5)
    values, dof, (_, index) = values[known], dof[known], np.unique(seeds[known], return_inverse=True)
    means, degrees = (np.bincount(index, a) / np.bincount(index) for a in (values, dof))
    low, high = band(float(degrees.sum()), len(degrees))
    inside = np.abs(chi2_below(values, dof) - 0.5) <= 0.475
    return Consistency(len(values), float(means.mean()), float(degrees.mean()), low, high, float(inside.mean()))


def band(degrees: float, n: int) -> tuple[float, float]:
    """The central 95 % of the mean of n values whose sum is χ² with these degrees of freedom."""
    low, high = (2.0 * gammaincinv(0.5 * degrees, q) / n for q in (0.025, 0.975))
    return float(low), float(high)


def chi2_below(values: Array, dof: Array) -> Array:
    """P(χ² with `dof` degrees of freedom <= value); 0 below 0, which only a matrix that is no covariance gives."""
    return np.asarray(gammainc(0.5 * dof, 0.5 * np.maximum(values, 0.0)))


def place_scores(name: str, of: Stack) -> list[PlaceScore]:
    """One belief at each moment; nothing of one without places."""
    crps = metrics.over_seeds(of.crps.reshape(len(of.crps), 2 * len(MOMENTS)), of.seed)
    rows = []
    for m, moment in enumerate(MOMENTS):
        n = int(np.isfinite(of.crps[:, m, 0]).sum())
        nees = consistency(of.nees[:, m], np.full(len(of.nees), 2.0), of.seed)
        nis = consistency(of.nis[:, m], of.nis_dof[:, m], of.seed)
        rows.append(PlaceScore(name, moment, n, crps[2 * m], crps[2 * m + 1], nees, nis))
    return rows
