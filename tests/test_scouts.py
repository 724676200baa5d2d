"""Scouts against posteriors that are Gaussian: what a cloud with no story where an odd echo is learns by them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from filters import scouts, waste_free
from filters.belief import log_sum_exp
from filters.looks import NO_ECHOES
from filters.models.object_echo import Echoes
from filters.resampling import ess
from filters.scouts import (
    BETTER,
    FORCE,
    PATROL,
    REACH,
    balanced,
    log_share,
    merged,
    past_as_told,
    sent_out,
    with_scouts,
)
from filters.spec import Status
from filters.stories import Cloud, Step, Stories, Told, joined
from filters.streams import stream
from filters.target import Target, Weighted, newest_of
from filters.waste_free import CROWD, ENOUGH, start, temper
from tests.exact_stories import (
    ORIGIN,
    RIGID,
    AnyLook,
    Array,
    PlaceLook,
    errors_of,
    followed,
    look_at,
    packed,
    posterior,
    shifting,
    unbiased,
)

FAR = ORIGIN.mean + RIGID.root @ np.array([3.2, -0.5])
ECHOES = Echoes(np.array([FAR + 0.03, [11.7, -0.5], [12.3, 0.2]]), np.array([3.0, 1.0, 0.0]))
HINT = look_at(1, 12.3, -0.2, 0.5)
STEPS = (shifting(0.05), shifting(0.1))
TURNING = (shifting(0.05, 0.03),) * 3


class OddLook(NamedTuple):
    """ln(1 + worth N(place; z, r²)): like a lidar's, it says nothing of a story that is not where the echo is."""

    steps: int
    z: Array
    r: float
    worth: float
    echoes: Echoes = NO_ECHOES

    def log_likelihood(self, stories: Stories, u: Array, told: Told) -> Array:
        off = (told.places[self.steps] - self.z) / self.r
        return np.log1p(self.worth * np.exp(-0.5 * (off**2).sum(axis=1)) / (2.0 * np.pi * self.r**2))


def odd_look(steps: int, gain: float, past: tuple = (), z: Array = FAR, echoes: Echoes = ECHOES) -> OddLook:
    """One whose ln evidence, given past looks, is ln(1 + gain)."""
    both = posterior((*past, look_at(steps, *z, 0.05)), STEPS[:steps]).log_evidence
    alone = posterior(past, STEPS[: past[-1].steps]).log_evidence if past else 0.0
    return OddLook(steps, z, 0.05, gain / np.exp(both - alone), echoes)


def searching(past: tuple, n: int, rng: np.random.Generator, steps: int) -> Weighted:
    """A cloud that was brought through past looks, and so many steps."""
    cloud, _ = followed(past, n, 12, rng, STEPS)
    for step in STEPS[past[-1].steps if past else 0 : steps]:
        cloud = cloud._replace(cloud=RIGID.go_on(cloud.cloud, step, rng))
    return cloud


def found_out(past: tuple, look: OddLook, n: int, seed: int) -> float:
    """ln evidence of a look by one cloud."""
    rng = stream(seed, "scouts", n)
    cloud = searching(past, n, rng, look.steps)
    return temper(cloud, Target(RIGID, STEPS[: look.steps], past, look, 12), n, rng).log_evidence


def values_of(look: OddLook | PlaceLook, cloud: Cloud, steps: tuple[Step, ...]) -> Array:
    """ln L (n,) of a look, by telling the stories."""
    return look.log_likelihood(RIGID, cloud.u, RIGID.tell(cloud, steps))


# What they are worth


@pytest.mark.parametrize(("past", "steps"), [((), 0), ((HINT,), 2)], ids=["first", "second"])
@pytest.mark.parametrize("n", [400, 500])
def test_what_a_cloud_cannot_see_its_scouts_do(past, steps, n):
    """An echo more than three deviations aside: its evidence is unbiased, and without echoes most often missed."""
    look = odd_look(steps, 20.0, past)
    found = np.array([found_out(past, look, n, seed) for seed in range(60)]) - np.log(21.0)
    error = np.exp(found).std(ddof=1) / np.sqrt(60)
    assert error < 0.06
    assert np.exp(found).mean() == pytest.approx(1.0, abs=3.5 * error)
    assert found.std() < 0.45
    blind = [found_out(past, look._replace(echoes=NO_ECHOES), n, seed) for seed in range(60)]
    assert (np.array(blind) < 1.0).mean() > 0.6


