"""A live watch on a filter's own calibration: evidence against "y is 1 with the probability p that was said".

    H0: y_t ~ Bernoulli(p_t) given all before        q_ab(y = 1) = σ(a L_t + b),  L_t = ln p_t - ln(1 - p_t)
    E_T = mean over (a, b) of Π_{t <= T} q_ab(y_t) / p_t(y_t)

Under H0 every product is a martingale of mean 1 that is never negative, and so is their mean: by Ville's inequality
P(E_T >= 1/α for some T) <= α, however often one looks and whenever one stops. A z-test that is looked at as often is
wrong again and again. Ville 1939; Ramdas, Grünwald, Vovk & Shafer 2023, Statistical Science 38:576.
One step is one encounter: the frames of one are not independent, given its truth.
"""

from __future__ import annotations

from itertools import product
from math import log
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_expit

from filters.spec import Array

# Slopes below 1 tell of a filter that is too sure, above 1 of one that is not sure enough, offsets of one that leans.
SLOPES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
OFFSETS = (-1.0, -0.5, 0.0, 0.5, 1.0)
GRID = tuple(ab for ab in product(SLOPES, OFFSETS) if ab != (1.0, 0.0))  # (1, 0) is H0 itself and tells nothing


class State(NamedTuple):
    """What is carried: ln Π q_ab / p (..., len(GRID)), and the greatest ln E up to now (...)."""

    log_ratios: Array
    highest: Array


def init() -> State:
    """No evidence yet: every product is 1."""
    return State(np.zeros(len(GRID)), np.zeros(()))


def update(state: State, log_odds: ArrayLike, y: ArrayLike) -> State:
    """Multiply in one more encounter.

    Parameters
    ----------
    state : State
        Of the encounters before.
    log_odds, y : float, or arrays (...) for streams side by side
        Log-odds of a barrier said before the truth, 1 a barrier, was known. A certainty, ±∞, is evidence without end
        where it is wrong and none where it is right.

    Raises
    ------
    ValueError
        If log-odds are NaN, or a truth is neither 0 nor 1.
    """
    L, truth = np.asarray(log_odds, float), np.asarray(y, float)
    if np.isnan(L).any() or not np.isin(truth, (0.0, 1.0)).all():
        raise ValueError(f"found log-odds {L} and truth {truth}, expected no NaN and 0 or 1: leave that encounter out")
    log_ratios = state.log_ratios + _log_ratio(L[..., None], 2.0 * truth[..., None] - 1.0)
    return State(log_ratios, np.maximum(state.highest, _log_mean(log_ratios)))


def log_e(state: State) -> Array:
    """ln E_T (...): nats of evidence against the filter's calibration; up and down as encounters come."""
    return _log_mean(state.log_ratios)


def p_value(state: State) -> Array:
    """P(an E as high as the highest yet, ever) under H0 at most (...): 1 / max E, valid whenever one looks."""
    return np.exp(-state.highest)


def alarm(state: State, alpha: float) -> NDArray[np.bool_]:
    """Whether E has reached 1/alpha, now or before (...): a false alarm has probability `alpha` at most, for ever."""
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"found alpha = {alpha}, expected a probability between 0 and 1: 0.05 is 5 %")
    return np.asarray(state.highest >= -log(alpha))


def _log_ratio(L: Array, sign: Array) -> Array:
    """ln q_ab(y) - ln p(y), (..., len(GRID)); +∞ where p(y) = 0, also for q that says the same."""
    a, b = np.array(GRID).T
    said = log_expit(sign * L)
    possible = said > -np.inf
    return np.where(possible, log_expit(sign * (a * L + b)) - np.where(possible, said, 0.0), np.inf)


def _log_mean(log_ratios: Array) -> Array:
    return np.asarray(np.logaddexp.reduce(log_ratios, axis=-1) - log(log_ratios.shape[-1]))
