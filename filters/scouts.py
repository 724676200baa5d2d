"""Scouts: stories drawn about odd echoes, so that a cloud with none there learns what they would be worth.

A cloud of so many stories may have none where a first echo is, and then all are alike to the look: nothing would tell
that any is missing. Or all may agree on the wrong place. So stories of the prior are sent out, half of them with their
last place about the echoes. Where this patrol finds what the cloud does not have, a force follows, and all become one
sample of the posterior π ∝ p Π_k L_k of the past looks. With q the density that scouts are drawn from and e the cloud's
effective size,

    w(cloud) = W_i e π / (e π + m q)        w(scout) = π / (e π + m q)

the balance heuristic, and π's unknown constant is where all weights add to one, which is bridge sampling. To tell the
past is dear: of the force only stories are kept for which the newest look speaks, so that m is the size of both for
such a story, be it a scout's or the cloud's, and the patrol's for any other.

Sources: Veach & Guibas 1995 (SIGGRAPH 95:419), Meng & Wong 1996 (Stat. Sinica 6:831).
"""

from __future__ import annotations

from math import ceil, log, pi

import numpy as np

from filters.belief import log_sum_exp
from filters.models.object_echo import Echoes
from filters.resampling import ess
from filters.spec import Array
from filters.stories import GUST, Cloud, Told, joined
from filters.target import Target, Weighted

PATROL, FORCE = 0.5, 6.0  # for each of n stories so many are sent out, and so many more once those bring news
BETTER = 2.0  # nats by which a look speaks for a scout's story, beyond most of the cloud's, that is news ...
WORTH = 0.02  # ... if such stories seem to have so much evidence, in units of those
REACH = 0.25, 0.06  # m, deviations of a candidate's centre about an echo of it, each for half of those sent there


def with_scouts(
    now: Weighted, values: Array, target: Target, n: int, rng: np.random.Generator
) -> tuple[Weighted, Array]:
    """The cloud and, if they bring news, scouts beside it, and ln L of the newest look, given that of the cloud.

    n is how many stories a cloud has when it is drawn anew.
    """
    patrol, force = 2 * ceil(PATROL * n / 2), 2 * ceil(FORCE * n / 2)
    known = median(values, now.log_weights)
    scouts, heard = sent_out(target, patrol, rng)
    if not news(now, scouts, heard, target, known):
        return now, values
    others, by_others = sent_out(target, force, rng)
    best = np.flatnonzero(by_others > known + BETTER)
    scouts, values = joined([scouts, others.take(best)]), np.concatenate([values, heard, by_others[best]])
    return merged(now, scouts, target, np.where(values > known + BETTER, patrol + force, patrol)), values


def news(now: Weighted, scouts: Cloud, heard: Array, target: Target, known: float) -> bool:
    """Whether the scouts for which the look speaks seem to have `WORTH` of the evidence."""
    best = np.flatnonzero(heard > known + BETTER)
    there, usual = scouts.take(best), median(now.past.sum(axis=1), now.log_weights)
    values = heard[best] + past_of(there, target).sum(axis=1) - usual - log_share(there, target)
    return log_sum_exp(values) - log(len(heard)) > known + log(WORTH)


def median(values: Array, log_weights: Array) -> float:
    """The weighted median: what most of a cloud says, whatever a lucky story does."""
    order = np.argsort(values)
    return float(values[order[np.searchsorted(np.cumsum(np.exp(log_weights[order])), 0.5)]])


def merged(now: Weighted, scouts: Cloud, target: Target, sent: Array) -> Weighted:
    """Both as one sample; `sent` is how many scouts were sent of such stories as each is, the cloud's first."""
    cloud, past = joined([now.cloud, scouts]), np.concatenate([now.past, past_of(scouts, target)])
    effective = ess(now.log_weights)
    before = np.concatenate([now.log_weights, np.full(len(scouts.u), -log(effective))])
    odds = np.log(sent / effective) + log_share(cloud, target) - past.sum(axis=1)
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


def sent_out(target: Target, n: int, rng: np.random.Generator) -> tuple[Cloud, Array]:
    """n stories of the prior, an even number, half with their last place about an echo, and the newest ln L (n,)."""
    stories = target.stories
    cloud = stories.draw(n, rng)._replace(noise=rng.standard_normal((n, len(target.steps), GUST + 1)))
    there = about(target.look.echoes, n // 2, rng)
    cloud.u[: n // 2, :2] = np.linalg.solve(stories.root, (there - drift(cloud.take(slice(n // 2)), target)).T).T
    told = stories.tell(cloud, target.steps)
    return cloud.ending(told), target.look.log_likelihood(stories, cloud.u, told)


def past_of(cloud: Cloud, target: Target) -> Array:
    """ln L of every past look (n, looks)."""
    told = target.stories.tell(cloud, target.steps)
    return past_as_told(cloud.u, told, target)


def past_as_told(u: Array, told: Told, target: Target) -> Array:
    """The same, of stories that were told."""
    if len(u) == 0 or not target.past:
        return np.zeros((len(u), len(target.past)))
    return np.column_stack([look.log_likelihood(target.stories, u, told) for look in target.asked])


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
    parts = np.concatenate([echoes.oddness - 0.5 * square / r**2 - 2.0 * np.log(r) for r in REACH], axis=1)
    most = parts.max(axis=1)
    return np.asarray(most + np.log(np.exp(parts - most[:, None]).sum(axis=1)))
