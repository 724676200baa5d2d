"""The classifier of `filters.bnn` as a model that can be updated: what `fogsim train` wrote, as neurons' Gaussians.

A checkpoint holds draws of the weights. Their posterior is taken to be normal and diagonal with the moments of the
draws, which it was for the engines that ship; it goes on as that of a Kalman network, which learns in closed form. What
it says of an encounter is what the filter says, from even odds, up to those moments: frames fused with the tempering of
the checkpoint (`network_filter`), and a third hypothesis, "none of these" (`bnn`, `novelty`).

What a network has learnt from is no longer odd. So beside what objects were like in training a model holds what they
were like lately: a candidate is none of these only as far as it is odd to both. But in a world that is new a network of
few labels is too sure: beside n labelled encounters that were none of these to training, and where such are a share v
of the last ones, it says

    (1 - w) p + w / 2,   w = v c / (n + c)

as a rule of succession has it whose prior is worth c = `PRIOR` encounters. Both are derived here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import expit, logit

from filters import bnn, novelty
from filters.adaptation.streaming import encounter
from filters.network_filter import average, evidence_of, fused, information, seen
from filters.novelty import Known
from filters.posterior.checkpoint import fingerprint, leaves
from filters.posterior.kalman_network import KalmanNetwork, Neurons
from filters.posterior.likelihoods import Bernoulli
from filters.posterior.mlp import Mlp
from filters.posterior.spec import Data, generator
from filters.spec import BARRIER, CLASSES, FEATURES, Array

DRAWS = 64
WORTH = 10.0  # of an encounter's frames, which share one label; with the bound chosen on root seeds 6 to 8
ENOUGH, LATE = 30, 60  # labelled encounters that tell what objects are like lately; chosen on 6 to 8 and 19 to 21
PRIOR = 4.0  # encounters; chosen on 19 to 21
FEWEST = 50  # frames of each class to learn from
EVEN = np.full(len(CLASSES), -np.log(len(CLASSES)))


class Frames(NamedTuple):
    """Of one candidate: features (n, F), and the way driven since the frame before, m (n,)."""

    features: Array
    driven: Array

    def where(self, which: np.ndarray) -> Frames:
        """Some of them; the way of those left out is driven all the same."""
        return Frames(self.features[which], np.diff(np.cumsum(self.driven)[which], prepend=0.0))


class Model(NamedTuple):
    """The posterior of the weights; what known objects are like, in training, and lately if that was learnt; how many
    labelled encounters were none of these to training, and their share of the last ones.
    """

    posterior: Neurons
    known: tuple[Known, ...]
    novel: float = 0.0
    share: float = 0.0

    @property
    def doubt(self) -> float:
        """w, in what it says of anything."""
        return self.share * PRIOR / (self.novel + PRIOR)

    @property
    def hash(self) -> str:
        """SHA-256 of all of it."""
        tables = {
            f"known.{k}.{name}": torch.tensor(t)
            for k, own in enumerate(self.known)
            for name, t in own._asdict().items()
        }
        counts = {"novel": torch.tensor(self.novel), "share": torch.tensor(self.share)}
        return fingerprint(dict(leaves(self.posterior)) | tables | counts, {})


class Deployed(NamedTuple):
    """The engine, the model, and of the checkpoint: how inputs are standardised, class shares, tempering."""

    engine: KalmanNetwork
    model: Model
    network: bnn.Network

    def inputs(self, features: Array) -> Array:
        """Standard scores of frames (n, F)."""
        return bnn.normalised(in_clear(features), self.network.mean, self.network.deviation)

    def rows(self, features: Array, label: int) -> Data:
        """An encounter's frames (n, F) to learn from, together worth `WORTH` independent ones."""
        return encounter(self.inputs(features), np.full(len(features), label), worth=WORTH)

    def evidence(self, posterior: Neurons, features: Array, seed: int) -> Array:
        """What frames (n, F) are worth under draws of a posterior (n, S, K), the same random numbers for any two."""
        weights = draws_of(self.engine, posterior, seed)
        with torch.inference_mode():
            x = torch.tensor(self.inputs(features), dtype=torch.float32)
            logits = self.engine.network.forward(weights, x)[..., 0].T.double().numpy()
        return evidence_of(logits, self.network.prior)

    def probability(self, model: Model, frames: Frames, seed: int) -> float:
        """P(barrier) by a candidate's frames; those that are not finite are left out, and it is NaN if none is left."""
        frames = told(frames)
        if not len(frames.features):
            return float("nan")
        found = self.evidence(model.posterior, frames.features, seed)
        tau = self.network.tau[[seen(frame) for frame in frames.features]]
        p = np.exp(average(fused(EVEN, (tau[:, None, None] * found).sum(axis=0))))
        sure = (1.0 - self.unknown(model.known, frames, found)) * (1.0 - model.doubt)
        return float((sure * p + (1.0 - sure) * np.exp(EVEN))[BARRIER])

    def novelty(self, model: Model, frames: Frames, seed: int) -> float:
        """P("none of these") to what objects were like in training, by a candidate's frames.

        The weights are what has been learnt: of their two signs it is Mahalanobis' distance that stays as it was.
        """
        frames = told(frames)
        found = self.evidence(model.posterior, frames.features, seed)
        return self.unknown(model.known[:1], frames, found)

    def unknown(self, known: tuple[Known, ...], frames: Frames, found: Array) -> float:
        """P("none of these"), as `bnn.BayesianNetwork` has it, of frames with their evidence (n, S, K)."""
        clear = in_clear(frames.features)
        odd = np.min([bnn.oddness(self.network, own, clear, found) for own in known], axis=0)
        log_odds = float(logit(bnn.NONE_OF_THESE))
        for step in bnn.TEMPER * frames.driven / bnn.PACE * odd:
            log_odds = float(np.clip(log_odds + step, -bnn.SUREST, bnn.SUREST))
        return float(expit(log_odds))

    def known(self, posterior: Neurons, late: Sequence[tuple[Array, int]], seed: int) -> tuple[Known, ...]:
        """What objects were like in training, and in late encounters (frames (n, F) and class), if these are enough.

        As in training, one half is learnt, by the other is seen how odd known objects look.
        """
        trained = self.model.known[:1]
        if len(late) < ENOUGH:
            return trained
        halves = [[labelled(*each) for each in late[k::2]] for k in (0, 1)]
        (features, label), (fresh, _) = (tuple(map(np.concatenate, zip(*half, strict=True))) for half in halves)
        if min(np.bincount(label.astype(int), minlength=len(CLASSES)).min(), len(fresh)) < FEWEST:
            return trained
        found = information(fused(self.evidence(posterior, fresh, seed), self.network.prior))
        regression, precision = novelty.learn(features, label, np.ones(len(label)))
        return *trained, novelty.calibrate(regression, precision, fresh, found, np.ones(len(fresh)))


