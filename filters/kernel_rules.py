"""Kernel Bayes' rules: from a prior's weights on n sampled pairs (X_i, Y_i) and a measurement to a posterior's.

A distribution is its embedding Σ_i w_i k(X_i, .), so it is its weights w (n,). The prior's are gamma; the measurement
enters as v = v(y) (r,), its coordinates in the low-rank Gram matrix G_Y = V V' (`filters.kernels.LowRank`), by which
k_Y(y) = V v. All rules are O(n r² + r³).
"""

from __future__ import annotations

import numpy as np

from filters.jit import jit
from filters.spec import Array


@jit
def importance_weighted(factor: Array, v: Array, gamma: Array, regulariser: float) -> Array:
    """The default: alpha = D V (V'DV + lambda I)⁻¹ v, D = diag max(gamma, 0): (n,), zeros if nothing is left.

    It minimises the squared error of predicting φ(X) from φ(Y), each pair counted by its prior weight, so what is
    solved is positive definite whatever the prior. Source: Xu, Chen, Doucet, Gretton 2022, arXiv 2202.02474.
    """
    n, r = factor.shape
    alpha, rows, k = np.zeros(n), np.empty((n, r)), 0
    if not np.isfinite(v).all():
        return alpha
    for i in range(n):  # element by element: an array expression would allocate one per row
        if gamma[i] > 0.0:
            root = np.sqrt(gamma[i])
            for j in range(r):
                rows[k, j] = root * factor[i, j]
            k += 1
    if k == 0:
        return alpha
    rows = rows[:k]
    solved = np.dot(rows, np.linalg.solve(np.dot(rows.T, rows) + regulariser * np.eye(r), v))
    k = 0
    for i in range(n):
        if gamma[i] > 0.0:
            alpha[i] = np.sqrt(gamma[i]) * solved[k]
            k += 1
    return alpha


@jit
def original(factor: Array, v: Array, gamma: Array, regulariser: float) -> Array:
    """The first rule: alpha = Λ V (B² + delta I)⁻¹ B v, B = V'ΛV, Λ = diag gamma: (n,), zeros if y is not finite.

    Source: Fukumizu, Song, Gretton 2013, JMLR 14:3753, Fig. 1, in low-rank form. For comparison, for it has two
    defects: as delta falls alpha tends to G_Y⁻¹ k_Y(y), from which the prior is gone (Johno, Nakamoto, Saigo 2015,
    arXiv 1507.01059); and gamma's negative parts make B indefinite, so that with a small delta rounding errors grow to
    the size of the answer.
    """
    if not np.isfinite(v).all():
        return np.zeros(len(gamma))
    B = np.dot(factor.T, gamma.reshape(-1, 1) * factor)
    solved = np.linalg.solve(np.dot(B, B) + regulariser * np.eye(len(v)), np.dot(B, v))
    return gamma * np.dot(factor, solved)


@jit
def hybrid(gamma: Array, log_likelihood: Array) -> tuple[Array, float]:
    """Known likelihood, learned dynamics: w_i ∝ max(gamma_i, 0) p(y | X_i) (n,), and ln p(y) of the prior.

    ln p(y) = ln Σ_i max(gamma_i, 0) p(y | X_i) / Σ_i max(gamma_i, 0); zeros and -inf if no pair explains y.
    Source: Kanagawa, Nishiyama, Gretton, Fukumizu 2016, Neural Comput. 28:382, with a likelihood in the rule's place.
    """
    top = -np.inf
    for i in range(len(gamma)):
        if gamma[i] > 0.0 and log_likelihood[i] > top:
            top = log_likelihood[i]
    weights, mass = np.zeros(len(gamma)), 0.0
    if not np.isfinite(top):
        return weights, -np.inf
    for i in range(len(gamma)):
        if gamma[i] > 0.0:
            mass += gamma[i]
            weights[i] = gamma[i] * np.exp(log_likelihood[i] - top)
    total = weights.sum()
    return weights / total, top + np.log(total / mass)


@jit
def kernel_kalman(mean: Array, covariance: Array, observation: Array, noise: Array, v: Array) -> tuple[Array, Array]:
    """A Kalman update in feature space: m + K (v - O m) and P - K O P, K = P O' (O P O' + R)⁻¹.

    The embedding's coordinates m (r,) with their covariance P (r, r), the observation's v = O m + noise, noise ~ R.
    Source: Gebhardt, Kupcsik, Neumann 2017, AAAI (The kernel Kalman rule), subspace form.
    """
    cross = np.dot(observation, covariance)
    gain = np.linalg.solve(np.dot(cross, observation.T) + noise, cross).T.copy()
    posterior = covariance - np.dot(gain, cross)
    return mean + np.dot(gain, v - np.dot(observation, mean)), 0.5 * (posterior + posterior.T)


@jit
def settle(weights: Array) -> tuple[Array, float, float]:
    """Weights scaled to a sum of one, that sum before, and their ESS (Σ w)² / Σ w² over the positive ones.

    Where the sum is not positive, or not a number, they come back as they are.
    """
    mass, top = 0.0, 0.0
    for w in weights:
        mass += w
        top = max(top, w)
    total, square = 0.0, 0.0
    for w in weights:
        if w > 0.0:
            total += w / top
            square += (w / top) ** 2
    ess = total**2 / square if square > 0.0 else 0.0
    return (weights / mass if mass > 0.0 else weights), mass, ess
