"""Exact special cases: PF -> KF as particles grow, EKF = KF where all is linear, IMM, importance, quadrature."""

from itertools import pairwise

import numpy as np
import pytest
from filterpy.kalman import KalmanFilter
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from filters import missed_look
from filters.belief import mix, moments
from filters.gaussian_update import ekf_update
from filters.imm import Bank, interact
from filters.kalman_bank import look
from filters.missed_look import MISSED, SURE, bounds, look_for
from filters.models.detection import detection_probability, expected_echoes
from filters.models.outline import REFLECTANCE, TOP, WIDTH, X, Y
from filters.particle import Cloud, look_at, temper
from filters.spec import BAG, BARRIER, FEATURES, Features, Gaussian, Pose
from filters.streams import stream
from fogsim.followers import model_of
from tests.encounters import encounter

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


# Extended and plain


@pytest.mark.parametrize("seed", range(5))
def test_the_extended_update_is_the_plain_one_where_all_is_linear(seed):
    rng = np.random.default_rng(seed)
    n, m = 8, 3
    root, noise, h = rng.normal(size=(n, n)), rng.normal(size=(m, m)), rng.normal(size=(m, n))
    prior = Gaussian(rng.normal(size=n), root @ root.T + 0.1 * np.eye(n))
    R, z = noise @ noise.T + 0.1 * np.eye(m), rng.normal(size=m)
    done = ekf_update(*prior, z, lambda x: (h @ x, h), R)
    mean, P, log_evidence = kalman_update(prior, z, h, R)
    np.testing.assert_allclose(done.mean, mean, atol=1e-10)
    np.testing.assert_allclose(done.covariance, P, atol=1e-10)
    assert done.log_evidence == pytest.approx(log_evidence, abs=1e-10)
    innovation, S = z - h @ prior.mean, h @ prior.covariance @ h.T + R
    assert done.nis == pytest.approx(innovation @ np.linalg.inv(S) @ innovation)


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
    mean, P, _ = kalman_update(prior, z.ravel(), big, 0.3 * np.eye(steps * m))
    np.testing.assert_allclose(state.mean, mean, atol=1e-9)
    np.testing.assert_allclose(state.covariance, P, atol=1e-9)


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


# Missed detections


def mode(klass, x, deviation):
    """A mode whose place ahead is uncertain and correlated with its top, seen in visibility 60 m."""
    model = model_of(encounter())
    own = look(model, klass)
    mean = np.array([x, 0.1, 0.0, 0.0, *[m for m, _ in own]])
    covariance = np.diag([deviation**2, 0.05**2, 0.01, 0.01, *[d**2 for _, d in own]])
    covariance[X, Y] = covariance[Y, X] = 0.5 * deviation * 0.05
    covariance[X, TOP] = covariance[TOP, X] = 0.3 * deviation * own[1][1]
    covariance[WIDTH, TOP] = covariance[TOP, WIDTH] = 0.2 * own[0][1] * own[1][1]
    return model, mean, covariance


def unseen(log_visibility):
    values = np.zeros(len(FEATURES))
    values[FEATURES.index("log_visibility")] = log_visibility
    return Features(values, np.full(2, np.nan), np.full((2, 2), np.nan), POSE)


def sampled_miss(model, klass, mean, covariance, seen, n=200_000):
    """P(cluster), and mean and covariance given there was none, by drawing the whole state.

    A draw beyond the class's bounds is as likely seen as one at them.
    """
    draws = np.random.default_rng(0).multivariate_normal(mean, covariance, n)
    top, bright = draws[:, [TOP, REFLECTANCE]].clip(*bounds(model, klass)).T
    distance = np.maximum(np.hypot(draws[:, X] - POSE.x, mean[Y] - POSE.y), 3.0)
    echoes = expected_echoes(model, klass, POSE.z, distance, mean[WIDTH], top, bright, seen.log_visibility)
    chance = MISSED + (SURE - MISSED) * detection_probability(echoes)
    return chance.mean(), moments(draws, (1.0 - chance) / (1.0 - chance).sum())


@pytest.fixture
def fine(monkeypatch):
    """Many nodes: what is found differs along steps, as rings rise above the top, which few nodes cannot follow."""
    nodes = np.linspace(-4.5, 4.5, 41)
    weights = np.exp(-0.5 * nodes**2)
    grid = np.stack(np.meshgrid(*[nodes] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    monkeypatch.setattr(missed_look, "NODES", grid)
    monkeypatch.setattr(missed_look, "NODE_WEIGHTS", np.einsum("i,j,k->ijk", *[weights / weights.sum()] * 3).ravel())


AT_STAKE = [(k, *place) for k in (BAG, BARRIER) for place in ((14.0, 2.0), (18.0, 1.0), (22.0, 2.0))]


def assert_integral(klass, x, deviation, relative, off):
    """The chance of a cluster, and the moments after a miss in standard deviations, against draws."""
    model, mean, covariance = mode(klass, x, deviation)
    seen = unseen(np.log(60.0))
    chance, after = look_for(model, klass, mean, covariance, seen)
    sampled, exact = sampled_miss(model, klass, mean, covariance, seen)
    scale = np.sqrt(np.diag(covariance))
    assert np.abs((exact.mean - mean) / scale).max() > 0.1, "found a miss that says nothing"
    assert chance == pytest.approx(sampled, rel=relative)
    np.testing.assert_allclose(after.mean / scale, exact.mean / scale, atol=off)
    unit = np.outer(scale, scale)
    np.testing.assert_allclose(after.covariance / unit, exact.covariance / unit, atol=off)


@pytest.mark.parametrize(("klass", "x", "deviation"), AT_STAKE)
def test_the_quadrature_of_a_miss_closes_in_on_the_integral(klass, x, deviation, fine):
    assert_integral(klass, x, deviation, 0.05, 0.08)


@pytest.mark.parametrize(("klass", "x", "deviation"), AT_STAKE)
def test_its_few_nodes_are_near(klass, x, deviation):
    assert_integral(klass, x, deviation, 0.12, 0.2)


@pytest.mark.parametrize(("klass", "least"), [(BAG, 8.003), (BARRIER, 8.01)])
def test_a_miss_nearby_in_clear_air_moves_the_place_away(klass, least):
    model, mean, covariance = mode(klass, 8.0, 2.0)
    covariance = np.diag(np.diag(covariance))  # a correlated top could come down instead
    after = look_for(model, klass, mean, covariance, unseen(np.log(1e4)))[1]
    assert after.mean[X] > least
    assert sampled_miss(model, klass, mean, covariance, unseen(np.log(1e4)))[1].mean[X] > least
