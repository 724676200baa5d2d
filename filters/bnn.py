"""A small Bayesian network over a frame's features, its evidence fused over time.

The network gives each frame a logit f(y; w); the weights w have a mean-field posterior q(w), served as S
fixed draws. Under draw s a frame y is worth the evidence

    e_s(c) = ln p(c | y, w_s) - ln p(c)        (p(c): the share of class c in the training frames)

and frames add up, tempered because consecutive frames resemble each other, with one exponent for frames
in which the candidate was seen and one for those in which it was not:

    L_s,t(c) = L_s,t-1(c) + tau[detected] e_s(c)         belief p_t(c) = mean_s softmax(L_s,t)(c)

The weights are the same in every frame, so their uncertainty is carried through time with them and does
not average out. Epistemic uncertainty is the mutual information of label and weights (Houlsby et al.
2011, arXiv 1112.5745): H(p_t) - mean_s H(softmax(L_s,t)).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from filters.belief import LOG_ODDS_LIMIT, normalise
from filters.gaussian import diffusion, predict_position, update_position
from filters.models.model import Model
from filters.spec import FEATURES, Array, Belief, EgoMotion, Features, Gaussian, Info, Measurement, Prior
from filters.trained import load, shipped

HIDDEN = 24
FEATURE_LIMIT = 5.0  # standard deviations: beyond the training data a ReLU network only grows surer
SHAPES = {
    "mean": (len(FEATURES),),
    "deviation": (len(FEATURES),),
    "w1": (None, len(FEATURES), HIDDEN),
    "b1": (None, HIDDEN),
    "w2": (None, HIDDEN, HIDDEN),
    "b2": (None, HIDDEN),
    "w3": (None, HIDDEN),
    "b3": (None,),
    "prior": (2,),
    "tau": (2,),
}


class Network(NamedTuple):
    """Normalisation (F,), S weight draws, log class shares of training (K,), and tau (undetected, detected)."""

    mean: Array
    deviation: Array
    w1: Array
    b1: Array
    w2: Array
    b2: Array
    w3: Array
    b3: Array
    prior: Array
    tau: Array


class NetworkState(NamedTuple):
    """Log-probabilities under each weight draw (S, K), and the position."""

    log_probs: Array
    position: Gaussian


@dataclass(frozen=True)
class BayesianNetwork:
    """The filter; `checkpoint` is a file made by ``fogsim train classifier``."""

    model: Model
    checkpoint: str = shipped("bnn")
    sensors = ("features",)

    def init(self, prior: Prior, rng: np.random.Generator) -> NetworkState:
        draws = network(self.checkpoint).b3.size
        return NetworkState(np.tile(normalise(prior.log_probs), (draws, 1)), prior.position)

    def predict(self, state: NetworkState, motion: EgoMotion, dt: float, rng: np.random.Generator) -> NetworkState:
        rate = (1.0 - self.belief(state).barrier) * diffusion(self.model.motion)
        return state._replace(position=predict_position(state.position, motion, dt, rate))

    def update(
        self, state: NetworkState, measurement: Measurement, rng: np.random.Generator
    ) -> tuple[NetworkState, Info]:
        """Fuse one frame; the log-evidence is what it did to the belief, tempering included."""
        features = measurement.data
        assert isinstance(features, Features), f"found {measurement.sensor}, expected features"
        net = network(self.checkpoint)
        position, nis, status = update_position(state.position, features.position, features.covariance)
        log_probs = _limited(state.log_probs + tempered(net, features.values))
        evidence = average(log_probs) - average(state.log_probs)
        return NetworkState(log_probs, position), Info(evidence, nis=nis, status=status)

    def belief(self, state: NetworkState) -> Belief:
        p = np.exp(state.log_probs)
        mean = average(state.log_probs)
        entropy_of_draws = -np.mean(np.sum(p * state.log_probs, axis=1))
        information = float(-np.exp(mean) @ mean - entropy_of_draws)
        return Belief(mean, state.position, epistemic=max(information, 0.0))


@lru_cache(maxsize=8)
def network(path: str) -> Network:
    """The network in a checkpoint, read once.

    Raises
    ------
    ValueError
        In one line, if the file is not such a checkpoint.
    """
    tensors, _ = load(path, "bnn", SHAPES)
    return Network(**tensors)


def normalised(features: Array, mean: Array, deviation: Array) -> Array:
    """Standard scores of features (n, F), limited to `FEATURE_LIMIT`."""
    return np.clip((features - mean) / deviation, -FEATURE_LIMIT, FEATURE_LIMIT)


def logits(net: Network, features: Array) -> Array:
    """f(y; w_s) of features (n, F) under every weight draw: (n, S)."""
    x = normalised(features, net.mean, net.deviation)
    hidden = np.maximum(x @ net.w1 + net.b1[:, None], 0.0)
    hidden = np.maximum(hidden @ net.w2 + net.b2[:, None], 0.0)
    return ((hidden @ net.w3[:, :, None])[..., 0] + net.b3[:, None]).T


def evidence(net: Network, features: Array) -> Array:
    """Evidence e_s(c) of features (n, F): (n, S, K)."""
    f = logits(net, features)
    return -np.logaddexp(0.0, np.stack([f, -f], axis=-1)) - net.prior


def tempered(net: Network, values: Array) -> Array:
    """What one frame (F,) adds to the scores, tau e_s(c): (S, K)."""
    detected = int(values[FEATURES.index("detected")] > 0.5)
    return net.tau[detected] * evidence(net, values[None])[0]


def average(log_probs: Array) -> Array:
    """Average over weight draws, ln mean_s p_s: (..., K) from (..., S, K)."""
    return np.asarray(np.log(np.mean(np.exp(log_probs), axis=-2)))


def _limited(log_weights: Array) -> Array:
    """`filters.belief.normalise`, row by row of (S, K)."""
    limited = np.maximum(log_weights, log_weights.max(axis=1, keepdims=True) - LOG_ODDS_LIMIT)
    return limited - np.logaddexp.reduce(limited, axis=1, keepdims=True)
