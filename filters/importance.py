"""Adaptive importance sampling from a posterior whose prior is standard normal: p(u | z) ∝ N(u; 0, I) L(u).

A proposal is Student-t kernels beside a share s of the prior,

    q(u) = s N(u; 0, I) + (1 - s) 1/n Σ_k t_ν(u; c_k, h² P).

`adapt` finds where the posterior is: a population goes from a first guess q_0 to the posterior through

    p_b(u) ∝ q_0(u)^(1 - b) [N(u; 0, I) L(u)]^b,     b from 0 to 1

by steps of b each as large as leaves half of it effective, is resampled and moved by differences of its own members,
and becomes the centres of q, h being what weighs a few trial draws most evenly. `weigh` draws from that q, fixed from
here on, so that

    w = N(u; 0, I) L(u) / q(u)

are proper weights: their mean is an unbiased evidence, however well or badly the population was moved, and no
weight exceeds L / s.

Sources: Del Moral, Doucet & Jasra 2006 (J. R. Stat. Soc. B 68:411) for the steps, ter Braak 2006 (Stat. Comput.
16:239) for the moves, West 1993 (J. R. Stat. Soc. B 55:409) for the kernels, Hesterberg 1995 (Technometrics 37:185)
for the share of the prior.
"""

from __future__ import annotations

from collections.abc import Callable
from math import lgamma, log, pi
from typing import NamedTuple

import numpy as np

from filters.belief import log_sum_exp
from filters.jit import jit
from filters.resampling import ess, systematic
from filters.spec import Array

EFFECTIVE = 0.4  # share of the population that a step leaves effective
PRIOR_SHARE = 0.05  # s
FREEDOM = 5.0  # ν
WIDTHS = (0.1, 0.2, 0.4, 0.7)  # h that are tried
TRIAL, BATCH = 500, 2000  # draws

LogLikelihood = Callable[[Array], Array]  # ln L (n,) at points (n, d)


class Weighted(NamedTuple):
    """Points (n, d) and their unnormalised log-weights (n,)."""

    points: Array
    log_weights: Array

    @property
    def log_evidence(self) -> float:
        """ln of the weights' mean, nats."""
        return log_sum_exp(self.log_weights) - log(len(self.log_weights))

    @property
    def evidence_error(self) -> float:
        """Relative standard error of the evidence: sqrt(1/ESS - 1/n)."""
        return float(np.sqrt(max(1.0 / max(ess(self.log_weights), 1e-9) - 1.0 / len(self.log_weights), 0.0)))