def test_a_cloud_in_which_no_story_can_be_is_replaced_by_its_scouts():
    """Of the prior, one in some thousand is where the look says that the candidate must be."""
    grid = np.linspace(-0.2, 0.2, 401)
    square = FAR + np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    inside = square[np.hypot(*(square - FAR).T) < 0.2]
    exact = multivariate_normal(*ORIGIN).pdf(inside).sum() * (grid[1] - grid[0]) ** 2
    must = AnyLook(0, lambda p: np.where(np.hypot(*(p - FAR).T) < 0.2, 0.0, -np.inf), ECHOES)
    ratio, empty = [], 0
    for seed in range(40):
        now, rng = start(RIGID, 400, stream(seed, "must")), stream(seed, "be")
        empty += not np.isfinite(newest_of(now.cloud, Target(RIGID, (), (), must, 12))).any()
        done = temper(now, Target(RIGID, (), (), must, 12), 400, rng)
        assert done.status == Status.OK
        assert (np.hypot(*(done.cloud.cloud.place - FAR).T) < 0.2).all()
        ratio.append(np.exp(done.log_evidence) / exact)
    assert empty > 20
    error = np.std(ratio, ddof=1) / np.sqrt(40)
    assert error < 0.06
    assert np.mean(ratio) == pytest.approx(1.0, abs=3.5 * error)


# Both as one sample


def test_cloud_and_scouts_are_one_sample_of_the_posterior():
    """All first and second moments given the past look, of latents and noise; scouts about echoes on its slopes."""
    exact, found, share = posterior((HINT,), STEPS), [], []
    slopes = Echoes(np.array([[12.9, 0.0], [12.3, -0.2], [11.6, -0.6]]), np.array([1.0, 0.0, 2.0]))
    target = Target(RIGID, STEPS, (HINT,), odd_look(2, 1.0, (HINT,), echoes=slopes), 12)
    for seed in range(60):
        rng = stream(seed, "one sample")
        now = searching((HINT,), 600, rng, 2)
        both = merged(now, sent_out(target, 200, rng)[0], target, np.full(800, 200))
        found.append(errors_of(both, exact))
        weights = np.exp(both.log_weights)
        share.append(weights[600:].sum())
        assert weights.sum() == pytest.approx(1.0, abs=1e-12)
        np.testing.assert_array_equal(both.past[:600], now.past)
        np.testing.assert_allclose(both.past, values_of(HINT, both.cloud, STEPS)[:, None], atol=1e-9)
    unbiased(found)
    assert 0.2 < np.mean(share) < 0.8


def test_a_scout_that_the_past_forbids_has_no_weight():
    half = AnyLook(0, lambda p: np.where(p[:, 0] < 12.0, 0.0, -np.inf))
    target, rng = Target(RIGID, (), (half,), odd_look(0, 1.0), 12), stream(1, "forbidden")
    now = temper(start(RIGID, 300, rng), Target(RIGID, (), (), half, 12), 300, rng).cloud
    both = merged(now, sent_out(target, 300, rng)[0], target, np.full(600, 300))
    beyond = both.cloud.place[:, 0] > 12.0
    assert beyond[300:].any()
    assert (np.isneginf(both.log_weights) == beyond).all()


def test_weights_are_balanced():
    """By hand: 1 / (1 + Z) + 1 / (1 + 4 Z) is 1 where Z is a half."""
    np.testing.assert_allclose(np.exp(balanced(np.zeros(2), np.log([1.0, 4.0]))), [2.0 / 3.0, 1.0 / 3.0], atol=1e-12)
    rng = stream(2, "balanced")
    odds = np.sort(rng.normal(200.0, 20.0, 50))
    weights = np.exp(balanced(np.zeros(50), odds))
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    assert (np.diff(weights) < 0.0).all()
    before = rng.normal(0.0, 1.0, 50)
    some = balanced(before, np.where(np.arange(50) < 3, np.inf, odds))
    assert np.isneginf(some[:3]).all()
    np.testing.assert_allclose(some[3:], balanced(before[3:], odds[3:]), atol=1e-9)


