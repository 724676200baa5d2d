"""Waste-free sequential Monte Carlo: a cloud of stories brought through one look after another.

A look enters by tempering: its likelihood's exponent b rises in steps that each leave `FEWEST` of the effective sample
size. Where too few are effective, n / length stories are drawn and each begins a Markov chain of so many states, which
together are the new cloud. The chains' target is the posterior given ALL looks that are remembered:

    p(story) L_last(story)^b Π_k L_k(story)

A proposal is first judged by p(story) L_last^b alone; only one that passes is told through the other looks, and then
accepted with min(1, Π_k L_k(new) / L_k(old)): together a Metropolis-Hastings step of that target.

Sources: Del Moral, Doucet & Jasra 2006 (J. R. Stat. Soc. B 68:411), Dau & Chopin 2022 (J. R. Stat. Soc. B 84:114) for
the chains, Christen & Fox 2005 (J. Comput. Graph. Stat. 14:795) for the two stages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from filters.belief import log_sum_exp, moments
from filters.looks import FogLook, Look
from filters.models.object_echo import Echoes
from filters.resampling import ess, systematic
from filters.spec import Array, Status
from filters.stories import Cloud, Step, Stories, Told, choose, joined

ENOUGH = 0.5  # effective share below which a cloud is resampled
FEWEST = 0.5  # effective share that one tempering step leaves
STAGES = 40  # tempering steps at most
FOUND = 0.08  # m: a cloud narrower than this has found its object
JUMPS = 0.25, 0.02  # share of proposals that jump to an echo, while a cloud searches and once it has found
REACH = 0.25, 0.06  # m, deviations of a candidate's centre about an echo of it, each for half of the jumps


class Weighted(NamedTuple):
    """Stories, their log-weights (n,), and ln L of every look but the newest, given each (n, looks)."""

    cloud: Cloud
    log_weights: Array
    past: Array

    @property
    def found(self) -> bool:
        """Whether the places agree to `FOUND`."""
        P = moments(self.cloud.place, np.exp(self.log_weights)).covariance
        return float(np.linalg.det(P)) < FOUND**4


class Tempered(NamedTuple):
    """A cloud after a look: ln p(z | past), its least effective sample size, and how it went."""

    cloud: Weighted
    log_evidence: float
    ess: float
    resampled: bool
    status: Status


@dataclass(frozen=True, eq=False)
class Target:
    """What was seen until now: how the stories go, their steps, the past looks and the newest.

    `length` is that of the chains.
    """

    stories: Stories
    steps: tuple[Step, ...]
    past: tuple[Look | FogLook, ...]
    look: Look
    length: int


def start(stories: Stories, n: int, rng: np.random.Generator) -> Weighted:
    """n stories that begin."""
    return Weighted(stories.draw(n, rng), np.full(n, -np.log(n)), np.zeros((n, 0)))


def temper(now: Weighted, target: Target, n: int, rng: np.random.Generator, stages: int = STAGES) -> Tempered:
    """Bring the newest look in; n stories where the cloud is drawn anew.

    ln p(z) = Σ ln Σ_i w_i exp(step · ln L_i). When one step does it this is the bootstrap filter's update.
    The last of `stages` steps takes what is left of the exponent, however few stories survive it.
    """
    before, values = now, newest(target, now.cloud)
    done, log_evidence, least, resampled = 0.0, 0.0, np.inf, False
    for stage in range(stages):
        rest = 1.0 - done
        step = largest_step(now.log_weights, values, rest) if stage < stages - 1 else rest
        log_weights = now.log_weights + step * values
        total = log_sum_exp(log_weights)
        if not np.isfinite(total):
            return Tempered(before, 0.0, 0.0, resampled, Status.DEPLETED)
        now = now._replace(log_weights=log_weights - total)
        log_evidence, done, size = log_evidence + total, done + step, ess(log_weights)
        least = min(least, size)
        if step < rest or size < ENOUGH * len(values):
            now, values = renew(now, values, target, done, n, rng)
            resampled = True
        if step == rest:
            break
    return Tempered(now._replace(past=np.column_stack([now.past, values])), log_evidence, least, resampled, Status.OK)


def refresh(now: Weighted, target: Target, which: list[int]) -> tuple[Weighted, float]:
    """The cloud where some of the past looks have changed, and what that adds to its ln evidence."""
    told, past = target.stories.tell(now.cloud, target.steps), now.past.copy()
    for k in which:
        past[:, k] = target.past[k].log_likelihood(target.stories, now.cloud.u, told)
    log_weights = now.log_weights + (past - now.past).sum(axis=1)
    total = log_sum_exp(log_weights)
    return Weighted(now.cloud, log_weights - total, past), total


def newest(target: Target, cloud: Cloud) -> Array:
    """ln L (n,) of the newest look."""
    look = target.look
    there = Told([cloud.place] * (look.steps + 1), [cloud.velocity] * (look.steps + 1))
    return look.log_likelihood(target.stories, cloud.u, there)


def largest_step(log_weights: Array, values: Array, limit: float) -> float:
    """The largest step <= limit that leaves `FEWEST` of the effective particles effective, by bisection."""
    enough = FEWEST * ess(log_weights)
    if ess(log_weights + limit * values) >= enough:
        return limit
    low, high = 0.0, limit
    for _ in range(20):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if ess(log_weights + middle * values) >= enough else (low, middle)
    return max(low, 1e-6 * limit)


def renew(
    now: Weighted, values: Array, target: Target, exponent: float, n: int, rng: np.random.Generator
) -> tuple[Weighted, Array]:
    """Draw n / length of the stories systematically, and make about n of them again by Markov chains."""
    chosen = systematic(np.exp(now.log_weights), rng.random(), max(n // target.length, 1))
    chain, past, values = now.cloud.take(chosen), now.past[chosen], values[chosen]
    members = now.cloud.take(systematic(np.exp(now.log_weights), rng.random(), n))
    jumps = JUMPS[now.found]
    states = [(chain, past, values)]
    for _ in range(target.length - 1):
        chain, past, values = advance(chain, past, values, members, target, exponent, jumps, rng)
        states.append((chain, past, values))
    clouds, pasts, all_values = zip(*states, strict=True)
    size = len(chosen) * target.length
    return Weighted(joined(list(clouds)), np.full(size, -np.log(size)), np.concatenate(pasts)), np.concatenate(
        all_values
    )


def advance(
    chain: Cloud,
    past: Array,
    values: Array,
    members: Cloud,
    target: Target,
    exponent: float,
    jumps: float,
    rng: np.random.Generator,
) -> tuple[Cloud, Array, Array]:
    """One Metropolis step of every chain, in two stages."""
    other, told, ratio = propose(chain, members, target, jumps, rng)
    new_values = target.look.log_likelihood(target.stories, other.u, told)
    with np.errstate(invalid="ignore"):
        accept = np.log(rng.random(len(values))) < ratio + exponent * (new_values - values)
    k = np.flatnonzero(accept)
    some = Told([p[k] for p in told.places], [v[k] for v in told.velocities])
    new_past = np.zeros((len(k), len(target.past)))
    for j, look in enumerate(target.past):
        new_past[:, j] = look.log_likelihood(target.stories, other.u[k], some)
    accept[k] = np.log(rng.random(len(k))) < (new_past - past[k]).sum(axis=1)
    full = past.copy()
    full[k] = np.where(accept[k, None], new_past, past[k])
    return choose(accept, other, chain), full, np.where(accept, new_values, values)


def propose(
    chain: Cloud, members: Cloud, target: Target, jumps: float, rng: np.random.Generator
) -> tuple[Cloud, Told, Array]:
    """Other stories, told, and ln of the Metropolis ratio but for the likelihood.

    Some jump, so that the last place lies about one of the newest look's echoes: no random walk goes there from
    elsewhere. The rest walk: latents along the difference of two members, noise by
    x' = sqrt(1 - b²) x + b N(0, 1), which leaves N(0, 1) as it is, b being 0 for half of them.
    """
    n, stories, echoes = len(chain.u), target.stories, target.look.echoes
    jump = (rng.random(n) < jumps) & (len(echoes.places) > 0)
    b = np.where((rng.random(n) < 0.5) & ~jump, rng.random(n) ** 3, 0.0)
    start, noise = (autoregress(x, b, rng) for x in (chain.start, chain.noise))
    u = along_differences(chain.u, members.u, rng)
    if jump.any():
        chosen = rng.choice(len(echoes.places), n, p=np.exp(echoes.oddness - log_sum_exp(echoes.oddness)))
        there = echoes.places[chosen] + rng.choice(REACH, (n, 1)) * rng.standard_normal((n, 2))
        shift = np.linalg.solve(stories.root, (there - chain.place).T).T
        u = np.where(jump[:, None], chain.u + np.pad(shift, ((0, 0), (0, u.shape[1] - 2))), u)
    other = chain._replace(u=u, start=start, noise=noise)
    told = stories.tell(other, target.steps)
    other = other._replace(place=told.places[-1], velocity=told.velocities[-1])
    ratio = 0.5 * ((chain.u**2).sum(axis=1) - (u**2).sum(axis=1))
    if jump.any():
        ratio[jump] += log_about(echoes, chain.place[jump]) - log_about(echoes, other.place[jump])
    return other, told, ratio


def along_differences(points: Array, members: Array, rng: np.random.Generator) -> Array:
    """Points (n, d) moved along the difference of two members, in all or some coordinates (ter Braak 2006)."""
    n, d = points.shape
    a, b = rng.integers(len(members), size=(2, n))
    stride = np.where(rng.random((n, 1)) < 0.1, 1.0, 2.38 / np.sqrt(2.0 * d) * rng.uniform(0.05, 1.0, (n, 1)))
    some = rng.random((n, d)) < np.where(rng.random((n, 1)) < 0.5, 0.3, 1.0)
    return points + stride * some * (members[a] - members[b])


def log_about(echoes: Echoes, place: Array) -> Array:
    """ln of the density (n,) by which a jump goes to a place (n, 2), up to a constant."""
    square = ((place[:, None] - echoes.places) ** 2).sum(axis=2)
    parts = [echoes.oddness - 0.5 * square / r**2 - 2.0 * np.log(r) for r in REACH]
    return np.asarray(logsumexp(np.concatenate(parts, axis=1), axis=1))


def autoregress(x: Array, b: Array, rng: np.random.Generator) -> Array:
    """sqrt(1 - b²) x + b N(0, 1) with b (n,) for each of x (n, ...)."""
    b = b.reshape(-1, *[1] * (x.ndim - 1))
    return np.asarray(np.sqrt(1.0 - b * b) * x + b * rng.standard_normal(x.shape))