class Proposal(NamedTuple):
    """Centres (n, d) of the kernels, the root (d, d), lower triangular, of their scale h² P, and the share s."""

    centres: Array
    root: Array
    prior_share: float = PRIOR_SHARE

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draw n points."""
        d = len(self.root)
        stretch = np.sqrt(FREEDOM / rng.chisquare(FREEDOM, (n, 1)))
        points = self.centres[rng.integers(len(self.centres), size=n)]
        points = points + stretch * rng.standard_normal((n, d)) @ self.root.T
        return np.where(rng.random((n, 1)) < self.prior_share, rng.standard_normal((n, d)), points)

    def log_density(self, points: Array) -> Array:
        """ln q (n,)."""
        d = len(self.root)
        inverse = np.linalg.inv(self.root)
        scale = lgamma(0.5 * (FREEDOM + d)) - lgamma(0.5 * FREEDOM) - 0.5 * d * log(FREEDOM * pi)
        kernels = log_mean_kernel(points @ inverse.T, self.centres @ inverse.T, FREEDOM)
        kernels += scale - np.log(np.diag(self.root)).sum()
        of_prior = log(self.prior_share) + log_standard_normal(points)
        return np.logaddexp(of_prior, log(1.0 - self.prior_share) + kernels)


@jit
def log_mean_kernel(points: np.ndarray, centres: np.ndarray, freedom: float) -> np.ndarray:
    """ln 1/m Σ_k (1 + |u - c_k|² / ν)^(-(ν + d)/2) at points (n, d), for centres (m, d)."""
    n, d = points.shape
    result = np.empty(n)
    for i in range(n):
        total = 0.0
        for k in range(centres.shape[0]):
            square = 0.0
            for j in range(d):
                gap = points[i, j] - centres[k, j]
                square += gap * gap
            total += (1.0 + square / freedom) ** (-0.5 * (freedom + d))
        result[i] = np.log(total / centres.shape[0])
    return result


def log_standard_normal(points: Array) -> Array:
    """ln N(u; 0, I) of points (n, d)."""
    return np.asarray(-0.5 * (points**2).sum(axis=1) - 0.5 * points.shape[1] * log(2.0 * pi))


def adapt(log_likelihood: LogLikelihood, guess: Proposal, n: int, moves: int, rng: np.random.Generator) -> Proposal:
    """A proposal from a population of n, moved so many times after each step, that starts at a guess."""
    population = explore(log_likelihood, guess, n, moves, rng)
    off = population - population.mean(axis=0)
    P = off.T @ off / n
    root = np.linalg.cholesky(P + np.diag(1e-4 * np.diag(P) + 1e-16))
    tried = [Proposal(population, h * root) for h in WIDTHS]
    return max(tried, key=lambda q: ess(weights_of(log_likelihood, q, TRIAL, rng).log_weights))


class Population(NamedTuple):
    """Points (n, d), ln q_0 (n,) there, and ln of prior times likelihood less ln q_0 (n,)."""

    points: Array
    start: Array
    ratio: Array

    @staticmethod
    def at(points: Array, log_likelihood: LogLikelihood, guess: Proposal) -> Population:
        """The population at points."""
        start = guess.log_density(points)
        return Population(points, start, log_standard_normal(points) + log_likelihood(points) - start)


def explore(log_likelihood: LogLikelihood, guess: Proposal, n: int, moves: int, rng: np.random.Generator) -> Array:
    """A population (n, d) brought from the guess to about the posterior."""
    now, done = Population.at(guess.draw(n, rng), log_likelihood, guess), 0.0
    while done < 1.0:
        step = largest_step(now.ratio, 1.0 - done)
        chosen = systematic(np.exp(step * (now.ratio - now.ratio.max())), rng.random())
        now, done = Population(*(part[chosen] for part in now)), done + step
        for _ in range(moves):
            there = Population.at(differences(now.points, rng), log_likelihood, guess)
            gain = there.start - now.start + done * (there.ratio - now.ratio)
            accept = np.log(rng.random(n)) < gain
            now = Population(*(np.where(accept, a.T, b.T).T for a, b in zip(there, now, strict=True)))
    return now.points


def differences(points: Array, rng: np.random.Generator) -> Array:
    """Every member (n, d) moved along the difference of two others, in all or some coordinates."""
    n, d = points.shape
    a, b = rng.integers(n, size=(2, n))
    stride = np.where(rng.random((n, 1)) < 0.1, 1.0, 2.38 / np.sqrt(2.0 * d) * rng.uniform(0.05, 1.0, (n, 1)))
    some = rng.random((n, d)) < np.where(rng.random((n, 1)) < 0.5, 0.3, 1.0)
    return points + stride * some * (points[a] - points[b])


def largest_step(values: Array, limit: float) -> float:
    """The largest step <= limit that leaves `EFFECTIVE` of the population effective, by bisection.

    Where too few members have any likelihood to leave that many, the least step, which drops the rest.
    """
    enough = EFFECTIVE * len(values)
    if ess(limit * values) >= enough:
        return limit
    low, high = 0.0, limit
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if ess(middle * values) >= enough else (low, middle)
    return high


def weights_of(log_likelihood: LogLikelihood, proposal: Proposal, n: int, rng: np.random.Generator) -> Weighted:
    """n weighted draws from a proposal."""
    points = proposal.draw(n, rng)
    return Weighted(points, log_standard_normal(points) + log_likelihood(points) - proposal.log_density(points))


def weigh(
    log_likelihood: LogLikelihood,
    proposal: Proposal,
    enough: float,
    most: int,
    rng: np.random.Generator,
    floor: float = -np.inf,
) -> Weighted:
    """Weighted draws from a proposal until `enough` are effective, at most `most`.

    Draws whose ln evidence is below `floor` (nats) after a batch are of a class that does not matter: no more are made.
    """
    drawn = weights_of(log_likelihood, proposal, BATCH, rng)
    while ess(drawn.log_weights) < enough and len(drawn.points) < most and drawn.log_evidence > floor:
        more = weights_of(log_likelihood, proposal, BATCH, rng)
        drawn = Weighted(*(np.concatenate(pair) for pair in zip(drawn, more, strict=True)))
    return drawn
