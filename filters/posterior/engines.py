"""Engines by the names that a command line gives them, and a training by one that can be broken off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from filters.posterior.anchored import Anchored
from filters.posterior.checkpoint import described, read, write
from filters.posterior.convnet import ConvNet
from filters.posterior.descent import Descent, Schedule
from filters.posterior.dropout import Dropout
from filters.posterior.ivon import Ivon
from filters.posterior.likelihoods import Likelihood
from filters.posterior.mlp import Mlp
from filters.posterior.pyro_svi import PyroSvi
from filters.posterior.reparameterised import Reparameterised
from filters.posterior.spec import Data

Told = dict[str, Any]  # as JSON has it
RANK = 8
ANY = ("pyro", "low_rank", "ivon", "anchored")  # that ask no more of a network than its outputs
NAMES = (*ANY, "reparameterised", "dropout")  # Laplace is not one: its predictions are not those of draws


def engine_of(name: str, network: Mlp | ConvNet, likelihood: Likelihood, schedule: Schedule, device: str) -> Any:
    """The engine of that name.

    Raises
    ------
    ValueError
        In one line, if there is none, or it is not for such a network.
    """
    names = NAMES if isinstance(network, Mlp) else ANY
    if name not in names:
        raise ValueError(f"found engine {name!r}, expected one of {', '.join(names)}")
    if name == "ivon":
        schedule = replace(schedule, rate=10.0 * schedule.rate)  # Newton's steps are of order 1
    settings = {"schedule": schedule, "device": device} | ({"rank": RANK} if name == "low_rank" else {})
    kinds = {
        "pyro": PyroSvi,
        "low_rank": PyroSvi,
        "ivon": Ivon,
        "anchored": Anchored,
        "reparameterised": Reparameterised,
        "dropout": Dropout,
    }
    return kinds[name](network, likelihood, **settings)


def trained(engine: Any, prior: Any, data: Data, rng: torch.Generator, kept: Path, told: Told) -> Iterator[Descent]:
    """The epochs of an update by a `Descending` engine, each kept in a file; what it tells of is not done again.

    `told` is what the training depends on beside the engine. The file is left there at the end.

    Raises
    ------
    ValueError
        In one line, if the file tells of another training, or is damaged.
    """
    torch.set_num_threads(1)  # of networks this small two threads only wait for one another
    told = json.loads(json.dumps({"engine": described(engine), **told}))
    start = resumed(kept, told) if kept.exists() else engine.begin(prior, data, rng)
    yield start
    for at in engine.steps(prior, data, rng, start):
        moments = dict(zip(("first", "second"), at.moments, strict=True))
        parts = {"parameters": at.parameters, "generator": at.generator, **moments}
        write(kept, parts, {**told, "epoch": at.epoch, "loss": at.loss})
        yield at


def resumed(kept: Path, told: Told) -> Descent:
    """Where a training stood."""
    parts, header = read(kept)
    if any(header.get(key) != value for key, value in told.items()):
        raise ValueError(f"{kept} is of another training; remove it, or name another file to train into")
    moments = parts["first"], parts["second"]
    return Descent(header["epoch"], parts["parameters"], moments, parts["generator"], header["loss"])
