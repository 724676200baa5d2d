"""Fusion of several beliefs about one candidate."""

from __future__ import annotations

import numpy as np

from filters.belief import normalise
from filters.spec import Array, Belief, Gaussian


def pool(beliefs: list[Belief], weights: Array | None = None) -> Belief:
    """Logarithmic pool: p ∝ Π p_i^w_i, Σ w = 1, for classes and for the Gaussian positions alike.

    Weights that sum to one treat the beliefs as views of the same data, which they are: agreeing
    does not make them surer.

    Parameters
    ----------
    beliefs : list of Belief
        At least one.
    weights : array, optional
        Non-negative, any scale; equal by default.

    Raises
    ------
    ValueError
        If there is no belief, or the weights do not fit them.
    """
    if not beliefs:
        raise ValueError("found no belief to pool, expected at least one")
    w = np.ones(len(beliefs)) if weights is None else np.asarray(weights, float)
    if w.shape != (len(beliefs),) or (w < 0.0).any() or not w.sum() > 0.0:
        raise ValueError(f"found weights {w}, expected {len(beliefs)} non-negative ones with a positive sum")
    w = w / w.sum()
    log_probs = normalise(w @ np.array([b.log_probs for b in beliefs]))
    per_class = tuple(together([b.position_of(k) for b in beliefs], w) for k in range(len(log_probs)))
    return Belief(log_probs, together([b.position for b in beliefs], w), per_class)


def together(positions: list[Gaussian], w: Array) -> Gaussian:
    """Logarithmic pool of Gaussians: P⁻¹ = Σ w P_i⁻¹, P⁻¹ m = Σ w P_i⁻¹ m_i."""
    precisions = [np.linalg.inv(g.covariance) for g in positions]
    covariance = np.linalg.inv(np.einsum("i,ijk->jk", w, np.array(precisions)))
    information = sum(k * p @ g.mean for k, p, g in zip(w, precisions, positions, strict=True))
    return Gaussian(covariance @ information, covariance)
