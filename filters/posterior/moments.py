"""Means and covariances through the parts of a transformer: linear layers, normalisation, scores, softmax, context.

The tokens of a sequence go through the same weights, so that each of their features covaries from token to token:
X_i,jl = Cov(x_ji, x_li). Features, and what one part of the network makes beside another, are taken as independent.

With neurons w_a ~ N(μ_a, C_a), z = (x, 1), keys k_j of covariances K_a,jl, a query q of variances v, scores a_j:

    linear     E y_ja = μ_a'z̄_j,  Cov(y_ja, y_la) = z̄_j'C_a z̄_l + Σ_i (μ_ai² + C_a,ii) X_i,jl
    norm       ẑ = (x̄_j - mean) / σ, σ² = ε + the expected scatter of x_j's features, their means' and (1 - 1/d) times
               their variances' mean; J = (I - 11'/d - ẑẑ'/d) / σ (delta method): covariance J X J'
    scores     E a_j = q̄'k̄_j / √d,  Cov(a_j, a_l) = Σ_a (v_a k̄_ja k̄_la + (q̄_a² + v_a) K_a,jl) / d
    softmax    s at ā, J = diag s - s s', covariance J S J', mean s_j + ½ Σ ∂²s_j/∂a_k∂a_l S_kl =
               s_j (1 + ½ (S_jj - 2 (S s)_j + 2 s'S s - s'diag S))
    context    E c_a = Σ_j m_j k̄_ja,  Var c_a = k̄_a'V k̄_a + Σ_jl (V + m m')_jl K_a,jl

The Taylor series of the softmax is as good as its scores are certain: where some score, less their mean by s, has a
variance above `MOST`, moments are those of draws. By Stein's lemma Cov(s, a) = E[J] S, so that in both ways regression
on the scores has the slopes E[J] = diag m - V - m m'.

The reference's scores (keys independent, one matrix for all) are the special case K_a,jl = δ_jl; that all tokens' keys
are of the same uncertain weights is derived here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from filters.posterior.decision_transformer import TINY
from filters.spec import Array

MOST = 0.3  # variance of a score up to which the softmax's Taylor series is trusted
DRAWS = 512  # of the scores beyond it


class Moments(NamedTuple):
    """Means (..., n, d) of n tokens' features, and each feature's covariance (..., d, n, n) between tokens."""

    mean: Array
    covariance: Array

    @property
    def variance(self) -> Array:
        """Of each feature (..., n, d)."""
        return np.diagonal(self.covariance, axis1=-2, axis2=-1).swapaxes(-1, -2)

    def last(self) -> Moments:
        """The last token alone."""
        return Moments(self.mean[..., -1:, :], self.covariance[..., -1:, -1:])


class Weights(NamedTuple):
    """Softmax weights of one query: mean (..., n), covariance and expected Jacobian (..., n, n), whether of draws."""

    mean: Array
    covariance: Array
    slope: Array
    drawn: np.ndarray


def with_one(x: Array) -> Array:
    """(x, 1)."""
    return np.concatenate([x, np.ones_like(x[..., :1])], axis=-1)


def linear(mean: Array, covariance: Array, x: Moments) -> Moments:
    """Neurons' weights of means (out, in + 1) and covariances (out, in + 1, in + 1)."""
    z = with_one(x.mean)[..., None, :, :]
    own = z @ covariance @ z.swapaxes(-1, -2)
    spread = mean[:, :-1] ** 2 + np.diagonal(covariance, axis1=1, axis2=2)[:, :-1]
    *batch, d, n, _ = x.covariance.shape
    through = (spread @ x.covariance.reshape(*batch, d, n * n)).reshape(*batch, len(mean), n, n)
    return Moments(with_one(x.mean) @ mean.T, own + through)


