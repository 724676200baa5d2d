"""A small Bayesian network over a frame's features (`filters.network_filter` says how frames are fused).

What is like neither class moves no belief far: a third hypothesis, "none of these", of prior share ε, says nothing of
the class. Of its odds o, with p_t(c) the belief if it is one of these,

    ln o_t = ln o_t-1 + ν m ln e(y)    in frames in which it was seen (`filters.novelty`),    u = o / (1 + o)
    belief = (1 - u) p_t + u p_0        epistemic: what is learnt of the class by knowing w, and whether it is known

m is the way driven since the last frame, in `PACE`, for a car that stands sees the same odd view again and again; ν
tempers, as frames resemble each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

from filters import novelty
from filters.belief import entropy, normalise
from filters.gaussian import update_position
from filters.models.model import Model
from filters.network_filter import NetworkFilter, evidence_of, fused, information, seen
from filters.novelty import Known
from filters.spec import FEATURES, Array, Belief, EgoMotion, Features, Gaussian, Info, Measurement, Prior
from filters.trained import load, shipped

HIDDEN = 24
CLEAREST = np.log(2000.0)  # ln m: clearer air than in training looks no different, but not to a network
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
NONE_OF_THESE = 0.01  # ε
PACE = 0.6  # m a frame, at the training encounters' mean speed
TEMPER = 0.3  # ν, chosen on the encounters of scenarios/studies/unseen_objects.py: at .5 one known object in 20 is odd
SUREST = 10.0  # nats of its odds: what turns out to be another thing in the end must not take for ever


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


class FeaturesState(NamedTuple):
    """`filters.network_filter.NetworkState`, the prior (K,), ln of the odds of "none of these", and m driven."""

    log_probs: Array
    position: Gaussian
    prior: Array
    unknown: float
    driven: float


@dataclass(frozen=True)
class BayesianNetwork(NetworkFilter):
    """The filter; `checkpoint` is a file made by ``fogsim train classifier``."""

    model: Model
    checkpoint: str = shipped("bnn")
    sensors = ("features",)

    def draws(self) -> int:
        return network(self.checkpoint)[0].b3.size

    def init(self, prior: Prior, rng: np.random.Generator) -> FeaturesState:
        log_probs, position = super().init(prior, rng)
        return FeaturesState(log_probs, position, normalise(prior.log_probs), float(logit(NONE_OF_THESE)), 0.0)

    def predict(self, state: FeaturesState, motion: EgoMotion, dt: float, rng: np.random.Generator) -> FeaturesState:
        """Add the way."""
        moved: FeaturesState = super().predict(state, motion, dt, rng)
        return moved._replace(driven=state.driven + float(np.hypot(motion.delta[0], motion.delta[1])))

    def update(
        self, state: FeaturesState, measurement: Measurement, rng: np.random.Generator
    ) -> tuple[FeaturesState, Info]:
        """Fuse one frame."""
        features = measurement.data
        assert isinstance(features, Features), f"found {measurement.sensor}, expected features"
        (net, known), values = network(self.checkpoint), in_clear(features.values)
        found = evidence(net, values[None])
        unknown = state.unknown + TEMPER * state.driven / PACE * float(oddness(net, known, values[None], found)[0])
        log_probs = fused(state.log_probs, net.tau[seen(values)] * found[0])
        position, nis, status = update_position(state.position, features.position, features.covariance)
        after = FeaturesState(log_probs, position, state.prior, float(np.clip(unknown, -SUREST, SUREST)), 0.0)
        return self.moved(state, after, nis, status)

    def belief(self, state: FeaturesState) -> Belief:
        known, u = super().belief(state), float(expit(state.unknown))
        log_probs = np.logaddexp(np.log1p(-u) + known.log_probs, np.log(u) + state.prior)
        among = entropy(known.log_probs) - known.epistemic
        learnt = entropy(log_probs) - (1.0 - u) * among - u * entropy(state.prior)
        return Belief(log_probs, state.position, epistemic=max(learnt, 0.0))


@lru_cache(maxsize=8)
def network(path: str) -> tuple[Network, Known]:
    """The network in a checkpoint, and what it was trained on, read once.

    Raises
    ------
    ValueError
        In one line, if the file is not such a checkpoint.
    """
    tensors, _ = load(path, "bnn", SHAPES | novelty.SHAPES)
    known = {name: tensors.pop(name) for name in novelty.SHAPES}
    return Network(**tensors), Known(**known)


def in_clear(values: Array) -> Array:
    """Features (F,) with a visibility of `CLEAREST` at most."""
    kept = values.copy()
    kept[novelty.LOG_VISIBILITY] = min(kept[novelty.LOG_VISIBILITY], CLEAREST)
    return kept


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
    return evidence_of(logits(net, features), net.prior)


def oddness(net: Network, known: Known, features: Array, found: Array) -> Array:
    """ln e(y) (n,) of frames' features (n, F) with their evidence (n, S, K); 0 where nothing was seen."""
    there, result = np.array([seen(frame) == 1 for frame in features]), np.zeros(len(features))
    if there.any():
        told = information(fused(found[there], net.prior))
        result[there] = novelty.log_odds(novelty.log_p(known, features[there], told))
    return result
