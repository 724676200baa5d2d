"""Exact special cases of the particle filter: PF -> KF as particles grow, importance."""

from itertools import pairwise

import numpy as np
import pytest
from filterpy.kalman import KalmanFilter
from scipy.stats import multivariate_normal

from filters.belief import moments
from filters.particle import Cloud, look_at, temper
from filters.spec import Gaussian, Pose
from filters.streams import stream

POSE = Pose(0.0, 0.0, 0.9, 0.0)
PLACE = Gaussian(np.array([20.0, -0.5]), np.array([[2.0, 0.3], [0.3, 0.5]]))
H = np.array([[1.0, 0.4]])
WEAK, SHARP = np.array([[4.0]]), np.array([[1e-3]])  # measurement variances
Z = {4.0: np.array([21.0]), 1e-3: np.array([21.5])}


def cloud_of(n, rng, width=1, place=PLACE):
    """Particles of a Gaussian place; latents and fog as their prior has them."""
    position = rng.multivariate_normal(*place, n)
    rest = np.zeros((n, 2)), np.zeros(n), rng.standard_normal((n, width)), rng.standard_normal(n)
    return Cloud(position, *rest, np.full(n, -np.log(n)))


def kalman_update(place, z, h, R):
    """FilterPy's posterior mean, covariance, and ln p(z)."""
    kf = KalmanFilter(len(place.mean), len(z))
    kf.x, kf.P, kf.H, kf.R = place.mean.copy(), place.covariance.copy(), h, R
    kf.update(z)
    return kf.x, kf.P, multivariate_normal.logpdf(kf.y, cov=kf.S)


def linear(z, R):
    """ln N(z; H position, R) of a cloud's particles, and how often it was asked."""
    calls = []

    def log_likelihood(cloud):
        calls.append(len(cloud.gust))
        off = z - cloud.position @ H.T
        return -0.5 * (off**2 / R).sum(axis=1) - 0.5 * np.log(2.0 * np.pi * R[0, 0])

    return log_likelihood, calls


def tempered(n, R, seed, width=1):
    """A cloud's mean, covariance and log-evidence after a linear measurement."""
    rng = stream(seed, "chain", n)
    done = temper(cloud_of(n, rng, width), linear(Z[R[0, 0]], R)[0], rng)
    return moments(done.cloud.position, np.exp(done.cloud.log_weights)), done


@pytest.mark.parametrize("R", [WEAK, SHARP], ids=["weak", "sharp"])
def test_a_particle_filter_grows_into_the_kalman_filter(R):
    mean, P, log_evidence = kalman_update(PLACE, Z[R[0, 0]], H, R)
    scale = np.sqrt(np.diag(P))
    errors = []
    for n in (500, 2000, 20000):
        runs = [tempered(n, R, seed) for seed in range(12)]
        off = np.array([np.append((g.mean - mean) / scale, d.log_evidence - log_evidence) for g, d in runs])
        errors.append(np.sqrt((off**2).mean(axis=0)))
    for fewer, more in pairwise(errors):
        assert (more < 0.85 * fewer).all(), errors
    assert (errors[-1] < 0.25 * errors[0]).all(), errors  # sqrt(500 / 20000) = 0.16
    standard_error = off.std(axis=0, ddof=1) / np.sqrt(len(off))
    assert (np.abs(off.mean(axis=0)) < 3.0 * standard_error).all()
    assert np.abs(off[:, 2]).max() < 0.05
    covariance = np.mean([g.covariance for g, _ in runs], axis=0)
    np.testing.assert_allclose(covariance / np.outer(scale, scale), P / np.outer(scale, scale), atol=0.03)


@pytest.mark.parametrize("width", [0, 1, 2])
def test_a_measurement_of_place_leaves_what_is_independent_of_it(width):
    rng = stream(3, "latents", width)
    done = temper(cloud_of(5000, rng, width), linear(Z[1e-3], SHARP)[0], rng)
    weights = np.exp(done.cloud.log_weights)
    assert weights.sum() == pytest.approx(1.0)
    rest = moments(np.column_stack([done.cloud.latents, done.cloud.fog]), weights)
    np.testing.assert_allclose(rest.mean, np.zeros(width + 1), atol=0.15)
    np.testing.assert_allclose(rest.covariance, np.eye(width + 1), atol=0.2)


def test_a_weak_measurement_is_one_step_of_weighing():
    log_likelihood, calls = linear(Z[4.0], WEAK)
    cloud = cloud_of(500, stream(1, "weak"))
    done = temper(cloud, log_likelihood, stream(2, "weak"))
    assert len(calls) == 1
    assert not done.resampled
    values = cloud.log_weights + log_likelihood(cloud)
    np.testing.assert_array_equal(done.cloud.position, cloud.position)
    assert done.log_evidence == pytest.approx(np.logaddexp.reduce(values))
    np.testing.assert_allclose(done.cloud.log_weights, values - np.logaddexp.reduce(values))


def test_a_sharp_measurement_takes_several_steps_and_moves():
    log_likelihood, calls = linear(Z[1e-3], SHARP)
    cloud = cloud_of(500, stream(1, "sharp"))
    done = temper(cloud, log_likelihood, stream(2, "sharp"))
    assert done.resampled
    assert len(calls) >= 7  # the first look, and two moves after each of at least three steps
    assert len(np.unique(done.cloud.position[:, 0])) > 350, "found copies that never moved apart"


# Importance


def test_looking_where_echoes_are_leaves_the_distribution():
    rng = stream(5, "look")
    cloud = cloud_of(40_000, rng)
    echoes = np.array([[20.5, -0.2], [20.6, 0.0], [21.5, -1.0]])
    looked = look_at(cloud, echoes, POSE, rng)
    weights = np.exp(looked.log_weights)
    assert weights.sum() == pytest.approx(1.0)
    moved = (looked.position != cloud.position).any(axis=1)
    assert 0.45 < moved.mean() < 0.55
    off = looked.position - PLACE.mean
    error = np.sqrt(weights**2 @ off**2)
    assert (np.abs(weights @ off) < 4.0 * error).all()
    products = np.einsum("ni,nj->nij", off, off)
    error = np.sqrt(np.einsum("n,nij->ij", weights**2, (products - PLACE.covariance) ** 2))
    assert (np.abs(np.einsum("n,nij->ij", weights, products) - PLACE.covariance) < 4.0 * error).all()


def test_a_weighted_cloud_keeps_its_weights_meaning():
    rng = stream(6, "look")
    cloud = cloud_of(40_000, rng, place=Gaussian(PLACE.mean, 2.0 * PLACE.covariance))
    densities = [multivariate_normal.logpdf(cloud.position, PLACE.mean, s * PLACE.covariance) for s in (1.0, 2.0)]
    ratio = densities[0] - densities[1]
    cloud = cloud._replace(log_weights=ratio - np.logaddexp.reduce(ratio))
    looked = look_at(cloud, PLACE.mean[None] + 0.3, POSE, rng)
    found = moments(looked.position, np.exp(looked.log_weights))
    np.testing.assert_allclose(found.mean, PLACE.mean, atol=0.05)
    np.testing.assert_allclose(found.covariance, PLACE.covariance, atol=0.08)


def test_implausible_echoes_are_not_looked_at():
    rng = stream(7, "look")
    cloud = cloud_of(500, rng)
    far = PLACE.mean + np.array([[0.0, 8.0], [12.0, 0.0]])
    for echoes in (far, np.zeros((0, 2))):
        same = look_at(cloud, echoes, POSE, rng)
        for before, after in zip(cloud, same, strict=True):
            np.testing.assert_array_equal(before, after)
