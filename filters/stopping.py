"""When to act: optimal stopping by backward induction over belief x distance, for waiting buys evidence.

The state is (L, d): log-odds of q = P(a barrier stands in the path), and the distance d left to the last point at
which braking still stops. Over a step of h metres a filter that knows the law of its measurements moves by a
log-likelihood ratio, Gaussian as of two Gaussians with one variance (Bellman 1957; DeGroot 1970, chapter 12):

    L' - L ~ N(+m, 2 m) if there is a barrier, N(-m, 2 m) if not        m = rate x h nats
    V(L, d) = min( min_a (1 - q) l[a, clear] + q l[a, barrier],
                   (1 - q) c[clear] + q c[barrier] + E V(L', d - h) )      and at d = 0 the first line alone

l is what it costs to act now, c what it costs to go on for one step. q is a martingale and V is concave in q, so that
evidence never hurts. V is interpolated linearly in q, which errs downwards by a chord's height.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from filters.belief import LOG_ODDS_LIMIT
from filters.spec import BARRIER, Array

WAIT, LEAVE = -1, -2
LOG_ODDS = np.linspace(-LOG_ODDS_LIMIT, LOG_ODDS_LIMIT, 241)  # .115 apart
NODES = np.linspace(-6.0, 6.0, 121)  # standard deviations; even ones, as V has kinks that Gauss and Hermite's straddle
WEIGHTS = np.exp(-0.5 * NODES**2) / np.exp(-0.5 * NODES**2).sum()


class Problem(NamedTuple):
    """What to solve, row 0 the last point and row k the one k steps before it.

    Parameters
    ----------
    losses : array (steps, actions, 2)
        Of acting there, clear and barrier; inf where an action is not open.
    going_on : array (steps, 2)
        What the step from there to the next costs, clear and barrier; row 0 is not used.
    nats : array (steps,)
        m of the step from there to the next; row 0 is not used.
    """

    losses: Array
    going_on: Array
    nats: Array


class Plan(NamedTuple):
    """Expected loss, and the action to take, `WAIT` or `LEAVE` (steps, log_odds), at the log-odds `LOG_ODDS`."""

    value: Array
    action: NDArray[np.int_]


def solve(problem: Problem, elsewhere: Array | None = None) -> Plan:
    """The plan of least expected loss; where waiting gains nothing it acts.

    Parameters
    ----------
    problem : Problem
        Steps, losses and evidence.
    elsewhere : array (steps, log_odds), optional
        Expected loss of leaving for another plan, inf where one cannot: to wait at another speed, say.

    Raises
    ------
    ValueError
        If a number of nats is negative or NaN, or no action is open at the last point.
    """
    _check(problem)
    values: list[Array] = []
    actions: list[NDArray[np.int_]] = []
    for k in range(len(problem.losses)):
        value, action = acting(problem, k)
        if elsewhere is not None:
            action = np.where(elsewhere[k] < value, LEAVE, action)
            value = np.minimum(elsewhere[k], value)
        if k:
            later = going_on(problem, k, values[-1])
            waits = later < value - 1e-12
            value, action = np.where(waits, later, value), np.where(waits, WAIT, action)
        values.append(value)
        actions.append(action)
    return Plan(np.array(values), np.array(actions))


def worth(problem: Problem, action: NDArray[np.int_]) -> Array:
    """Expected loss (steps, log_odds) of any plan `action` (steps, log_odds), which does not wait at the last point."""
    values: list[Array] = []
    q = expit(LOG_ODDS)[:, None]
    for k, chosen in enumerate(action):
        taken = problem.losses[k][np.maximum(chosen, 0)]
        value = _mean(taken, q)
        values.append(np.where(chosen == WAIT, going_on(problem, k, values[-1]), value) if k else value)
    return np.array(values)


def acting(problem: Problem, k: int) -> tuple[Array, NDArray[np.int_]]:
    """Least expected loss of acting at a step, and the action."""
    expected = _mean(problem.losses[k][:, None], expit(LOG_ODDS)[None, :, None])
    return expected.min(axis=0), expected.argmin(axis=0)


def going_on(problem: Problem, k: int, value: Array) -> Array:
    """Expected loss of going on from a step, `value` (log_odds,) that of the next."""
    q, m = expit(LOG_ODDS), float(problem.nats[k])
    later = np.zeros_like(q)
    for sign, share in ((-1.0, 1.0 - q), (1.0, q)):
        there = LOG_ODDS[:, None] + sign * m + np.sqrt(2.0 * m) * NODES
        later += share * (np.interp(expit(there), q, value) @ WEIGHTS)
    return later + _mean(problem.going_on[k], q[:, None])


def _mean(losses: Array, q: Array) -> Array:
    """(1 - q) clear + q barrier over the last axis."""
    return (1.0 - q[..., 0]) * losses[..., 0] + q[..., 0] * losses[..., 1]


def _check(problem: Problem) -> None:
    if not (problem.nats >= 0.0).all():
        raise ValueError(f"found {problem.nats} nats, expected none below 0: information is never lost")
    if not np.isfinite(problem.losses[0]).all(axis=1).any():
        raise ValueError("found no action open at the last point, expected one: something must be done there")


@dataclass(frozen=True)
class Rate:
    """Nats per metre driven, A exp(-s r / V), r m from what is there in visibility V.

    What a beam brings back through fog falls as exp(-2 alpha r), alpha = 3 / V, and so does what it tells.
    """

    scale: float
    decay: float

    def __call__(self, distance: ArrayLike, visibility: float) -> Array:
        return self.scale * np.exp(-self.decay * np.asarray(distance, float) / visibility)


def fit_rate(
    distance: ArrayLike, visibility: ArrayLike, metres: ArrayLike, increment: ArrayLike, truth: ArrayLike
) -> Rate:
    """The rate whose nats are those by which log-odds drifted towards the truth.

    Of increments y, signed by the truth, mean m and variance 2 m: the quasi-likelihood (Wedderburn 1974) is that of
    Poisson counts, sum (y - m) d ln m = 0. It asks for the drift alone: a filter too sure of itself moves more than
    it learns, and its spread would count as information.

    Parameters
    ----------
    distance, visibility, metres, increment, truth : array (steps,)
        m left, m, m driven, change of the log-odds of a barrier, and the class; of many encounters. Leave out steps
        that began near `LOG_ODDS_LIMIT`: there nothing can be learnt, whatever is seen.

    Raises
    ------
    ValueError
        If log-odds did not drift towards the truth, or there is nothing to tell the parameters apart by.
    """
    r, v, h, dl, c = (np.asarray(a, float) for a in (distance, visibility, metres, increment, truth))
    y = np.where(c == BARRIER, dl, -dl)
    if not (np.isfinite(y).all() and y.sum() > 0.0 and h.min() > 0.0 and np.ptp(r / v) > 0.0):
        raise ValueError(f"found a drift of {y.sum()} nats, expected one towards the truth at several distances")
    X = np.stack([np.ones_like(r), -r / v], axis=1)
    theta = np.array([np.log(y.sum() / h.sum()), 0.0])

    def loss(at: Array) -> float:
        return float(np.sum(h * np.exp(X @ at) - y * (X @ at)))

    for _ in range(100):  # Newton's, convex; ten or so are taken
        mean = h * np.exp(X @ theta)
        step = np.linalg.solve((X.T * mean) @ X, X.T @ (y - mean))
        while loss(theta + step) > loss(theta) + 1e-9 * abs(loss(theta)):
            step *= 0.5
        theta = theta + step
        if np.abs(step).max() < 1e-9:
            return Rate(float(np.exp(theta[0])), float(theta[1]))
    raise ValueError("found no likeliest rate, expected log-odds that drift faster the nearer: drive more encounters")
