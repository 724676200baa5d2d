"""What a network's outputs say of the target: p(y | f), and what draws of f make of a prediction.

The variance of a prediction is split by the law of total variance, its entropy H by mutual information:

    Var y = Var_s E[y | f_s]  (epistemic)  +  E_s Var[y | f_s]  (aleatoric)
    H[mean_s p(y | f_s)] = I(y; f)  (information, epistemic)  +  mean_s H[p(y | f_s)]

For real targets both H are those of Gaussians with these variances, so that `information` is that of the moments.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import e, lgamma, log, pi
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

LEAST = -1e4  # ln p, where p ln p is 0; it may have no end
FINEST = 1e-3  # the smallest deviation that a network can claim, of standardised targets


class Prediction(NamedTuple):
    """Mean of the target, or probabilities of the classes, (n,) or (n, K); variances alike; entropies (n,), nats."""

    mean: Tensor
    epistemic: Tensor
    aleatoric: Tensor
    entropy: Tensor
    information: Tensor

    @property
    def variance(self) -> Tensor:
        """Of the target, or of each class's indicator."""
        return self.epistemic + self.aleatoric


class Likelihood(Protocol):
    """p(y | f)."""

    @property
    def outputs(self) -> int:
        """How many numbers f has."""

    def log_prob(self, f: Tensor, y: Tensor) -> Tensor:
        """ln p(y | f) (..., n) of outputs (..., n, O) and targets (n,)."""

    def predict(self, f: Tensor) -> Prediction:
        """Of draws (S, n, O)."""

    def curvature(self, f: Tensor) -> Tensor:
        """Fisher information E_y[∇ln p ∇ln p'] in f (..., O, O), never negative; of classes the Hessian of -ln p."""


@dataclass(frozen=True)
class Bernoulli:
    """Two classes by one logit, of class 1; probabilities are of both."""

    outputs = 1

    def log_prob(self, f: Tensor, y: Tensor) -> Tensor:
        return logsigmoid((2.0 * y - 1.0) * f[..., 0])

    def predict(self, f: Tensor) -> Prediction:
        return of_classes(torch.stack([logsigmoid(-f[..., 0]), logsigmoid(f[..., 0])]))

    def curvature(self, f: Tensor) -> Tensor:
        return (torch.sigmoid(f) * torch.sigmoid(-f))[..., None]


@dataclass(frozen=True)
class Categorical:
    """K classes by K logits."""

    outputs: int

    def log_prob(self, f: Tensor, y: Tensor) -> Tensor:
        each = torch.log_softmax(f, dim=-1)
        return each.gather(-1, y.long().expand(f.shape[:-1])[..., None])[..., 0]

    def predict(self, f: Tensor) -> Prediction:
        return of_classes(torch.log_softmax(f.movedim(-1, 0), dim=0))

    def curvature(self, f: Tensor) -> Tensor:
        p = torch.softmax(f, dim=-1)
        return torch.diag_embed(p) - p[..., :, None] * p[..., None, :]


@dataclass(frozen=True)
class Gaussian:
    """y ~ N(f_0, s²), s = softplus(f_1): noise that depends on the input."""

    outputs = 2

    def log_prob(self, f: Tensor, y: Tensor) -> Tensor:
        s = deviation(f)
        return -0.5 * ((y - f[..., 0]) / s) ** 2 - torch.log(s) - 0.5 * log(2.0 * pi)

    def predict(self, f: Tensor) -> Prediction:
        return of_moments(f[..., 0], deviation(f) ** 2)

    def curvature(self, f: Tensor) -> Tensor:
        return of_location_and_scale(f, 1.0, 2.0)


@dataclass(frozen=True)
class StudentT:
    """y = f_0 + s t, s = softplus(f_1), t Student's with so many degrees of freedom: far-off targets count little."""

    freedom: float = 4.0
    outputs = 2

    def __post_init__(self) -> None:
        if not self.freedom > 2.0:
            raise ValueError(f"found {self.freedom:g} degrees of freedom, expected more than 2, as a variance is told")

    def log_prob(self, f: Tensor, y: Tensor) -> Tensor:
        nu, s = self.freedom, deviation(f)
        constant = lgamma(0.5 * (nu + 1.0)) - lgamma(0.5 * nu) - 0.5 * log(nu * pi)
        return constant - torch.log(s) - 0.5 * (nu + 1.0) * torch.log1p(((y - f[..., 0]) / s) ** 2 / nu)

    def predict(self, f: Tensor) -> Prediction:
        return of_moments(f[..., 0], deviation(f) ** 2 * self.freedom / (self.freedom - 2.0))

    def curvature(self, f: Tensor) -> Tensor:
        nu = self.freedom
        return of_location_and_scale(f, (nu + 1.0) / (nu + 3.0), 2.0 * nu / (nu + 3.0))


def deviation(f: Tensor) -> Tensor:
    """The scale s of real targets (..., n) by their second output."""
    return softplus(f[..., 1]) + FINEST


def of_location_and_scale(f: Tensor, location: float, scale: float) -> Tensor:
    """Information (..., 2, 2) of what has so much of both at s = 1: diag(location, scale (ds/df_1)²) / s²."""
    both = torch.stack([torch.full_like(f[..., 1], location), scale * torch.sigmoid(f[..., 1]) ** 2], dim=-1)
    return torch.diag_embed(both / deviation(f)[..., None] ** 2)


def of_classes(log_probs: Tensor) -> Prediction:
    """Of draws of log-probabilities (K, S, n): by class, as passes over a few columns each would take much longer."""
    p = log_probs.exp()
    mean = p.mean(dim=1)
    entropy = torch.special.entr(mean).sum(dim=0)
    expected = -(p * log_probs.clamp_min(LEAST)).sum(dim=0).mean(dim=0)
    epistemic = (p - mean[:, None]).square().mean(dim=1)  # what `var` takes ten times as long for
    aleatoric = (p * (1.0 - p)).mean(dim=1)
    return Prediction(mean.T, epistemic.T, aleatoric.T, entropy, (entropy - expected).clamp_min(0.0))


def of_moments(mean: Tensor, variance: Tensor) -> Prediction:
    """Of draws of the target's mean and variance (S, n)."""
    centre, aleatoric = mean.mean(dim=0), variance.mean(dim=0)
    epistemic = (mean - centre).square().mean(dim=0)
    entropy = 0.5 * torch.log(2.0 * pi * e * (epistemic + aleatoric))
    expected = 0.5 * torch.log(2.0 * pi * e * variance).mean(dim=0)
    return Prediction(centre, epistemic, aleatoric, entropy, (entropy - expected).clamp_min(0.0))