# Where they go


def test_scouts_are_drawn_from_the_density_they_are_weighed_by():
    """As a mixture, by hand: half of the prior, and half about the echoes by their oddness, each deviation alike."""
    target = Target(RIGID, STEPS, (), odd_look(2, 1.0), 12)
    scouts, _ = sent_out(target, 400, stream(3, "density"))
    shares = np.exp(ECHOES.oddness) / np.exp(ECHOES.oddness).sum()
    about = np.zeros(400)
    for place, share in zip(ECHOES.places, shares, strict=True):
        for reach in REACH:
            about += share / len(REACH) * multivariate_normal(place, reach**2 * np.eye(2)).pdf(scouts.place)
    prior = multivariate_normal(np.zeros(2), ORIGIN.covariance).pdf(scouts.u[:, :2] @ RIGID.root.T)
    np.testing.assert_allclose(np.exp(log_share(scouts, target)), 0.5 + 0.5 * about / prior, rtol=1e-6)


def test_their_density_adds_to_one():
    """By quadrature over all starts, given the noise of a story that a frame that turns carries along."""
    target = Target(RIGID, TURNING, (), odd_look(2, 1.0)._replace(steps=3), 12)
    story, _ = sent_out(target, 1, stream(4, "quadrature"))
    grid = np.arange(-9.0, 9.0, 0.04)
    u = np.tile(story.u, (len(grid) ** 2, 1))
    u[:, :2] = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    everywhere = story.take(np.zeros(len(u), int))._replace(u=u)
    prior = np.exp(-0.5 * (u[:, :2] ** 2).sum(axis=1)) / (2.0 * np.pi)
    assert (prior * np.exp(log_share(everywhere, target))).sum() * 0.04**2 == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("steps", [STEPS, TURNING], ids=["shifting", "turning"])
