"""Anchored ensemble (Pearce et al. 2020, arXiv 1810.05546): each member is the mode about its own draw of the prior.

    w_s = argmin  -Σ_i weight_i ln p(y_i | x_i, w) + ½ ‖(w - anchor_s) / scale‖²,   anchor_s ~ N(0, scale²)

Of a linear model with normal noise, whose posterior has covariance C and prior P, the members' mean is the posterior's
and their covariance C P⁻¹ C ≤ C: what the data know, all members know alike, so their spread is too small, and exact
where there are no data. The paper says so and keeps it, as the anchors that make it exact, of covariance P + P L⁻¹ P,
L the likelihood's, need the answer first.

Members keep anchors and data: after two updates they are where one of all data leaves them, and a third starts there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from filters.posterior.descent import Descent, Schedule, begin, descend, descended
from filters.posterior.draws import joined, kl_of_moments, nothing, pick
from filters.posterior.likelihoods import Likelihood
from filters.posterior.mlp import Mlp
from filters.posterior.spec import DRAWS, Data, check, device_of, noise


class Members(NamedTuple):
    """Weights (S, P), their anchors, and all data so far."""

    draws: Tensor
    anchors: Tensor
    x: Tensor
    y: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Anchored:
    """The engine; all members descend at once, over batches of the same rows."""

    network: Mlp
    likelihood: Likelihood
    members: int = 20
    schedule: Schedule = field(default_factory=Schedule)
    device: str = "auto"

    def init(self, rng: torch.Generator) -> Members:
        scale = self.network.deviations().to(device_of(self.device))
        anchors = scale * noise((self.members, len(scale)), rng, scale)
        return Members(anchors, anchors, *nothing(self.network.sizes[0], scale))

    def begin(self, state: Members, data: Data, rng: torch.Generator) -> Descent:
        """At the members, which before any data are the anchors: spread as a network's that is to be trained."""
        return begin(state.draws.flatten(), rng)

    def steps(self, state: Members, data: Data, rng: torch.Generator, at: Descent) -> Iterator[Descent]:
        """The epochs of `update`, from any on."""
        data = check(self, data, state.draws)
        scale = self.network.deviations().to(state.draws)

        def loss(theta: Tensor, batch: Data, beta: float) -> Tensor:
            # Without β: a mode does not settle at its anchor as means of a wide q do at the prior.
            weights = theta.view_as(state.anchors)
            fit = self.likelihood.log_prob(self.network.forward(weights, batch.x), batch.y)
            return 0.5 * ((weights - state.anchors) / scale).square().sum() - (batch.weight * fit).sum()

        return descend(at, loss, joined(Data(*state[2:]), data), self.schedule, rng)

    def update(self, state: Members, data: Data, rng: torch.Generator) -> Members:
        return descended(self, state, data, rng)

    def reached(self, state: Members, data: Data, at: Descent) -> Members:
        draws = at.parameters.to(state.draws).view_as(state.draws)
        return Members(draws, state.anchors, *joined(Data(*state[2:]), data))

    def outputs(self, state: Members, x: Tensor, rng: torch.Generator, draws: int = DRAWS) -> Tensor:
        return self.network.forward(self.sample(state, rng, draws), x)

    def sample(self, state: Members, rng: torch.Generator, draws: int = DRAWS) -> Tensor:
        return pick(state.draws, rng, draws)

    def kl(self, state: Members, other: Members) -> float:
        return kl_of_moments(state.draws, other.draws)
