"""Wald's sequential probability ratio test: how sure to be before stopping, from the errors one can bear.

With Λ_t the log-likelihood ratio of barrier to bag, ln p(z_1..t | barrier) - ln p(z_1..t | bag), and errors
a = P(decide barrier | bag), a false alarm, and b = P(decide bag | barrier), a miss:

    barrier as soon as Λ_t >= A = ln((1 - b) / a)        bag as soon as Λ_t <= B = ln(b / (1 - a))

As beliefs at prior π the bounds are σ(logit π + A) and σ(logit π + B). What is realised is a' <= a / (1 - b),
b' <= b / (1 - a) and a' + b' <= a + b (Wald 1945), whatever the frames' dependence, so long as Λ is the right ratio.
Frames counted as independent that resemble one another make a wrong one, too great: then neither holds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from filters.spec import BAG, BARRIER

UNDECIDED = -1


class Bounds(NamedTuple):
    """Log-likelihood ratios, nats, and the beliefs P(barrier) they are at the prior, at which to stop."""

    upper: float
    lower: float
    q_high: float
    q_low: float


class Verdict(NamedTuple):
    """`BARRIER`, `BAG` or `UNDECIDED` (...), and after how many frames (...); all of them if undecided."""

    label: NDArray[np.int_]
    frames: NDArray[np.int_]


def bounds(false_alarm: float, miss: float, prior: float = 0.5) -> Bounds:
    """Wald's bounds of two errors.

    Parameters
    ----------
    false_alarm : float
        a = P(decide barrier | bag).
    miss : float
        b = P(decide bag | barrier).
    prior : float
        P(barrier) before the first frame.

    Raises
    ------
    ValueError
        If one is not between 0 and 1, or a + b >= 1: tossing a coin errs less.
    """
    shares = (false_alarm, miss, prior)
    if not all(0.0 < share < 1.0 for share in shares) or false_alarm + miss >= 1.0:
        raise ValueError(
            f"found (a, b, prior) = {shares}, expected each in (0, 1) and a + b < 1: ask for smaller errors"
        )
    upper, lower = np.log((1.0 - miss) / false_alarm), np.log(miss / (1.0 - false_alarm))
    return Bounds(*map(float, (upper, lower, expit(logit(prior) + upper), expit(logit(prior) + lower))))


def verdict(log_ratios: ArrayLike, limits: Bounds) -> Verdict:
    """What is decided, and when, on paths of the running log-likelihood ratio Λ_1..T (..., T).

    The first bound reached decides; what comes after it is not seen.
    """
    paths = np.asarray(log_ratios, float)
    if np.isnan(paths).any():
        raise ValueError(f"found NaN in log-ratios {paths.shape}, expected none: leave frames that were not scored out")
    out = (paths >= limits.upper) | (paths <= limits.lower)
    decided, first = out.any(axis=-1), out.argmax(axis=-1)
    at = np.take_along_axis(paths, first[..., None], axis=-1)[..., 0]
    label = np.where(decided, np.where(at >= limits.upper, BARRIER, BAG), UNDECIDED)
    return Verdict(label, np.where(decided, first + 1, paths.shape[-1]))
