"""Whether a candidate is like anything that a network was trained on, of its features in one frame.

Two signs, each as a share of known objects that show more of it:

    I(c; w | y)                         the mutual information of label and weights, nats
    min_c (φ - m_c(d))' P_c (φ - m_c(d))    Mahalanobis' distance from the nearest class (Lee et al. 2018,
                                        arXiv 1807.03888), its mean by regression on distance and fog

Their tails are added as Fisher does, and the sum's own tail is p: of known objects p <= α on a share α of the metres
driven, at any of the distances `EDGES` part. It becomes odds against "none of these" by the calibrator of Sellke,
Bayarri & Berger (2001, Am. Stat. 55:62),

    e(p) = κ p^(κ - 1)                  whose mean is 1 where p is uniform
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from filters.spec import FEATURES, Array

AWAY = ("detected", "distance", "lateral", "log_visibility")  # features that say where and when, not what
SHAPE = [i for i, name in enumerate(FEATURES) if name not in AWAY]
DISTANCE, LOG_VISIBILITY = FEATURES.index("distance"), FEATURES.index("log_visibility")
TERMS = 5  # of the regression
TAILS = np.logspace(0.0, -3.0, 61)  # shares of known objects at which a sign's value is kept
EDGES = (3.0, 6.0, 10.0, 15.0, 25.0)  # m, between which tails have a table each: near, all objects look odd
FEWEST = 200  # frames that make a table; with fewer it is that of the next distances
KAPPA = 0.5
RIDGE = 1e-3  # of the variances: features that are all but functions of others
SHAPES = {
    "regression": (2, TERMS, len(SHAPE)),
    "precision": (2, len(SHAPE), len(SHAPE)),
    "tails": (len(EDGES) + 1, 3, len(TAILS)),
}


class Known(NamedTuple):
    """Per class regression (K, TERMS, F) and precision (K, F, F), and what a share of `TAILS` exceeds (bands, 3, T).

    The rows of a band's tails are of information, Mahalanobis' distance and their sum.
    """

    regression: Array
    precision: Array
    tails: Array


def learn(features: Array, label: Array, weight: Array) -> tuple[Array, Array]:
    """Regression and precision of each class, of the frames (n, F) in which it was seen, weighted (n,)."""
    parts = [label == k for k in (0, 1)]
    fits = [_class(terms(features[part]), features[part][:, SHAPE], weight[part]) for part in parts]
    return np.array([B for B, _ in fits]), np.array([P for _, P in fits])


def _class(X: Array, y: Array, weight: Array) -> tuple[Array, Array]:
    root = np.sqrt(weight)[:, None]
    B = np.asarray(np.linalg.lstsq(root * X, root * y, rcond=None)[0], float)
    variance = np.cov((y - X @ B).T, aweights=weight)
    return B, np.asarray(np.linalg.inv(variance + RIDGE * np.diag(np.diag(variance) + 1e-6)), float)


def calibrate(regression: Array, precision: Array, features: Array, information: Array, weight: Array) -> Known:
    """With the tails of known objects' frames (n, F) that were not learnt from, weighted (n,)."""
    signs, at = np.array([information, distances(regression, precision, features)]), band(features)
    counts = np.bincount(at, minlength=len(EDGES) + 1)
    enough = np.flatnonzero(counts >= min(FEWEST, counts.max()))
    parts = [at == enough[np.argmin(np.abs(enough - k))] for k in range(len(counts))]
    return Known(regression, precision, np.array([_tails(signs[:, part], weight[part]) for part in parts]))


def _tails(signs: Array, weight: Array) -> Array:
    """Of one band's frames, of both signs (2, n)."""
    first = np.array([tail_values(sign, weight) for sign in signs])
    return np.vstack([first, tail_values(-added(signs, first), weight)])


def added(signs: Array, tails: Array) -> Array:
    """The log tails of both signs (2, n), together."""
    return log_tail(signs[0], tails[0]) + log_tail(signs[1], tails[1])


def band(features: Array) -> np.ndarray:
    """Which of the distances parted by `EDGES` (n,)."""
    return np.searchsorted(EDGES, features[:, DISTANCE])


def tail_values(sign: Array, weight: Array) -> Array:
    """What shares `TAILS` of the frames exceed, ascending."""
    order = np.argsort(sign)
    share = (np.cumsum(weight[order]) - 0.5 * weight[order]) / weight.sum()
    return np.maximum.accumulate(np.interp(1.0 - TAILS, share, sign[order]))


def log_tail(sign: Array, values: Array) -> Array:
    """ln of the share of known objects that show more, at least the last of `TAILS`."""
    steps = np.arange(len(values)) * 1e-12  # equal values are told apart in order
    return np.interp(sign, values + steps * (1.0 + np.abs(values)), np.log(TAILS))


def log_p(known: Known, features: Array, information: Array) -> Array:
    """ln p (n,) of frames (n, F) with their information (n,)."""
    signs, at = np.array([information, distances(known.regression, known.precision, features)]), band(features)
    result = np.empty(len(at))
    for k in np.unique(at):
        part, tails = at == k, known.tails[k]
        result[part] = log_tail(-added(signs[:, part], tails), tails[2])
    return result


def log_odds(log_p: Array) -> Array:
    """ln e(p): what a frame says against all known classes, nats."""
    return np.log(KAPPA) + (KAPPA - 1.0) * log_p


def distances(regression: Array, precision: Array, features: Array) -> Array:
    """Squared Mahalanobis distance (n,) of features (n, F) from the nearest class."""
    off = features[:, SHAPE] - terms(features) @ regression
    return np.asarray(np.einsum("kni,kij,knj->kn", off, precision, off).min(axis=0))


def terms(features: Array) -> Array:
    """1, d, ln d, d² and ln visibility (n, TERMS)."""
    d = np.maximum(features[:, DISTANCE], 0.1)
    return np.stack([np.ones(len(d)), d, np.log(d), d**2, features[:, LOG_VISIBILITY]], axis=1)
