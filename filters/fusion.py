"""Fusion of several beliefs about one candidate: a logarithmic pool, and the fit of its weights.

Genest and Zidek 1986 (Statist. Sci. 1:114) for the pool; the tempered form with the prior counted once is Bayes' rule
with each belief's likelihood ratio raised to a power of its own.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from filters.belief import normalise
from filters.spec import Array, Belief, Gaussian, Prior


def pool(beliefs: list[Belief], weights: Array | None = None, prior: Prior | None = None) -> Belief:
    """Logarithmic pool with the prior counted once: p ∝ π^(1 - Σ w) Π p_i^w_i, for class and place alike.

    With w_i = 1 the beliefs are taken as of independent evidence, with Σ w = 1 as views of the same, which agreeing
    does not make surer; what is correlated lies between, and `fit_weights` finds it.

    Parameters
    ----------
    beliefs : list of Belief
        At least one.
    weights : array (n,), optional
        Non-negative, not all zero; 1/n each if none.
    prior : Prior, optional
        What every belief started from; flat if none. Without effect where Σ w = 1.

    Raises
    ------
    ValueError
        If there is no belief, or the weights do not fit them.
    """
    if not beliefs:
        raise ValueError("found no belief to pool, expected at least one")
    n = len(beliefs)
    w = np.full(n, 1.0 / n) if weights is None else np.asarray(weights, float)
    if w.shape != (n,) or not (w >= 0.0).all() or not 0.0 < w.sum() < np.inf:
        raise ValueError(f"found weights {w}, expected {n} non-negative ones with a positive sum")
    start = prior.position if prior else None
    before = prior.log_probs if prior else np.zeros(len(beliefs[0].log_probs))
    log_probs = normalise((1.0 - w.sum()) * before + w @ np.array([b.log_probs for b in beliefs]))
    per_class = tuple(together([b.position_of(k) for b in beliefs], w, start) for k in range(len(log_probs)))
    return Belief(log_probs, together([b.position for b in beliefs], w, start), per_class)


def together(positions: list[Gaussian], w: Array, prior: Gaussian | None = None) -> Gaussian:
    """Logarithmic pool of Gaussians: Λ = (1 - Σ w) Λ_0 + Σ w Λ_i, Λ m = (1 - Σ w) Λ_0 m_0 + Σ w Λ_i m_i.

    Where an object that moves has left the prior behind, Λ may not be positive: then w is scaled to a sum of one, in
    which the prior has no part.
    """
    parts = [*positions, prior] if prior else positions
    v = np.append(w, 1.0 - w.sum()) if prior else w
    precisions = np.linalg.inv([g.covariance for g in parts])
    precision = np.einsum("i,ijk->jk", v, precisions)
    if not np.linalg.eigvalsh(precision).min() > 0.0:
        return together(positions, w / w.sum())
    covariance = np.linalg.inv(precision)
    information = np.einsum("i,ijk,ik->j", v, precisions, [g.mean for g in parts])
    return Gaussian(covariance @ information, 0.5 * (covariance + covariance.T))


def fit_weights(log_probs: Array, truth: Array, log_prior: Array | None = None) -> Array:
    """Weights of `pool` with the least log loss on held-out encounters: convex, solved by L-BFGS-B.

        min over w >= 0:  mean_e -ln p_e(truth_e) + |w - 1/n|² / 2E        p_e ∝ π^(1 - Σ w) Π p_ei^w_i

    The second term is a standard normal prior about equal weights that sum to one, worth one encounter: it keeps
    weights finite where the filters are never wrong, and shares them evenly between filters that say the same.

    Parameters
    ----------
    log_probs : array (encounters, filters, classes)
        What each filter believed, nats.
    truth : array (encounters,)
        Index of the true class.
    log_prior : array (classes,), optional
        What they started from; even if none.

    Raises
    ------
    ValueError
        If shapes do not fit, a log-probability is not finite, or a true class does not exist.
    """
    held, truth = np.asarray(log_probs, float), np.asarray(truth)
    if held.ndim != 3 or not held.size or truth.shape != held.shape[:1]:
        raise ValueError(
            f"found log_probs {held.shape} and truth {truth.shape}, expected (encounters, filters, classes) and"
            " (encounters,), none of them 0: leave out encounters in which a filter has no belief"
        )
    encounters, n, classes = held.shape
    if not np.isfinite(held).all() or truth.dtype.kind not in "iu" or not ((truth >= 0) & (truth < classes)).all():
        raise ValueError(
            f"found a log-probability that is not finite or a true class beyond {classes - 1}, expected neither:"
            " leave those encounters out"
        )
    before = np.full(classes, -np.log(classes)) if log_prior is None else np.asarray(log_prior, float)
    gained = held - before
    is_true = np.eye(classes)[truth]
    equal = np.full(n, 1.0 / n)

    def objective(w: Array) -> tuple[float, Array]:
        scores = before + np.einsum("i,eik->ek", w, gained)
        log_p = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
        loss = -np.sum(log_p * is_true) + 0.5 * np.sum((w - equal) ** 2)
        gradient = np.einsum("eik,ek->i", gained, np.exp(log_p) - is_true) + w - equal
        return loss / encounters, gradient / encounters

    options = {"ftol": 1e-14, "gtol": 1e-9, "maxiter": 1000}
    found = minimize(objective, equal, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * n, options=options)
    return np.asarray(found.x)
