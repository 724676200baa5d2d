"""Bayesian regression with known noise, in closed form: of series that are linear in their weights.

    y_i = w'h(t_i) + ε_i,  ε_i ~ N(0, s²),  w_j ~ N(0, d_j²);   G = Σ h h' / s²,  g = Σ h y / s²
    L L' = I + D G D,  u = L⁻¹ D g,  v = L⁻¹ D h(t)
    ln p(y) = Σ ln N(y_i; 0, s²) + ½ u'u - Σ ln L_jj,   f(t) ~ N(v'u, v'v)

(Rasmussen & Williams 2006, section 2.1, the weights counted in their prior deviations). The sums of two stretches of
readings add up to those of both: the same pass over the readings serves each and all.
"""

from __future__ import annotations

from math import log, pi
from typing import NamedTuple

import torch
from torch import Tensor

from filters.posterior.compositional import Series, Sum, Units


class Moments(NamedTuple):
    """Log evidence, nats, and mean and variance of f where it is asked for."""

    log_evidence: float
    mean: float
    variance: float


class Sums(NamedTuple):
    """G (P, P), g (P,) and Σ ln N(y_i; 0, s²)."""

    precision: Tensor
    pull: Tensor
    log_noise: float

    def plus(self, other: Sums) -> Sums:
        """Of both stretches."""
        return Sums(self.precision + other.precision, self.pull + other.pull, self.log_noise + other.log_noise)


def linear(series: Series) -> bool:
    """Whether the series is linear in its weights for certain."""
    return isinstance(series, Units) or (isinstance(series, Sum) and linear(series.first) and linear(series.second))


def hidden(series: Series, times: Tensor) -> Tensor:
    """Hidden units h (n, P) of a linear series at times (n,)."""
    if isinstance(series, Sum):
        return torch.cat([hidden(series.first, times), hidden(series.second, times)], dim=1)
    if not isinstance(series, Units):
        raise TypeError(f"found {series}, expected a sum of units: what is linear in its weights")
    return series.units(times)


def sums(series: Series, times: Tensor, y: Tensor, variance: float) -> Sums:
    """Of readings y (n,) at times (n,), whose noise has that variance."""
    h, y = hidden(series, times.double()), y.double()
    log_noise = -0.5 * float(y @ y / variance + len(y) * log(2.0 * pi * variance))
    return Sums(h.T @ h / variance, h.T @ y / variance, log_noise)


def learnt(series: Series, found: Sums, time: float) -> Moments:
    """What the readings summed up make of f at a time, s."""
    d = series.deviations().double()
    h = hidden(series, d.new_tensor([time]))[0]
    root = torch.linalg.cholesky(torch.eye(len(d)).to(d) + d[:, None] * found.precision * d)
    u, v = torch.linalg.solve_triangular(root, torch.stack([d * found.pull, d * h], dim=1), upper=False).T
    log_evidence = found.log_noise + 0.5 * float(u @ u) - float(root.diagonal().log().sum())
    return Moments(log_evidence, float(v @ u), float(v @ v))
