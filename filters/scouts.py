"""Scouts: stories drawn about odd echoes, so that a cloud with none there learns what they would be worth.

A cloud of so many stories may have none where a first echo is, and then all are alike to the look: nothing would tell
that any is missing. Or all may agree on the wrong place. So stories of the prior are sent out, half of them with their
last place about the echoes. Where they find what the cloud does not have, both become one sample of the posterior
π ∝ p Π_k L_k of the past looks. With q the density that scouts are drawn from and a the cloud's share of all,

    w(cloud) = W_i a π / (a π + (1 - a) q)        w(scout) = 1/n (1 - a) π / (a π + (1 - a) q)

the balance heuristic, and π's unknown constant is where all weights add to one, which is bridge sampling.

Sources: Veach & Guibas 1995 (SIGGRAPH 95:419), Meng & Wong 1996 (Stat. Sinica 6:831).
"""

from __future__ import annotations

from math import log, pi

import numpy as np

from filters.belief import log_sum_exp
from filters.models.object_echo import Echoes
from filters.resampling import ess
from filters.spec import Array
from filters.stories import GUST, Cloud, Told, joined
from filters.target import Target, Weighted

SHARE = 0.5  # as many as this of a cloud are sent out
BETTER = 2.0  # nats by which a look speaks for a scout's story, beyond most of the cloud's, that is news ...
WORTH = 0.02  # ... if such stories seem to have so much evidence, in units of those
REACH = 0.25, 0.06  # m, deviations of a candidate's centre about an echo of it, each for half of those sent there


def with_scouts(
    now: Weighted, values: Array, target: Target, n: int, rng: np.random.Generator
) -> tuple[Weighted, Array]:
    """The cloud and, if they bring news, scouts beside it, and ln L of the newest look, given that of the cloud."""
    scouts = sent_out(target, n, rng)
    told = target.stories.tell(scouts, target.steps)
    scouts = scouts._replace(place=told.places[-1], velocity=told.velocities[-1], gust=told.gusts[-1])
    heard, share = target.look.log_likelihood(target.stories, scouts.u, told), log_share(scouts, target)
    known = median(values, now.log_weights)
    news = np.flatnonzero(heard > known + BETTER)
    usual = median(now.past.sum(axis=1), now.log_weights)
    before = past_of(scouts.u[news], told.take(news), target).sum(axis=1) - usual
    if log_sum_exp(heard[news] + before - share[news]) - log(n) < known + log(WORTH):
        return now, values
    return merged(now, scouts, past_of(scouts.u, told, target), target), np.concatenate([values, heard])


def median(values: Array, log_weights: Array) -> float:
    """The weighted median: what most of a cloud says, whatever a lucky story does."""
    order = np.argsort(values)
    return float(values[order[np.searchsorted(np.cumsum(np.exp(log_weights[order])), 0.5)]])


def merged(now: Weighted, scouts: Cloud, past: Array, target: Target) -> Weighted:
    """Both as one sample."""
    n = len(past)
    a = 1.0 / (1.0 + n / ess(now.log_weights))
    cloud, past = joined([now.cloud, scouts]), np.concatenate([now.past, past])
    before = np.concatenate([now.log_weights, np.full(n, log((1.0 - a) / a / n))])
    odds = log((1.0 - a) / a) + log_share(cloud, target) - past.sum(axis=1)
    return Weighted(cloud, balanced(before, odds), past)


def balanced(before: Array, odds: Array) -> Array:
    """ln of weights w / (1 + Z exp(odds)), Z being such that they add to one."""
    finite = odds[np.isfinite(odds)]
    if len(finite) == 0:  # nothing of what there is can be
        return before - log_sum_exp(before)
    low, high = -finite.max() - 50.0, -finite.min() + 50.0
    for _ in range(50):
        middle = 0.5 * (low + high)
        total = log_sum_exp(before - np.logaddexp(0.0, odds + middle))
        low, high = (middle, high) if total > 0.0 else (low, middle)
    result = before - np.logaddexp(0.0, odds + low)
    return np.asarray(result - log_sum_exp(result))


def sent_out(target: Target, n: int, rng: np.random.Generator) -> Cloud:
    """n stories of the prior, of which half have their last place about an echo."""
    stories = target.stories
    cloud = stories.draw(n, rng)._replace(noise=rng.standard_normal((n, len(target.steps), GUST + 1)))
    there = about(target.look.echoes, n // 2, rng)
    cloud.u[: n // 2, :2] = np.linalg.solve(stories.root, (there - drift(cloud, target)[: n // 2]).T).T
    return cloud


def past_of(u: Array, told: Told, target: Target) -> Array:
    """ln L of every past look (n, looks)."""
    if len(u) == 0:
        return np.zeros((0, len(target.past)))
    looks = [look.log_likelihood(target.stories, u, told) for look in target.past]
    return np.array(looks).reshape(len(looks), len(u)).T


def drift(cloud: Cloud, target: Target) -> Array:
    """Where (n, 2) stories that began at the origin's mean are now."""
    u = cloud.u.copy()
    u[:, :2] = 0.0
    return target.stories.tell(cloud._replace(u=u), target.steps).places[-1]


def log_share(cloud: Cloud, target: Target) -> Array:
    """ln q / p (n,) of scouts and prior."""
    echoes, root = target.look.echoes, target.stories.root
    at = drift(cloud, target) + cloud.u[:, :2] @ root.T
    log_prior = -0.5 * (cloud.u[:, :2] ** 2).sum(axis=1) - log(2.0 * pi) - np.log(np.diag(root)).sum()
    total = log_sum_exp(echoes.oddness) + log(2.0 * pi * len(REACH))
    return np.asarray(np.logaddexp(0.0, log_about(echoes, at) - total - log_prior) - log(2.0))


def about(echoes: Echoes, n: int, rng: np.random.Generator) -> Array:
    """Draw n places (n, 2) about echoes, the odd ones most often."""
    chosen = rng.choice(len(echoes.places), n, p=np.exp(echoes.oddness - log_sum_exp(echoes.oddness)))
    return np.asarray(echoes.places[chosen] + rng.choice(REACH, (n, 1)) * rng.standard_normal((n, 2)))


def log_about(echoes: Echoes, place: Array) -> Array:
    """ln of the density (n,) by which a jump goes to a place (n, 2), up to a constant."""
    square = ((place[:, None] - echoes.places) ** 2).sum(axis=2)
    parts = [echoes.oddness - 0.5 * square / r**2 - 2.0 * np.log(r) for r in REACH]
    return np.logaddexp.reduce(np.concatenate(parts, axis=1), axis=1)
