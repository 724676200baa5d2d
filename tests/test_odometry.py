"""Odometry's sampler against its density, and its samples against one whole step."""

import numpy as np
import pytest
from scipy.stats import chi2, kstest, multivariate_normal

from filters.models.odometry import Odometry, between, compose, jacobians, log_density, moved, part, sample
from filters.spec import EgoMotion, Pose
from fogsim.sensors.odometry import measure

BEFORE, AFTER = np.array([1.0, 2.0, 0.3]), np.array([1.7, 2.3, 0.43])
TRUE = between(BEFORE, AFTER)
COARSE = Odometry(translation=0.02, turn=0.004, rate=100.0)


def drawn(odometry, n, dt=0.1, seed=1):
    """Motions (n, 3) and the covariances that come with them."""
    rng = np.random.default_rng(seed)
    deltas, covariances = zip(*(sample(odometry, BEFORE, AFTER, dt, rng) for _ in range(n)), strict=True)
    return np.array(deltas), np.array(covariances)


def test_between_undoes_compose():
    rng = np.random.default_rng(6)
    for _ in range(20):
        pose, delta = rng.normal(size=3), rng.normal(size=3)
        assert between(pose, compose(pose, delta)) == pytest.approx(delta)


@pytest.mark.parametrize("delta", [[0.8, 0.0, 0.0], [0.8, 0.05, 0.3], [0.5, -0.2, -1.2], [0.0, 0.0, 0.4]])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_parts_compose_to_the_whole(delta, n):
    whole = np.zeros(3)
    for _ in range(n):
        whole = compose(whole, part(np.array(delta), n))
    assert whole == pytest.approx(np.array(delta), abs=1e-12)


def test_the_default_is_one_sample_a_step():
    """3 mm and .2 mrad in .1 s, on which the filters were tuned: to the bit."""
    rng, twin = np.random.default_rng(7), np.random.default_rng(7)
    motion = measure(BEFORE, AFTER, Pose(0.0, 0.0, 0.9, 0.0), Odometry(), 0.1, rng)
    deviation = np.array([0.003, 0.003, 0.0002])
    assert (motion.delta == TRUE + deviation * twin.standard_normal(3)).all()
    assert (motion.covariance == np.diag(deviation**2)).all()


def test_what_is_measured_is_of_the_odometry_given():
    motion = measure(BEFORE, AFTER, Pose(3.0, 0.0, 0.9, 0.2), COARSE, 0.1, np.random.default_rng(10))
    delta, covariance = sample(COARSE, BEFORE, AFTER, 0.1, np.random.default_rng(10))
    assert (motion.delta == delta).all()
    assert (motion.covariance == covariance).all()
    assert motion.pose == moved(Pose(3.0, 0.0, 0.9, 0.2), delta)


@pytest.mark.parametrize(("field", "value"), [("translation", -0.01), ("turn", np.nan), ("rate", np.inf)])
def test_what_cannot_be_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"odometry.{field} is .*expected a finite number >= 0"):
        Odometry(**{field: value})


@pytest.mark.parametrize("dt", [0.1, 0.4])
@pytest.mark.parametrize("rate", [1.0, 20.0, 100.0])
def test_noise_grows_with_the_root_of_time_whatever_the_rate(rate, dt):
    odometry = Odometry(rate=rate)
    assert odometry.samples(dt) == max(1, round(rate * dt))
    _, covariances = drawn(odometry, 1, dt)
    found = np.sqrt(np.diag(covariances[0]))
    assert found == pytest.approx(np.array([0.003, 0.003, 0.0002]) * np.sqrt(dt / 0.1), rel=2e-3)


@pytest.mark.parametrize("rate", [10.0, 100.0])
def test_motions_are_gaussian_with_their_covariance(rate):
    deltas, covariances = drawn(Odometry(translation=0.02, turn=0.004, rate=rate), 3000)
    off = deltas - TRUE
    squares = np.einsum("ni,nij,nj->n", off, np.linalg.inv(covariances), off)
    assert kstest(squares, chi2(3).cdf).pvalue > 0.01
    assert kstest(squares * 0.85, chi2(3).cdf).pvalue < 1e-3
    assert np.abs(off.mean(axis=0) / off.std(axis=0)).max() < 4.0 / np.sqrt(3000)
    correlation = np.cov(off.T) / np.sqrt(np.outer(*[np.diag(covariances[0])] * 2))
    assert correlation == pytest.approx(covariances[0] / np.sqrt(np.outer(*[np.diag(covariances[0])] * 2)), abs=0.08)


def test_turning_while_driving_ties_the_side_to_the_turn():
    """With samples within a step an early turn moves what comes after: Sigma is not diagonal."""
    _, covariances = drawn(COARSE, 1)
    expected = TRUE[0] * 0.004**2 * 0.5  # the turn at a share s of the step has (1 - s) of it still to go
    assert covariances[0][1, 2] == pytest.approx(expected, rel=0.2)


def test_jacobians_are_differences():
    rng = np.random.default_rng(8)
    pose, delta = rng.normal(size=3), rng.normal(size=3)
    by_pose, by_delta = jacobians(pose, delta)
    for k, step in enumerate(1e-6 * np.eye(3)):
        along = (compose(pose + step, delta) - compose(pose - step, delta)) / 2e-6
        assert by_pose[:, k] == pytest.approx(along, abs=1e-6)
        along = (compose(pose, delta + step) - compose(pose, delta - step)) / 2e-6
        assert by_delta[:, k] == pytest.approx(along, abs=1e-6)


def test_the_density_is_the_normal_one():
    delta, covariance = sample(COARSE, BEFORE, AFTER, 0.1, np.random.default_rng(9))
    motion = EgoMotion(delta, covariance, Pose(0.0, 0.0, 0.0, 0.0))
    assert log_density(motion, TRUE) == pytest.approx(multivariate_normal(TRUE, covariance).logpdf(delta))


def test_a_pose_moves_on_the_ground():
    pose = Pose(1.0, 2.0, 0.9, 0.5, 0.01, -0.02)
    after = moved(pose, np.array([1.0, 0.0, 0.1]))
    assert after[:2] == pytest.approx((1.0 + np.cos(0.5), 2.0 + np.sin(0.5)))
    assert after.yaw == pytest.approx(0.6)
    assert (after.z, after.pitch, after.roll) == (0.9, 0.01, -0.02)
