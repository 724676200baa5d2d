"""Waste-free sequential Monte Carlo against posteriors that are Gaussian, and so known exactly.

Without errors of yaw a story's places are linear in its latents and noise, given its gusts. Looks that say
N(place; z, r²) then have a Gaussian posterior over whole stories, and an evidence in closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtr, ndtri
from scipy.stats import kstest, multivariate_normal, norm

from filters import waste_free
from filters.belief import log_sum_exp, moments
from filters.models.model import Model
from filters.models.motion import BagMotion
from filters.models.object_echo import Echoes
from filters.resampling import ess
from filters.spec import BAG, BARRIER, EgoMotion, Gaussian, Pose, Status
from filters.stories import GUST, Cloud, Step, Stories, Told
from filters.streams import stream
from filters.waste_free import (
    ENOUGH,
    FEWEST,
    FOUND,
    JUMPS,
    States,
    Target,
    Weighted,
    advance,
    largest_step,
    refresh,
    renew,
    start,
    temper,
)

Array = NDArray[np.float64]
ORIGIN = Gaussian(np.array([12.0, -0.3]), np.array([[0.25, 0.06], [0.06, 0.09]]))
NO_ECHOES = Echoes(np.zeros((0, 2)), np.zeros(0))
MODEL = replace(Model(), motion=BagMotion(wander=0.2, gust_speed=2.0, gust_rate=2.0, calm_rate=2.0))
STORIES = {k: Stories(MODEL, k, ORIGIN) for k in (BAG, BARRIER)}
RIGID = STORIES[BARRIER]


def shifting(deviation: float, yaw: float = 0.0) -> Step:
    """Odometry whose errors shift the frame by this deviation in x, half of it in y, and turn it."""
    return EgoMotion(np.zeros(3), np.diag([deviation, 0.5 * deviation, yaw]) ** 2, Pose(0.0, 0.0, 0.9, 0.0)), 0.1


STEPS = (shifting(0.05), shifting(0.2), shifting(0.1))


class PlaceLook(NamedTuple):
    """ln N(place; z, r²), and ln N(last latent; fog, 1) where a fog is given."""

    steps: int
    z: Array
    r: float
    fog: float | None = None
    echoes: Echoes = NO_ECHOES

    def log_likelihood(self, stories: Stories, u: Array, told: Told) -> Array:
        off = (told.places[self.steps] - self.z) / self.r
        values = -0.5 * (off**2).sum(axis=1) - np.log(2.0 * np.pi * self.r**2)
        return values if self.fog is None else values + norm.logpdf(u[:, -1], self.fog)


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


class AnyLook(NamedTuple):
    """What a function makes of places (n, 2)."""

    steps: int
    of: Callable[[Array], Array]
    echoes: Echoes = NO_ECHOES

    def log_likelihood(self, stories: Stories, u: Array, told: Told) -> Array:
        return self.of(told.places[self.steps])


def look_at(steps: int, x: float, y: float, r: float, fog: float | None = None) -> PlaceLook:
    return PlaceLook(steps, np.array([x, y]), r, fog)


SHARP = (look_at(0, 12.5, -0.1, 0.3), look_at(1, 12.7, -0.4, 0.1, 0.7), look_at(3, 12.9, -0.3, 0.01))
MILD = (look_at(0, 12.5, -0.1, 0.4), look_at(1, 12.7, -0.4, 0.3, 0.7), look_at(3, 12.9, -0.3, 0.1))


# The exact posterior


class Exact(NamedTuple):
    """The Gaussian posterior of all standard normals of a story (d,), and ln p(looks)."""

    mean: Array
    covariance: Array
    log_evidence: float


def packed(cloud: Cloud) -> Array:
    """All standard normals of each story (n, d) but those of gusts."""
    return np.concatenate([cloud.u, cloud.start[:, :2], cloud.noise[:, :, :GUST].reshape(len(cloud.u), -1)], axis=1)


def gusts(cloud: Cloud) -> Array:
    """The normals of gusts (n, 1 + steps)."""
    return np.column_stack([cloud.start[:, 2], cloud.noise[:, :, GUST]])


def unpacked(stories: Stories, points: Array, gusts: Array, steps: tuple[Step, ...]) -> Cloud:
    """The stories of both."""
    n, at = len(points), points.shape[1] - GUST * len(steps)
    noise = np.concatenate([points[:, at:].reshape(n, len(steps), GUST), gusts[:, 1:, None]], axis=2)
    begin = np.column_stack([points[:, at - 2 : at], gusts[:, 0]])
    untold = Cloud(points[:, : at - 2], begin, noise, np.zeros((n, 2)), np.zeros((n, 2)), np.zeros(n))
    return Cloud(*untold[:3], *(parts[-1] for parts in stories.tell(untold, steps)))


Path = tuple[int, ...]  # whether there is a gust at the start and after every step


def posterior(
    looks: tuple[PlaceLook, ...],
    steps: tuple[Step, ...] = STEPS,
    power: float = 1.0,
    klass: int = BARRIER,
    path: Path = (0, 0, 0, 0),
) -> Exact:
    """Given looks, the last to a power: place = A s + c, found by telling the stories of 0 and of every unit vector."""
    stories = STORIES[klass]
    fog = 2 + len(stories.shape.names)
    d = fog + 3 + GUST * len(steps)
    blown = np.tile(np.where(path[: 1 + len(steps)], -9.0, 9.0), (d + 1, 1))
    told = stories.tell(unpacked(stories, np.eye(d + 1, d, -1), blown, steps), steps)
    H, z, R = np.zeros((0, d)), np.zeros(0), np.zeros(0)
    for look in looks:
        at, b = told.places[look.steps], power if look is looks[-1] else 1.0
        H, z = np.concatenate([H, (at[1:] - at[0]).T]), np.concatenate([z, look.z - at[0]])
        R = np.concatenate([R, np.full(2, look.r**2 / b)])
        if look.fog is not None:
            H, z, R = np.concatenate([H, np.eye(d)[[fog]]]), np.append(z, look.fog), np.append(R, 1.0 / b)
    S = H @ H.T + np.diag(R)
    K = np.linalg.solve(S, H).T
    P = np.eye(d) - K @ H
    return Exact(K @ z, 0.5 * (P + P.T), float(multivariate_normal(np.zeros(len(z)), S).logpdf(z)))


# Evidence and clouds


def followed(
    looks: tuple[waste_free.Look, ...], n: int, length: int, rng: np.random.Generator, steps: tuple[Step, ...] = STEPS
) -> tuple[Weighted, float]:
    """A cloud that was brought through looks, one after another, and its ln evidence."""
    cloud, total, k = start(RIGID, n, rng), 0.0, 0
    for j, look in enumerate(looks):
        while k < look.steps:
            cloud = cloud._replace(cloud=RIGID.go_on(cloud.cloud, steps[k], rng))
            k += 1
        done = temper(cloud, Target(RIGID, steps[:k], looks[:j], look, length), n, rng)
        assert done.status == Status.OK
        cloud, total = done.cloud, total + done.log_evidence
    return cloud, total


@pytest.mark.parametrize(("n", "length", "runs"), [(900, 4, 30), (600, 12, 40), (900, 24, 25)])
def test_the_evidence_is_unbiased(n, length, runs):
    """Three looks, the last so sharp that it takes many stages: the mean of Z / exact is 1 within its error."""
    rngs = (stream(seed, "evidence", n, length) for seed in range(runs))
    ratio = np.exp(np.array([followed(SHARP, n, length, rng)[1] for rng in rngs]) - posterior(SHARP).log_evidence)
    error = ratio.std(ddof=1) / np.sqrt(runs)
    assert error < 0.15
    assert ratio.mean() == pytest.approx(1.0, abs=3.5 * error)


def test_a_cloud_has_the_exact_moments():
    """All first and second moments about the exact mean, of latents and of every step's noise: some 300."""
    exact, found = posterior(MILD), []
    for seed in range(60):
        cloud, _ = followed(MILD, 1200, 12, stream(seed, "moments"))
        off, weights = packed(cloud.cloud) - exact.mean, np.exp(cloud.log_weights)
        found.append(np.vstack([weights @ off, (weights[:, None] * off).T @ off - exact.covariance]))
    error = np.std(found, axis=0, ddof=1) / np.sqrt(60)
    assert error.max() < 0.05
    assert (np.abs(np.mean(found, axis=0)) < 4.5 * error).all()


