"""The oracle against the exact posterior by importance sampling, and its stories against the filters' motion."""

from dataclasses import replace

import numpy as np
import pytest

from filters.models.model import Model
from filters.models.motion import BagMotion
from filters.oracle import Oracle, disagreement
from filters.spec import BAG, BARRIER, EgoMotion, Gaussian, Measurement, Pose, Prior, Scan, Status
from filters.standing import posterior, standing
from filters.stories import Stories
from filters.streams import stream
from fogsim.followers import model_of
from fogsim.scenario import Scenario
from fogsim.sensors.lidar import Lidar
from tests.encounters import NOTHING_THERE, ball, box, sweep

SMALL = Lidar(rings=8, lowest_deg=-7.0, highest_deg=0.0, columns=60, azimuth_deg=40.0)
PRIOR = Prior(np.log([0.5, 0.5]), Gaussian(np.array([12.0, -0.3]), np.diag([0.25, 0.09])), 20.0, 0.3)
STILL = BagMotion(wander=0.0, gust_rate=0.0)
MODEL = replace(model_of(Scenario(lidar=SMALL)), motion=STILL)


def scans_of(things, visibility, ahead=(0.0, 1.0, 2.0)):
    """Sweeps from known poses."""
    poses = [Pose(x, 0.0, 0.9, 0.0) for x in ahead]
    return [sweep(things, visibility, seed, SMALL, pose) for seed, pose in enumerate(poses)]


def exactly(delta, pose):
    """Odometry without error."""
    return EgoMotion(np.array([delta, 0.0, 0.0]), np.zeros((3, 3)), pose)


def follow(oracle: Oracle, scans: list[Scan], rng):
    """The oracle's state after all scans."""
    state = oracle.init(PRIOR, rng)
    for k, scan in enumerate(scans):
        if k:
            state = oracle.predict(state, exactly(scan.pose.x - scans[k - 1].pose.x, scan.pose), 0.1, rng)
        state, info = oracle.update(state, Measurement(0.1 * k, "scan", scan), rng)
        assert info.status == Status.OK
    return state


@pytest.mark.parametrize(
    ("things", "visibility"),
    [(NOTHING_THERE, 20.0), (box(12.2, -0.4, 0.6, 0.4), 12.0), (ball(12.3, -0.2, 0.25), 12.0)],
    ids=["nothing", "barrier", "bag"],
)
def test_of_a_standing_object_it_is_the_exact_posterior(things, visibility):
    scans = scans_of(things, visibility)
    exact = posterior(standing(MODEL, PRIOR, scans), 400.0, stream(1, "exact"))
    state = follow(Oracle(MODEL, 600), scans, stream(2, "oracle"))
    found, wanted = (p[BARRIER] - p[BAG] for p in (state.log_probs, exact.log_probs))
    assert found == pytest.approx(wanted, abs=0.3 + 2.0 * disagreement(state))
    assert disagreement(state) < 0.5


@pytest.mark.parametrize("klass", [BAG, BARRIER])
def test_a_story_told_again_is_the_story(klass):
    rng, oracle = stream(3, "story"), Oracle(Model(), 50)
    state, stories = oracle.init(PRIOR, rng), Stories(oracle.model, PRIOR, klass)
    for k in range(6):
        noisy = EgoMotion(np.array([0.8, 0.0, 0.0]), np.diag([1e-2, 1e-2, 1e-3]) ** 2, Pose(0.8 * k, 0.0, 0.9, 0.01 * k))
        state = oracle.predict(state, noisy, 0.1, rng)
    cloud = state.runs[0][klass].cloud
    told, velocity = stories.places(cloud, state.history)
    np.testing.assert_allclose(told[-1], cloud.place, atol=1e-12)
    np.testing.assert_allclose(velocity, cloud.velocity, atol=1e-12)
    assert cloud.gust.any() == (klass == BAG)


def test_a_wandering_bag_spreads_as_the_motion_says():
    rng, oracle = stream(4, "wander"), Oracle(replace(Model(), motion=BagMotion(wander=0.5, gust_rate=0.0)), 4000)
    state = oracle.init(PRIOR, rng)
    for _ in range(10):
        state = oracle.predict(state, exactly(0.0, Pose(0.0, 0.0, 0.9, 0.0)), 0.1, rng)
    spread = state.runs[0][BAG].cloud.place.var(axis=0) - np.diag(PRIOR.position.covariance)
    np.testing.assert_allclose(spread, 0.25, rtol=0.1)


def test_fog_that_drifts_is_refused():
    with pytest.raises(ValueError, match="expected even fog"):
        Oracle(replace(Model(), fog_drift=0.1))
