"""Scores of a binary belief, one number per encounter, and intervals over encounters.

Frames of one encounter are correlated, so every mean and every interval here is over encounters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from filters.spec import Array
from filters.streams import stream

CLIP = 1e-6  # one wrong belief of 1 costs 13.8 nats, not infinity


class Interval(NamedTuple):
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


def log_loss(p: ArrayLike, y: ArrayLike, clip: float = CLIP) -> Array:
    """-ln P(what was true), nats, one per encounter: -y ln p - (1 - y) ln(1 - p).

    Parameters
    ----------
    p : array (n,)
        Probability of class 1.
    y : array (n,)
        The truth, 0 or 1.
    clip : float
        p is kept within [clip, 1 - clip].
    """
    kept = np.clip(np.asarray(p, float), clip, 1.0 - clip)
    return -np.log(np.where(np.asarray(y) == 1, kept, 1.0 - kept))


def brier(p: ArrayLike, y: ArrayLike) -> Array:
    """(p - y)², one per encounter."""
    return (np.asarray(p, float) - np.asarray(y, float)) ** 2


def accuracy(p: ArrayLike, y: ArrayLike) -> Array:
    """1 where the likelier label is the true one, 0 where not, ½ at p = ½, NaN at NaN; one per encounter."""
    p = np.asarray(p, float)
    return np.where(np.isnan(p), np.nan, 0.5 * (1.0 + np.sign(p - 0.5) * (2 * np.asarray(y) - 1)))


def entropy(p: ArrayLike) -> Array:
    """H = -p ln p - (1 - p) ln(1 - p), nats."""
    p = np.asarray(p, float)
    q = 1.0 - p
    return -p * np.log(np.where(p > 0, p, 1.0)) - q * np.log(np.where(q > 0, q, 1.0))


def relative_entropy(o: ArrayLike, p: ArrayLike, clip: float = CLIP) -> Array:
    """KL(o || p) = o ln(o / p) + (1 - o) ln((1 - o) / (1 - p)), nats, both clipped as in `log_loss`."""
    one, other = np.clip(np.asarray(o, float), clip, 1.0 - clip), np.clip(np.asarray(p, float), clip, 1.0 - clip)
    return np.asarray(one * np.log(one / other) + (1.0 - one) * np.log((1.0 - one) / (1.0 - other)))


def auc(p: ArrayLike, y: ArrayLike) -> float:
    """P(a barrier gets the higher p) + ½ P(both get the same): Mann-Whitney's U / (n1 n0); NaN without both classes."""
    p, y = np.asarray(p, float), np.asarray(y)
    ones, zeros = p[y == 1], np.sort(p[y == 0])
    if not ones.size or not zeros.size:
        return float("nan")
    below = np.searchsorted(zeros, ones, "left") + np.searchsorted(zeros, ones, "right")
    return float(below.mean() / (2.0 * zeros.size))


def paired_bootstrap(differences: ArrayLike, seed: int = 0, n: int = 4000) -> Interval:
    """Mean difference over encounters with its 95 % percentile interval (Efron 1979).

    Parameters
    ----------
    differences : array (encounters,)
        One value per encounter: of two filters on the same seed, or of one against a constant. NaN is left out.
    seed : int
        Of the resampling.
    n : int
        Resamples of whole encounters.

    Returns
    -------
    Interval
        NaN bounds for fewer than two encounters: one tells nothing of the spread.
    """
    values = np.asarray(differences, float)
    values = values[np.isfinite(values)]
    if values.size < 2:
        return Interval(float(values.mean()) if values.size else np.nan, np.nan, np.nan)
    rng, rows = stream(seed, "bootstrap"), max(1, 1_000_000 // values.size)
    means = [
        values[rng.integers(values.size, size=(min(rows, n - start), values.size))].mean(axis=1)
        for start in range(0, n, rows)
    ]
    low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
    return Interval(float(values.mean()), float(low), float(high))


def by_group(values: ArrayLike, groups: ArrayLike) -> Array:
    """Means of the finite values of each group, in order of the groups: what shares a seed is not independent."""
    values, groups = np.asarray(values, float), np.asarray(groups)
    kept = np.isfinite(values)
    _, index = np.unique(groups[kept], return_inverse=True)
    return np.bincount(index, values[kept]) / np.bincount(index)
