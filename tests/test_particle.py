"""The particle filter on simulated scans, and its parts on their own."""

from functools import lru_cache

import numpy as np
import pytest

from filters.belief import mix, moments
from filters.models.model import Model
from filters.models.object_echo import window_of
from filters.models.radar import Radar, Sources, background, object_log_ratios, sample, sources_of
from filters.models.visibility_sensor import VisibilitySensor, update
from filters.particle import MEMORY, SETTLED, ParticleFilter
from filters.spec import BAG, BARRIER, EgoMotion, Gaussian, Measurement, Pose, Prior, RadarScan, Status
from filters.stories import Stories
from filters.streams import stream
from fogsim.followers import model_of
from fogsim.sensors.radar import reflectors
from fogsim.world.setting import Road
from tests.encounters import NOTHING_THERE, at_distance, ball, drive, encounter, sweep, truth_in_odometry

SEEDS = range(6)
KINDS = {"bag": BAG, "barrier": BARRIER}
PRIOR = Prior(np.log([0.3, 0.7]), Gaussian(np.array([15.0, -0.6]), np.diag([1.0, 0.36])), 40.0, 0.3)
FILTER = ParticleFilter(model_of(encounter()), particles=400, followers=100)


@lru_cache
def approaches():
    """(kind, frames) of six seeds of each kind, driven through."""
    return [(kind, drive(encounter(kind, filters=("particle", "kalman")), seed)[0]) for kind in KINDS for seed in SEEDS]


def test_it_knows_the_class_at_ten_metres():
    truth = [np.exp(at_distance(frames, 10.0).log_probs[0, 0, KINDS[kind]]) for kind, frames in approaches()]
    assert sum(p > 0.9 for p in truth) >= 10, np.round(truth, 3)


def test_it_is_never_without_a_belief():
    for _, frames in approaches():
        for frame in frames:
            for field in (frame.log_probs[0, 0], frame.position_mean[0, 0], frame.position_covariance[0, 0]):
                assert np.isfinite(field).all()
            assert np.linalg.eigvalsh(frame.position_covariance[0, 0]).min() > 0.0
            assert frame.status[0, 0] == Status.OK


def test_it_knows_the_place_at_eight_metres():
    errors = []
    for _, frames in approaches():
        frame = at_distance(frames, 8.0)
        errors.append(np.hypot(*(frame.position_mean[0, 0] - truth_in_odometry(frame))))
    assert max(errors) < 0.15, np.round(errors, 3)


def test_its_covariance_says_how_wrong_it_is():
    """Squared Mahalanobis errors in the plane: their mean is 2 where the covariance is exact."""
    squares = []
    for _, frames in approaches():
        frame = at_distance(frames, 8.0)
        off = frame.position_mean[0, 0] - truth_in_odometry(frame)
        squares.append(off @ np.linalg.solve(frame.position_covariance[0, 0], off))
    assert np.mean(squares) < 10.0, np.round(squares, 1)


def test_it_learns_the_fog():
    scenario = encounter("bag", 40.0)
    frames, looks = drive(scenario, 4)
    filter_, rng = ParticleFilter(model_of(scenario), 400, 100), stream(1, "fog")
    report = Prior(PRIOR.log_probs, Gaussian(np.array([34.0, -0.6]), np.diag([2.25, 0.36])), 40.0, 0.3)
    state = filter_.init(report, rng)
    for look in looks[:15]:
        if look.motion is not None:
            state = filter_.predict(state, look.motion, scenario.dt, rng)
        state, _ = filter_.update(state, Measurement(look.time, "scan", look.percepts[0].scan), rng)
    truth = np.log(float(frames[0].visibility))
    assert abs(truth - np.log(40.0)) > 0.05, "found a seed in which the report was right"
    assert abs(state.visibility.mean - truth) < max(4.0 * state.visibility.deviation, 0.03)
    assert state.visibility.deviation < 0.1


# Its belief


