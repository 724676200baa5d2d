"""Stochastic gradient descent epoch by epoch, so that it can be watched, broken off and gone on with.

    loss(θ; batch) = -Σ_batch weight ln p(y | x, θ) n / |batch|  +  β KL

by Adam (Kingma & Ba 2015, arXiv 1412.6980). β rises from 0 to 1 over the first `warm` of the epochs: a network that has
not yet found the data would otherwise settle at its prior; what goes on from a posterior needs none (`warm` 0). The
rate falls to nothing along a cosine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import cos, pi
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from filters.posterior.spec import Data, State, in_memory

WARM = 0.4
Loss = Callable[[Tensor, Data, float], Tensor]  # of parameters, a batch whose weights are the whole data's, and β


class Descent(NamedTuple):
    """Where a descent is: epochs done, parameters and Adam's moments of them (Q,), the generator, mean loss a row."""

    epoch: int
    parameters: Tensor
    moments: tuple[Tensor, Tensor]
    generator: Tensor
    loss: float


@dataclass(frozen=True)
class Schedule:
    """How long, in batches of what size, how fast at first, and over what share of the epochs β rises."""

    epochs: int = 800
    batch: int = 2048
    rate: float = 0.01
    warm: float = WARM


def begin(parameters: Tensor, rng: torch.Generator) -> Descent:
    """Before the first epoch."""
    return Descent(0, parameters, (torch.zeros_like(parameters), torch.zeros_like(parameters)), rng.get_state(), 0.0)


def descend(at: Descent, loss: Loss, data: Data, schedule: Schedule, rng: torch.Generator) -> Iterator[Descent]:
    """Every epoch from there on, where the data are, as if it had not been broken off.

    The random numbers are those of `at`; `rng` is left where the last epoch that was asked for left it.

    Raises
    ------
    FloatingPointError
        If it diverges, in one line.
    """
    rng.set_state(at.generator)
    theta = at.parameters.to(data.x.device, copy=True).requires_grad_()
    adam = torch.optim.Adam([theta], lr=schedule.rate)
    per_epoch = -(-len(data.y) // schedule.batch)
    adam.state[theta] = {
        "step": torch.tensor(float(at.epoch * per_epoch)),
        "exp_avg": at.moments[0].to(theta, copy=True),
        "exp_avg_sq": at.moments[1].to(theta, copy=True),
    }
    for epoch in range(at.epoch, schedule.epochs):
        done = epoch / schedule.epochs
        adam.param_groups[0]["lr"] = 0.5 * schedule.rate * (1.0 + cos(pi * done))
        beta = min(1.0, done / schedule.warm) if schedule.warm else 1.0
        total = 0.0
        with in_memory():
            for batch in batches(data, schedule.batch, rng):
                adam.zero_grad()
                value = loss(theta, batch, beta) / len(data.y)
                value.backward()
                adam.step()
                total += value.item() / per_epoch
        if not torch.isfinite(theta).all():
            raise FloatingPointError(f"diverged in epoch {epoch + 1}; lower the rate of {schedule.rate:g}")
        moments = adam.state[theta]["exp_avg"].clone(), adam.state[theta]["exp_avg_sq"].clone()
        yield Descent(epoch + 1, theta.detach().clone(), moments, rng.get_state(), total)


class Descending(Protocol[State]):
    """An engine whose `update` is a descent; all but the data's part of it is in `Descent`."""

    def begin(self, state: State, data: Data, rng: torch.Generator) -> Descent:
        """Before the first epoch."""

    def steps(self, state: State, data: Data, rng: torch.Generator, at: Descent) -> Iterator[Descent]:
        """The epochs of `update`, from any on."""

    def reached(self, state: State, data: Data, at: Descent) -> State:
        """The posterior of where a descent from `state` is."""


@in_memory()
def descended(engine: Descending[State], state: State, data: Data, rng: torch.Generator) -> State:
    """What `update` is."""
    at = engine.begin(state, data, rng)
    return engine.reached(state, data, deque(engine.steps(state, data, rng, at), maxlen=1)[0])


def batches(data: Data, size: int, rng: torch.Generator) -> Iterator[Data]:
    """All rows in parts of nearly `size`, in random order, each part's weights scaled up to the whole data's."""
    count = -(-len(data.y) // size)
    for rows in torch.randperm(len(data.y), generator=rng).to(data.y.device).tensor_split(count):
        yield Data(data.x[rows], data.y[rows], data.weight[rows] * (len(data.y) / len(rows)))
