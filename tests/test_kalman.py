"""The Kalman filter on simulated encounters, and its parts on their own."""

from functools import lru_cache

import numpy as np
import pytest

from filters.belief import mix
from filters.gaussian_update import Update
from filters.imm import Bank, bank_of, moved
from filters.kalman import BLIND, FALSE_CLUSTER, Kalman
from filters.kalman_bank import bank_nis, log_uniform, look_at, missed, predict, seen, start, step, uniform
from filters.missed_look import look_for
from filters.models.cluster import MEASURED, measured
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
STILL = EgoMotion(np.zeros(3), np.zeros((3, 3)), Pose(0.0, 0.0, 0.9, 0.0))
MOTION = EgoMotion(np.array([0.7, 0.0, 0.0]), np.diag([9e-6, 9e-6, 4e-8]), Pose(0.7, 0.0, 0.9, 0.0))


@lru_cache
def approaches():
    """(kind, frames) of six seeds of each kind, driven through."""
    return [(kind, drive(encounter(kind), seed)[0]) for kind in KINDS for seed in range(6)]


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
    truth = [np.exp(at_distance(f, 10.0).log_probs[0, 0, KINDS[kind]]) for kind, f in approaches()]
    assert sum(p > 0.5 for p in truth) >= 9, np.round(truth, 3)


def test_it_knows_the_place_at_eight_metres():
    errors = []
    for _, frames in approaches():
        frame = at_distance(frames, 8.0)
        errors.append(np.hypot(*(frame.position_mean[0, 0] - truth_in_odometry(frame))))
    assert np.mean(errors) < 0.25, np.round(errors, 3)
    assert max(errors) < 0.5, np.round(errors, 3)


def test_it_is_never_without_a_belief():
    for _, frames in approaches():
        for frame in frames:
            assert np.isfinite(frame.log_probs[0, 0]).all()
            assert np.linalg.eigvalsh(frame.position_covariance[0, 0]).min() > 0.0


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
    np.testing.assert_allclose(log_uniform(0.4, 2.0), (np.log(draws).mean(), np.log(draws).std()), atol=5e-3)


def test_a_bag_is_a_ball():
    """What is learned of its width is learned of its top."""
    covariance = start(FILTER.model, BAG, PRIOR).covariance[0]
    assert covariance[WIDTH, TOP] == pytest.approx(covariance[WIDTH, WIDTH], rel=1e-5)


# Prediction


def test_a_barrier_stands_and_only_the_frame_drifts():
    bank = start(FILTER.model, BARRIER, PRIOR)
    after = FILTER.predict(FILTER.init(PRIOR, RNG), MOTION, 0.1, RNG).banks[BARRIER]
    drift = frame_drift(MOTION, PLACE.mean)
    np.testing.assert_allclose(after.mean, bank.mean)
    np.testing.assert_allclose(
        after.covariance[:, :2, :2] - bank.covariance[:, :2, :2], np.stack([drift] * len(bank.log_probs)), atol=1e-12
    )


@pytest.mark.parametrize(("mode", "gust"), [(0, 0.0), (1, 1.0)])
def test_a_bags_modes_move_as_the_motion_model_does(mode, gust):
    """Without switches between them, against draws of the very model the world moves by."""
    motion, dt, n = FILTER.model.motion, 0.1, 100_000
    rng = np.random.default_rng(1)
    position, velocity = np.zeros((n, 2)), rng.normal(0.0, motion.gust_speed, (n, 2)) * gust
    covariance = np.zeros((len(STATE), len(STATE)))
    covariance[VX, VX] = covariance[VY, VY] = gust * motion.gust_speed**2
    state = bank_of(np.zeros(1), [Gaussian(np.zeros(len(STATE)), covariance)])
    F, Q = (part[None] for part in step(FILTER.model, BAG, mode, dt, np.zeros((2, 2))))
    stays = type(motion)(gust_rate=0.0, calm_rate=0.0)
    for _ in range(5):
        position, velocity, _ = stays.step(position, velocity, np.full(n, gust), dt, rng)
        state = moved(state, F, Q)
    drawn = np.cov(np.column_stack([position, velocity]).T)
    np.testing.assert_allclose(state.covariance[0, :4, :4], drawn, rtol=0.03, atol=0.015 * drawn.max())


