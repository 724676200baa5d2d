"""A checkpoint to be asked with arrays: its weights are drawn once, and whoever asks twice is told the same twice.

It is of `filters.posterior.checkpoint`, or the network of `filters.bnn`, which comes with its draws.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from filters import bnn
from filters.posterior import checkpoint
from filters.posterior.ensemble import Ensemble
from filters.posterior.laplace import Laplace
from filters.posterior.likelihoods import Bernoulli
from filters.posterior.mlp import Mlp
from filters.spec import FEATURES
from filters.trained import kind_of

SEED = 0


@dataclass(frozen=True)
class Served:
    """The draws, and how inputs are standardised: mean and deviation (F,), and how many of these they may be off."""

    ensemble: Ensemble
    mean: np.ndarray
    deviation: np.ndarray
    limit: float = np.inf

    def predict(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """What the targets at x (n, F) will be: the parts of a `Prediction` by name, float32 (n, K) or (n, 1).

        Raises
        ------
        ValueError
            In one line, if the inputs have another width, or they or what comes of them is not finite in float32.
        """
        if x.ndim != 2 or x.shape[1] != len(self.mean):
            raise ValueError(f"found inputs of shape {list(x.shape)}, expected [n, {len(self.mean)}]")
        with np.errstate(over="ignore"):
            standard = np.clip((x - self.mean) / self.deviation, -self.limit, self.limit).astype(np.float32)
        made = self.ensemble.predict(torch.from_numpy(standard))
        parts = {name: part.reshape(len(x), -1).numpy() for name, part in made._asdict().items()}
        if not all(np.isfinite(part).all() for part in parts.values()):
            raise ValueError("found inputs so far off that the outputs are not finite; leave out such rows")
        return parts


def load(path: str | os.PathLike[str], draws: int, compact: bool = False) -> Served:
    """So many draws of a checkpoint's posterior, or as many as come with it, if asked in eight bits.

    Raises
    ------
    ValueError
        In one line, if the checkpoint cannot be used.
    """
    kind = kind_of(path)
    if kind not in ("", "bnn"):
        raise ValueError(f"{path}: is of the filter {kind}; of what `fogsim train` writes the classifier is served")
    made = (of_filter if kind else of_posterior)(path, draws)
    return replace(made, ensemble=made.ensemble.compact()) if compact else made


def of_filter(path: str | os.PathLike[str], draws: int) -> Served:
    """The network of a filter by features: P(class | frame) under the shares of classes that it was trained on."""
    net, _ = bnn.network(str(path))
    network = Mlp((len(FEATURES), bnn.HIDDEN, bnn.HIDDEN, 1))
    layers = (net.w1, net.b1), (net.w2, net.b2), (net.w3[..., None], net.b3[:, None])
    weights = [torch.tensor(np.concatenate([w, b[:, None]], axis=1)[:draws]) for w, b in layers]
    ensemble = Ensemble.of(network, Bernoulli(), network.join(weights).float())
    return Served(ensemble, net.mean, net.deviation, bnn.FEATURE_LIMIT)


def of_posterior(path: str | os.PathLike[str], draws: int) -> Served:
    """Draws of a posterior's weights; inputs are standardised if the header says how."""
    engine, state, header = checkpoint.load(path)
    if isinstance(engine, Laplace):
        raise ValueError(f"{path}: is of Laplace, who predicts by a linear model: draws of it are not served")
    if not isinstance(engine.network, Mlp):
        raise ValueError(f"{path}: is of a {type(engine.network).__name__}; served are multilayer perceptrons")
    with torch.no_grad():
        drawn = engine.sample(state, torch.Generator().manual_seed(SEED), draws)
    ensemble, width = Ensemble.of(engine.network, engine.likelihood, drawn.cpu()), engine.network.sizes[0]
    if not {"mean", "deviation"} & header.keys():
        return Served(ensemble, np.zeros(width), np.ones(width))
    mean, deviation = (numbers(header, name, width, path) for name in ("mean", "deviation"))
    if not (deviation > 0.0).all():
        raise ValueError(f"{path}: its header's deviation is {deviation.min():g}, expected more than 0")
    return Served(ensemble, mean, deviation)


def numbers(header: Mapping[str, Any], name: str, width: int, path: str | os.PathLike[str]) -> np.ndarray:
    """A list of finite numbers (F,) that a header holds."""
    try:
        found = np.array(header.get(name), dtype=float)
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.shape != (width,) or not np.isfinite(found).all():
        raise ValueError(f"{path}: its header's {name} does not fit, expected {width} finite numbers, one an input")
    return found


def use_one_thread() -> None:
    """Of this process, for torch: so small a network is slower by several, which also keep other requests waiting."""
    torch.set_num_threads(1)
