"""Laplace's approximation by Gauss and Newton's steps, and its evidence: for networks of a hundred weights.

    m ← m + Λ⁻¹ (J'∇ln p - Λ₀ (m - m₀)),   halved until the posterior density rises
    ln p(y) ≈ ln p(y | m) + ½ [ln det Λ₀ - ln det Λ - (m - m₀)'Λ₀ (m - m₀)]     (MacKay 1992, Neural Comput. 4:415)

Of a model that is linear in its weights with normal noise one step is exact, and so is the evidence.
"""

from __future__ import annotations

import torch
from torch import Tensor

from filters.posterior.laplace import Dense, Laplace
from filters.posterior.spec import Data, check

STEPS, HALVINGS = 20, 8
ENOUGH = 1e-3  # nats


def update(engine: Laplace, state: Dense, data: Data, rng: torch.Generator) -> Dense:
    """What `Laplace.update` is for, of all weights."""
    data = check(engine, data, state.mean)
    at = engine.begin(state, data, rng).parameters
    best = log_posterior(engine, state, data, at)
    for _ in range(STEPS):
        there, step = newton_step(engine, state, data, at)
        if 0.5 * step.double() @ there.precision @ step.double() < ENOUGH:  # what the step would gain, were f linear
            return there._replace(mean=at + step)
        tries = (at + 0.5**k * step for k in range(HALVINGS))
        new, value = next(((w, v) for w in tries if (v := log_posterior(engine, state, data, w)) > best), (at, best))
        gain, at, best = value - best, new, value
        if gain < ENOUGH:
            break
    return newton_step(engine, state, data, at)[0]


def newton_step(engine: Laplace, state: Dense, data: Data, at: Tensor) -> tuple[Dense, Tensor]:
    """The posterior if its mode were at weights (P,), and the step from there."""
    f, jacobian = (part.double() for part in engine.linearised(Dense(at, state.precision), data.x))
    f.requires_grad_()
    (slope,) = torch.autograd.grad((data.weight * engine.likelihood.log_prob(f, data.y)).sum(), f)
    curvature = data.weight.double()[:, None, None] * engine.likelihood.curvature(f.detach())
    precision = state.precision + jacobian.flatten(0, 1).T @ (curvature @ jacobian).flatten(0, 1)
    pull = torch.einsum("nok,no->k", jacobian, slope) - state.precision @ (at - state.mean).double()
    return Dense(at, precision), torch.linalg.solve(precision, pull).to(at)


def log_posterior(engine: Laplace, state: Dense, data: Data, weights: Tensor) -> float:
    """ln p(y | w) - ½ (w - m₀)'Λ₀ (w - m₀)."""
    f = engine.network.forward(weights[None], data.x)[0].double()
    d = (weights - state.mean).double()
    return float((data.weight * engine.likelihood.log_prob(f, data.y)).sum() - 0.5 * d @ state.precision @ d)


def log_evidence(engine: Laplace, prior: Dense, posterior: Dense, data: Data) -> float:
    """ln p(y), nats, of what `update` made of a prior."""
    dets = torch.linalg.slogdet(prior.precision)[1] - torch.linalg.slogdet(posterior.precision)[1]
    return log_posterior(engine, prior, data, posterior.mean) + 0.5 * float(dets)


def moments(engine: Laplace, state: Dense, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (n,) of a single output at x (n, F), by the linear model."""
    f, jacobian = engine.linearised(state, x)
    root = torch.linalg.cholesky(state.precision)
    away = torch.linalg.solve_triangular(root, jacobian[:, 0].double().T, upper=False)
    return f[:, 0].double(), away.square().sum(dim=0)
