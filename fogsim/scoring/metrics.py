"""Scores of a binary belief, one number per encounter, and intervals over encounters.

Frames of one encounter are correlated, so every mean and every interval here is over encounters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

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
    return bootstrap_columns(np.asarray(differences, float).reshape(-1, 1), seed, n)[0]


def bootstrap_columns(values: Array, seed: int = 0, n: int = 4000) -> list[Interval]:
    """`paired_bootstrap` of each column of (encounters, k): those known in the same encounters share the resamples."""
    alike: dict[bytes, list[int]] = {}
    for k, known in enumerate(np.isfinite(values).T):
        alike.setdefault(known.tobytes(), []).append(k)
    found: dict[int, Interval] = {}
    for columns in alike.values():
        kept = values[np.isfinite(values[:, columns[0]])][:, columns]
        found |= dict(zip(columns, _intervals(kept, seed, n), strict=True))
    return [found[k] for k in range(values.shape[1])]


def _intervals(values: Array, seed: int, n: int) -> list[Interval]:
    size = len(values)
    if size < 2:
        return [Interval(float(column[0]) if size else np.nan, np.nan, np.nan) for column in values.T]
    means = np.concatenate([times @ values for times in resamples(stream(seed, "bootstrap"), size, n)]) / size
    low, high = np.percentile(means, (2.5, 97.5), axis=0)
    return [Interval(*map(float, row)) for row in zip(values.mean(axis=0), low, high, strict=True)]


def resamples(rng: np.random.Generator, size: int, n: int) -> Iterator[Array]:
    """How often each of `size` is drawn in each of `n` resamples with replacement, a million numbers (rows, size) a
    time.
    """
    rows = max(1, 1_000_000 // size)
    for start in range(0, n, rows):
        picks = rng.integers(size, size=(min(rows, n - start), size))
        cells = (picks + size * np.arange(len(picks))[:, None]).ravel()
        yield np.bincount(cells, minlength=picks.size).reshape(picks.shape).astype(float)


def exact_interval(k: int, n: int) -> Interval:
    """Share k / n and its exact 95 % interval (Clopper & Pearson 1934, Biometrika 26:404); NaN of none.

    low is the 2.5 % quantile of Beta(k, n - k + 1), high the 97.5 % quantile of Beta(k + 1, n - k).
    """
    if not n:
        return Interval(np.nan, np.nan, np.nan)
    low = betaincinv(k, n - k + 1, 0.025) if k else 0.0
    high = betaincinv(k + 1, n - k, 0.975) if k < n else 1.0
    return Interval(k / n, float(low), float(high))


def by_group(values: ArrayLike, groups: ArrayLike) -> Array:
    """Means of the finite values of each group, in order of the groups: what shares a seed is not independent."""
    means = group_means(np.asarray(values, float).reshape(-1, 1), groups)[:, 0]
    return means[np.isfinite(means)]


def group_means(values: Array, groups: ArrayLike) -> Array:
    """Means of the finite values in each column of (n, k) for each group in order, (groups, k); NaN without any."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    known = np.isfinite(values)
    sums, counts = np.zeros((len(names), values.shape[1])), np.zeros((len(names), values.shape[1]))
    np.add.at(sums, index, np.where(known, values, 0.0))
    np.add.at(counts, index, known)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def over_seeds(values: Array, seeds: ArrayLike) -> list[Interval]:
    """Mean and interval of each column of (encounters, k); encounters that share a seed are averaged first."""
    return bootstrap_columns(group_means(values, seeds))
