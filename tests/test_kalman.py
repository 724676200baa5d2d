"""The Kalman filter on simulated encounters, and its parts on their own."""

from functools import lru_cache

import numpy as np
import pytest

from filters.belief import mix
from filters.kalman import BLIND, FALSE_CLUSTER, Kalman
from filters.kalman_bank import move, start, uniform
from filters.models.cluster import MEASURED
from filters.models.motion import frame_drift
from filters.models.outline import ROUGHNESS, STATE, TOP, VX, VY, WIDTH, X, Y
from filters.spec import BAG, BARRIER, FEATURES, EgoMotion, Features, Gaussian, Measurement, Pose, Prior
from filters.streams import stream
from fogsim.followers import model_of
from tests.encounters import at_distance, box, drive, encounter, percepts_of, sweep, truth_in_odometry

KINDS = {"bag": BAG, "barrier": BARRIER}
RNG = stream(0, "kalman")  # asked for by the protocol, used by nobody here
PLACE = Gaussian(np.array([10.0, 0.0]), np.diag([0.5, 0.3]))
PRIOR = Prior(np.log([0.5, 0.5]), PLACE, 60.0, 0.3)
FILTER = Kalman(model_of(encounter()))
POSE = Pose(0.0, 0.0, 0.9, 0.0)
MOTION = EgoMotion(np.array([0.7, 0.0, 0.0]), np.diag([9e-6, 9e-6, 4e-8]), Pose(0.7, 0.0, 0.9, 0.0))


@lru_cache
def approaches():
    """(kind, frames) of six seeds of each kind, driven through."""
    return [
        (kind, drive(encounter(kind, filters=("particle", "kalman")), seed)[0]) for kind in KINDS for seed in range(6)
    ]


def features(position=(10.0, 0.0), pose=POSE, **values):
    """Features of a middling cluster, or those named."""
    usual = dict(detected=1.0, log_count=np.log1p(40.0), distance=10.0, width=1.0, top=0.5, log_power=4.0, fill=1.0)
    usual |= dict(log_reflectance=np.log(0.27), log_visibility=np.log(60.0), roughness=0.03, power_spread=0.2)
    unknown = set(values) - set(FEATURES)
    assert not unknown
    row = np.array([(usual | values).get(name, 0.0) for name in FEATURES])
    return Features(row, np.array(position, float), 0.01 * np.eye(2), pose)


def update(state, data, filter_=FILTER):
    return filter_.update(state, Measurement(0.0, "features", data), RNG)


def test_it_is_mostly_on_the_right_side_at_ten_metres():
    truth = [np.exp(at_distance(f, 10.0).log_probs[1, 0, KINDS[kind]]) for kind, f in approaches()]
    assert sum(p > 0.5 for p in truth) >= 9, np.round(truth, 3)


def test_it_knows_the_place_at_eight_metres():
    errors = []
    for _, frames in approaches():
        frame = at_distance(frames, 8.0)
        errors.append(np.hypot(*(frame.position_mean[1, 0] - truth_in_odometry(frame))))
    assert np.mean(errors) < 0.25, np.round(errors, 3)
    assert max(errors) < 0.5, np.round(errors, 3)


def test_it_is_never_without_a_belief():
    for _, frames in approaches():
        for frame in frames:
            assert np.isfinite(frame.log_probs[1, 0]).all()
            assert np.linalg.eigvalsh(frame.position_covariance[1, 0]).min() > 0.0


# The prior


def test_the_barriers_widths_cover_its_prior():
    bank = start(FILTER.model, BARRIER, PRIOR)
    whole = mix(np.exp(bank.log_probs), [Gaussian(*g) for g in zip(bank.mean, bank.covariance, strict=True)])
    mean, deviation = uniform(*FILTER.model.barrier.length)
    assert whole.mean[WIDTH] == pytest.approx(mean)
    assert np.sqrt(whole.covariance[WIDTH, WIDTH]) == pytest.approx(deviation)
    np.testing.assert_allclose(whole.covariance[:2, :2], PLACE.covariance)


def test_the_bags_modes_are_calm_and_gust():
    bank = start(FILTER.model, BAG, PRIOR)
    np.testing.assert_allclose(np.exp(bank.log_probs), [0.8, 0.2])
    np.testing.assert_allclose(np.diag(bank.covariance[0])[[VX, VY]], 0.0)
    np.testing.assert_allclose(np.diag(bank.covariance[1])[[VX, VY]], FILTER.model.motion.gust_speed**2)


def test_uniform_moments():
    draws = np.random.default_rng(0).uniform(0.4, 2.0, 200_000)
    np.testing.assert_allclose(uniform(0.4, 2.0), (draws.mean(), draws.std()), atol=5e-3)


# Prediction


def test_a_barrier_stands_and_only_the_frame_drifts():
    bank = start(FILTER.model, BARRIER, PRIOR)
    moved = FILTER.predict(FILTER.init(PRIOR, RNG), MOTION, 0.1, RNG).banks[BARRIER]
    drift = frame_drift(MOTION, PLACE.mean)
    np.testing.assert_allclose(moved.mean, bank.mean)
    np.testing.assert_allclose(
        moved.covariance[:, :2, :2] - bank.covariance[:, :2, :2], np.stack([drift] * len(bank.log_probs)), atol=1e-12
    )


