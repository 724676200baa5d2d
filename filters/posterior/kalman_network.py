"""Kalman Bayesian network (Wagner, Wu & Huber, AAAI 2023, arXiv 2110.00944): closed form, one pass, no gradients.

Each neuron's weights are a Gaussian N(μ, C) of their own. Inputs z of mean z̄ and variances v, the bias's (1, 0), make

    a = w'z,  E a = μ'z̄,  Var a = z̄'C z̄ + Σ_i (μ_i² + C_ii) v_i,  Cov(w, a) = C z̄,  Cov(z_i, a) = μ_i v_i,

taken as Gaussian and as independent from neuron to neuron, and so on through the rectifier to the output f. There, of

    L(m) = ln ∫ p(y | f) N(f; m, Var f) df,  g = L'(m),  c = -L''(m),

the posterior has mean m + Var f g and variance Var f - Var f² c; for known noise R that is Kalman's, g = (y - m) c and
c = 1 / (Var f + R). What is known of a neuron by regression on its successors is of the same form, with

    g_i = ρ_i Σ_j μ_ji g_j,  c_i = ρ_i² Σ_j μ_ji² c_j,  ρ = Cov(a, relu a) / Var a = P(a > 0),

which are the paper's gains multiplied out, and of its weights: μ += C z̄ g, C -= c C z̄ z̄'C.

A label is not a number seen with noise, as there: g and c are exact for p(1 | f) = Φ(λ f), λ² = π/8, near the sigmoid.
Far from the data mean and deviation of f grow alike, so that the probability goes to a constant, often near 0 or 1,
and its variance saturates: never a detector of inputs unlike any seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import erfcx, ndtr, owens_t
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from filters.posterior.likelihoods import Bernoulli, Prediction, of_moments
from filters.posterior.mlp import Mlp
from filters.posterior.spec import DRAWS, Data, check, noise

FLOOR = 1e-9  # no w'z becomes better known than to a variance of so many |z|²: below, float64 loses definiteness
START = 2.0  # prior deviations by which neurons' means scatter; with 1, some do not find two moons in one pass
PROBIT = (pi / 8.0) ** 0.5
Array: TypeAlias = NDArray[np.float64]


class Neurons(NamedTuple):
    """Each layer's means (out, in + 1) and covariances (out, in + 1, in + 1), biases last, float64."""

    means: tuple[Tensor, ...]
    covariances: tuple[Tensor, ...]


class Pass(NamedTuple):
    """What n rows do in a layer: z̄ (in + 1, n), ρ (in, n), C z̄ (out, in + 1, n); z̄'C z̄, E a, Var a (out, n)."""

    z: Array
    slope: Array
    gain: Array
    own: Array
    mean: Array
    variance: Array


@dataclass(frozen=True)
class KnownNoise:
    """y ~ N(f, R)."""

    variance: float
    outputs = 1

    def log_prob(self, f: Tensor, y: Tensor) -> Tensor:
        return -0.5 * ((y - f[..., 0]) ** 2 / self.variance + log(2.0 * pi * self.variance))

    def predict(self, f: Tensor) -> Prediction:
        return of_moments(f[..., 0], torch.full_like(f[..., 0], self.variance))

    def curvature(self, f: Tensor) -> Tensor:
        return torch.full_like(f, 1.0 / self.variance)[..., None]


@dataclass(frozen=True)
class KalmanNetwork:
    """The engine, on the CPU. A row's weight divides its noise; a label's is that of a number that teaches as much.

    How neurons come to depend on one another is forgotten. Of sin 3x, R = .01, 10,000 rows, a 1-10-1 network claims a
    deviation of .007 and is off by .07 to .23, 1-32-1 claims .5 to .9 and is off by .06: no width to rely on.
    """

    network: Mlp
    likelihood: Bernoulli | KnownNoise
    start: float = START

    def __post_init__(self) -> None:
        if self.network.activation != "relu" or self.network.sizes[-1] != 1:
            raise ValueError(f"found {self.network}, expected a relu network of one output")
        if isinstance(self.likelihood, KnownNoise) and not self.likelihood.variance > 0.0:
            raise ValueError(f"found a noise of variance {self.likelihood.variance:g}, expected more than 0")

    def init(self, rng: torch.Generator) -> Neurons:
        """The network's prior about random means, as neurons that begin alike stay alike; the output's is zero."""
        deviations = [part.mT.double().contiguous() for part in self.network.split(self.network.deviations())]
        means = [self.start * own * noise(tuple(own.shape), rng, own) for own in deviations]
        return Neurons((*means[:-1], 0.0 * means[-1]), tuple(torch.diag_embed(own**2) for own in deviations))

    def update(self, state: Neurons, data: Data, rng: torch.Generator) -> Neurons:
        """Row by row in their order; `rng` is not needed."""
        data = check(self, data, state.means[0])
        means, covariances = ([part.numpy().copy() for part in parts] for parts in state)
        x, y, weight = (part.double().numpy() for part in data)
        for row in np.flatnonzero(weight):
            learn(means, covariances, self.likelihood, x[row : row + 1], y[row], weight[row])
        return Neurons(tuple(map(torch.from_numpy, means)), tuple(map(torch.from_numpy, covariances)))

    def moments(self, state: Neurons, x: Tensor) -> tuple[Tensor, Tensor]:
        """Closed form of the target's mean, or probability of class 1, and its epistemic variance (n,)."""
        self.network.check(x)
        means, covariances = ([part.numpy() for part in parts] for parts in state)
        last = forward(means, covariances, x.double().cpu().numpy())[-1]
        mean, variance = last.mean[0], last.variance[0]
        if isinstance(self.likelihood, Bernoulli):
            mean, variance = sigmoid(mean, variance)
        return torch.from_numpy(mean), torch.from_numpy(variance)

    def outputs(self, state: Neurons, x: Tensor, rng: torch.Generator, draws: int = DRAWS) -> Tensor:
        return self.network.forward(self.sample(state, rng, draws), x)

    def sample(self, state: Neurons, rng: torch.Generator, draws: int = DRAWS) -> Tensor:
        """In float32, like the data's inputs."""
        layers = []
        for mean, covariance in zip(*state, strict=True):
            own = noise((draws, *mean.shape, 1), rng, mean)
            layers.append((mean + (torch.linalg.cholesky(covariance) @ own)[..., 0]).mT)
        return self.network.join(layers).float()

    def kl(self, state: Neurons, other: Neurons) -> float:
        """Σ of the neurons'."""
        layers = zip(zip(*state, strict=True), zip(*other, strict=True), strict=True)
        return float(sum(kl_divergence(MultivariateNormal(*q), MultivariateNormal(*p)).sum() for q, p in layers))