def test_the_points_are_the_belief():
    state = FILTER.init(PRIOR, stream(1, "points"))
    belief = FILTER.belief(state)
    weights = np.exp(belief.points.log_weights)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[400:].sum() == pytest.approx(0.7)
    for one, other in zip(moments(belief.points.points, weights), belief.position, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)
    apart = mix(np.exp(state.log_probs), [moments(c.cloud.place, np.exp(c.log_weights)) for c in state.clouds])
    np.testing.assert_allclose(belief.position.mean, apart.mean)


def test_only_bags_start_in_a_gust():
    bag, barrier = FILTER.init(PRIOR, stream(2, "gust")).clouds
    assert 0.1 < bag.cloud.gust.mean() < 0.3  # stationary share 0.2
    assert not barrier.cloud.gust.any()
    assert not barrier.cloud.velocity.any()


# Its window


def test_a_candidate_out_of_the_scan_leaves_the_state():
    aside = PRIOR.position._replace(mean=np.array([0.0, 20.0]))
    state = FILTER.init(Prior(PRIOR.log_probs, aside, 40.0, 0.3), stream(3, "aside"))
    scan = sweep(NOTHING_THERE, 40.0)
    after, info = FILTER.update(state, Measurement(0.0, "scan", scan), stream(4, "aside"))
    assert after is state
    np.testing.assert_array_equal(info.log_evidence, 0.0)


def test_beams_outside_the_window_say_nothing():
    scan = sweep(NOTHING_THERE, 40.0)
    state = FILTER.init(PRIOR, stream(5, "window"))
    window = window_of(scan, np.concatenate([c.cloud.place for c in state.clouds]), FILTER.model.body)
    outside = (scan.azimuth < window.azimuth[0]) | (scan.azimuth > window.azimuth[-1])
    assert outside.any()
    odd = scan._replace(
        range=np.where(outside[:, None], 3.0, scan.range), power=np.where(outside[:, None], 90.0, scan.power)
    )
    infos = [FILTER.update(state, Measurement(0.0, "scan", s), stream(6, "window"))[1] for s in (scan, odd)]
    np.testing.assert_array_equal(infos[0].log_evidence, infos[1].log_evidence)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_echoes_beyond_the_sensors_range_leave_the_fog_finite():
    scan = sweep(NOTHING_THERE, 40.0)
    far = scan._replace(range=np.full_like(scan.range, 121.0), power=np.full_like(scan.power, 50.0))
    state, _ = FILTER.update(FILTER.init(PRIOR, stream(5, "far")), Measurement(0.0, "scan", far), stream(6, "far"))
    assert np.isfinite(state.visibility).all()


# What it forgets, and when it stops asking


def test_depletion_leaves_the_class_and_says_so(monkeypatch):
    state = FILTER.init(PRIOR, stream(1, "depleted"))
    nan = lambda table, solids, *rest: np.full(solids.x.size, np.nan)  # noqa: E731
    monkeypatch.setattr("filters.looks.object_log_ratios", nan)
    after, info = FILTER.update(state, Measurement(0.0, "scan", sweep(NOTHING_THERE, 40.0)), stream(2, "depleted"))
    assert info.status == Status.DEPLETED
    np.testing.assert_array_equal(info.log_evidence, 0.0)
    np.testing.assert_array_equal(after.log_probs, state.log_probs)
    assert after.clouds is state.clouds


def at_rest(thing, frames, seed, filter_=FILTER, prior=PRIOR):
    """States after each of so many scans from one place, with a step of error-free odometry between."""
    rng = stream(seed, "rest")
    state, still = filter_.init(prior, rng), EgoMotion(np.zeros(3), np.zeros((3, 3)), Pose(0.0, 0.0, 0.9, 0.0))
    for k in range(frames):
        state = filter_.predict(state, still, 0.1, rng)
        state, info = filter_.update(state, Measurement(0.1 * k, "scan", sweep(thing, 40.0, k)), rng)
        assert info.status == Status.OK
        yield state


