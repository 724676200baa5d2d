"""Forgetting by a stabilised power prior: what is believed fades towards a reference, never beyond it.

    q⁻ ∝ q^λ r^(1 - λ),  of normals  Λ⁻ = λ Λ + (1 - λ) Λ_r,  Λ⁻ m⁻ = λ Λ m + (1 - λ) Λ_r m_r

With a flat r it is the power prior (Ibrahim & Chen 2000) or exponential forgetting, whose variance grows without end in
directions that no data excite: λ^n Λ. Towards a reference it is the stabilised forgetting of Kulhavý & Zarrop 1993
(Int. J. Control 58:905): of n steps without data Λ = λ^n Λ_0 + (1 - λ^n) Λ_r. Among all densities it is the one that
minimises λ KL(· ‖ q) + (1 - λ) KL(· ‖ r).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from filters.adaptation.wrapped import Wrapped
from filters.posterior.kalman_network import Neurons
from filters.posterior.laplace import Dense
from filters.posterior.normal import Normal
from filters.posterior.spec import Data, State


def power_prior(q: State, reference: State, rate: float) -> State:
    """q⁻ of the rate λ: q itself if 1, the reference if 0. Exact for every kind of normal that engines have.

    Raises
    ------
    ValueError
        In one line, if λ is not from 0 to 1, or the states are not normal, of different kinds or sizes.
    """
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"found a forgetting rate of {rate:g}, expected 0 (all) to 1 (nothing)")
    if type(q) is not type(reference) or type(q) not in KINDS:
        found = f"{type(q).__name__} and {type(reference).__name__}"
        raise ValueError(
            f"found posteriors of kind {found}, expected two of one of {', '.join(kind.__name__ for kind in KINDS)}"
        )
    if rate in (0.0, 1.0):
        return q if rate else reference
    return KINDS[type(q)](q, reference, rate)


def of_normal(q: Normal, r: Normal, rate: float) -> Normal:
    """Λ = S⁻² - U U' stays of that form: Λ⁻ = E⁻¹ - V V' has the inverse E + E V (1 - V'E V)⁻¹ V'E (Woodbury)."""
    (own_q, U_q, moved_q), (own_r, U_r, moved_r) = precision(q), precision(r)
    own = 1.0 / (rate * own_q + (1.0 - rate) * own_r)
    moved = rate * moved_q + (1.0 - rate) * moved_r
    common = torch.cat([rate**0.5 * U_q, (1.0 - rate) ** 0.5 * U_r], dim=1)
    left = torch.eye(common.shape[1]).to(common) - common.T @ (own[:, None] * common)
    root = torch.linalg.cholesky(left)
    factor = torch.linalg.solve_triangular(root, (own[:, None] * common).T, upper=False).T
    mean = own * moved + factor @ (factor.T @ moved)
    return Normal(*(part.to(q.mean) for part in (mean, own.sqrt(), factor)))


def precision(q: Normal) -> tuple[Tensor, Tensor, Tensor]:
    """scale⁻² (P,), U (P, r) and Λ m (P,), float64."""
    mean, scale, factor = (part.double() for part in q)
    inverse = scale**-2
    scaled = inverse[:, None] * factor
    capacitance = torch.eye(factor.shape[1]).to(scaled) + factor.T @ scaled
    U = torch.linalg.solve_triangular(torch.linalg.cholesky(capacitance), scaled.T, upper=False).T
    return inverse, U, inverse * mean - U @ (U.T @ mean)


def of_neurons(q: Neurons, r: Neurons, rate: float) -> Neurons:
    """Neuron by neuron."""
    layers = [fused(*parts, rate) for parts in zip(*q, *r, strict=True)]
    means, covariances = zip(*layers, strict=True)
    return Neurons(tuple(means), tuple(covariances))


def fused(mean: Tensor, covariance: Tensor, m_r: Tensor, c_r: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """Means (out, in) and covariances (out, in, in) of q⁻."""
    ours, theirs = (torch.cholesky_inverse(torch.linalg.cholesky(c)) for c in (covariance, c_r))
    moved = rate * ours @ mean[..., None] + (1.0 - rate) * theirs @ m_r[..., None]
    new = torch.cholesky_inverse(torch.linalg.cholesky(rate * ours + (1.0 - rate) * theirs))
    new = 0.5 * (new + new.mT)
    return (new @ moved)[..., 0], new


def of_dense(q: Dense, r: Dense, rate: float) -> Dense:
    """Laplace's; what is certain must be the same."""
    if q.precision.shape != r.precision.shape or not torch.equal(q.certain, r.certain):
        raise ValueError("found Laplace posteriors of other certain weights, expected one network's layers below")
    ours, theirs = rate * q.precision, (1.0 - rate) * r.precision
    moved = ours @ q.unknown.double() + theirs @ r.unknown.double()
    mean = torch.linalg.solve(ours + theirs, moved)
    return Dense(q.weights(mean.to(q.mean)), ours + theirs)


KINDS: dict[type, Callable[..., Any]] = {Normal: of_normal, Neurons: of_neurons, Dense: of_dense}


@dataclass(frozen=True)
class Forgetting(Wrapped[State, State]):
    """An engine that forgets at one rate λ: after every batch, so that its state is what is believed of the next one.

    A rate forgets 1 / (1 - λ) batches back.
    """

    reference: State
    rate: float

    def __post_init__(self) -> None:
        power_prior(self.reference, self.reference, self.rate)

    def inner(self, state: State) -> State:
        return state

    def init(self, rng: torch.Generator) -> State:
        return self.reference

    def update(self, state: State, data: Data, rng: torch.Generator) -> State:
        return power_prior(self.engine.update(state, data, rng), self.reference, self.rate)
