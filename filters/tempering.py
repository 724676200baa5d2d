"""How much of each frame's evidence to believe: frames of one encounter resemble each other.

    L_t = L_0 + tau_undetected Σ_{s <= t, unseen} e_s + tau_detected Σ_{s <= t, seen} e_s

The two exponents minimise the log loss of the fused belief over the frames of held-out encounters.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from filters.spec import Array

START = (0.05, 0.3)  # tau (undetected, detected) that the search starts from
LEAST = 0.01  # a frame without detection may be worth little, never nothing


def totals(evidence: Array, detected: Array, encounter: Array) -> Array:
    """Running sums of evidence (n, ..., K) within encounters, apart for unseen and seen frames: (2, n, ..., K)."""
    result = np.empty((2, *evidence.shape))
    for seen in (0, 1):
        part = evidence * (detected == seen).reshape(-1, *[1] * (evidence.ndim - 1))
        for which in np.unique(encounter):
            rows = encounter == which
            result[seen, rows] = np.cumsum(part[rows], axis=0)
    return result


def fused(tau: Array, sums: Array, log_prior: Array) -> Array:
    """Fused belief ln p_t = ln mean_s softmax(ln prior + tau · sums_s): (n, K) from sums (2, n, S, K)."""
    scores = log_prior + np.tensordot(tau, sums, axes=1)
    scores = scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)
    return np.asarray(np.logaddexp.reduce(scores, axis=1) - np.log(scores.shape[1]))


def log_loss(log_probs: Array, labels: Array) -> Array:
    """Loss -ln p of the true class: (n,) from (n, K)."""
    return -log_probs[np.arange(len(labels)), labels]


def fit_tempering(sums: Array, labels: Array, weights: Array, log_prior: Array) -> Array:
    """Exponents (undetected, detected) in [`LEAST`, 1]² of least weighted log loss, by Nelder-Mead from `START`."""

    def objective(tau: Array) -> float:
        return float(np.average(log_loss(fused(tau, sums, log_prior), labels), weights=weights))

    options = {"xatol": 1e-3, "fatol": 1e-6}
    found = minimize(objective, START, method="Nelder-Mead", bounds=[(LEAST, 1.0)] * 2, options=options)
    return np.asarray(found.x)