def test_calm_and_gust_mix_as_the_motion_model_switches():
    """An IMM's two moments are exact where nothing is measured: against draws that begin calm."""
    motion, dt, n = FILTER.model.motion, 0.1, 200_000
    rng = np.random.default_rng(2)
    position, velocity, gust = np.zeros((n, 2)), np.zeros((n, 2)), np.zeros(n)
    covariance = np.zeros((2, len(STATE), len(STATE)))
    bank = Bank(np.array([0.0, -np.inf]), np.zeros((2, len(STATE))), covariance)
    for _ in range(15):
        position, velocity, gust = motion.step(position, velocity, gust, dt, rng)
        bank = predict(FILTER.model, BAG, bank, STILL, dt)
    assert np.exp(bank.log_probs[1]) == pytest.approx(gust.mean(), rel=0.02)
    whole = mix(np.exp(bank.log_probs), bank.modes)
    drawn = np.cov(np.column_stack([position, velocity]).T)
    np.testing.assert_allclose(whole.covariance[:4, :4], drawn, rtol=0.03, atol=0.015 * drawn.max())


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


def test_a_look_s_evidence_counts_that_there_was_a_cluster():
    """Of one mode: ln P(cluster) + ln p(z | past)."""
    bank = start(FILTER.model, BAG, PRIOR)
    one, data = bank_of(np.zeros(1), bank.modes[:1]), features(log_visibility=np.log(20.0))
    chance = look_for(FILTER.model, BAG, bank, data)[0][0]
    assert chance < 0.9
    done = look_at(FILTER.model, BAG, bank.modes[0], measured(data, FILTER.model), data, 1.0)
    assert seen(FILTER.model, BAG, one, data, 1.0).log_evidence == pytest.approx(np.log(chance) + done.log_evidence)


def test_a_miss_counts_for_the_class_that_is_harder_to_see():
    state, data = FILTER.init(PRIOR, RNG), features(detected=0.0, log_visibility=np.log(18.0))
    after, info = update(state, data)
    told = [missed(FILTER.model, k, b, data).log_evidence for k, b in enumerate(state.banks)]
    np.testing.assert_allclose(info.log_evidence, told)
    assert after.log_probs[BAG] - after.log_probs[BARRIER] == pytest.approx(told[BAG] - told[BARRIER])
    assert told[BAG] > told[BARRIER]


def test_nis_is_that_of_the_modes_mixture():
    """Innovations of two modes: the mixture's mean is d, the modes' own is not."""
    S, d = np.array([[1.0, 0.2], [0.2, 0.5]]), 2
    means, weights = np.array([[2.0, 0.0], [-1.0, 0.5]]), np.array([0.3, 0.7])
    rng = np.random.default_rng(4)
    z = means[rng.choice(2, 4000, p=weights)] + rng.multivariate_normal(np.zeros(2), S, 4000)
    nis = [bank_nis(np.log(weights), [Update(m, S, 0.0, 0.0, y - m, S) for m in means]) for y in z]
    assert np.mean(nis) == pytest.approx(d, rel=0.05)


def test_a_larger_noise_is_believed_less():
    """Clusters that err more than R says raise its scale; a look at a scale moves the place less."""
    state = FILTER.init(PRIOR, RNG)
    strange = features(position=(16.0, 2.5), distance=16.2)
    after = update(state, strange)[0]
    assert after.log_scale > 0.2
    seen_ = features(position=(10.3, 0.4), distance=10.3)
    sharp, blunt = (update(state._replace(log_scale=s), seen_)[0] for s in (0.0, 4.0))
    place = [FILTER.belief(s).position.covariance for s in (sharp, blunt)]
    assert np.linalg.det(place[1]) > 2.0 * np.linalg.det(place[0])


def test_the_scale_is_the_best_class_s():
    """A wide front is no bag: that the bag's bank finds it strange says nothing of the noise."""
    state = FILTER.init(PRIOR, RNG)
    front = box(10.0, 0.0, width=1.6, height=0.6)._replace(yaw=np.array([0.2]))
    wide = percepts_of(sweep(front, 25.0, 0), (10.0, 0.0), visibility=25.0)[0].features
    nis = [FILTER.look(k, b, wide).nis for k, b in enumerate(state.banks)]
    assert nis[BARRIER] < 1.5 * MEASURED < 3.0 * MEASURED < nis[BAG]
    assert update(state, wide)[0].log_scale < 0.05
