"""Waste-free Monte Carlo's Markov chains against posteriors that are Gaussian: what they leave as it is, and mix."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
from scipy.special import logsumexp, ndtr, ndtri
from scipy.stats import kstest

from filters import waste_free
from filters.belief import log_sum_exp
from filters.models.object_echo import Echoes
from filters.spec import BAG, BARRIER, Gaussian
from filters.stories import Cloud, Stories, Told
from filters.streams import stream
from filters.target import FOUND, Target
from filters.waste_free import JUMPS, States, advance, renew, start
from tests.exact_stories import (
    MILD,
    MODEL,
    ORIGIN,
    RIGID,
    STEPS,
    STORIES,
    AnyLook,
    Array,
    Exact,
    Path,
    followed,
    gusts,
    look_at,
    packed,
    posterior,
    shifting,
    unpacked,
)


class MixedLook(NamedTuple):
    """ln Σ w N(place; z, r²) with z (m, 2) and shares w (m,)."""

    steps: int
    z: Array
    shares: Array
    r: float
    echoes: Echoes

    def log_likelihood(self, stories: Stories, u: Array, told: Told) -> Array:
        off = (told.places[self.steps][:, None] - self.z) / self.r
        return logsumexp(-0.5 * (off**2).sum(axis=2), axis=1, b=self.shares) - np.log(2.0 * np.pi * self.r**2)


def advanced(cloud: Cloud, members: Cloud, target: Target, power: float, jumps: float, steps: int, seed: int) -> Cloud:
    """Every story's chain after so many steps."""
    rng, told = stream(seed, "chains"), target.stories.tell(cloud, target.steps)
    past = [look.log_likelihood(target.stories, cloud.u, told) for look in target.past]
    values = target.look.log_likelihood(target.stories, cloud.u, told)
    now = States(cloud, np.array(past).T.reshape(len(values), len(past)), values)
    for _ in range(steps):
        now = advance(now, members.u, target, power, jumps, rng)
    return now.cloud


def assert_standard_normal(points: Array) -> None:
    """Means, covariances and every coordinate's distribution."""
    n, d = points.shape
    np.testing.assert_allclose(points.mean(axis=0), 0.0, atol=4.5 / np.sqrt(n))
    np.testing.assert_allclose(np.cov(points.T), np.eye(d), atol=6.5 / np.sqrt(n))
    assert min(kstest(x, "norm").pvalue for x in points.T) > 1e-4


def of_paths(klass: int, power: float, n: int, rng: np.random.Generator) -> tuple[dict[Path, Exact], Array, Cloud]:
    """The posterior of every path of gusts, the paths' probabilities, and n exact draws."""
    stories, motion = STORIES[klass], MODEL.motion
    paths = list(product((0, 1), repeat=4)) if klass == BAG else [(0, 0, 0, 0)]
    exact = {path: posterior(MILD, STEPS, power, klass, path) for path in paths}
    # Of each path, at its every time:
    blows = np.array([[motion.gust_share, *motion.switch(0.1)[list(path[:-1]), 1]] for path in paths])
    known = np.log(np.where(paths, blows, 1.0 - blows)).sum(axis=1) if klass == BAG else np.zeros(1)
    log_shares = known + [e.log_evidence for e in exact.values()]
    shares = np.exp(log_shares - log_sum_exp(log_shares))
    chosen = rng.choice(len(paths), n, p=shares)
    roots = np.array([np.linalg.cholesky(e.covariance) for e in exact.values()])
    means = np.array([e.mean for e in exact.values()])
    points = means[chosen] + np.einsum("nij,nj->ni", roots[chosen], rng.standard_normal((n, means.shape[1])))
    uniform, p = rng.random((n, 4)), blows[chosen]
    gust = np.array(paths)[chosen] > 0
    below = np.where(gust, uniform * p, p + uniform * (1.0 - p)) if klass == BAG else uniform
    return exact, shares, unpacked(stories, points, ndtri(below), STEPS)