@lru_cache(maxsize=4)  # the model that is deployed and the one that learns are asked several times an encounter
def draws_of(engine: KalmanNetwork, posterior: Neurons, seed: int) -> torch.Tensor:
    """Of the weights."""
    return engine.sample(posterior, generator(seed, "debt"), DRAWS)


def told(frames: Frames) -> Frames:
    """Those that are finite."""
    return frames.where(np.asarray(np.isfinite(frames.features).all(axis=1)))


def labelled(features: Array, label: int) -> tuple[Array, Array]:
    """Frames of an encounter in which the candidate was seen, and their class (n,)."""
    features = features[np.isfinite(features).all(axis=1)]
    clear = in_clear(features[[seen(frame) == 1 for frame in features]])
    return clear, np.full(len(clear), label)


def in_clear(features: Array) -> Array:
    """`bnn.in_clear` of frames (n, F)."""
    return np.array([bnn.in_clear(frame) for frame in features]).reshape(-1, len(FEATURES))


def load(path: str | os.PathLike[str]) -> Deployed:
    """Of a checkpoint.

    Raises
    ------
    ValueError
        In one line, if it is none of `fogsim train classifier`, or has one draw only.
    """
    net, known = bnn.network(str(path))
    if net.b3.size < 2:
        raise ValueError(f"{path}: found {net.b3.size} draw of the weights, expected several: train it again")
    layers = (net.w1, net.b1), (net.w2, net.b2), (net.w3[..., None], net.b3[:, None])
    draws = [np.concatenate([w, b[:, None]], axis=1).swapaxes(1, 2) for w, b in layers]
    means = tuple(torch.tensor(part.mean(axis=0)) for part in draws)
    variances = (torch.tensor(np.maximum(part.var(axis=0, ddof=1), 1e-9)) for part in draws)
    engine = KalmanNetwork(Mlp((len(FEATURES), bnn.HIDDEN, bnn.HIDDEN, 1)), Bernoulli())
    posterior = Neurons(means, tuple(map(torch.diag_embed, variances)))
    return Deployed(engine, Model(posterior, (known,)), net)