def test_what_a_cloud_remembers_is_what_its_stories_tell():
    """Place, velocity and the looks' values are kept along the chains; telling all anew gives the same."""
    cloud, _ = followed(SHARP, 300, 6, stream(1, "cached"))
    told = RIGID.tell(cloud.cloud, STEPS)
    np.testing.assert_allclose(cloud.cloud.place, told.places[-1], atol=1e-12)
    anew = np.column_stack([look.log_likelihood(RIGID, cloud.cloud.u, told) for look in SHARP])
    np.testing.assert_allclose(cloud.past, anew, rtol=1e-6)
    assert log_sum_exp(cloud.log_weights) == pytest.approx(0.0, abs=1e-12)


def test_a_mild_look_is_the_bootstrap_filters_update():
    now, look = start(RIGID, 500, stream(2, "mild")), look_at(0, 12.0, -0.3, 2.0)
    done = temper(now, Target(RIGID, (), (), look, 10), 500, stream(3, "mild"))
    values = look.log_likelihood(RIGID, now.cloud.u, RIGID.tell(now.cloud, ()))
    assert done.log_evidence == pytest.approx(np.log(np.exp(values).mean()), abs=1e-12)
    np.testing.assert_allclose(np.exp(done.cloud.log_weights), np.exp(values) / np.exp(values).sum())
    np.testing.assert_array_equal(done.cloud.past, values[:, None])
    assert done.cloud.cloud is now.cloud
    assert done.ess == pytest.approx(ess(values))
    assert not done.resampled


