"""A filter whose dynamics, and measurements if need be, are learned from triples (X_t, X_t+1, Y_t) alone.

A belief is its embedding Σ_i w_i k(X_i, .): weights w (n,) on the sampled states. The kernel sum rule carries it on,

    w' = (G + n eps I)⁻¹ G w  on the X_t+1,     gamma = (G + n eps I)⁻¹ G_+ w'  back on the X_t,

G = k(X_t, X_t), G_+ = k(X_t, X_t+1), and a rule of `filters.kernel_rules` takes in a measurement. With G = U U' and
G_+ = U U_+' both steps are gamma = U S T U'w, S = (U'U + n eps I)⁻¹, T = U_+'U S: exact for U U', and O(n r).
Source: Fukumizu, Song, Gretton 2013, JMLR 14:3753, section 4.3.

The importance-weighted rule is the default; "hybrid" takes a likelihood instead of learning one, and is the best where
there is one; "kernel_kalman" never looks at the pairs in its rule; "original" is there to compare with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy.linalg import inv

from filters.kernel_rules import hybrid, importance_weighted, kernel_kalman, original, settle
from filters.kernels import LowRank, coordinates, leave_one_out, low_rank, median_square
from filters.spec import Array, Gaussian, Info, Status

Rule = Literal["importance_weighted", "original", "kernel_kalman", "hybrid"]
STATE_WIDTH, OBSERVATION_WIDTH = 0.2, 0.3  # h² as shares of the median squared distance
RANK = 24  # more gains little and costs its square
TOLERANCE = 1e-3  # of the incomplete Cholesky's diagonal, which starts at 1
LAMBDA = 0.03  # of the importance-weighted rule
DELTA = 3e-4  # of the original rule
KAPPA = 1e-4  # of the kernel Kalman rule
LEAST = 1e-3  # mass that a rule must leave


class Learned(NamedTuple):
    """What n triples teach: r coordinates of states, q of observations.

    `states` X_t (n, d) with `factor` U (n, r), `solve` S and `transition` T (r, r); `observed` the low-rank Gram matrix
    of Y_t. For the kernel Kalman rule, covariance of what T leaves unexplained, `drift` (r, r), and v = O m + noise:
    `observation` (q, r), `noise` (q, q).
    """

    states: Array
    factor: Array
    solve: Array
    transition: Array
    observed: LowRank
    drift: Array
    observation: Array
    noise: Array


class Weights(NamedTuple):
    """Weights (n,) on the sampled states, of sum 1; `covariance` (r, r) in the kernel Kalman rule, else (0, 0)."""

    weights: Array
    covariance: Array


@dataclass(frozen=True)
class KernelFilter:
    """The filter; "hybrid" needs `log_likelihood`: (states (n, d), y) -> ln p(y | x) (n,)."""

    learned: Learned
    rule: Rule = "importance_weighted"
    log_likelihood: Callable[[Array, Array], Array] | None = None

    def __post_init__(self) -> None:
        if (self.rule == "hybrid") != (self.log_likelihood is not None):
            raise ValueError(f"found rule {self.rule}; a log_likelihood is for hybrid, which needs one")

    def init(self) -> Weights:
        """The sampled states themselves, each alike."""
        factor = self.learned.factor
        spread = factor - factor.mean(axis=0) if self.rule == "kernel_kalman" else factor[:, :0]
        return Weights(np.full(len(factor), 1.0 / len(factor)), spread.T @ spread / len(factor))

    def predict(self, state: Weights) -> Weights:
        """Carry the belief to the next step; one that the sum rule loses altogether starts afresh."""
        model = self.learned
        weights = model.factor @ (model.solve @ (model.transition @ (state.weights @ model.factor)))
        weights, mass, _ = settle(weights)
        covariance = state.covariance
        if covariance.size:
            covariance = model.transition @ covariance @ model.transition.T + model.drift
        return Weights(weights, covariance) if mass > LEAST else self.init()

    def update(self, state: Weights, y: Array) -> tuple[Weights, Info]:
        """Take in a measurement (d,); DEPLETED if no pair explains it, and the belief stays.

        Of log-evidence only the hybrid rule knows; it is NaN of the others.
        """
        weights, covariance, log_evidence = self._apply(state, y)
        weights, mass, ess = settle(weights)
        if not mass > LEAST:  # NaN too
            return state, Info(np.array([np.nan]), settle(state.weights)[2], status=Status.DEPLETED)
        return Weights(weights, covariance), Info(np.array([log_evidence]), ess)

    def mean(self, state: Weights) -> Array:
        """Σ w x: (d,)."""
        return state.weights @ self.learned.states

    def belief(self, state: Weights) -> Gaussian:
        """Mean, and the covariance of the positive weights, which is one."""
        mean, weights = self.mean(state), np.maximum(state.weights, 0.0)
        spread = self.learned.states - mean
        return Gaussian(mean, (weights[:, None] * spread).T @ spread / weights.sum())

    def _apply(self, state: Weights, y: Array) -> tuple[Array, Array, float]:
        model, gamma = self.learned, state.weights
        if self.log_likelihood is not None:
            weights, log_evidence = hybrid(gamma, self.log_likelihood(model.states, y))
            return weights, state.covariance, log_evidence
        v = coordinates(model.observed, y)
        if self.rule == "kernel_kalman":
            mean, covariance = kernel_kalman(gamma @ model.factor, state.covariance, model.observation, model.noise, v)
            return model.factor @ (model.solve @ mean), covariance, np.nan
        if self.rule == "original":
            return original(model.observed.factor, v, gamma, DELTA), state.covariance, np.nan
        weights = importance_weighted(model.observed.factor, v, gamma, LAMBDA)
        return weights, state.covariance, np.nan


def learn(before: Array, after: Array, observed: Array, rank: int = RANK) -> Learned:
    """Everything that does not depend on a measurement.

    Bandwidths are shares of the median squared distance, each regression's epsilon is the best left-one-out.

    Parameters
    ----------
    before, after : Array
        States X_t and X_t+1 (n, d).
    observed : Array
        Measurements Y_t (n, e) of the former.
    rank : int
        Most pivots of either Gram matrix.

    Raises
    ------
    ValueError
        If they are not as many of each, none, or not finite.
    """
    if not (len(before) == len(after) == len(observed) > 0):
        raise ValueError(f"found {len(before)} X_t, {len(after)} X_t+1, {len(observed)} Y_t: expected as many of each")
    if not all(np.isfinite(a).all() for a in (before, after, observed)):
        raise ValueError("found a triple that is not finite, expected numbers")
    states = low_rank(before, 0.5 / (STATE_WIDTH * median_square(before)), TOLERANCE, rank)
    y = low_rank(observed, 0.5 / (OBSERVATION_WIDTH * median_square(observed)), TOLERANCE, rank)
    U, following = states.factor, np.array([coordinates(states, x) for x in after])
    transition, solve, drift = regress(U, following)
    observation, _, noise = regress(U, y.factor)
    return Learned(before, U, solve, transition, y, drift, observation, noise + KAPPA * np.eye(len(noise)))


def regress(inputs: Array, targets: Array) -> tuple[Array, Array, Array]:
    """T (q, r) with targets ≈ T inputs, (U'U + n eps I)⁻¹ (r, r), and the covariance (q, q) of what T leaves."""
    n = len(inputs)
    ridge = n * leave_one_out(inputs, targets) * np.eye(inputs.shape[1])
    solve: Array = inv(inputs.T @ inputs + ridge)
    slope: Array = targets.T @ inputs @ solve
    rest: Array = targets - inputs @ slope.T
    return slope, solve, rest.T @ rest / n