@pytest.mark.parametrize("klass", [BAG, BARRIER], ids=["bag", "barrier"])
@pytest.mark.parametrize("power", [0.2, 1.0])
def test_chains_leave_the_posterior_as_it_is(klass, power):
    """Of exact draws from prior, past looks and the last to a power: every latent and noise, and the gusts' paths."""
    n, stories = 2500, STORIES[klass]
    exact, shares, first = of_paths(klass, power, n, stream(20, "exact"))
    members = of_paths(klass, power, n, stream(21, "exact"))[2]
    after = advanced(first, members, Target(stories, STEPS, MILD[:2], MILD[2], 12), power, 0.25, 200, 22)
    for cloud in (first, after):
        flags = stories.tell(cloud, STEPS).gusts.T
        white = np.zeros_like(packed(cloud))
        for (path, one), share in zip(exact.items(), shares, strict=True):
            here = (flags == path).all(axis=1)
            assert here.mean() == pytest.approx(share, abs=4.0 * np.sqrt(share / n) + 1e-3)
            white[here] = np.linalg.solve(np.linalg.cholesky(one.covariance), (packed(cloud)[here] - one.mean).T).T
        assert_standard_normal(white)
        even = ndtr(gusts(cloud))
        if klass == BAG:
            p = np.column_stack(
                [np.full(n, stories.motion.gust_share), MODEL.motion.switch(0.1)[flags[:, :-1].astype(int), 1]]
            )
            even = np.where(flags > 0.0, even / p, (even - p) / (1.0 - p))
        assert min(kstest(x, "uniform").pvalue for x in even.T) > 1e-4
    kept = [np.corrcoef(a, b)[0, 1] for a, b in zip(packed(first).T, packed(after).T, strict=True)]
    assert np.mean(kept) < 0.5


TWO = np.array([[12.5, -0.1], [11.7, -0.5]])
ODD = Echoes(np.array([*TWO, [12.3, 0.2]]), np.array([0.0, 2.0, 1.0]))  # the odder is the less likely, one is nothing
CALM = (shifting(0.03),) * 3
BOTH = MixedLook(3, TWO, np.array([0.5, 0.5]), 0.05, ODD)
HINT = look_at(1, 12.3, -0.2, 0.5)


def of_two(n: int, seed: int) -> tuple[list[Cloud], Array, float]:
    """Exact draws about each of `TWO`, given `HINT` and `BOTH`, their shares, and ln p(BOTH | HINT)."""
    alone = [posterior((HINT, look_at(3, *z, BOTH.r)), CALM) for z in TWO]
    clouds, rng = [], stream(seed, "two")
    for exact in alone:
        points = exact.mean + rng.standard_normal((n, len(exact.mean))) @ np.linalg.cholesky(exact.covariance).T
        clouds.append(unpacked(RIGID, points, np.zeros((n, 4)), CALM))
    parts = np.array([np.log(w) + exact.log_evidence for w, exact in zip(BOTH.shares, alone, strict=True)])
    total = log_sum_exp(parts)
    return clouds, np.exp(parts - total), total


def share_of_first(cloud: Cloud, weights: Array) -> float:
    near = np.hypot(*(cloud.place[:, None] - TWO).transpose(2, 0, 1))
    return float(weights @ (near[:, 0] < near[:, 1]))