def test_a_cloud_of_too_few_is_drawn_anew():
    """Two looks each leave more than half, but not both: the second one draws the cloud anew."""
    first, second = look_at(0, 12.4, -0.1, 0.5), look_at(0, 12.7, -0.1, 0.5)
    now = start(RIGID, 600, stream(4, "few"))
    one = temper(now, Target(RIGID, (), (), first, 6), 600, stream(5, "few"))
    both = temper(one.cloud, Target(RIGID, (), (first,), second, 6), 600, stream(6, "few"))
    assert not one.resampled
    assert both.resampled
    assert both.ess < ENOUGH * 600 < one.ess
    np.testing.assert_allclose(both.cloud.log_weights, -np.log(600.0))
    assert both.cloud.past.shape == (600, 2)


@pytest.mark.parametrize(("n", "length", "size"), [(1, 1, 1), (1, 8, 8), (5, 8, 8), (100, 12, 96), (96, 1, 96)])
def test_a_cloud_is_as_many_chains_as_fit_into_it(n, length, size):
    now = start(RIGID, 50, stream(7, "size"))
    done = temper(now, Target(RIGID, (), (), look_at(0, 12.5, 0.2, 0.02), length), n, stream(8, "size"))
    assert done.status == Status.OK
    assert {len(part) for part in (*done.cloud.cloud, done.cloud.log_weights, done.cloud.past)} == {size}


@pytest.mark.parametrize("n", [1, 2, 7])
def test_hardly_any_story_is_no_failure(n):
    cloud, log_evidence = followed(SHARP, n, 12, stream(9, "one"))
    assert np.isfinite(log_evidence)
    assert all(np.isfinite(part).all() for part in (*cloud.cloud, cloud.log_weights, cloud.past))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [7, slice(None)], ids=["one", "all"])
def test_a_likelihood_that_is_no_number_depletes(bad, where):
    now = start(RIGID, 50, stream(10, "bad"))
    values = np.full(50, -1.0)
    values[where] = bad
    done = temper(now, Target(RIGID, (), (), AnyLook(0, lambda _: values), 5), 50, stream(11, "bad"))
    if np.isneginf(bad) and where == 7:  # a story that cannot be is no failure
        assert done.status == Status.OK
        assert np.exp(done.cloud.log_weights[7]) == 0.0
        assert done.log_evidence == pytest.approx(np.log(49 / 50) - 1.0)
        return
    assert done.status == Status.DEPLETED
    assert done.cloud is now
    assert done.log_evidence == 0.0


def test_what_depletes_a_cloud_late_leaves_it_as_it_was():
    """Not even the first stages of the look are kept."""
    now, calls = start(RIGID, 200, stream(11, "late")), []

    def sharp_then_wrong(place: Array) -> Array:
        calls.append(place)
        return -200.0 * (place[:, 0] - 13.0) ** 2 if len(calls) < 6 else np.full(len(place), np.inf)

    done = temper(now, Target(RIGID, (), (), AnyLook(0, sharp_then_wrong), 4), 200, stream(12, "late"))
    assert len(calls) >= 6
    assert done.status == Status.DEPLETED
    assert done.cloud is now
    assert done.log_evidence == 0.0