def norm(x: Moments) -> tuple[Moments, Array]:
    """Normalised tokens, and the Jacobians (..., n, d, d)."""
    d = x.mean.shape[-1]
    scatter = x.mean.var(axis=-1, keepdims=True) + (1.0 - 1.0 / d) * x.variance.mean(axis=-1, keepdims=True)
    deviation = np.sqrt(scatter + TINY)
    z = (x.mean - x.mean.mean(axis=-1, keepdims=True)) / deviation
    J = (np.eye(d) - 1.0 / d - z[..., :, None] * z[..., None, :] / d) / deviation[..., None]
    each = J.swapaxes(-3, -2)  # (..., d, n, d)
    parts = x.covariance.swapaxes(-3, -2).swapaxes(-2, -1)  # (..., n, n, d): of tokens j and l
    covariance = np.einsum("...aji,...ali,...jli->...ajl", each, each, parts, optimize=True)
    return Moments(z, covariance), J


def add(x: Moments, y: Moments) -> Moments:
    """Of two that are taken as independent."""
    return Moments(x.mean + y.mean, x.covariance + y.covariance)


def scores(query: Moments, keys: Moments) -> tuple[Array, Array]:
    """Mean (..., n) and covariance (..., n, n) of a query's products with keys, over √d."""
    q, v, k = query.mean[..., 0, :], query.variance[..., 0, :], keys.mean
    d = q.shape[-1]
    of_query = (k * v[..., None, :]) @ k.swapaxes(-1, -2)
    of_keys = np.einsum("...a,...ajl->...jl", q**2 + v, keys.covariance)
    return (k @ q[..., None])[..., 0] / d**0.5, (of_query + of_keys) / d


def centred(mean: Array, covariance: Array) -> tuple[Array, Array]:
    """Softmax s at the mean, and each score's variance less their mean by s, which no softmax feels: both (..., n)."""
    s = np.exp(mean - mean.max(axis=-1, keepdims=True))
    s /= s.sum(axis=-1, keepdims=True)
    with_mean = (covariance @ s[..., None])[..., 0]
    own = np.diagonal(covariance, axis1=-2, axis2=-1)
    return s, own - 2.0 * with_mean + (s * with_mean).sum(axis=-1, keepdims=True)


def softmax(mean: Array, covariance: Array, rng: np.random.Generator) -> Weights:
    """Of Gaussian scores, mean (..., n) and covariance (..., n, n)."""
    s, variance = centred(mean, covariance)
    J = s[..., None] * (np.eye(s.shape[-1]) - s[..., None, :])
    m = s * (1.0 + 0.5 * (variance - (s * variance).sum(axis=-1, keepdims=True)))
    V = J @ covariance @ J
    drawn = variance.max(axis=-1) > MOST
    if drawn.any():
        m[drawn], V[drawn] = sampled(mean[drawn], covariance[drawn], rng)
    slope = m[..., None] * (np.eye(m.shape[-1]) - m[..., None, :]) - V
    return Weights(m, V, slope, drawn)


def sampled(mean: Array, covariance: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Moments of the softmax of draws."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]
    half = rng.standard_normal((DRAWS // 2, mean.shape[-1]))
    a = mean[..., None, :] + np.concatenate([half, -half]) @ root.swapaxes(-1, -2)
    s = np.exp(a - a.max(axis=-1, keepdims=True))
    s /= s.sum(axis=-1, keepdims=True)
    m = s.mean(axis=-2)
    off = s - m[..., None, :]
    return m, off.swapaxes(-1, -2) @ off / DRAWS


def context(weights: Weights, values: Moments) -> Moments:
    """Σ_j s_j v_j, one token (..., 1, d)."""
    m, V = weights.mean, weights.covariance
    both = V + m[..., :, None] * m[..., None, :]
    of_values = np.einsum("...jl,...ajl->...a", both, values.covariance)
    of_weights = ((V @ values.mean) * values.mean).sum(axis=-2)
    return Moments((m[..., None, :] @ values.mean), (of_values + of_weights)[..., None, None])
