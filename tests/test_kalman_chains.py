"""Exact special cases of the Kalman banks: EKF = UKF = KF where all is linear, an IMM of one mode = KF, log space."""

import numpy as np
import pytest
from filterpy.kalman import KalmanFilter
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from filters.belief import mix
from filters.gaussian import update_position
from filters.gaussian_update import ekf_update, ukf_update
from filters.imm import Bank, bank_of, interact, moved, reweigh
from filters.noise_scale import GAIN, MOST, update_log_scale
from filters.spec import Gaussian


def problem(seed, n=8, m=3):
    """A random prior, h, R and z."""
    rng = np.random.default_rng(seed)
    root, noise, h = rng.normal(size=(n, n)), rng.normal(size=(m, m)), rng.normal(size=(m, n))
    prior = Gaussian(rng.normal(size=n), root @ root.T + 0.1 * np.eye(n))
    return prior, h, noise @ noise.T + 0.1 * np.eye(m), rng.normal(size=m)


def textbook(prior, z, h, R):
    """Mean, covariance, ln p(z) and NIS by the textbook's equations."""
    x, P = prior
    S = h @ P @ h.T + R
    K = P @ h.T @ np.linalg.inv(S)
    y = z - h @ x
    return x + K @ y, P - K @ S @ K.T, multivariate_normal.logpdf(y, cov=S), y @ np.linalg.inv(S) @ y


def filterpy(prior, z, h, R):
    kf = KalmanFilter(len(prior.mean), len(z))
    kf.x, kf.P, kf.H, kf.R = prior.mean.copy(), prior.covariance.copy(), h, R
    kf.update(z)
    return kf.x, kf.P, kf.log_likelihood, kf.mahalanobis**2


@pytest.mark.parametrize("seed", range(5))
def test_extended_unscented_filterpys_and_the_textbooks_update_are_one_where_all_is_linear(seed):
    prior, h, R, z = problem(seed)
    expected = textbook(prior, z, h, R)
    extended = ekf_update(*prior, z, lambda x: (h @ x, h), R)
    unscented = ukf_update(*prior, z, lambda x: x @ h.T, R)
    for found in (extended[:4], unscented[:4], filterpy(prior, z, h, R)):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_sequential_evidence_adds_up_to_the_joint_density():
    rng = np.random.default_rng(7)
    n, m, steps = 4, 2, 6
    root = rng.normal(size=(n, n))
    prior = Gaussian(rng.normal(size=n), root @ root.T)
    hs, z, R = rng.normal(size=(steps, m, n)), rng.normal(size=(steps, m)), 0.3 * np.eye(m)
    state, total = prior, 0.0
    for h, seen in zip(hs, z, strict=True):
        done = ekf_update(*state, seen, lambda x, h=h: (h @ x, h), R)
        state, total = Gaussian(done.mean, done.covariance), total + done.log_evidence
    big = hs.reshape(-1, n)
    S = big @ prior.covariance @ big.T + 0.3 * np.eye(steps * m)
    assert total == pytest.approx(multivariate_normal.logpdf(z.ravel(), big @ prior.mean, S))
    mean, P = textbook(prior, z.ravel(), big, 0.3 * np.eye(steps * m))[:2]
    np.testing.assert_allclose(state.mean, mean, atol=1e-9)
    np.testing.assert_allclose(state.covariance, P, atol=1e-9)


def test_the_class_filters_place_is_filterpys_too():
    prior, _, R, z = problem(9, 2, 2)
    after, nis, _ = update_position(prior, z, R)
    mean, covariance, _, theirs = filterpy(prior, z, np.eye(2), R)
    np.testing.assert_allclose(after.mean, mean, atol=1e-9)
    np.testing.assert_allclose(after.covariance, covariance, atol=1e-9)
    assert nis == pytest.approx(theirs, rel=1e-9)


# Interacting multiple models


def random_bank(seed, modes=2):
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(modes, 8, 8))
    p = rng.dirichlet(np.ones(modes))
    return Bank(np.log(p), rng.normal(size=(modes, 8)), roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(8))


def overall(bank):
    """Moments of a bank as one Gaussian."""
    return mix(np.exp(bank.log_probs), [Gaussian(*g) for g in zip(bank.mean, bank.covariance, strict=True)])


def assert_close(one, other):
    for x, y in zip(one, other, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-9)


def test_no_switch_leaves_the_modes():
    bank = random_bank(1)
    assert_close(interact(bank, np.eye(2)), bank)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
@settings(max_examples=20, deadline=None)
def test_equal_modes_stay_the_gaussian_they_are(enter, leave):
    bank = random_bank(2)
    equal = Bank(bank.log_probs, np.stack([bank.mean[0]] * 2), np.stack([bank.covariance[0]] * 2))
    mixed = interact(equal, np.array([[1 - enter, enter], [leave, 1 - leave]]))
    assert_close(mixed[1:], equal[1:])


