import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from filters.belief import (
    LOG_ODDS_LIMIT,
    entropy,
    interval_probability,
    log_sum_exp,
    mix,
    moments,
    normalise,
    update_log_probs,
)
from filters.spec import Gaussian

values = st.lists(st.floats(-800.0, 800.0), min_size=1, max_size=10).map(np.array)
RNG = np.random.default_rng(0)


@given(values)
def test_log_sum_exp_is_scipys(x):
    assert log_sum_exp(x) == pytest.approx(special.logsumexp(x), rel=1e-12, abs=1e-12)


def test_log_sum_exp_of_nothing():
    assert log_sum_exp(np.array([])) == -np.inf
    assert log_sum_exp(np.full(2, -np.inf)) == -np.inf
    assert log_sum_exp(np.array([-np.inf, 3.0])) == 3.0


@given(values)
def test_normalised_weights_sum_to_one_within_the_limit(x):
    found = normalise(x)
    assert np.exp(found).sum() == pytest.approx(1.0)
    assert np.ptp(found) <= LOG_ODDS_LIMIT + 1e-9
    inside = x > x.max() - LOG_ODDS_LIMIT
    assert np.diff(found[inside]) == pytest.approx(np.diff(x[inside]), abs=1e-9)


@pytest.mark.parametrize("bad", [[np.nan, 0.0], [-np.inf, -np.inf]])
def test_weights_that_are_none_are_an_error(bad):
    with pytest.raises(ValueError, match="expected at least one finite and no NaN"):
        normalise(np.array(bad))


def test_certainty_is_limited_and_can_be_undone():
    sure = update_log_probs(np.log([0.5, 0.5]), np.array([0.0, 1000.0]))
    assert sure[1] - sure[0] == pytest.approx(LOG_ODDS_LIMIT)
    assert update_log_probs(sure, np.array([LOG_ODDS_LIMIT, 0.0])) == pytest.approx(np.log([0.5, 0.5]))
    assert normalise(np.array([-np.inf, 0.0]))[0] == pytest.approx(-LOG_ODDS_LIMIT, abs=1e-5)


def test_updates_are_bayes_rule():
    prior, likelihood = np.array([0.3, 0.7]), np.array([0.02, 0.005])
    expected = prior * likelihood / (prior @ likelihood)
    assert np.exp(update_log_probs(np.log(prior), np.log(likelihood))) == pytest.approx(expected)


def test_entropy():
    assert entropy(np.log([0.5, 0.5])) == pytest.approx(np.log(2.0))
    p = np.array([0.1, 0.2, 0.7])
    assert entropy(np.log(p)) == pytest.approx(stats.entropy(p))


def gaussian(rng):
    root = rng.normal(size=(2, 2))
    return Gaussian(rng.normal(size=2), root @ root.T + 0.1 * np.eye(2))


def test_moments_of_a_mixture_are_those_of_its_draws():
    weights, parts = np.array([0.2, 0.5, 0.3]), [gaussian(RNG) for _ in range(3)]
    draws = np.concatenate([RNG.multivariate_normal(*g, int(400_000 * w)) for w, g in zip(weights, parts, strict=True)])
    found = mix(weights, parts)
    assert found.mean == pytest.approx(draws.mean(axis=0), abs=0.02)
    assert found.covariance == pytest.approx(np.cov(draws.T), abs=0.02 * np.trace(found.covariance))
    assert mix(np.array([1.0]), parts[:1]).covariance == pytest.approx(parts[0].covariance)


def test_moments_of_weighted_points():
    points, copies = RNG.normal(size=(20, 2)), RNG.integers(1, 9, 20)
    repeated = np.repeat(points, copies, axis=0)
    found = moments(points, copies / copies.sum())
    assert found.mean == pytest.approx(repeated.mean(axis=0))
    assert found.covariance == pytest.approx(np.cov(repeated.T, bias=True))


@given(st.floats(-5.0, 5.0), st.floats(0.01, 4.0), st.floats(-6.0, 6.0), st.floats(0.0, 6.0))
def test_interval_probability_is_scipys(mean, deviation, low, width):
    expected = stats.norm.cdf(low + width, mean, deviation) - stats.norm.cdf(low, mean, deviation)
    assert interval_probability(mean, deviation**2, low, low + width) == pytest.approx(expected, abs=1e-12)