def forward(means: list[Array], covariances: list[Array], x: Array) -> list[Pass]:
    """Of rows x (n, F), layer by layer."""
    z, variance, slope = x.T, np.zeros_like(x.T), np.ones_like(x.T)
    passes: list[Pass] = []
    for M, C in zip(means, covariances, strict=True):
        if passes:
            z, variance, slope = relu(passes[-1].mean, passes[-1].variance)
        z = np.vstack([z, np.ones_like(z[:1])])
        gain = C @ z
        own = (gain * z).sum(axis=1)
        spread = M[:, :-1] ** 2 + np.diagonal(C, axis1=1, axis2=2)[:, :-1]
        passes.append(Pass(z, slope, gain, own, M @ z, own + spread @ variance))
    return passes


def learn(means: list[Array], covs: list[Array], p: Bernoulli | KnownNoise, x: Array, y: float, weight: float) -> None:
    """Change means and covariances by one row x (1, F)."""
    passes = forward(means, covs, x)
    score, curvature = weighed(*evidence(p, passes[-1].mean, passes[-1].variance, y), passes[-1].variance, weight)
    for M, C, at in zip(reversed(means), reversed(covs), reversed(passes), strict=True):
        left = 1.0 - FLOOR * (at.z**2).sum() / at.own
        curvature = np.minimum(curvature, np.maximum(left, 0.0) / at.own)
        back = M[:, :-1].T
        before = at.slope * (back @ score), at.slope**2 * (back**2 @ curvature)
        gain = at.gain[..., 0]
        root = np.sqrt(curvature) * gain
        M += score * gain
        C -= root[:, :, None] * root[:, None, :]  # symmetric to the last bit
        score, curvature = before


def evidence(p: Bernoulli | KnownNoise, mean: Array, variance: Array, y: float) -> tuple[Array, Array]:
    """g and c of p(y | f), f ~ N(mean, variance): Φ(u) has the derivatives φ/Φ = h and -h (h + u) of its logarithm."""
    if isinstance(p, KnownNoise):
        return (y - mean) / (variance + p.variance), 1.0 / (variance + p.variance)
    slope = (2.0 * y - 1.0) * PROBIT / np.sqrt(1.0 + PROBIT**2 * variance)
    u = slope * mean
    h = (2.0 / pi) ** 0.5 / erfcx(-u / 2.0**0.5)
    return slope * h, slope**2 * np.clip(h * (h + u), 0.0, 1.0)


def weighed(score: Array, curvature: Array, variance: Array, weight: float) -> tuple[Array, Array]:
    """g and c of w such rows, as of a number seen with a noise 1/c - variance that is divided by w."""
    told = np.minimum(variance * curvature, 1.0)
    share = 1.0 / (told + (1.0 - told) / weight)
    return score * share, curvature * share


def relu(mean: Array, variance: Array) -> tuple[Array, Array, Array]:
    """Mean and variance of max(a, 0), and its covariance with a over a's variance: with r = E a / s

    s (r Φ + φ),  s² ((1 + r²) Φ + r φ) - mean²,  Φ.

    In the lower tail, and mirrored: relu(a) = a + relu(-a). The difference would else drown in its terms.
    """
    s = np.sqrt(variance)
    r = mean / s
    t = -np.abs(r)
    tail, density = ndtr(t), np.exp(-0.5 * t**2) / (2.0 * pi) ** 0.5
    beyond = np.maximum(t * tail + density, 0.0)
    spread = np.maximum((1.0 + t**2) * tail + t * density - beyond**2, 0.0)
    up = r > 0.0
    spread = np.where(up, 1.0 + spread - 2.0 * tail, spread)
    return s * (np.maximum(r, 0.0) + beyond), variance * spread, np.where(up, 1.0 - tail, tail)


def sigmoid(mean: Array, variance: Array) -> tuple[Array, Array]:
    """Mean and variance of Φ(λ f): E Φ(λ f)² = Φ(u) - 2 T(u, 1 / √(1 + 2 λ² Var f)), u = λ E f / √(1 + λ² Var f).

    T is Owen's. The paper's p (1 - p) (1 - 1/√(1 + λ² Var f)) is as near to a sigmoid's, but about 0 less than its own
    Cov(f, p)² / Var f, as no variance can be: learning from it would leave f a negative one.
    """
    u = PROBIT * mean / np.sqrt(1.0 + PROBIT**2 * variance)
    p = ndtr(u)
    return p, np.maximum(p * ndtr(-u) - 2.0 * owens_t(u, 1.0 / np.sqrt(1.0 + 2.0 * PROBIT**2 * variance)), 0.0)
