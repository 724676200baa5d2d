"""MC dropout (Gal & Ghahramani 2016, arXiv 1506.02142): the weights behind hidden units that are there or not.

    q(w): w = z m,  z of all the weights of a hidden unit in common 1 / (1 - rate) or, in `rate` of all draws, 0

maximises Σ_i weight_i E_q[ln p(y_i | x_i, w)] - KL(q ‖ p). The paper gives z m a width that goes to 0 and finds, for
the prior N(0, diag s²), up to what does not depend on m,

    KL(q ‖ p) = ½ Σ E[z²] (m / s)²,  E[z²] = 1 / (1 - rate) behind hidden units, 1 elsewhere

Inputs and biases are always there, so that the first layer's weights do not vary. The spread of outputs is by how large
hidden units are, not by what is known: behind one layer of them it grows away from the data, behind two it need not.

Such a q is no prior to go on from: pulled to weights that are 0 at times, weights shrink. So the state keeps the data,
and two updates are one of all data that starts from the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from filters.posterior.descent import Descent, Schedule, begin, descend, descended
from filters.posterior.draws import joined, nothing
from filters.posterior.likelihoods import Likelihood
from filters.posterior.mlp import Mlp
from filters.posterior.spec import DRAWS, Data, check, device_of, noise


class Masked(NamedTuple):
    """m (P,) and all data so far; without any, p."""

    mean: Tensor
    x: Tensor
    y: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Dropout:
    """The engine."""

    network: Mlp
    likelihood: Likelihood
    rate: float = 0.1
    schedule: Schedule = field(default_factory=Schedule)
    device: str = "auto"

    def __post_init__(self) -> None:
        if not 0.0 < self.rate < 1.0:
            raise ValueError(f"found a dropout rate of {self.rate:g}, expected between 0 and 1")
        if len(self.network.sizes) < 3:
            raise ValueError(f"found layers {self.network.sizes}, expected a hidden one to drop units of")

    def init(self, rng: torch.Generator) -> Masked:
        mean = torch.zeros(self.network.parameters, device=device_of(self.device))
        return Masked(mean, *nothing(self.network.sizes[0], mean))

    def begin(self, state: Masked, data: Data, rng: torch.Generator) -> Descent:
        """At a network that is to be trained, later at what was learnt."""
        return begin(state.mean if len(state.y) else self.network.start(rng).to(state.mean), rng)

    def steps(self, state: Masked, data: Data, rng: torch.Generator, at: Descent) -> Iterator[Descent]:
        """The epochs of `update`, from any on."""
        data = check(self, data, state.mean)

        def loss(theta: Tensor, batch: Data, beta: float) -> Tensor:
            # Without β: m does not settle at the prior as means of a wide q do.
            fit = self.likelihood.log_prob(self.dropped(theta, batch.x, rng), batch.y)
            return self.divergence(theta) - (batch.weight * fit).sum()

        return descend(at, loss, joined(Data(*state[1:]), data), self.schedule, rng)

    def update(self, state: Masked, data: Data, rng: torch.Generator) -> Masked:
        return descended(self, state, data, rng)

    def reached(self, state: Masked, data: Data, at: Descent) -> Masked:
        return Masked(at.parameters.to(state.mean), *joined(Data(*state[1:]), data))

    def dropped(self, weights: Tensor, x: Tensor, rng: torch.Generator) -> Tensor:
        """Outputs (n, O) with masks drawn for each row anew, so that their noise averages out over a batch."""
        hidden = x
        for layer, w in enumerate(self.network.split(weights)):
            if layer:
                hidden = self.network.activate(hidden) * self.masks(tuple(hidden.shape), rng, hidden)
            hidden = torch.addmm(w[-1], hidden, w[:-1])
        return hidden

    def masks(self, shape: tuple[int, ...], rng: torch.Generator, like: Tensor) -> Tensor:
        """Draws of z."""
        there = torch.rand(shape, generator=rng) >= self.rate
        return there.to(like) / (1.0 - self.rate)

    def divergence(self, mean: Tensor) -> Tensor:
        """½ Σ E[z²] (m / s)²."""
        layers = self.network.split((mean / self.network.deviations().to(mean)) ** 2)
        behind = torch.stack([part[:-1].sum() for part in layers[1:]]).sum()
        return 0.5 * (torch.stack([part.sum() for part in layers]).sum() + behind * self.rate / (1.0 - self.rate))

    def outputs(self, state: Masked, x: Tensor, rng: torch.Generator, draws: int = DRAWS) -> Tensor:
        return self.network.forward(self.sample(state, rng, draws), x)

    def sample(self, state: Masked, rng: torch.Generator, draws: int = DRAWS) -> Tensor:
        if not len(state.y):
            return self.network.deviations().to(state.mean) * noise((draws, len(state.mean)), rng, state.mean)
        layers = self.network.split(state.mean.repeat(draws, 1))
        for w in layers[1:]:
            w[:, :-1] *= self.masks((draws, w.shape[1] - 1, 1), rng, w)
        return self.network.join(layers)

    def kl(self, state: Masked, other: Masked) -> float:
        """Of masks and weights, both q's of width s about z m, behind the same masks; the prior is that of m = 0."""
        return float(self.divergence(state.mean - other.mean.to(state.mean.device)))
