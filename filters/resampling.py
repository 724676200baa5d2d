"""Resampling: (weights, uniform) -> ancestors, and the effective sample size that triggers it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from filters.spec import Array


def systematic(weights: Array, uniform: float, n: int | None = None) -> NDArray[np.int64]:
    """Ancestors (n,) by one uniform in [0, 1): particle i is drawn floor or ceil of n w_i times.

    Source: Kitagawa 1996, J. Comput. Graph. Stat. 5:1; weights need not be normalised, n is their number
    unless given.
    """
    n = len(weights) if n is None else n
    edges = np.cumsum(weights)
    return np.searchsorted(edges, (np.arange(n) + uniform) / n * edges[-1], side="right").clip(max=len(weights) - 1)


def ess(log_weights: Array) -> float:
    """Effective sample size (Σ w)² / Σ w² of unnormalised log-weights; 0 if none is finite."""
    top = log_weights.max()
    if not np.isfinite(top):
        return 0.0
    w = np.exp(log_weights - top)
    return float(w.sum() ** 2 / (w @ w))