def either(first: np.ndarray, one: Cloud, two: Cloud) -> Cloud:
    """Stories of the first cloud where told (n,), else of the second."""
    return Cloud(*(np.where(first.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(one, two, strict=True)))


@pytest.mark.parametrize(("begin", "jumps"), [("both", 0.25), ("both", 1.0), ("first", 1.0), ("second", 1.0)])
def test_jumps_to_echoes_bring_their_shares_and_keep_them(begin, jumps):
    """Whether all chains begin at one echo, at the other, or at both as they should."""
    n = 2000
    (one, two), shares, _ = of_two(n, 22)
    assert 0.6 < shares[0] < 0.85  # the less odd
    both = either(stream(23, "right").random(n) < shares[0], one, two)
    first = {"first": one, "second": two, "both": both}[begin]
    after = advanced(first, both, Target(RIGID, CALM, (HINT,), BOTH, 12), 1.0, jumps, 80, 24)
    assert share_of_first(after, np.full(n, 1.0 / n)) == pytest.approx(shares[0], abs=4.0 * np.sqrt(shares.prod() / n))


@pytest.mark.parametrize("jumps", [0.25, 1.0])
def test_jumps_keep_the_latents_about_each_echo(jumps):
    n = 3000
    clouds, shares, _ = of_two(n, 25)
    mixed = either(stream(26, "right").random(n) < shares[0], *clouds)
    after = advanced(mixed, mixed, Target(RIGID, CALM, (HINT,), BOTH, 12), 1.0, jumps, 60, 27)
    for z in TWO:
        exact = posterior((HINT, look_at(3, *z, BOTH.r)), CALM)
        near = packed(after)[np.hypot(*(after.place - z).T) < 6.0 * BOTH.r]
        assert_standard_normal(np.linalg.solve(np.linalg.cholesky(exact.covariance), (near - exact.mean).T).T)


def test_the_evidence_of_two_echoes_is_unbiased():
    ratio, first = [], []
    _, shares, total = of_two(1, 28)
    for seed in range(40):
        cloud, log_evidence = followed((HINT, BOTH), 600, 12, stream(seed, "echoes"), CALM)
        ratio.append(np.exp(log_evidence - total))
        first.append(share_of_first(cloud.cloud, np.exp(cloud.log_weights)))
    for values, exact in ((ratio, 1.0), (first, shares[0])):
        error = np.std(values, ddof=1) / np.sqrt(40)
        assert error < 0.08
        assert np.mean(values) == pytest.approx(exact, abs=3.5 * error)


@pytest.mark.parametrize(("far", "yaw"), [(0.2, 0.0), (0.05, 0.03)])
def test_jumps_are_right_where_odometry_shifts_and_turns_the_frame(far, yaw):
    """A start that is shifted shifts the last place by more, or aside: chains that see nothing keep to the prior."""
    n, steps = 3000, (shifting(far, yaw),) * 10
    rng = stream(29, "yaw")
    cloud, members = RIGID.draw(n, rng), RIGID.draw(n, rng)
    for step in steps:
        cloud = RIGID.go_on(cloud, step, rng)
    blind = AnyLook(10, lambda p: np.zeros(len(p)), Echoes(TWO, np.array([0.0, 1.0])))
    after = advanced(cloud, members, Target(RIGID, steps, (), blind, 12), 1.0, 1.0, 100, 30)
    assert_standard_normal(after.u)


@pytest.mark.parametrize(("deviation", "expected"), [(0.5 * FOUND, True), (2.0 * FOUND, False)])
def test_a_narrow_cloud_has_found_its_object_and_seldom_jumps(deviation, expected, monkeypatch):
    narrow = Stories(MODEL, BARRIER, Gaussian(ORIGIN.mean, deviation**2 * np.eye(2)))
    now, jumps = start(narrow, 500, stream(31, "found")), []
    assert now.found == expected
    monkeypatch.setattr(waste_free, "advance", lambda *args: jumps.append(args[4]) or args[0])
    renew(now, np.zeros(500), Target(narrow, (), (), BOTH, 4), 1.0, 40, stream(32, "found"))
    assert jumps == [JUMPS[expected]] * 3
    assert JUMPS[True] < JUMPS[False]


def test_a_cloud_of_one_that_counts_has_found():
    now = start(RIGID, 500, stream(33, "weight"))
    assert not now.found
    assert now._replace(log_weights=np.where(np.arange(500) == 3, 0.0, -np.inf)).found