def test_it_remembers_so_many_looks_and_no_step_before_them():
    sizes, steps = zip(*((len(s.looks), len(s.steps)) for s in at_rest(NOTHING_THERE, 60, 10)), strict=True)
    assert max(sizes) == 2 * MEMORY[0]
    assert min(sizes[2 * MEMORY[0] :]) >= MEMORY[0]
    assert max(steps) <= 2 * MEMORY[0] + 1
    for state in at_rest(NOTHING_THERE, 30, 10):
        for cloud in state.clouds:
            assert cloud.past.shape[1] == len(state.looks)
            assert cloud.cloud.noise.shape[1] == len(state.steps)
        assert all(0 <= look.steps <= len(state.steps) for look in state.looks)


def test_without_looks_it_forgets_steps_too():
    rng, state = stream(11, "steps"), FILTER.init(PRIOR, stream(11, "start"))
    motion = EgoMotion(np.array([0.1, 0.0, 0.0]), np.diag([1e-2, 1e-2, 1e-3]) ** 2, Pose(0.0, 0.0, 0.9, 0.0))
    spread = []
    for _ in range(400):
        state = FILTER.predict(state, motion, 0.1, rng)
        spread.append(np.sqrt(np.diag(FILTER.belief(state).positions[BARRIER].covariance)))
    assert len(state.steps) <= 4 * MEMORY[0]
    exact = PRIOR.position.covariance + 400 * np.diag([1e-4, 1e-4 + (15.0 * 1e-3) ** 2])
    np.testing.assert_allclose(spread[-1], np.sqrt(np.diag(exact)), rtol=0.15)


def test_once_there_is_no_doubt_one_class_is_followed():
    *_, before, state = at_rest(ball(15.0, -0.6), 10, 12)
    assert before.settled
    assert before.followed == [BAG]
    assert len(state.clouds[BAG].log_weights) <= FILTER.followers
    assert state.scores[BAG] - state.scores[BARRIER] > SETTLED
    np.testing.assert_array_equal(state.scores, before.scores)
    assert FILTER.belief(state).position.mean == pytest.approx([15.0, -0.6], abs=0.1)


# Radar and the visibility sensor

RADAR = Radar(on=True)
HEARING = ParticleFilter(Model(radar=RADAR), particles=4000, followers=1000)
NEAR = Prior(np.log([0.5, 0.5]), Gaussian(np.array([20.0, -0.5]), np.diag([0.3, 0.2]) ** 2), 25.0, 0.3)
POSE, MOVING = Pose(0.0, 0.0, 0.0, 0.0), np.array([8.0, 0.0])
MAPPED = reflectors(Road()).seen_from(RADAR, POSE, MOVING)


def radar_scan(position, velocity, section, seed):
    """A scan of the road and one small object of a cross-section, dBsm."""
    thing = ball(*position, radius=0.25)
    reflectivity = np.array([section - 10.0 * np.log10(16.0 * 0.25**2 * 0.7)])
    one = sources_of(RADAR, thing, reflectivity, np.array([velocity]), POSE, MOVING)
    everything = Sources(*(np.concatenate(c) for c in zip(one, MAPPED, strict=True)))
    z = sample(RADAR, everything, POSE, MOVING, stream(seed, "radar test"))
    return RadarScan(POSE, MOVING, z, background(RADAR, MAPPED, POSE, MOVING, z))


def imagined(filter_, klass, scan, n, age=0.0):
    """ln L of n draws from the prior of a class."""
    stories = Stories(filter_.model, klass, NEAR.position)
    cloud = stories.draw(n, stream(9, klass))
    mean, spread = RADAR.material(klass)
    solids, reflectivity = stories.solids(cloud.u, cloud.place - age * cloud.velocity), mean + spread * cloud.u[:, -2]
    return object_log_ratios(RADAR, scan, sources_of(RADAR, solids, reflectivity, cloud.velocity, POSE, MOVING))


