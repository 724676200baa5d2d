"""Bayesian online change-point detection (Adams & MacKay 2007, arXiv 0710.3742), exact where regimes are conjugate.

    y_t = x_t'w + N(0, R),  w ~ N(m_0, P_0) anew after every change, of which each step has the chance h

The run length r_t, the steps since the last change, has the posterior (their equation 3 and algorithm 1)

    P(r_t + 1, y_1:t) = P(r_t, y_1:t-1) p(y_t | run r_t) (1 - h),   P(0, y_1:t) = h Σ_r P(r, y_1:t-1) p(y_t | run r)

where p(y | run) is the predictive of the regression on that run's data alone. With x = 1 it finds changes of a mean.
Time and memory grow with the run; nothing is left out. It is what forgetting, which knows no h, is judged by.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi
from typing import NamedTuple

import numpy as np

from filters.spec import Array


class Runs(NamedTuple):
    """ln P(r | y) (r,), and means (r, d) and covariances (r, d, d) of w given each run's data, the shortest last."""

    log_probs: Array
    means: Array
    covariances: Array


@dataclass(frozen=True)
class ChangePoints:
    """The detector: prior of w in each regime, noise R, chance h of a change at a step."""

    mean: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    noise: float
    hazard: float

    def __post_init__(self) -> None:
        d = len(self.mean)
        if np.shape(self.covariance) != (d, d) or not self.noise > 0.0 or not 0.0 < self.hazard < 1.0:
            raise ValueError(f"found {self}, expected (d,), (d, d), a noise above 0, and a hazard between 0 and 1")

    def init(self) -> Runs:
        """A regime begins."""
        return Runs(np.zeros(1), np.array([self.mean]), np.array([self.covariance]))

    def update(self, state: Runs, x: Array, y: float) -> tuple[Runs, float]:
        """Take in y at x (d,); also ln p(y | all before), nats."""
        gain = state.covariances @ x
        variance, error = gain @ x + self.noise, y - state.means @ x
        joint = state.log_probs - 0.5 * (error**2 / variance + np.log(2.0 * pi * variance))
        evidence = float(np.logaddexp.reduce(joint))
        grown = joint - evidence + log(1.0 - self.hazard)
        gain_of = gain / variance[:, None]
        means = state.means + gain_of * error[:, None]
        covariances = state.covariances - gain_of[:, :, None] * gain[:, None, :]
        fresh = self.init()
        log_probs = np.append(grown, log(self.hazard))
        return Runs(log_probs, np.vstack([means, fresh.means]), np.vstack([covariances, fresh.covariances])), evidence
