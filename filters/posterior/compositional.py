"""Small Bayesian networks of time that compose as kernels do, after AutoBNN and Pearce et al. 2020 (arXiv 1905.06076).

    Sum           f = f_1 + f_2                      k = k_1 + k_2
    Product       f = f_1 f_2                        k = k_1 k_2
    ChangePoint   f = (1 - σ) f_1 + σ f_2            k = (1 - σ)(1 - σ') k_1 + σ σ' k_2,   σ = sigmoid((t - c) / width)

for independent parts of mean 0, so that k is the prior's covariance of f(t) and f(t'). A composition is a function of
all its weights in one vector, as `Mlp` is, and any engine that asks for no more than outputs can train it.

A reconstruction: AutoBNN draws hidden frequencies and learns them; here they lie on a grid, weighted by the kernel's
spectrum, so that few units have the very kernel and f is linear in the weights.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import comb, pi

import numpy as np
import torch
from scipy.special import ive
from scipy.stats import norm, t
from torch import Tensor

from filters.posterior.mlp import Layers, Mlp

ALIAS = 5.0  # lengths beyond the span before a grid of frequencies repeats itself
CUTOFF = {1.5: 15.0, 2.5: 9.0, np.inf: 4.5}  # of ω times the length, by smoothness: what lies beyond is below .1 %
HARMONICS = 8
SHORTEST = 0.4  # of a period's waves


class Series(Layers):
    """A function of time (s): inputs (n, 1), outputs (S, n, 1)."""

    sizes = (1, 1)

    @abstractmethod
    def at(self, weights: Tensor, times: Tensor) -> Tensor:
        """Values (S, n) of weights (S, P) at times (n,)."""

    @abstractmethod
    def deviations(self) -> Tensor:
        """Of the prior N(0, deviations²) of each weight (P,)."""

    def start(self, rng: torch.Generator) -> Tensor:
        """Weights (P,) from which to descend: a draw of the prior, as a product of two zeros has no slope."""
        scale = self.deviations()
        return scale * torch.randn(scale.shape, generator=rng)

    def forward(self, weights: Tensor, x: Tensor) -> Tensor:
        """Values (S, n, 1) of weights (S, P) at inputs (n, 1)."""
        self.check(x)
        return self.at(weights, x[:, 0].to(weights.device))[..., None]

    def __add__(self, other: Series) -> Series:
        return Sum(self, other)

    def __mul__(self, other: Series) -> Series:
        return Product(self, other)


class Units(Series):
    """f = Σ_j w_j h_j(t): fixed hidden units, Bayesian weights; k(t, t') = Σ_j deviation_j² h_j(t) h_j(t')."""

    @abstractmethod
    def units(self, times: Tensor) -> Tensor:
        """Hidden units (n, P)."""

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """One layer without a bias of its own."""
        return [(len(self.deviations()), 1)]

    def at(self, weights: Tensor, times: Tensor) -> Tensor:
        return weights @ self.units(times).T


@dataclass(frozen=True)
class Polynomial(Units):
    """k = deviation² (1 + t t' / scale²)^degree: constant, linear, quadratic for degrees 0, 1, 2."""

    degree: int
    scale: float = 100.0
    deviation: float = 1.0

    def deviations(self) -> Tensor:
        return torch.tensor([self.deviation * comb(self.degree, k) ** 0.5 for k in range(self.degree + 1)])

    def units(self, times: Tensor) -> Tensor:
        return (times[:, None] / self.scale) ** torch.arange(self.degree + 1).to(times)


class Waves(Units):
    """h = cos ω_j t, sin ω_j t: k(t, t') = Σ_j variance_j cos ω_j (t - t')."""

    @abstractmethod
    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """Frequencies (J,), rad/s, and variances (J,)."""

    def deviations(self) -> Tensor:
        return torch.as_tensor(np.tile(np.sqrt(self.spectrum()[1]), 2), dtype=torch.float32)

    def units(self, times: Tensor) -> Tensor:
        phase = times[:, None] * torch.as_tensor(self.spectrum()[0]).to(times)
        return torch.cat([phase.cos(), phase.sin()], dim=1)


@dataclass(frozen=True)
class Stationary(Waves):
    """k = deviation² exp(-d² / 2 length²), or Matérn's of smoothness 1.5 or 2.5 (Rasmussen & Williams 2006, eq. 4.14).

    ω length is normal, or Student's t with twice the smoothness as degrees of freedom; on a grid Δ = 2π / period the
    kernel is its own periodic sum (Poisson), so that a period of `span` and five lengths hides the repetition.

    Parameters
    ----------
    length, deviation : float
        s, and of f.
    smoothness : float
        1.5, 2.5 or inf.
    span : float
        The farthest apart that two times will be, s.
    """

    length: float
    deviation: float = 1.0
    smoothness: float = np.inf
    span: float = 400.0

    def __post_init__(self) -> None:
        if self.smoothness not in CUTOFF or not min(self.length, self.deviation, self.span) > 0.0:
            raise ValueError(f"found {self}, expected a smoothness of 1.5, 2.5 or inf, and all else above 0")

    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        step = 2.0 * pi * self.length / (self.span + ALIAS * self.length)
        omega = step * np.arange(int(CUTOFF[self.smoothness] / step) + 1)
        density = norm.pdf(omega) if np.isinf(self.smoothness) else t.pdf(omega, 2.0 * self.smoothness)
        density[0] *= 0.5  # of both signs there is one zero
        return omega / self.length, self.deviation**2 * density / density.sum()


@dataclass(frozen=True)
class Periodic(Waves):
    """k = deviation² exp(-2 sin²(π d / period) / length²) (MacKay 1998), by its Fourier series in Bessel functions.

    The series ends after a few harmonics: a length below `SHORTEST`, of which it would leave out more than 1 %, is
    refused.
    """

    period: float
    length: float = 1.0
    deviation: float = 1.0

    def __post_init__(self) -> None:
        if not (self.period > 0.0 and self.length >= SHORTEST):
            raise ValueError(f"found {self}, expected a period above 0 and a length of {SHORTEST:g} or more")

    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        order = np.arange(HARMONICS + 1)
        share = ive(order, self.length**-2) * np.where(order, 2.0, 1.0)
        return 2.0 * pi * order / self.period, self.deviation**2 * share / share.sum()


@dataclass(frozen=True)
class OneLayer(Series):
    """Σ_j v_j relu(a_j t / scale + b_j), all of them unknown: the arc-cosine kernel of order 1 (Cho & Saul 2009).

    a, b ~ N(0, 1), v ~ N(0, 2 deviation² / units):   k = deviation² |z| |z'| (sin θ + (π - θ) cos θ) / π,
    z = (t / scale, 1), θ the angle between z and z'.
    """

    hidden: int = 8
    scale: float = 100.0
    deviation: float = 1.0

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Of both layers."""
        return Mlp((1, self.hidden, 1)).shapes

    def deviations(self) -> Tensor:
        last = torch.full((self.hidden + 1, 1), self.deviation * (2.0 / self.hidden) ** 0.5)
        last[-1] = 1e-3 * self.deviation  # the kernel has no constant of its own
        return self.join([torch.ones(2, self.hidden), last])

    def at(self, weights: Tensor, times: Tensor) -> Tensor:
        return Mlp((1, self.hidden, 1)).forward(weights, times[:, None] / self.scale)[..., 0]


class Pair(Series):
    """Two series and the weights of both, one after the other."""

    first: Series
    second: Series

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Of both."""
        return self.first.shapes + self.second.shapes

    def deviations(self) -> Tensor:
        return torch.cat([self.first.deviations(), self.second.deviations()])

    def both(self, weights: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Values (S, n) of each."""
        one, other = weights.split([self.first.parameters, self.second.parameters], dim=-1)
        return self.first.at(one, times), self.second.at(other, times)


@dataclass(frozen=True)
class Sum(Pair):
    """f_1 + f_2."""

    first: Series
    second: Series

    def at(self, weights: Tensor, times: Tensor) -> Tensor:
        one, other = self.both(weights, times)
        return one + other


@dataclass(frozen=True)
class Product(Pair):
    """f_1 f_2."""

    first: Series
    second: Series

    def at(self, weights: Tensor, times: Tensor) -> Tensor:
        one, other = self.both(weights, times)
        return one * other


@dataclass(frozen=True)
class ChangePoint(Pair):
    """One series before and another after c = `time` + `spread` w, w ~ N(0, 1) a weight, over some `width`, all s."""

    first: Series
    second: Series
    time: float
    spread: float = 30.0
    width: float = 5.0

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Of the place of change, then of both."""
        return [(1, 1), *super().shapes]

    def deviations(self) -> Tensor:
        return torch.cat([torch.ones(1), super().deviations()])

    def at(self, weights: Tensor, times: Tensor) -> Tensor:
        one, other = self.both(weights[..., 1:], times)
        share = torch.sigmoid((times - self.time - self.spread * weights[..., :1]) / self.width)
        return (1.0 - share) * one + share * other