def test_of_a_look_that_hardly_a_story_survives_chains_stay_where_it_can_be():
    """It is -inf but for a twentieth of the prior, and the past look for half of it."""
    edge = 12.0 + 0.5 * norm.isf(0.05)
    past = AnyLook(0, lambda p: np.where(p[:, 1] < -0.3, 0.0, -np.inf))
    look = AnyLook(0, lambda p: np.where(p[:, 0] > edge, 0.0, -np.inf))
    now, rng = start(RIGID, 6000, stream(12, "edge")), stream(13, "edge")
    one = temper(now, Target(RIGID, (), (), past, 12), 6000, rng)
    done = temper(one.cloud, Target(RIGID, (), (past,), look, 12), 6000, rng)
    assert (done.cloud.past == 0.0).all()
    place = done.cloud.cloud.place
    assert (place[:, 0] > edge).all()
    assert (place[:, 1] < -0.3).all()
    exact = multivariate_normal(np.zeros(2), [[1.0, -0.4], [-0.4, 1.0]]).cdf([norm.ppf(0.05), 0.0])
    assert one.log_evidence + done.log_evidence == pytest.approx(np.log(exact), abs=0.7)  # three deviations of runs


# Tempering


@pytest.mark.parametrize("scale", [0.1, 3.0, 100.0, 1e5])
def test_a_step_leaves_its_share_of_particles(scale):
    rng = np.random.default_rng(0)
    log_weights, values = np.full(1000, -np.log(1000.0)), scale * rng.standard_normal(1000)
    step = largest_step(log_weights, values, 1.0)
    kept = ess(log_weights + step * values) / ess(log_weights)
    assert 0.0 < step <= 1.0
    assert kept >= FEWEST if step < 1.0 or scale < 1.0 else True
    assert step == 1.0 or kept < 1.05 * FEWEST or scale == 1e5


@pytest.mark.parametrize("limit", [0.5, 0.02])
def test_a_step_is_measured_by_the_weights_that_are(limit):
    rng = np.random.default_rng(1)
    log_weights, values = rng.standard_normal(1000), 10.0 * rng.standard_normal(1000)
    step = largest_step(log_weights, values, limit)
    assert (step == limit) == (ess(log_weights + limit * values) >= FEWEST * ess(log_weights))
    assert ess(log_weights + step * values) / ess(log_weights) >= FEWEST
    assert largest_step(log_weights, np.full(1000, -1e9), limit) == limit  # all alike


@pytest.mark.parametrize("stages", [1, 2, 5])
def test_few_stages_still_take_the_whole_measurement(stages, monkeypatch):
    """The exponents add to one: without resampling in between, one stage is plain importance weighing."""
    now, look = start(RIGID, 3000, stream(14, "stages")), look_at(0, 12.8, -0.3, 0.05)
    monkeypatch.setattr(waste_free, "STAGES", stages)
    done = temper(now, Target(RIGID, (), (), look, 12), 3000, stream(15, "stages"))
    assert done.status == Status.OK
    assert done.resampled
    assert done.ess < 1.01 * FEWEST * 3000
    assert done.log_evidence == pytest.approx(posterior((look,), ()).log_evidence, abs=0.5)
    assert moments(done.cloud.cloud.place, np.exp(done.cloud.log_weights)).mean == pytest.approx(look.z, abs=0.05)
    if stages == 1:
        values = look.log_likelihood(RIGID, now.cloud.u, RIGID.tell(now.cloud, ()))
        assert done.log_evidence == pytest.approx(np.log(np.exp(values).mean()), abs=1e-12)


def test_the_same_seed_is_the_same_cloud():
    (a, x), (b, y), (_, z) = (followed(SHARP, 300, 6, stream(seed, "same")) for seed in (1, 1, 2))
    assert x == y != z
    for one, other in zip((*a.cloud, a.log_weights, a.past), (*b.cloud, b.log_weights, b.past), strict=True):
        np.testing.assert_array_equal(one, other)


