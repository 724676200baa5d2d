"""Exact special cases of the particle filter: PF -> KF as particles grow, evidence too."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from filterpy.kalman import KalmanFilter
from scipy.stats import multivariate_normal

from filters.belief import moments
from filters.looks import NO_ECHOES
from filters.models.model import Model
from filters.models.object_echo import Echoes
from filters.spec import BARRIER, Array, EgoMotion, Gaussian, Pose
from filters.stories import Stories, Told, step_of
from filters.streams import stream
from filters.target import Target
from filters.waste_free import start, temper

PLACE = Gaussian(np.array([20.0, -0.5]), np.array([[2.0, 0.3], [0.3, 0.5]]))
STORIES = Stories(Model(), BARRIER, PLACE)
H = np.array([[1.0, 0.4]])
WEAK, SHARP = 4.0, 1e-3  # measurement variances
Z = {WEAK: 21.0, SHARP: 21.5}
DRIFT = np.diag([0.3, 0.2, 0.0]) ** 2  # odometry's error per step, no yaw: linear in the place
STEP = step_of(EgoMotion(np.array([0.8, 0.0, 0.0]), DRIFT, Pose(0.0, 0.0, 0.9, 0.5)), 0.1)
COURSE = (21.0, 20.6, 21.3, 20.9)  # what is measured, a step apart


class PlaceLook(NamedTuple):
    """A linear measurement of the place, z = H place + N(0, R)."""

    steps: int
    z: float
    R: float
    echoes: Echoes = NO_ECHOES

    def log_likelihood(self, stories: Stories, u: Array, told: Told) -> Array:
        """ln N(z; H place, R) (n,)."""
        off = self.z - told.places[self.steps] @ H[0]
        return -0.5 * off**2 / self.R - 0.5 * np.log(2.0 * np.pi * self.R)


def kalman(zs, R):
    """FilterPy's posterior of the last place and ln p of all measurements, a step between each."""
    kf, evidence = KalmanFilter(2, 1), 0.0
    kf.x, kf.P, kf.H, kf.R = PLACE.mean.copy(), PLACE.covariance.copy(), H, np.array([[R]])
    c, s = np.cos(STEP.motion.pose.yaw), np.sin(STEP.motion.pose.yaw)
    turn = np.array([[c, -s], [s, c]])
    kf.F, kf.Q = np.eye(2), turn @ DRIFT[:2, :2] @ turn.T
    for k, z in enumerate(zs):
        if k:
            kf.predict()
        kf.update(np.array([z]))
        evidence += multivariate_normal.logpdf(kf.y, cov=kf.S)
    return kf.x, kf.P, evidence


def particles(zs, R, n, seed):
    """A cloud's moments, its log-evidence and what became of the last look."""
    rng = stream(seed, "chain", n)
    cloud, past, evidence = start(STORIES, n, rng), (), 0.0
    for k, z in enumerate(zs):
        if k:
            cloud = cloud._replace(cloud=STORIES.go_on(cloud.cloud, STEP, rng))
        done = temper(cloud, Target(STORIES, (STEP,) * k, past, PlaceLook(k, z, R), 12), n, rng)
        cloud, past, evidence = done.cloud, (*past, PlaceLook(k, z, R)), evidence + done.log_evidence
    return moments(cloud.cloud.place, np.exp(cloud.log_weights)), evidence, done


@pytest.mark.parametrize(
    ("zs", "R"), [((Z[WEAK],), WEAK), ((Z[SHARP],), SHARP), (COURSE, 0.05)], ids=["weak", "sharp", "course"]
)
def test_a_particle_filter_grows_into_the_kalman_filter(zs, R):
    mean, P, log_evidence = kalman(zs, R)
    scale = np.sqrt(np.diag(P))
    errors = []
    for n in (480, 1920, 30720):
        runs = [particles(zs, R, n, seed) for seed in range(12)]
        off = np.array([np.append((g.mean - mean) / scale, evidence - log_evidence) for g, evidence, _ in runs])
        errors.append(np.sqrt((off**2).mean(axis=0)))
    for fewer, more in pairwise(errors):
        assert (more < 0.85 * fewer).all(), errors
    assert (errors[-1] < 0.3 * errors[0]).all(), errors  # sqrt(480 / 30720) = 0.125
    standard_error = off.std(axis=0, ddof=1) / np.sqrt(len(off))
    assert (np.abs(off.mean(axis=0)) < 3.5 * standard_error).all(), off.mean(axis=0) / standard_error
    assert np.abs(off[:, 2]).max() < 0.12
    covariance = np.mean([g.covariance for g, *_ in runs], axis=0)
    np.testing.assert_allclose(covariance / np.outer(scale, scale), P / np.outer(scale, scale), atol=0.04)


def test_a_measurement_of_place_leaves_what_is_independent_of_it():
    _, _, done = particles((Z[SHARP],), SHARP, 38400, 3)
    rest = moments(done.cloud.cloud.u[:, 2:], np.exp(done.cloud.log_weights))
    np.testing.assert_allclose(rest.mean, np.zeros(5), atol=0.15)
    np.testing.assert_allclose(rest.covariance, np.eye(5), atol=0.2)


def test_a_weak_measurement_is_one_step_of_weighing():
    cloud = start(STORIES, 480, stream(1, "weak"))
    look = PlaceLook(0, Z[WEAK], WEAK)
    done = temper(cloud, Target(STORIES, (), (), look, 12), 480, stream(2, "weak"))
    assert not done.resampled
    values = cloud.log_weights + look.log_likelihood(STORIES, cloud.cloud.u, STORIES.tell(cloud.cloud, ()))
    np.testing.assert_array_equal(done.cloud.cloud.place, cloud.cloud.place)
    assert done.log_evidence == pytest.approx(np.logaddexp.reduce(values))
    np.testing.assert_allclose(done.cloud.log_weights, values - np.logaddexp.reduce(values))


def test_a_sharp_measurement_takes_several_steps_and_moves():
    _, _, done = particles((Z[SHARP],), SHARP, 480, 1)
    assert done.resampled
    places = np.unique(done.cloud.cloud.place[:, 0])
    assert len(places) > 100, "found copies that never moved apart"  # of 40 chains' beginnings
