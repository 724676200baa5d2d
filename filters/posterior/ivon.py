"""The Bayesian learning rule (Khan & Rue 2021, arXiv 2107.04562): Newton's steps find a normal, not only its mean.

    q(w) = N(m, 1 / S),  S = H + D,  minimises  E_q[-Σ_i weight_i ln p(y_i | x_i, w)] + KL(q ‖ N(m_0, 1 / D))

for a diagonal prior. Its expected slope G and curvature Ĥ come of draws w = m ± ε / √S (Stein's lemma):

    G = E[∇],  Ĥ = E[diag ∇²] = S E[∇ (w - m)]

The step is IVON's (Shen et al. 2024, arXiv 2402.17641), whose numbers a row, times the rows, are these:

    g ← g + γ (G - g),  H ← H + ρ (Ĥ - H) + ½ ρ² (Ĥ - H)² / S,  m ← m - α (g + D (m - m_0)) / S

where ½ ρ² keeps S above 0 for any Ĥ. Others are limits of it, without ½ ρ²:

    VON      γ = 1, α = ρ
    RMSprop  γ = 1, draws at m, Ĥ = G², S = √H + D, D → 0, which is its eps
    Adam     the same but γ = (1 - β1) / (1 - β1^t), ρ = (1 - β2) / (1 - β2^t)

G² is no curvature: that the root makes a step of it does not follow from the rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import cos, isfinite, pi
from typing import NamedTuple

import torch
from torch import Tensor

from filters.posterior.descent import Descent, Schedule, batches, begin, descended
from filters.posterior.likelihoods import Likelihood
from filters.posterior.mlp import Mlp
from filters.posterior.normal import Normal, NormalEngine, kl
from filters.posterior.spec import Data, beside, check, in_memory, noise

MOMENTUM = 0.9
START = 10.0  # H a row to begin with: too large is slow, too small overshoots
QUIET = 0.1


class Pace(NamedTuple):
    """Of one step: α, γ, ρ, the factor of ρ², and the power of H in S."""

    mean: float
    gradient: float
    curvature: float
    bend: float = 0.5
    power: float = 1.0


class Belief(NamedTuple):
    """m, g and H (P,)."""

    mean: Tensor
    gradient: Tensor
    curvature: Tensor

    def precision(self, prior: Normal, power: float = 1.0) -> Tensor:
        """S."""
        return self.curvature**power + prior.scale**-2

    def posterior(self, prior: Normal) -> Normal:
        """q."""
        return Normal(self.mean, self.precision(prior) ** -0.5, prior.factor)


def learn(at: Belief, gradient: Tensor, curvature: Tensor, prior: Normal, pace: Pace) -> Belief:
    """One step, by G and Ĥ."""
    off = pace.curvature * (curvature - at.curvature)
    bend = pace.bend * off**2 / at.precision(prior, pace.power)
    new = Belief(at.mean, torch.lerp(at.gradient, gradient, pace.gradient), at.curvature + off + bend)
    slope = new.gradient + (at.mean - prior.mean) * prior.scale**-2
    return new._replace(mean=at.mean - pace.mean * slope / new.precision(prior, pace.power))


def unbiased(share: float, step: int) -> float:
    """The share of the newest in a running average that starts with the first: all alike at first, `share` at last."""
    return share / (1.0 - (1.0 - share) ** step)


@dataclass(frozen=True)
class Ivon(NormalEngine):
    """The engine; its posterior is diagonal. α and ρ fall to nothing along a cosine: the draws' noise averages out."""

    network: Mlp
    likelihood: Likelihood
    schedule: Schedule = field(default_factory=lambda: Schedule(rate=0.1))
    share: float = 0.03
    pairs: int = 4
    start: float = START
    device: str = "auto"

    def begin(self, state: Normal, data: Data, rng: torch.Generator) -> Descent:
        """At what was learnt, of which the data's curvature is not yet known; at the prior, like one to be trained.

        The last layer's are `QUIET`: else some row's outputs claim next to no noise, and its curvature drowns others.
        """
        if state.mean.any():
            return begin(state.mean, rng)
        drawn = self.network.start(rng) / self.network.deviations()
        self.network.split(drawn)[-1].mul_(QUIET)
        at = begin(state.mean + state.scale * drawn.to(state.mean), rng)
        return at._replace(moments=(at.moments[0], at.moments[1] + self.start * float(data.weight.sum())))

    def steps(self, state: Normal, data: Data, rng: torch.Generator, at: Descent) -> Iterator[Descent]:
        """The epochs of `update`, from any on; the moments are g and H.

        Raises
        ------
        FloatingPointError
            If it diverges, in one line.
        """
        data = check(self, data, state.mean)
        rng.set_state(at.generator)
        belief, size = beside(Belief(at.parameters, *at.moments), state.mean), self.schedule.batch
        per_epoch = -(-len(data.y) // size)
        for epoch in range(at.epoch, self.schedule.epochs):
            total = 0.0
            with in_memory():
                for step, batch in enumerate(batches(data, size, rng), epoch * per_epoch + 1):
                    q = belief.posterior(state)
                    misfit, gradient, curvature = self.expectations(q, batch, rng)
                    belief = learn(belief, gradient, curvature, state, self.pace(epoch, step))
                    total += float(misfit + kl(q, state)) / len(data.y) / per_epoch
            if not isfinite(total):
                raise FloatingPointError(f"diverged in epoch {epoch + 1}; lower the rate of {self.schedule.rate:g}")
            yield Descent(epoch + 1, belief.mean, (belief.gradient, belief.curvature), rng.get_state(), total)

    def pace(self, epoch: int, step: int) -> Pace:
        """Of a step, counted from 1 over all epochs."""
        fall = 0.5 * (1.0 + cos(pi * epoch / self.schedule.epochs))
        return Pace(self.schedule.rate * fall, unbiased(1.0 - MOMENTUM, step), unbiased(self.share, step) * fall)

    def expectations(self, q: Normal, batch: Data, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Of -Σ_batch weight ln p(y | x, w): itself, G and Ĥ. Of a pair's two slopes their common part is none of Ĥ."""
        half = q.scale * noise((self.pairs, len(q.mean)), rng, q.mean)
        offset = torch.cat([half, -half])
        weights = (q.mean + offset).requires_grad_()
        misfit = -(batch.weight * self.likelihood.log_prob(self.network.forward(weights, batch.x), batch.y)).sum()
        (slope,) = torch.autograd.grad(misfit, weights)
        return misfit.detach() / len(offset), slope.mean(dim=0), (slope * offset).mean(dim=0) * q.scale**-2

    def reached(self, state: Normal, data: Data, at: Descent) -> Normal:
        return beside(Belief(at.parameters, *at.moments), state.mean).posterior(state)

    def update(self, state: Normal, data: Data, rng: torch.Generator) -> Normal:
        return descended(self, state, data, rng)
