"""The classifier of `filters.bnn` as a posterior that can be updated: what `fogsim train` wrote, as neurons' Gaussians.

A checkpoint holds draws of the weights. Their posterior is taken to be normal and diagonal with the moments of the
draws, which it was for the engines that ship; it goes on as that of a Kalman network, which learns in closed form. What
it says of an encounter is what the filter would: frames fused with the tempering of the checkpoint (`network_filter`),
from even odds, but without the third hypothesis "none of these".
"""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
import torch

from filters import bnn
from filters.adaptation.streaming import encounter
from filters.network_filter import average, evidence_of, fused, seen
from filters.posterior.checkpoint import fingerprint, leaves
from filters.posterior.kalman_network import KalmanNetwork, Neurons
from filters.posterior.likelihoods import Bernoulli
from filters.posterior.mlp import Mlp
from filters.posterior.spec import Data, generator
from filters.spec import BARRIER, CLASSES, FEATURES, Array

DRAWS = 64
WORTH = 10.0  # of an encounter's frames, which share one label; with the bound chosen on root seeds 6 to 8
EVEN = np.full(len(CLASSES), -np.log(len(CLASSES)))


class Deployed(NamedTuple):
    """The engine, the posterior, and of the checkpoint: how inputs are standardised, class shares, tempering."""

    engine: KalmanNetwork
    posterior: Neurons
    network: bnn.Network

    def inputs(self, features: Array) -> Array:
        """Standard scores of frames (n, F)."""
        clear = features.copy()
        column = FEATURES.index("log_visibility")
        clear[:, column] = np.minimum(clear[:, column], bnn.CLEAREST)
        return bnn.normalised(clear, self.network.mean, self.network.deviation)

    def rows(self, features: Array, label: int) -> Data:
        """An encounter's frames (n, F) to learn from, together worth `WORTH` independent ones."""
        return encounter(self.inputs(features), np.full(len(features), label), worth=WORTH)

    def probability(self, posterior: Neurons, features: Array, seed: int) -> float:
        """P(barrier) by frames (n, F) and a posterior; two posteriors are asked by the same random numbers.

        Frames that are not finite are left out; NaN if none is left.
        """
        features = features[np.isfinite(features).all(axis=1)]
        if not len(features):
            return float("nan")
        weights = self.engine.sample(posterior, generator(seed, "debt"), DRAWS)
        with torch.inference_mode():
            x = torch.tensor(self.inputs(features), dtype=torch.float32)
            logits = self.engine.network.forward(weights, x)[..., 0].T.double().numpy()
        tau = self.network.tau[[seen(frame) for frame in features]]
        total = (tau[:, None, None] * evidence_of(logits, self.network.prior)).sum(axis=0)
        return float(np.exp(average(fused(EVEN, total))[BARRIER]))


def load(path: str | os.PathLike[str]) -> Deployed:
    """Of a checkpoint.

    Raises
    ------
    ValueError
        In one line, if it is none of `fogsim train classifier`, or has one draw only.
    """
    net, _ = bnn.network(str(path))
    if net.b3.size < 2:
        raise ValueError(f"{path}: found {net.b3.size} draw of the weights, expected several: train it again")
    layers = (net.w1, net.b1), (net.w2, net.b2), (net.w3[..., None], net.b3[:, None])
    draws = [np.concatenate([w, b[:, None]], axis=1).swapaxes(1, 2) for w, b in layers]
    means = tuple(torch.tensor(part.mean(axis=0)) for part in draws)
    variances = (torch.tensor(np.maximum(part.var(axis=0, ddof=1), 1e-9)) for part in draws)
    engine = KalmanNetwork(Mlp((len(FEATURES), bnn.HIDDEN, bnn.HIDDEN, 1)), Bernoulli())
    return Deployed(engine, Neurons(means, tuple(map(torch.diag_embed, variances))), net)


def hash_of(posterior: Neurons) -> str:
    """SHA-256 of a posterior's tensors."""
    return fingerprint(dict(leaves(posterior)), {})
