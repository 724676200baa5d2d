"""Arithmetic on beliefs: log-probabilities, entropy, moments, credible regions."""

from __future__ import annotations

from math import erf, sqrt

import numpy as np

from filters.spec import Array, Gaussian

# A belief is never surer than this many nats of log-odds: one wrong certainty must cost, not destroy.
LOG_ODDS_LIMIT = 13.8


def log_sum_exp(values: Array) -> float:
    """ln Σ exp(values); -inf for an empty or all -inf input."""
    top = float(np.max(values, initial=-np.inf))
    return top if not np.isfinite(top) else top + float(np.log(np.sum(np.exp(values - top))))


def normalise(log_weights: Array) -> Array:
    """Log-weights that sum to one, limited to ``LOG_ODDS_LIMIT`` below the largest.

    Raises
    ------
    ValueError
        If a log-weight is NaN or none is finite.
    """
    if np.isnan(log_weights).any() or not np.isfinite(log_weights).any():
        raise ValueError(f"found log-weights {log_weights}, expected at least one finite and no NaN")
    limited = np.maximum(log_weights, np.max(log_weights) - LOG_ODDS_LIMIT)
    return limited - log_sum_exp(limited)


def update_log_probs(log_probs: Array, log_evidence: Array) -> Array:
    """Bayes' rule in log space: ln p(c | z) = ln p(c) + ln p(z | c) - ln p(z)."""
    return normalise(log_probs + log_evidence)


def entropy(log_probs: Array) -> float:
    """H = -Σ p ln p in nats."""
    return float(-np.sum(np.exp(log_probs) * log_probs))


def mix(weights: Array, components: list[Gaussian]) -> Gaussian:
    """Moments of Σ w_i N(m_i, P_i), Σ w_i = 1: mean Σ w m, covariance Σ w (P + (m - mean)(m - mean)')."""
    means = np.array([g.mean for g in components])
    mean = weights @ means
    spread = means - mean
    covariance = np.einsum("i,ijk->jk", weights, np.array([g.covariance for g in components]))
    return Gaussian(mean, covariance + np.einsum("i,ij,ik->jk", weights, spread, spread))


def moments(points: Array, weights: Array) -> Gaussian:
    """Mean and covariance of weighted points (n, d), Σ weights = 1."""
    mean = weights @ points
    spread = points - mean
    return Gaussian(mean, (weights[:, None] * spread).T @ spread)


def interval_probability(mean: float, variance: float, low: float, high: float) -> float:
    """P(low < x < high) under N(mean, variance), by the error function."""
    scale = sqrt(2.0 * max(variance, 1e-12))
    return 0.5 * (erf((high - mean) / scale) - erf((low - mean) / scale))