# The chains


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
    blows = np.array([[stories.blown, *motion.switch(0.1)[list(path[:-1]), 1]] for path in paths])  # at its every time
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
    after = advanced(first, members, Target(stories, STEPS, MILD[:2], MILD[2], 12), power, 0.25, 100, 22)
    for cloud in (first, after):
        flags = np.array(stories.tell(cloud, STEPS).gusts).T
        white = np.zeros_like(packed(cloud))
        for (path, one), share in zip(exact.items(), shares, strict=True):
            here = (flags == path).all(axis=1)
            assert here.mean() == pytest.approx(share, abs=4.0 * np.sqrt(share / n) + 1e-3)
            white[here] = np.linalg.solve(np.linalg.cholesky(one.covariance), (packed(cloud)[here] - one.mean).T).T
        assert_standard_normal(white)
        even = ndtr(gusts(cloud))
        if klass == BAG:
            p = np.column_stack([np.full(n, stories.blown), MODEL.motion.switch(0.1)[flags[:, :-1].astype(int), 1]])
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


@pytest.mark.parametrize(("begin", "jumps"), [("both", 0.25), ("both", 1.0), ("first", 1.0), ("second", 1.0)])
def test_jumps_to_echoes_bring_their_shares_and_keep_them(begin, jumps):
    """Whether all chains begin at one echo, at the other, or at both as they should."""
    n = 2000
    (one, two), shares, _ = of_two(n, 22)
    assert 0.6 < shares[0] < 0.85  # the less odd
    both = waste_free.choose(stream(23, "right").random(n) < shares[0], one, two)
    first = {"first": one, "second": two, "both": both}[begin]
    after = advanced(first, both, Target(RIGID, CALM, (HINT,), BOTH, 12), 1.0, jumps, 80, 24)
    assert share_of_first(after, np.full(n, 1.0 / n)) == pytest.approx(shares[0], abs=4.0 * np.sqrt(shares.prod() / n))


@pytest.mark.parametrize("jumps", [0.25, 1.0])
def test_jumps_keep_the_latents_about_each_echo(jumps):
    n = 3000
    clouds, shares, _ = of_two(n, 25)
    mixed = waste_free.choose(stream(26, "right").random(n) < shares[0], *clouds)
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


# Looks that change


def test_looks_that_change_reweigh_the_cloud():
    """As importance weights, by the changed ones alone, told where they were: and their evidence is exact."""
    looks = look_at(0, 12.1, -0.2, 1.0), look_at(1, 12.2, -0.3, 1.0), look_at(2, 12.0, -0.4, 1.5)
    rng = stream(34, "refresh")
    now, total = followed(looks, 20_000, 10, rng)
    now = now._replace(cloud=RIGID.go_on(now.cloud, STEPS[2], rng))
    other = look_at(1, 12.5, -0.1, 0.8)
    target = Target(RIGID, STEPS, (looks[0], other, looks[2]), look_at(3, 12.0, 0.0, 1.0), 10)
    told = RIGID.tell(now.cloud, STEPS)
    values = [look.log_likelihood(RIGID, now.cloud.u, told) for look in (other, looks[1])]
    after, shift = refresh(now, target, [1])
    raw = np.exp(now.log_weights + values[0] - values[1])
    np.testing.assert_allclose(np.exp(after.log_weights), raw / raw.sum(), rtol=1e-9)
    assert shift == pytest.approx(np.log(raw.sum()), abs=1e-12)
    np.testing.assert_array_equal(after.past[:, 1], values[0])
    np.testing.assert_array_equal(after.past[:, [0, 2]], now.past[:, [0, 2]])
    assert after.cloud is now.cloud
    assert total + shift == pytest.approx(posterior(target.past).log_evidence, abs=0.05)


def test_looks_that_did_not_change_leave_the_cloud():
    now, _ = followed(MILD[:2], 300, 6, stream(35, "same looks"))
    after, shift = refresh(now, Target(RIGID, STEPS[:1], MILD[:2], MILD[1], 6), [0, 1])
    assert shift == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(after.log_weights, now.log_weights, atol=1e-9)


def test_a_story_that_could_not_be_leaves_the_others_theirs():
    """A look that says -inf of a story before and after is no failure of all."""
    forbidden = AnyLook(0, lambda p: np.where(np.arange(len(p)) == 3, -np.inf, 0.0))
    now = start(RIGID, 50, stream(36, "never"))
    one = temper(now, Target(RIGID, (), (), forbidden, 5), 50, stream(37, "never")).cloud
    after, shift = refresh(one, Target(RIGID, (), (forbidden,), HINT, 5), [0])
    assert shift == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(np.exp(after.log_weights), np.where(np.arange(50) == 3, 0.0, 1.0 / 49.0), atol=1e-12)