@pytest.mark.parametrize("section", [-25.0, -5.0])
def test_its_evidence_of_a_radar_scan_is_the_mean_likelihood(section):
    scan = radar_scan((20.0, -0.5), (0.0, 0.0), section, 3)
    state = HEARING.init(NEAR, stream(1, "hearing"))
    _, info = HEARING.update(state, Measurement(0.0, "radar", scan, 0.1), stream(2, "hearing"))
    for klass in (BAG, BARRIER):
        values = imagined(HEARING, klass, scan, 60_000, 0.1)
        exact = np.log(np.mean(np.exp(values)))
        error = np.std(np.exp(values)) / np.mean(np.exp(values)) / np.sqrt(4000)
        assert info.log_evidence[klass] == pytest.approx(exact, abs=4.0 * error + 0.02)


def test_a_moving_bag_is_put_back_to_when_it_was_heard():
    """It was heard half a second ago, where its velocity says it was: believed to be half a second farther on."""
    blown = np.array([-0.9, 0.8])
    state = HEARING.init(NEAR, stream(3, "blown"))
    for k in range(12):  # one scan again and again stands for a bag well heard
        scan = radar_scan((20.0, -0.5), blown, -8.0, 20 + k)
        state, _ = HEARING.update(state, Measurement(0.0, "radar", scan, 0.5), stream(k, "blown"))
    bag = state.clouds[BAG]
    weights = np.exp(bag.log_weights)
    assert weights @ bag.cloud.velocity[:, 0] == pytest.approx(blown[0], abs=0.25)
    then = weights @ (bag.cloud.place - 0.5 * bag.cloud.velocity)
    assert then == pytest.approx([20.0, -0.5], abs=0.25)
    assert weights @ bag.cloud.place[:, 0] < 20.0 - 0.2


def test_radar_scans_tell_place_and_class():
    state = HEARING.init(NEAR, stream(4, "place"))
    for k in range(12):
        scan = radar_scan((20.4, -0.3), (0.0, 0.0), -3.0, 40 + k)
        state, info = HEARING.update(state, Measurement(0.1 * k, "radar", scan), stream(k, "place"))
        assert info.status == Status.OK
    belief = HEARING.belief(state)
    assert belief.barrier > 0.8
    assert belief.position.mean == pytest.approx([20.4, -0.3], abs=0.25)
    assert np.sqrt(np.diag(belief.position.covariance)).max() < 0.2
    block = state.clouds[BARRIER]
    weights = np.exp(block.log_weights)
    material, fog = (moments(u[:, None], weights) for u in (block.cloud.u[:, -2], block.cloud.u[:, -1]))
    assert material.covariance[0, 0] < 0.5 < fog.covariance[0, 0]  # learned of the material, nothing of the fog
    assert abs(fog.mean[0]) < 0.3


def test_a_silent_radar_speaks_for_the_bag():
    state = HEARING.init(NEAR, stream(5, "silent"))
    for k in range(5):
        state, _ = HEARING.update(
            state, Measurement(0.0, "radar", radar_scan((20.0, -0.5), (0.0, 0.0), -60.0, k)), stream(k, "silent")
        )
    assert HEARING.belief(state).barrier < 0.3


def test_a_visibility_reading_moves_the_fog_and_nothing_else():
    state = FILTER.init(PRIOR, stream(6, "reading"))
    before = FILTER.belief(state).log_probs
    after, info = FILTER.update(state, Measurement(0.0, "visibility", 25.0, 0.2), stream(7, "reading"))
    assert after.visibility == update(state.visibility, VisibilitySensor(), 25.0)
    assert before == pytest.approx(PRIOR.log_probs)
    assert (FILTER.belief(after).log_probs == before).all()
    assert after.clouds is state.clouds
    assert not info.log_evidence.any()


def test_without_a_radar_a_particle_has_no_latent_for_it():
    assert FILTER.init(PRIOR, stream(8, "latents")).clouds[BARRIER].cloud.u.shape == (400, 7)
    assert HEARING.init(PRIOR, stream(8, "latents")).clouds[BARRIER].cloud.u.shape == (4000, 8)
