"""Stochastic variational inference by Pyro, with a normal guide that is diagonal or diagonal and of low rank.

    q(w) = N(m, diag s² + F F'),  maximises  E_q[Σ_i weight_i ln p(y_i | x_i, w)] - KL(q ‖ p)

One draw of the weights serves a whole batch (Ranganath, Gerrish & Blei 2014, arXiv 1401.0118, by the pathwise gradient
of Kingma & Welling 2014, arXiv 1312.6114); the KL is in closed form. Model and guide are functions of one vector of
parameters, so that no store of Pyro's is used and a descent can be broken off and gone on with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import pyro
import torch
from pyro import distributions as dist
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor

from filters.posterior.descent import Descent, Schedule, begin, descend, descended
from filters.posterior.likelihoods import Likelihood
from filters.posterior.mlp import Mlp
from filters.posterior.normal import Normal, NormalEngine, start
from filters.posterior.spec import Data, check, noise, seeded

SCALE = 0.02  # deviation of the guide to begin with
Shape: TypeAlias = torch.Size | list[int] | tuple[int, ...]


@dataclass(frozen=True)
class PyroSvi(NormalEngine):
    """The engine; `rank` columns of F, none for a diagonal guide."""

    network: Mlp
    likelihood: Likelihood
    rank: int = 0
    schedule: Schedule = field(default_factory=Schedule)
    scale: float = SCALE
    device: str = "auto"

    def begin(self, state: Normal, data: Data, rng: torch.Generator) -> Descent:
        """Before the first epoch: what weights have in common is a tenth of what each has of its own, or as learnt."""
        mean, scale = start(state, self.network, self.scale, rng)
        common = 0.1 * noise((len(mean), self.rank), rng, mean)
        if self.rank and state.factor.shape[1] == self.rank:
            common = state.factor / scale[:, None]
        return begin(torch.cat([mean, torch.log(scale), common.flatten()]), rng)

    def steps(self, state: Normal, data: Data, rng: torch.Generator, at: Descent) -> Iterator[Descent]:
        """The epochs of `update`, from any on."""
        data = check(self, data, state.mean)
        elbo, spare = TraceMeanField_ELBO(), self.rank or state.factor.shape[1]

        def model(q: Normal, batch: Data, beta: float) -> None:
            with pyro.poutine.scale(scale=beta):
                w = pyro.sample("weights", distribution(state, spare))
            fit = self.likelihood.log_prob(self.network.forward(w[None], batch.x)[0], batch.y)
            pyro.factor("targets", (batch.weight * fit).sum())

        def guide(q: Normal, batch: Data, beta: float) -> None:
            with pyro.poutine.scale(scale=beta):
                pyro.sample("weights", distribution(q, spare))

        def loss(theta: Tensor, batch: Data, beta: float) -> Tensor:
            with seeded(rng):
                return elbo.differentiable_loss(model, guide, self.posterior(theta), batch, max(beta, 1e-9))

        return descend(at, loss, data, self.schedule, rng)

    def posterior(self, theta: Tensor) -> Normal:
        """Of the parameters (2 P + P rank,): means, log deviations, common parts in deviations.

        In deviations, as else a step of Adam, alike for all parameters, is many times what weights may vary by.
        """
        mean, log_scale, common = theta.split([self.network.parameters] * 2 + [self.network.parameters * self.rank])
        return Normal(mean, log_scale.exp(), log_scale.exp()[:, None] * common.view(len(mean), self.rank))

    def update(self, state: Normal, data: Data, rng: torch.Generator) -> Normal:
        return descended(self, state, data, rng)

    def reached(self, state: Normal, data: Data, at: Descent) -> Normal:
        return self.posterior(at.parameters.to(state.mean))


def distribution(q: Normal, common: int) -> dist.TorchDistribution:
    """As Pyro has it; guide and prior of one kind, for which the KL is known in closed form."""
    if not common:
        return Diagonal(q.mean, q.scale).to_event(1)
    factor = q.factor if q.factor.shape[1] else q.mean.new_zeros(len(q.mean), 1)
    return LowRank(q.mean, factor, q.scale**2)


class Diagonal(dist.Normal):
    """Pyro's, but drawn by the CPU's numbers on every device."""

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        own = noise(tuple(self._extended_shape(sample_shape)), torch.default_generator, self.loc)
        return self.loc + own * self.scale


class LowRank(dist.LowRankMultivariateNormal):
    """As `Diagonal`."""

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        shape, factor = tuple(self._extended_shape(sample_shape)), self._unbroadcasted_cov_factor
        common = noise((*shape[:-1], factor.shape[-1]), torch.default_generator, self.loc)
        own = noise(shape, torch.default_generator, self.loc)
        return self.loc + common @ factor.mT + self._unbroadcasted_cov_diag.sqrt() * own
