"""Waste-free sequential Monte Carlo: a cloud of stories brought through one look after another.

A look enters by tempering: its likelihood's exponent b rises in steps that each leave `FEWEST` of the effective sample
size. Where too few are effective, n / length stories are drawn and each begins a Markov chain of so many states, which
together are the new cloud. The chains' target is the posterior given ALL looks that are remembered:

    p(story) L_last(story)^b Π_k L_k(story)

At every look with odd echoes scouts (`scouts.py`) are weighed beside the cloud.
A proposal is first judged by p(story) L_last^b alone; only one that passes is told through the other looks, and then
accepted with min(1, Π_k L_k(new) / L_k(old)): together a Metropolis-Hastings step of that target.

Sources: Del Moral, Doucet & Jasra 2006 (J. R. Stat. Soc. B 68:411), Dau & Chopin 2022 (J. R. Stat. Soc. B 84:114) for
the chains, Christen & Fox 2005 (J. Comput. Graph. Stat. 14:795) for the two stages.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from filters.belief import log_sum_exp
from filters.looks import FogLook
from filters.resampling import ess, systematic
from filters.scouts import about, log_about, past_as_told, with_scouts
from filters.spec import Array, Status
from filters.stories import Cloud, Stories, joined, take_back
from filters.target import Target, Weighted, newest_of
from filters.walks import walk

ENOUGH = 0.3  # effective share below which a cloud is resampled
FEWEST = 0.3  # effective share that one tempering step leaves
CROWD = 2  # times as many stories where scouts found what the cloud had not, until it is next drawn anew
STAGES = 40  # tempering steps at most; the last takes what is left, however few stories survive it
JUMPS = 0.25, 0.02  # share of proposals that jump to an echo, while a cloud searches and once it has found


class Tempered(NamedTuple):
    """A cloud after a look: ln p(z | past), its least effective sample size, and how it went."""

    cloud: Weighted
    log_evidence: float
    ess: float
    resampled: bool
    status: Status


class States(NamedTuple):
    """Unweighted stories, ln L of every past look (n, looks) and of the newest (n,)."""

    cloud: Cloud
    past: Array
    newest: Array


def start(stories: Stories, n: int, rng: np.random.Generator) -> Weighted:
    """n stories that begin."""
    return Weighted(stories.draw(n, rng), np.full(n, -np.log(n)), np.zeros((n, 0)))


def temper(now: Weighted, target: Target, n: int, rng: np.random.Generator) -> Tempered:
    """Bring the newest look in; n stories where the cloud is drawn anew, `CROWD` n where scouts bring news.

    ln p(z) = Σ ln Σ_i w_i exp(step · ln L_i). When one step does it this is the bootstrap filter's update.
    """
    before, values = now, newest_of(now.cloud, target)
    if len(target.look.echoes.places) > 0:
        now, values = with_scouts(now, values, target, n, rng)
    scouted = now is not before  # then it is drawn anew, or what the scouts hold would be lost
    n *= CROWD if scouted else 1
    done, log_evidence, least, resampled = 0.0, 0.0, np.inf, False
    for stage in range(STAGES):
        rest = 1.0 - done
        step = largest_step(now.log_weights, values, rest) if stage < STAGES - 1 else rest
        log_weights = now.log_weights + step * values
        total = log_sum_exp(log_weights)
        if not np.isfinite(total):
            return Tempered(before, 0.0, 0.0, resampled, Status.DEPLETED)
        now = now._replace(log_weights=log_weights - total)
        log_evidence, done, size = log_evidence + total, done + step, ess(log_weights)
        least = min(least, size)
        if scouted or step < rest or size < ENOUGH * len(values):
            now, values = renew(now, values, target, done, n, rng)
            scouted, resampled = False, True
        if step == rest:
            break
    now = now._replace(past=np.column_stack([now.past, values]))
    return Tempered(now, log_evidence, least, resampled, Status.OK)


def moved_along(now: Weighted, before: FogLook) -> Weighted:
    """The cloud whose fog goes where what the beams say of it went: from their moments before to N(0, 1).

    Left where they are few stories would be likely where it is now.
    """
    v = before.fog.mean + before.fog.deviation * now.cloud.u[:, -1]
    u = now.cloud.u.copy()
    u[:, -1] = (v - before.moments.mean) / before.moments.deviation
    log_weights = now.log_weights + 0.5 * (now.cloud.u[:, -1] ** 2 - u[:, -1] ** 2)
    return now._replace(cloud=now.cloud._replace(u=u), log_weights=log_weights)


def refresh(now: Weighted, target: Target, which: list[int]) -> tuple[Weighted, float]:
    """The cloud where the past looks of these indices have changed, and what that adds to its ln evidence.

    Of a FogLook, the first of an oracle's looks, no story need be told. A story that had no weight gets none.
    """
    told = target.stories.tell(now.cloud, target.steps) if max(which) > 0 else target.stories.last(now.cloud, 0)
    past, weighed = now.past.copy(), np.isfinite(now.log_weights)
    for k in which:
        past[:, k] = target.past[k].log_likelihood(target.stories, now.cloud.u, told)
    log_weights = now.log_weights.copy()
    log_weights[weighed] += (past[weighed] - now.past[weighed]).sum(axis=1)
    total = log_sum_exp(log_weights)
    return Weighted(now.cloud, log_weights - total, past), total


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
    weights, jumps = np.exp(now.log_weights), JUMPS[now.found]
    members = now.cloud.u[systematic(weights, rng.random(), n)]
    chosen = systematic(weights, rng.random(), max(n // target.length, 1))
    chain = [States(now.cloud.take(chosen), now.past[chosen], values[chosen])]
    for _ in range(target.length - 1):
        chain.append(advance(chain[-1], members, target, exponent, jumps, rng))
    clouds, pasts, newest = zip(*chain, strict=True)
    size = len(chosen) * target.length
    return Weighted(joined(clouds), np.full(size, -np.log(size)), np.concatenate(pasts)), np.concatenate(newest)


def advance(
    now: States, members: Array, target: Target, exponent: float, jumps: float, rng: np.random.Generator
) -> States:
    """One Metropolis step of every chain, in two stages."""
    n, echoes = len(now.newest), target.look.echoes
    jump = (rng.random(n) < jumps) & (len(echoes.places) > 0)
    other, there = propose(now.cloud, members, target, jump, rng)
    told = target.stories.tell(other, target.steps)
    newest = target.look.log_likelihood(target.stories, other.u, told)
    ratio = 0.5 * ((now.cloud.u**2).sum(axis=1) - (other.u**2).sum(axis=1))
    if jump.any():  # as odometry turns the frame, a story ends beside where it was sent; the way back is as far beside
        back = told.places[-1][jump] + now.cloud.place[jump] - there
        ratio[jump] += log_about(echoes, back) - log_about(echoes, there)
    with np.errstate(invalid="ignore"):
        accept = np.log(rng.random(n)) < ratio + exponent * (newest - now.newest)
    k = np.flatnonzero(accept)
    some = told.take(k)
    past = now.past.copy()
    past[k] = past_as_told(other.u[k], some, target)
    accept[k] = np.log(rng.random(len(k))) < (past[k] - now.past[k]).sum(axis=1)
    other = other.ending(told)
    past, newest = np.where(accept[:, None], past, now.past), np.where(accept, newest, now.newest)
    take_back(~accept, other, now.cloud)
    return States(other, past, newest)


def propose(
    cloud: Cloud, members: Array, target: Target, jump: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[Cloud, Array]:
    """Other stories, not told yet, and where those that jump were sent (jumps, 2).

    Some jump, so that the last place lies about one of the newest look's echoes: no random walk goes there from
    elsewhere. The rest walk (`walks.py`).
    """
    u, start, noise = cloud.u.copy(), cloud.start.copy(), cloud.noise.copy()
    walk(u, start, noise, members, ~jump, rng)
    there = np.zeros((0, 2))
    if jump.any():
        there = about(target.look.echoes, int(jump.sum()), rng)
        u[jump, :2] += np.linalg.solve(target.stories.root, (there - cloud.place[jump]).T).T
    return cloud._replace(u=u, start=start, noise=noise), there
