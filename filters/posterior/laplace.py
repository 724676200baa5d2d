"""Laplace's approximation by the generalised Gauss-Newton matrix (Daxberger et al. 2021, arXiv 2106.14806).

    m = argmax Σ_i weight_i ln p(y_i | f(x_i; w)) - ½ (w - m₀)'Λ₀(w - m₀)
    Λ = Λ₀ + Σ_i weight_i J_i' H_i J_i,    f(x; w) ≈ f(x; m) + J(x) (w - m)

J is the Jacobian of the outputs at m, H the likelihood's `curvature`, the Fisher information in f. Of classes that is
the Hessian of -ln p whatever y; where the scale is an output too, the Hessian at the y seen may be indefinite, its
expectation is not. Predictions are by the linear model, for which Λ is meant: draws of the weights put into the network
itself go astray where the data hold no weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from filters.posterior.descent import Descent, Schedule, begin, descend, descended
from filters.posterior.likelihoods import Likelihood
from filters.posterior.mlp import Mlp
from filters.posterior.spec import DRAWS, Data, beside, check, device_of, noise

CELLS = 2**22  # of a Jacobian that is held at once


class Dense(NamedTuple):
    """All weights (P,) and the precision (K, K) of the last K, whose mean they are; the others are certain.

    The precision is float64: its eigenvalues span six decades and more, nearly all that float32 can tell apart.
    """

    mean: Tensor
    precision: Tensor

    @property
    def unknown(self) -> Tensor:
        """The mean of the last K."""
        return self.mean[-len(self.precision) :]

    @property
    def certain(self) -> Tensor:
        """The weights before them."""
        return self.mean[: -len(self.precision)]

    def weights(self, unknown: Tensor) -> Tensor:
        """All (..., P), with these (..., K) for the unknown."""
        return torch.cat([self.certain.expand(*unknown.shape[:-1], -1), unknown], dim=-1)


@dataclass(frozen=True)
class Laplace:
    """The engine; of the last layer only, an update keeps the others where it came to, for every later one too."""

    network: Mlp
    likelihood: Likelihood
    which: Literal["all", "last"] = "all"
    schedule: Schedule = field(default_factory=Schedule)
    device: str = "auto"

    def init(self, rng: torch.Generator) -> Dense:
        deviations = self.network.deviations().to(device_of(self.device))
        return Dense(torch.zeros_like(deviations), torch.diag(deviations.double() ** -2))

    def begin(self, state: Dense, data: Data, rng: torch.Generator) -> Descent:
        """At the mean; at a prior's, which is zero, no gradient would pass, so like a network that is to be trained."""
        start = state.mean if state.mean.any() else self.network.start(rng).to(state.mean)
        return begin(start[-len(state.precision) :], rng)

    def steps(self, state: Dense, data: Data, rng: torch.Generator, at: Descent) -> Iterator[Descent]:
        """The epochs of `update`, from any on; the prior counts from the first."""
        data = check(self, data, state.mean)

        def loss(theta: Tensor, batch: Data, _: float) -> Tensor:
            f = self.network.forward(state.weights(theta)[None], batch.x)[0]
            d = (theta - state.unknown).double()
            return 0.5 * d @ state.precision @ d - (batch.weight * self.likelihood.log_prob(f, batch.y)).sum()

        return descend(at, loss, data, self.schedule, rng)

    def update(self, state: Dense, data: Data, rng: torch.Generator) -> Dense:
        return descended(self, state, data, rng)

    def reached(self, state: Dense, data: Data, at: Descent) -> Dense:
        fan, out = self.network.shapes[-1]
        kept = len(at.parameters) if self.which == "all" else fan * out
        data = beside(data, state.mean)
        found = Dense(state.weights(at.parameters.to(state.mean)), state.precision[-kept:, -kept:])
        precision, size = found.precision.clone(), self.rows(found)
        for x, weight in zip(data.x.split(size), data.weight.double().split(size), strict=True):
            f, jacobian = (part.double() for part in self.linearised(found, x))
            curvature = weight[:, None, None] * self.likelihood.curvature(f)
            precision += jacobian.flatten(0, 1).T @ (curvature @ jacobian).flatten(0, 1)
        return found._replace(precision=precision)

    def linearised(self, state: Dense, x: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs (n, O) at the mean and their Jacobian (n, O, K) in the unknown weights."""

        def row(unknown: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
            f = self.network.forward(state.weights(unknown)[None], at[None])[0, 0]
            return f, f

        jacobian, f = vmap(jacrev(row, has_aux=True), in_dims=(None, 0))(state.unknown, x)
        return f, jacobian

    def rows(self, state: Dense) -> int:
        """How many of the data's have a Jacobian of `CELLS`."""
        return max(1, CELLS // (self.network.sizes[-1] * len(state.precision)))

    def outputs(self, state: Dense, x: Tensor, rng: torch.Generator, draws: int = DRAWS) -> Tensor:
        """Of the linear model; of a prior, whose mean is zero, nothing but the last biases moves it."""
        away = deviates(state, rng, draws)
        each = (self.linearised(state, part) for part in x.to(away.device).split(self.rows(state)))
        return torch.cat([f + torch.einsum("nok,sk->sno", jacobian, away) for f, jacobian in each], dim=1)

    def sample(self, state: Dense, rng: torch.Generator, draws: int = DRAWS) -> Tensor:
        return state.weights(state.unknown + deviates(state, rng, draws))

    def kl(self, state: Dense, other: Dense) -> float:
        return kl(state, beside(other, state.mean))


def deviates(state: Dense, rng: torch.Generator, draws: int) -> Tensor:
    """ε ~ N(0, Λ⁻¹) (draws, K): ε = z L⁻¹ by rows, where Λ = L L'."""
    root = torch.linalg.cholesky(state.precision)
    z = noise((draws, len(root)), rng, root)
    return torch.linalg.solve_triangular(root, z, upper=False, left=False).to(state.mean)


def given(q: Dense, certain: Tensor) -> Dense:
    """If the first weights are these: of the others mean m_u - Λ_uu⁻¹ Λ_uc (c - m_c), precision Λ_uu."""
    before, known = len(q.certain), len(certain) - len(q.certain)
    precision, cross = q.precision[known:, known:], q.precision[known:, :known]
    shift = torch.linalg.solve(precision, cross @ (certain - q.mean[: len(certain)])[before:].double())
    return Dense(torch.cat([certain, q.mean[len(certain) :] - shift.to(certain)]), precision)


def kl(q: Dense, p: Dense) -> float:
    """½ [tr Λp Λq⁻¹ + d'Λp d - K + ln det Λq - ln det Λp], d the difference of means, nats.

    What one of them is certain of, a prior is told: it is of the last layer alone. If both are certain, and of
    different weights, it is infinite.
    """
    both = min(len(q.certain), len(p.certain))
    if not torch.equal(q.certain[:both], p.certain[:both]):
        return float("inf")
    certain = max(q.certain, p.certain, key=len)
    q, p = given(q, certain), given(p, certain)
    ours, theirs = (torch.linalg.cholesky(each.precision) for each in (q, p))
    trace = torch.linalg.solve_triangular(ours, theirs, upper=False).square().sum()
    distance = ((p.unknown - q.unknown).double() @ theirs).square().sum()
    log_dets = 2.0 * (ours.diagonal().log() - theirs.diagonal().log()).sum()
    return float(0.5 * (trace + distance - len(ours) + log_dets))
