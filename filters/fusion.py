"""Fusion of several beliefs about one candidate."""

from __future__ import annotations

import numpy as np

from filters.belief import normalise
from filters.spec import Array, Belief, Gaussian


def pool(beliefs: list[Belief], weights: Array | None = None) -> Belief:
    """Logarithmic pool: p ∝ Π p_i^w_i, Σ w = 1, for classes and for the Gaussian positions alike.

    Weights that sum to one treat the beliefs as views of the same data, which they are: agreeing
    does not make them surer. Position: P⁻¹ = Σ w P_i⁻¹, P⁻¹ m = Σ w P_i⁻¹ m_i.

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
    precisions = [np.linalg.inv(b.position.covariance) for b in beliefs]
    covariance = np.linalg.inv(np.einsum("i,ijk->jk", w, np.array(precisions)))
    information = sum(k * p @ b.position.mean for k, p, b in zip(w, precisions, beliefs, strict=True))
    return Belief(log_probs, Gaussian(covariance @ information, covariance))
