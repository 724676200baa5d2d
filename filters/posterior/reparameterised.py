"""Mean-field variational inference by local reparameterisation (Kingma, Salimans & Welling 2015, arXiv 1506.02557).

    q(w) = N(m, diag s²),  maximises  Σ_i weight_i E_q[ln p(y_i | x_i, w)] - KL(q ‖ p)

Not the weights are drawn but what they do to each row: [h, 1] W is normal with mean [h, 1] M and variance [h², 1] S²,
independently of row to row, so that the rows' noise averages out in a batch's gradient where common draws would not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from filters.posterior.descent import Descent, Schedule, begin, descend, descended
from filters.posterior.likelihoods import Likelihood
from filters.posterior.mlp import Mlp
from filters.posterior.normal import Normal, NormalEngine, kl, start
from filters.posterior.spec import Data, check, noise

SCALE = 0.02  # deviation of q to begin with


@dataclass(frozen=True)
class Reparameterised(NormalEngine):
    """The engine; its posterior is diagonal."""

    network: Mlp
    likelihood: Likelihood
    schedule: Schedule = field(default_factory=Schedule)
    scale: float = SCALE
    device: str = "auto"

    def begin(self, state: Normal, data: Data, rng: torch.Generator) -> Descent:
        """Before the first epoch."""
        mean, scale = start(state, self.network, self.scale, rng)
        return begin(torch.cat([mean, torch.log(scale)]), rng)

    def steps(self, state: Normal, data: Data, rng: torch.Generator, at: Descent) -> Iterator[Descent]:
        """The epochs of `update`, from any on."""
        data = check(self, data, state.mean)

        def loss(theta: Tensor, batch: Data, beta: float) -> Tensor:
            q = self.posterior(theta)
            fit = self.likelihood.log_prob(self.blurred(q, batch.x, rng), batch.y)
            return beta * kl(q, state) - (batch.weight * fit).sum()

        return descend(at, loss, data, self.schedule, rng)

    def posterior(self, theta: Tensor) -> Normal:
        """Of the parameters (2 P,), means and log deviations."""
        mean, log_scale = theta.chunk(2)
        return Normal(mean, log_scale.exp(), mean.new_zeros(len(mean), 0))

    def update(self, state: Normal, data: Data, rng: torch.Generator) -> Normal:
        return descended(self, state, data, rng)

    def reached(self, state: Normal, data: Data, at: Descent) -> Normal:
        return self.posterior(at.parameters.to(state.mean))

    def blurred(self, q: Normal, x: Tensor, rng: torch.Generator) -> Tensor:
        """Outputs (n, O) of weights that are drawn for each row anew."""
        hidden = x
        parts = zip(self.network.split(q.mean), self.network.split(q.scale**2), strict=True)
        for layer, (m, v) in enumerate(parts):
            hidden = self.network.activate(hidden) if layer else hidden
            mean = torch.addmm(m[-1], hidden, m[:-1])
            variance = torch.addmm(v[-1], hidden**2, v[:-1])
            hidden = mean + variance.sqrt() * noise(tuple(mean.shape), rng, mean)
        return hidden
