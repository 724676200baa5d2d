"""Waste-free sequential Monte Carlo against posteriors that are Gaussian. Its chains: `test_waste_free_chains.py`."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from filters import waste_free
from filters.belief import log_sum_exp, moments
from filters.resampling import ess
from filters.spec import Status
from filters.streams import stream
from filters.target import Target
from filters.waste_free import FEWEST, largest_step, refresh, start, temper
from tests.exact_stories import (
    MILD,
    RIGID,
    SHARP,
    STEPS,
    AnyLook,
    Array,
    errors_of,
    followed,
    look_at,
    posterior,
    unbiased,
)


@pytest.mark.parametrize(("n", "length", "runs"), [(900, 4, 30), (3000, 12, 60), (900, 24, 25)])
def test_the_evidence_is_unbiased(n, length, runs):
    """Three looks, the last so sharp that it takes many stages: the mean of Z / exact is 1 within its error.

    Up to O(1/n), as steps are chosen by the cloud itself: 6,000 runs of 600 stories have .95 on average.
    """
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
        found.append(errors_of(cloud, exact))
    unbiased(found)


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
    for part, same in zip(done.cloud.cloud, now.cloud, strict=True):
        np.testing.assert_array_equal(part, same)
    assert done.ess == pytest.approx(ess(values))
    assert not done.resampled


def test_a_cloud_of_too_few_is_drawn_anew(monkeypatch):
    """Two looks each leave more than half, but not both: where that is enough, the second one draws the cloud anew."""
    monkeypatch.setattr(waste_free, "ENOUGH", 0.5)
    first, second = look_at(0, 12.4, -0.1, 0.5), look_at(0, 12.7, -0.1, 0.5)
    now = start(RIGID, 600, stream(4, "few"))
    one = temper(now, Target(RIGID, (), (), first, 6), 600, stream(5, "few"))
    both = temper(one.cloud, Target(RIGID, (), (first,), second, 6), 600, stream(6, "few"))
    assert not one.resampled
    assert both.resampled
    assert both.ess < 300.0 < one.ess
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
    after, shift = refresh(one, Target(RIGID, (), (forbidden,), MILD[0], 5), [0])
    assert shift == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(np.exp(after.log_weights), np.where(np.arange(50) == 3, 0.0, 1.0 / 49.0), atol=1e-12)