@pytest.mark.parametrize(("mode", "gust"), [(0, 0.0), (1, 1.0)])
def test_a_bags_modes_move_as_the_motion_model_does(mode, gust):
    """Without switches between them, against draws of the very model the world moves by."""
    motion, dt, n = FILTER.model.motion, 0.1, 100_000
    rng = np.random.default_rng(1)
    position, velocity = np.zeros((n, 2)), rng.normal(0.0, motion.gust_speed, (n, 2)) * gust
    covariance = np.zeros((len(STATE), len(STATE)))
    covariance[VX, VX] = covariance[VY, VY] = gust * motion.gust_speed**2
    state = Gaussian(np.zeros(len(STATE)), covariance)
    stays = type(motion)(gust_rate=0.0, calm_rate=0.0)
    for _ in range(5):
        position, velocity, _ = stays.step(position, velocity, np.full(n, gust), dt, rng)
        state = move(FILTER.model, BAG, mode, state, dt, np.zeros((2, 2)))
    drawn = np.cov(np.column_stack([position, velocity]).T)
    np.testing.assert_allclose(state.covariance[:4, :4], drawn, rtol=0.03, atol=0.015 * drawn.max())


# Update


def test_the_look_of_a_class_speaks_for_it():
    state = FILTER.init(PRIOR, RNG)
    wide = update(state, features(width=1.7, top=0.4, roughness=0.025))[0]
    ball = dict(fill=0.85, power_spread=0.45, bulge=0.1, log_reflectance=np.log(0.3))
    round_ = update(state, features(width=0.45, top=0.5, roughness=0.06, **ball))[0]
    assert FILTER.belief(wide).barrier > 0.7
    assert FILTER.belief(round_).barrier < 0.4


def test_a_cluster_draws_the_place_to_it():
    state, info = update(FILTER.init(PRIOR, RNG), features(position=(10.3, 0.4), distance=10.3))
    position = FILTER.belief(state).position
    assert np.hypot(*(position.mean - [10.45, 0.4])) < 0.2  # its centre lies behind its front
    assert np.linalg.det(position.covariance) < 0.2 * np.linalg.det(PLACE.covariance)
    assert 0.0 < info.nis < 5.0 * MEASURED


def test_a_cluster_no_class_explains_is_nobodys():
    state = FILTER.init(PRIOR, RNG)
    after, info = update(state, features(position=(30.0, 9.0), distance=31.0))
    assert after.banks is state.banks
    np.testing.assert_allclose(info.log_evidence, FALSE_CLUSTER, atol=1e-3)
    np.testing.assert_allclose(after.log_probs, state.log_probs, atol=1e-3)


def test_nothing_nearer_than_it_sees_is_believed():
    state = FILTER.init(PRIOR, RNG)
    for detected in (0.0, 1.0):
        after, info = update(state, features(distance=0.99 * BLIND, detected=detected))
        assert after is state
        np.testing.assert_array_equal(info.log_evidence, 0.0)


def test_looks_of_one_box_settle_on_its_shape():
    """Width and top of a box 1.6 m wide seen ten times: the likeliest mode of the barrier's bank has them."""
    state = FILTER.init(PRIOR, RNG)
    for seed in range(10):
        seen = percepts_of(sweep(box(10.0, 0.0, width=1.6, height=0.6), 60.0, seed), (10.0, 0.0), visibility=60.0)[0]
        state, _ = update(state, seen.features)
    bank = state.banks[BARRIER]
    best = int(np.argmax(bank.log_probs))
    assert bank.mean[best, WIDTH] == pytest.approx(1.6, abs=0.2)
    assert bank.mean[best, TOP] == pytest.approx(0.6, abs=0.25)
    assert bank.mean[best, [X, Y]] == pytest.approx([10.0, 0.0], abs=0.15)
    assert bank.covariance[best, ROUGHNESS, ROUGHNESS] < 0.2**2
    assert FILTER.belief(state).barrier > 0.9


def test_the_belief_is_the_mixture_of_all_modes():
    state = FILTER.init(PRIOR, RNG)
    state = update(state, features(position=(10.2, 0.3)))[0]
    draws, rng = [], np.random.default_rng(3)
    for p, bank in zip(np.exp(state.log_probs), state.banks, strict=True):
        for q, m, P in zip(np.exp(bank.log_probs), bank.mean, bank.covariance, strict=True):
            draws.append(rng.multivariate_normal(m[:2], P[:2, :2], round(200_000 * p * q)))
    drawn, position = np.concatenate(draws), FILTER.belief(state).position
    np.testing.assert_allclose(position.mean, drawn.mean(axis=0), atol=3e-3)
    np.testing.assert_allclose(position.covariance, np.cov(drawn.T), rtol=0.03, atol=3e-4)