@given(st.integers(0, 10**6), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
@settings(max_examples=40, deadline=None)
def test_mixing_preserves_the_whole(seed, enter, leave):
    bank, switch = random_bank(seed), np.array([[1 - enter, enter], [leave, 1 - leave]])
    mixed = interact(bank, switch)
    np.testing.assert_allclose(np.exp(mixed.log_probs), np.exp(bank.log_probs) @ switch)
    assert_close(overall(mixed), overall(bank))


def test_an_imm_of_one_mode_is_the_kalman_filter():
    prior, h, R, _ = problem(3)
    rng, F, Q = np.random.default_rng(4), np.eye(8) + 0.01 * np.ones((8, 8)), 0.1 * np.eye(8)
    kf = KalmanFilter(8, 3)
    kf.x, kf.P, kf.H, kf.R, kf.F, kf.Q = prior.mean.copy(), prior.covariance.copy(), h, R, F, Q
    bank, total, theirs = bank_of(np.zeros(1), [prior]), 0.0, 0.0
    for z in rng.normal(size=(20, 3)):
        bank = moved(interact(bank, np.ones((1, 1))), F[None], Q[None])
        done = [ekf_update(*g, z, lambda x: (h @ x, h), R) for g in bank.modes]
        bank = bank_of(bank.log_probs, [Gaussian(d.mean, d.covariance) for d in done])
        bank, log_evidence = reweigh(bank, np.array([d.log_evidence for d in done]))
        total += log_evidence
        kf.predict()
        kf.update(z)
        theirs += kf.log_likelihood
    np.testing.assert_allclose(bank.mean[0], kf.x, atol=1e-9)
    np.testing.assert_allclose(bank.covariance[0], kf.P, atol=1e-9)
    assert total == pytest.approx(theirs, rel=1e-9)


def test_a_mode_a_thousand_nats_behind_comes_back():
    """FilterPy's IMM puts a floor under linear weights; here nothing underflows and the evidence stays exact."""
    bank = Bank(np.log([0.5, 0.5]), np.zeros((2, 1)), np.ones((2, 1, 1)))
    behind, evidence = reweigh(bank, np.array([-1.0, -1001.0]))
    assert behind.log_probs[1] == pytest.approx(-1000.0)
    assert evidence == pytest.approx(-1.0 + np.log(0.5))
    back, _ = reweigh(behind, np.array([-1100.0, -10.0]))
    assert np.exp(back.log_probs[1]) == pytest.approx(1.0)
    mixed = interact(behind, np.array([[1.0, 0.0], [0.1, 0.9]]))
    assert mixed.log_probs[1] == pytest.approx(-1000.0 + np.log(0.9))
    assert np.isfinite(mixed.mean).all()


def test_a_mode_that_none_switches_to_keeps_its_gaussian():
    bank = Bank(np.log([0.5, 0.5]), np.array([[1.0], [2.0]]), np.ones((2, 1, 1)))
    mixed = interact(bank, np.array([[1.0, 0.0], [1.0, 0.0]]))
    assert mixed.log_probs[1] == -np.inf
    np.testing.assert_array_equal(mixed.mean[1], [2.0])


def test_a_measurement_no_mode_explains_leaves_the_bank():
    bank = Bank(np.log([0.5, 0.5]), np.zeros((2, 1)), np.ones((2, 1, 1)))
    same, evidence = reweigh(bank, np.full(2, -np.inf))
    assert same is bank
    assert evidence == -np.inf


# The scale of R


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_the_scale_finds_a_noise_larger_than_said_and_never_a_smaller_one(factor):
    """Innovations of S truly `factor` times as large: the scale settles near it, a little short by its anchor."""
    rng, d, log_scale, kept = np.random.default_rng(5), 9, 0.0, []
    for _ in range(4000):
        nis = factor * rng.chisquare(d) / np.exp(log_scale)
        log_scale = update_log_scale(log_scale, nis, d)
        kept.append(log_scale)
        assert log_scale >= 0.0
    mean = np.exp(np.mean(kept[100:]))
    assert (1.0 <= mean < 1.2) if factor == 1.0 else (1.3 < mean < 2.0)


def test_the_scale_forgets_toward_one_and_bounds_what_one_look_says():
    assert update_log_scale(0.0, 1e9, 9) == pytest.approx(GAIN * (MOST - 1.0))
    assert update_log_scale(0.0, np.inf, 9) == update_log_scale(0.0, 1e9, 9)
    log_scale = 2.0
    for _ in range(60):
        log_scale = update_log_scale(log_scale, 9.0, 9)
    assert log_scale < 0.01
