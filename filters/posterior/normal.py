"""A normal over weights whose covariance is diagonal, or diagonal and of low rank: Σ = diag(scale²) + F F'.

The inverse is Woodbury's, the determinant by its lemma; neither makes a (P, P) matrix.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from filters.posterior.mlp import Mlp
from filters.posterior.spec import DRAWS, beside, device_of, noise


class Normal(NamedTuple):
    """Mean (P,), deviation of each weight's own part (P,), common part F (P, r), r = 0 if there is none."""

    mean: Tensor
    scale: Tensor
    factor: Tensor


def prior(network: Mlp, device: str) -> Normal:
    """N(0, SPREAD² / fan-in), weight by weight."""
    scale = network.deviations().to(device_of(device))
    return Normal(torch.zeros_like(scale), scale, scale.new_zeros(len(scale), 0))


def start(p: Normal, network: Mlp, scale: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Means and deviations (P,) from which to descend: the posterior's of earlier data, if there were any.

    If not, those of a network that is to be trained, hardly spread: at the prior's zero mean no gradient would pass.
    """
    if p.mean.any():
        return p.mean, p.scale
    mean = network.start(rng).to(p.mean)
    return mean, torch.full_like(mean, scale)


def sample(q: Normal, rng: torch.Generator, draws: int) -> Tensor:
    """Draws (draws, P)."""
    own, common = (noise((draws, size), rng, q.mean) for size in q.factor.shape)
    return q.mean + q.scale * own + common @ q.factor.T


def kl(q: Normal, p: Normal) -> Tensor:
    """KL(q ‖ p) = ½ [tr Σp⁻¹Σq + d'Σp⁻¹d - P + ln det Σp - ln det Σq], d the difference of means, nats."""
    d = (p.mean - q.mean)[:, None]
    whitened = torch.cat([d, q.factor], dim=1) / p.scale[:, None]
    trace = ((q.scale / p.scale) ** 2).sum() + whitened.square().sum()
    if p.factor.shape[1]:
        common = p.factor / p.scale[:, None]
        root = torch.linalg.cholesky(_capacitance(p))
        explained = torch.cat([common.T @ whitened, common.T * (q.scale / p.scale)], dim=1)
        trace = trace - torch.linalg.solve_triangular(root, explained, upper=False).square().sum()
    return 0.5 * (trace - len(q.mean) + log_det(p) - log_det(q))


def log_det(q: Normal) -> Tensor:
    """ln det Σ = Σ ln scale² + ln det (1 + F' diag(scale)⁻² F)."""
    own = 2.0 * torch.log(q.scale).sum()
    return own + torch.logdet(_capacitance(q)) if q.factor.shape[1] else own


def _capacitance(q: Normal) -> Tensor:
    """1 + F' diag(scale)⁻² F (r, r)."""
    common = q.factor / q.scale[:, None]
    return torch.eye(common.shape[1], dtype=common.dtype, device=common.device) + common.T @ common


class NormalEngine:
    """What all engines have alike whose posterior is a `Normal`."""

    network: Mlp
    device: str

    def init(self, rng: torch.Generator) -> Normal:
        return prior(self.network, self.device)

    def outputs(self, state: Normal, x: Tensor, rng: torch.Generator, draws: int = DRAWS) -> Tensor:
        return self.network.forward(self.sample(state, rng, draws), x)

    def sample(self, state: Normal, rng: torch.Generator, draws: int = DRAWS) -> Tensor:
        return sample(state, rng, draws)

    def kl(self, state: Normal, other: Normal) -> float:
        return float(kl(state, beside(other, state.mean)))
