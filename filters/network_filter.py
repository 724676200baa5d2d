"""A Bayesian network's evidence fused over time: what the filters by networks have in common.

The network gives each frame a logit f(y; w); the weights w have a posterior q(w), served as S fixed draws. Under draw
s a frame y is worth the evidence

    e_s(c) = ln p(c | y, w_s) - ln p(c)        (p(c): the share of class c in the training frames)

and frames add up, tempered because consecutive frames resemble each other, with one exponent for frames
in which the candidate was seen and one for those in which it was not:

    L_s,t(c) = L_s,t-1(c) + tau[detected] e_s(c)         belief p_t(c) = mean_s softmax(L_s,t)(c)

The weights are the same in every frame, so their uncertainty is carried through time with them and does
not average out. Epistemic uncertainty is the mutual information of label and weights (Houlsby et al.
2011, arXiv 1112.5745): H(p_t) - mean_s H(softmax(L_s,t)).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np

from filters.belief import LOG_ODDS_LIMIT, normalise
from filters.gaussian import diffusion, predict_position
from filters.models.model import Model
from filters.spec import FEATURES, Array, Belief, EgoMotion, Gaussian, Info, Prior, Status


class NetworkState(NamedTuple):
    """Log-probabilities under each weight draw (S, K), and the position."""

    log_probs: Array
    position: Gaussian


class NetworkFilter(ABC):
    """All but `update`, which makes evidence of a measurement; states have at least the parts of `NetworkState`."""

    model: Model
    checkpoint: str

    @abstractmethod
    def draws(self) -> int:
        """How many draws of the weights the checkpoint holds, S."""

    def init(self, prior: Prior, rng: np.random.Generator) -> Any:
        return NetworkState(np.tile(normalise(prior.log_probs), (self.draws(), 1)), prior.position)

    def predict(self, state: Any, motion: EgoMotion, dt: float, rng: np.random.Generator) -> Any:
        rate = (1.0 - self.belief(state).barrier) * diffusion(self.model.motion)
        return state._replace(position=predict_position(state.position, motion, dt, rate))

    def belief(self, state: Any) -> Belief:
        return Belief(average(state.log_probs), state.position, epistemic=float(information(state.log_probs)))

    def moved(self, before: Any, after: Any, nis: float, status: Status) -> tuple[Any, Info]:
        """What an update returns; the log-evidence is what it did to the belief, tempering included."""
        evidence = self.belief(after).log_probs - self.belief(before).log_probs
        return after, Info(evidence, nis=nis, status=status)


def seen(values: Array) -> int:
    """1 if perception saw the candidate of these features (F,), else 0."""
    return int(values[FEATURES.index("detected")] > 0.5)


def evidence_of(logits: Array, prior: Array) -> Array:
    """Evidence e_s(c) (n, S, K) of logits (n, S) and log class shares of training (K,)."""
    return np.asarray(-np.logaddexp(0.0, np.stack([logits, -logits], axis=-1)) - prior)


def fused(log_probs: Array, evidence: Array) -> Array:
    """Log-probabilities (..., K) with tempered evidence (..., K) added, `filters.belief.normalise` row by row."""
    total = log_probs + evidence
    limited = np.maximum(total, total.max(axis=-1, keepdims=True) - LOG_ODDS_LIMIT)
    return np.asarray(limited - np.logaddexp.reduce(limited, axis=-1, keepdims=True))


def information(log_probs: Array) -> Array:
    """Mutual information of label and weights, H(mean_s p_s) - mean_s H(p_s), nats: (...) from (..., S, K)."""
    mean = average(log_probs)
    entropy_of_draws = -np.mean(np.sum(np.exp(log_probs) * log_probs, axis=-1), axis=-1)
    return np.maximum(-np.sum(np.exp(mean) * mean, axis=-1) - entropy_of_draws, 0.0)


def average(log_probs: Array) -> Array:
    """Average over weight draws, ln mean_s p_s: (..., K) from (..., S, K)."""
    return np.asarray(np.log(np.mean(np.exp(log_probs), axis=-2)))
