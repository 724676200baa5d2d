"""Wald's test: its golden numbers, its errors on independent frames, and what repeated frames make of them."""

import numpy as np
import pytest
from scipy.special import expit

from filters.spec import BAG, BARRIER
from filters.sprt import UNDECIDED, bounds, verdict

RUNS, FRAMES, STEP = 20_000, 600, 0.3  # log-likelihood ratios N(±½ d², d²) of two Gaussians d = .3 apart
A, B = 0.05, 0.02


def paths(label, times=1, seed=0):
    """Λ_1..T of N(d, 1) against N(0, 1), each frame counted `times` times, (RUNS, FRAMES)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(STEP * (label == BARRIER), 1.0, (RUNS, FRAMES // times))
    return np.cumsum(np.repeat(STEP * x - 0.5 * STEP**2, times, axis=1), axis=1)


def errors(times=1):
    """Shares of bags called barriers, and of barriers called bags."""
    limits = bounds(A, B)
    bag, barrier = (verdict(paths(label, times, seed=label), limits).label for label in (BAG, BARRIER))
    assert max((bag == UNDECIDED).mean(), (barrier == UNDECIDED).mean()) < 0.002
    return (bag == BARRIER).mean(), (barrier == BAG).mean()


def test_the_golden_bounds():
    found = bounds(0.01, 0.001)
    assert found == pytest.approx((4.6042, -6.8977, 0.99009, 0.00101), abs=5e-5)
    swapped = bounds(0.001, 0.01)  # which of a and b is the miss matters
    assert swapped[:2] == pytest.approx((6.8977, -4.6042), abs=5e-5)


def test_the_bounds_are_the_likelihood_ratios_of_the_errors():
    """Of those called barriers (1 - b) barriers stand against a bags, of those called bags b against 1 - a."""
    found = bounds(A, B)
    assert np.exp([found.upper, found.lower]) == pytest.approx([(1 - B) / A, B / (1 - A)])
    assert (found.q_high, found.q_low) == pytest.approx(((1 - B) / (1 - B + A), B / (B + 1 - A)))


@pytest.mark.parametrize("prior", [0.01, 0.2, 0.5, 0.9])
def test_beliefs_at_the_bounds_are_bayes_rule(prior):
    found = bounds(0.01, 0.001, prior)
    for q, ratio in ((found.q_high, found.upper), (found.q_low, found.lower)):
        odds = np.exp(ratio) * prior / (1 - prior)
        assert q == pytest.approx(odds / (1 + odds), rel=1e-12)
    assert found[:2] == bounds(0.01, 0.001)[:2]
    assert found.q_low < prior < found.q_high


def test_errors_on_independent_frames_keep_walds_limits_and_are_near_them():
    false_alarm, miss = errors()
    assert 0.75 * A < false_alarm < A / (1 - B)  # what is lost is the overshoot of a frame's .3 nats
    assert 0.7 * B < miss < B / (1 - A)
    assert false_alarm + miss < A + B


def test_a_frame_counted_five_times_errs_far_more_than_was_asked():
    false_alarm, miss = errors(times=5)
    assert (false_alarm, miss) == pytest.approx((0.345, 0.250), abs=0.015)  # .05 and .02 were asked


def test_a_fifth_of_the_evidence_of_frames_that_come_in_fives_restores_them():
    limits = bounds(A, B)
    assert (verdict(paths(BAG, 5, BAG) / 5.0, limits).label == BARRIER).mean() < A / (1 - B)


def test_the_first_bound_reached_decides():
    limits = bounds(0.05, 0.05)
    high, low = limits.upper, limits.lower
    found = verdict([[0.0, high, low], [low, high, high], [0.0, low / 2, high / 2], [0.0, 0.0, low - 1]], limits)
    assert found.label.tolist() == [BARRIER, BAG, UNDECIDED, BAG]
    assert found.frames.tolist() == [2, 1, 3, 3]
    assert verdict([0.0, np.inf], limits) == (BARRIER, 2)
    assert verdict(np.zeros((2, 3, 4)), limits).frames.shape == (2, 3)


def test_a_verdict_is_the_belief_reaching_its_bound():
    prior, limits = 0.1, bounds(A, B, 0.1)
    some = paths(BARRIER)[:300]
    q = expit(np.log(prior / (1 - prior)) + some)
    out = (q >= limits.q_high) | (q <= limits.q_low)
    assert (out.argmax(axis=1) + 1).tolist() == verdict(some, limits).frames.tolist()


@pytest.mark.parametrize("shares", [(0.0, 0.1), (0.1, 1.0), (0.6, 0.4), (0.1, 0.1, 1.0), (np.nan, 0.1)])
def test_errors_that_no_test_has_are_refused(shares):
    with pytest.raises(ValueError, match="expected each in"):
        bounds(*shares)


def test_nan_is_no_evidence():
    with pytest.raises(ValueError, match="found NaN in log-ratios"):
        verdict([0.1, np.nan], bounds(A, B))