def test_scouts_by_their_share_are_the_prior(steps):
    """Every normal's mean and covariance, and the share's own mean both ways."""
    target, n = Target(RIGID, steps, (), odd_look(2, 1.0)._replace(steps=len(steps)), 12), 40_000
    scouts, heard = sent_out(target, n, stream(5, "prior"))
    np.testing.assert_allclose(heard, values_of(target.look, scouts, steps), atol=1e-9)
    weights = np.exp(-log_share(scouts, target))
    points, error = packed(scouts), np.sqrt(2.0 / n)
    assert weights.mean() == pytest.approx(1.0, abs=4.0 * weights.std() / np.sqrt(n))
    np.testing.assert_allclose(weights @ points / n, 0.0, atol=4.5 * error)
    np.testing.assert_allclose((weights[:, None] * points).T @ points / n, np.eye(points.shape[1]), atol=7.0 * error)
    near = np.hypot(*(scouts.place[:, None] - ECHOES.places).transpose(2, 0, 1)).min(axis=1) < 0.25
    assert near[: n // 2].mean() > 0.6 > 0.3 > near[n // 2 :].mean()
    drawn = RIGID.draw(n, stream(6, "prior"))._replace(noise=stream(7, "prior").standard_normal(scouts.noise.shape))
    share = np.exp(log_share(drawn, target))
    assert share.mean() == pytest.approx(1.0, abs=4.0 * share.std() / np.sqrt(n))


# Whether they are sent, and stay


@pytest.mark.parametrize(("gain", "news"), [(0.003, False), (0.005, False), (0.01, False), (0.3, True)])
def test_scouts_stay_if_what_they_bring_is_news(gain, news):
    now, look = start(RIGID, 2000, stream(8, "news")), odd_look(0, gain)
    target = Target(RIGID, (), (), look, 12)
    values = newest_of(now.cloud, target)
    assert values.max() < BETTER
    both, heard = with_scouts(now, values, target, 2000, stream(9, "news"))
    assert (both is now) == (heard is values) == (not news)
    assert len(both.log_weights) == len(heard)
    np.testing.assert_allclose(heard, values_of(look, both.cloud, ()), atol=1e-9)
    assert log_sum_exp(both.log_weights + heard) == pytest.approx(np.log1p(gain), abs=0.05)


def test_a_cloud_with_scouts_is_drawn_anew_however_little_they_bring():
    """Or it would have none of them, where the next look counts on it."""
    now, look = start(RIGID, 1000, stream(10, "anew")), odd_look(0, 0.05)
    target = Target(RIGID, (), (), look, 10)
    values = newest_of(now.cloud, target)
    done = temper(now, target, 1000, stream(11, "anew"))
    both, heard = with_scouts(now, values, target, 1000, stream(11, "anew"))
    assert ess(both.log_weights + heard) > ENOUGH * len(heard)
    assert done.resampled
    np.testing.assert_allclose(done.cloud.log_weights, -np.log(CROWD * 1000.0))
    assert done.log_evidence == pytest.approx(log_sum_exp(both.log_weights + heard), abs=1e-12)
    assert done.log_evidence == pytest.approx(np.log(1.05), abs=0.015)
    assert log_sum_exp(now.log_weights + values) < 0.005


def test_two_looks_that_each_say_little_say_much_together():
    """Twice the same echo, each time worth a fifth of nothing there: (1 + w N)² has w² N² beside 2 w N."""
    look, n = odd_look(0, 0.2), 500
    both = multivariate_normal(FAR, ORIGIN.covariance + 0.5 * look.r**2 * np.eye(2)).pdf(ORIGIN.mean)
    exact = np.log(1.4 + look.worth**2 / (4.0 * np.pi * look.r**2) * both)
    found = []
    for seed in range(40):
        rng = stream(seed, "twice")
        first = temper(start(RIGID, n, rng), Target(RIGID, (), (), look, 12), n, rng)
        second = temper(first.cloud, Target(RIGID, (), (look,), look, 12), n, rng)
        found.append(first.log_evidence + second.log_evidence - exact)
    error = np.exp(found).std(ddof=1) / np.sqrt(40)
    assert error < 0.1
    assert np.exp(found).mean() == pytest.approx(1.0, abs=3.5 * error)


@pytest.mark.parametrize("echoes", [ECHOES, NO_ECHOES], ids=["echoes", "none"])
def test_scouts_are_sent_to_echoes_alone(echoes, monkeypatch):
    now, sizes = start(RIGID, 500, stream(12, "sent")), []
    monkeypatch.setattr(waste_free, "with_scouts", lambda now, values, *args: sizes.append(args[1]) or (now, values))
    temper(now, Target(RIGID, (), (), odd_look(0, 0.3, echoes=echoes), 12), 800, stream(13, "sent"))
    assert sizes == ([800] if echoes is ECHOES else [])


def test_a_cloud_that_agrees_on_the_wrong_place_is_put_right():
    """All of its stories have found something, a decimetre wide, far from the echo that has most of the evidence."""
    look, wrong = odd_look(0, 500.0), look_at(0, 11.9, -0.3, 0.02)
    one = temper(start(RIGID, 600, stream(17, "wrong")), Target(RIGID, (), (), wrong, 12), 600, stream(18, "wrong"))
    assert one.cloud.found
    flat = wrong._replace(r=1e3)
    cloud = one.cloud._replace(past=values_of(flat, one.cloud.cloud, ())[:, None])
    done = temper(cloud, Target(RIGID, (), (flat,), look, 12), 600, stream(19, "wrong"))
    assert np.linalg.norm(done.cloud.cloud.place - look.z, axis=1).max() < 0.5


@pytest.mark.parametrize("n", [1, 2, 7])
def test_hardly_any_scout_is_no_failure(n):
    rng = stream(14, "few", n)
    done = temper(start(RIGID, n, rng), Target(RIGID, (), (), odd_look(0, 20.0), 12), n, rng)
    assert done.status == Status.OK
    assert np.isfinite(done.log_evidence)
    assert all(np.isfinite(part).all() for part in (*done.cloud.cloud, done.cloud.log_weights, done.cloud.past))


def test_no_story_at_all_has_no_past():
    """No look is asked: a radar's cannot answer for nobody."""

    def refuse(_: Array) -> Array:
        raise AssertionError

    told = RIGID.tell(RIGID.draw(0, stream(16, "nobody")), ())
    target = Target(RIGID, (), (AnyLook(0, refuse),) * 3, look_at(0, 12.0, -0.3, 1.0), 4)
    assert past_as_told(np.zeros((0, 7)), told, target).shape == (0, 3)


def test_where_nothing_can_be_the_weights_stay():
    before = np.log([0.2, 0.6])
    np.testing.assert_allclose(np.exp(balanced(before, np.full(2, np.inf))), [0.25, 0.75])


def test_of_those_that_follow_only_the_ones_with_news_are_kept(monkeypatch):
    """All of the patrol stays, and no scout that followed is one for which the look says little."""
    orders, plain = [], scouts.sent_out
    monkeypatch.setattr(scouts, "sent_out", lambda target, n, rng: orders.append(plain(target, n, rng)) or orders[-1])
    now, look = start(RIGID, 1000, stream(20, "kept")), odd_look(0, 0.3)
    target = Target(RIGID, (), (), look, 12)
    values = newest_of(now.cloud, target)
    _, heard = with_scouts(now, values, target, 1000, stream(21, "kept"))
    (_, patrol), (_, force) = orders
    assert (len(patrol), len(force)) == (PATROL * 1000, FORCE * 1000)
    limit = np.median(values) + BETTER
    np.testing.assert_array_equal(heard[1000:], np.concatenate([patrol, force[force > limit]]))
    assert 0 < (force > limit).sum() < len(force)


def test_the_cloud_shares_what_the_look_speaks_for_with_all_that_followed():
    """As many scouts as there are of its kind: a quarter of the plane, twice as often visited, weighs the same."""
    exact, found = posterior((HINT,), STEPS), []
    target = Target(RIGID, STEPS, (HINT,), odd_look(2, 1.0, (HINT,)), 12)
    for seed in range(60):
        rng = stream(seed, "kinds")
        now = searching((HINT,), 600, rng, 2)
        patrol, force = (sent_out(target, n, rng)[0] for n in (200, 400))
        beyond = force.take(np.flatnonzero(force.place[:, 0] > 12.1))
        every = joined([now.cloud, patrol, beyond])
        both = merged(now, joined([patrol, beyond]), target, np.where(every.place[:, 0] > 12.1, 600, 200))
        found.append(errors_of(both, exact))
    unbiased(found)


def test_what_the_past_forbids_is_no_news():
    """However much the newest look speaks for it."""
    half = AnyLook(0, lambda p: np.where(p[:, 0] < 12.8, 0.0, -np.inf))
    target, rng = (
        Target(RIGID, (), (half,), odd_look(0, 20.0, echoes=Echoes(FAR[None], np.zeros(1))), 12),
        stream(22, "no"),
    )
    now = temper(start(RIGID, 1000, rng), Target(RIGID, (), (), half, 12), 1000, rng).cloud
    assert with_scouts(now, newest_of(now.cloud, target), target, 1000, rng)[0] is now


def test_a_crowd_is_drawn_only_where_scouts_bring_news():
    """Echoes alone make none: here a cloud is drawn anew as it was, of few stories that count."""
    now, rng = start(RIGID, 600, stream(23, "crowd")), stream(24, "crowd")
    few = np.log(rng.dirichlet(np.full(600, 0.1)))
    assert ess(few) < ENOUGH * 600
    done = temper(now._replace(log_weights=few), Target(RIGID, (), (), odd_look(0, 1e-4), 12), 600, rng)
    assert done.resampled
    assert len(done.cloud.log_weights) == 600


def test_weights_are_those_of_the_balance_heuristic():
    """e π / (e π + m q) of a cloud's weight, π / (e π + m q) of none: solved for m q / π, which is known but for Z."""
    rng = stream(25, "formula")
    target = Target(RIGID, STEPS, (HINT,), odd_look(2, 1.0, (HINT,)), 12)
    now = searching((HINT,), 60, rng, 2)
    own = np.log(rng.dirichlet(np.ones(len(now.log_weights))))
    scouts, sent = sent_out(target, 20, rng)[0], rng.integers(5, 50, len(own) + 20)
    both, e = merged(now._replace(log_weights=own), scouts, target, sent), ess(own)
    w, n = np.exp(both.log_weights), len(own)
    found = np.concatenate([e * (np.exp(own) / w[:n] - 1.0), 1.0 / w[n:] - e])
    constant = np.log(found / sent) - log_share(both.cloud, target) + both.past.sum(axis=1)
    np.testing.assert_allclose(constant, constant[0], atol=1e-6)
