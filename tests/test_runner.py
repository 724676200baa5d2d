"""Truth reaches no filter, streams keep runs apart, and the decision opens once, at the same time for all."""

from dataclasses import replace
from itertools import pairwise
from typing import get_args, get_type_hints

import numpy as np
import pytest

from filters import make_filter
from filters.decision import BRAKE, CHANGE_LANE, PROCEED, SLOW
from filters.losses import PhysicalLoss
from filters.models.odometry import Odometry
from filters.models.radar import Radar, ground_rate
from filters.models.visibility import Visibility
from filters.models.visibility_sensor import VisibilitySensor, update
from filters.policies import POLICIES
from filters.policies.bayes import Bayes
from filters.policy import REASONS
from filters.spec import FEATURES, EgoMotion, Features, Gaussian, Measurement, Pose, Prior, RadarScan, Scan
from filters.streams import stream
from fogsim.driving import choose, policy_of
from fogsim.followers import FUSED, measurements, model_of
from fogsim.frame import Frame
from fogsim.overrides import override
from fogsim.perception import tracks as tracking
from fogsim.readings import Readings, learn, less_others
from fogsim.readings import measurements as measurements_of
from fogsim.recording import detections_kept, reading_fields
from fogsim.runner import check, prior_of, run
from fogsim.scenario import Driver, Ego, Hazard, Road
from fogsim.world.ego import delays, react, start, stopping_distance
from tests.encounters import at_distance, drive, encounter

ALL = ("kalman", "particle", "kernel_bayes", "bnn")
SCANS = ("range", "power", "label", "odometry", "features")


def names_in(kind, seen=()):
    """The fields of a type and of the types of its fields, down to arrays and numbers."""
    names = set()
    for name, hint in get_type_hints(kind).items():
        names.add(name)
        for part in (hint, *get_args(hint)):
            if getattr(part, "__module__", "") == "filters.spec" and part not in seen and isinstance(part, type):
                names |= names_in(part, (*seen, part))
    return names


def test_what_filters_are_told_has_no_place_for_truth():
    told = names_in(Measurement) | names_in(EgoMotion) | names_in(Prior)
    assert {"data", "background", "azimuth", "values", "position", "delta", "log_probs"} <= told
    truth = {name for name in get_type_hints(Frame) if name.startswith(("truth", "ego", "object"))}
    assert not told & (truth | {"label", "kind", "truth", "latents", "solids"})


def test_what_filters_are_told_is_what_sensors_estimate():
    frames, looks = drive(encounter("bag"), 2)
    for frame, look in zip(frames, looks, strict=True):
        scan, features = look.percepts[0].scan, look.percepts[0].features
        assert type(scan) is Scan
        assert (scan.pose.x, scan.pose.y, scan.pose.yaw) == tuple(frame.odometry)
        if features is None:
            continue
        assert type(features) is Features
        np.testing.assert_array_equal(features.values.astype(np.float32), frame.features[0])
    assert (frame.odometry != frame.ego_pose).all()


@pytest.mark.parametrize("kind", ["bag", "barrier"])
def test_beliefs_follow_from_what_was_measured(kind):
    """Filters made anew, given the prior, odometry and percepts alone, believe the same to the bit."""
    scenario = encounter(kind, filters=ALL)
    frames, looks = drive(scenario, 5)
    unknown = replace(scenario, hazards=(Hazard(kind="draw"),))
    for row, name in enumerate(ALL):
        filter_, rng = make_filter(name, model_of(unknown)), stream(5, "filter", name, 0)
        state = filter_.init(prior_of(unknown, unknown.hazards[0]), rng)
        for frame, look in zip(frames, looks, strict=True):
            if look.motion is not None:
                state = filter_.predict(state, look.motion, scenario.dt, rng)
            for measurement in measurements(look.percepts[0], look.time):
                if measurement.sensor in filter_.sensors:
                    state, _ = filter_.update(state, measurement, rng)
            np.testing.assert_array_equal(filter_.belief(state).log_probs, frame.log_probs[row, 0])


def test_a_filter_added_changes_nothing_of_the_others():
    few, many = (drive(encounter("bag", filters=f), 5)[0] for f in (("kalman",), ALL))
    particle = drive(encounter("bag", filters=("particle", "kalman")), 5)[0]
    assert len(few) == len(many) == len(particle)
    for one, all_of_them, two in zip(few, many, particle, strict=True):
        for name in SCANS:
            for other in (all_of_them, two):
                assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name
        assert one.log_probs[0].tobytes() == all_of_them.log_probs[0].tobytes() == two.log_probs[1].tobytes()
        assert all_of_them.log_probs[1].tobytes() == two.log_probs[0].tobytes()
        assert all_of_them.position_covariance[1].tobytes() == two.position_covariance[0].tobytes()


def test_who_drives_changes_no_scan_until_the_car_moves_otherwise():
    one, other = (drive(encounter("barrier", driver=d), 5)[0] for d in (Driver(policy="open_loop"), Driver()))
    parted = next(k for k, (a, b) in enumerate(zip(one, other, strict=False)) if (a.ego_pose != b.ego_pose).any())
    assert parted > 3
    assert (one[parted + 15].range != other[parted + 15].range).any()
    for a, b in zip(one[:parted], other[:parted], strict=True):
        for name in SCANS:
            assert getattr(a, name).tobytes() == getattr(b, name).tobytes(), name


def test_another_seed_is_another_run():
    a, b = (next(run(encounter("bag"), seed)) for seed in (1, 2))
    assert (a.range != b.range).any()
    assert (a.truth_position != b.truth_position).any()


# The sensors beside the lidar


RADAR, SENSOR = Radar(on=True), VisibilitySensor(on=True)


def heard(visibility=25.0, seed=3, **changes):
    """Frames and looks of an encounter with every sensor on."""
    return drive(encounter("barrier", visibility, radar=RADAR, visibility_sensor=SENSOR, **changes), seed)


def detections(frame):
    """The rows of a frame's radar that hold one."""
    return frame.radar[np.isfinite(frame.radar[:, 0])]


def test_other_sensors_change_no_scan():
    with_them, without = heard()[0], drive(encounter("barrier", 25.0), 3)[0]
    assert len(with_them) == len(without)
    for one, other in zip(with_them, without, strict=True):
        for name in ("range", "power", "label", "odometry", "truth_position"):
            assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name
    assert any(len(detections(f)) for f in with_them)
    assert not any(np.isfinite(f.radar).any() or np.isfinite(f.visibility_reading) for f in without)


def test_fog_is_nothing_to_the_radar():
    one, other = (heard(v)[0] for v in (15.0, 40.0))
    for a, b in zip(one, other, strict=True):
        assert a.radar.tobytes() == b.radar.tobytes()


def test_readings_come_late_and_once():
    frames, looks = heard()
    taken = [m for look in looks for m in look.percepts[0].readings]
    for look in looks:
        times = [m.time for m in look.percepts[0].readings]
        assert times == sorted(times)
        for m in look.percepts[0].readings:
            latency = (RADAR if m.sensor == "radar" else SENSOR).latency
            assert latency - 1e-9 < m.age < latency + 0.1 + 1e-9
            assert m.time + m.age == pytest.approx(look.time)
    radar = [m.time for m in taken if m.sensor == "radar"]
    assert radar == pytest.approx((1.0 + np.arange(len(radar))) / RADAR.rate)
    seen = [m.time for m in taken if m.sensor == "visibility"]
    assert seen == pytest.approx(1.0 + np.arange(np.floor(frames[-1].time - SENSOR.latency)))


def test_what_the_frame_logs_is_what_filters_read():
    frames, looks = heard()
    for frame, look in zip(frames, looks, strict=True):
        scans = [m for m in look.percepts[0].readings if m.sensor == "radar"]
        told = [np.column_stack([np.full(len(m.data.detections), m.time), m.data.detections]) for m in scans]
        found = detections(frame)
        np.testing.assert_array_equal(found, np.concatenate([np.zeros((0, 5)), *told]).astype(np.float32))
        assert (found[:, 1:].astype(float) == np.concatenate([np.zeros((0, 5)), *told])[:, 1:]).all()
        assert all(type(m.data) is RadarScan and (m.data.background > 0.0).all() for m in scans)
    seen = [f.visibility_reading for f in frames if np.isfinite(f.visibility_reading)]
    assert np.array(seen) == pytest.approx(float(frames[0].visibility), rel=4.0 * SENSOR.spread)
    assert len(seen) > 2


def test_a_radar_scan_is_told_from_the_estimated_pose_of_its_time():
    frames, looks = heard()
    poses = np.array([[f.time, *f.odometry] for f in frames])
    for look in looks:
        for m in look.percepts[0].readings:
            if m.sensor == "radar":
                found = [m.data.pose.x, m.data.pose.y, m.data.pose.yaw]
                assert found == pytest.approx([np.interp(m.time, poses[:, 0], c) for c in poses[:, 1:].T])


def test_most_of_the_radar_is_the_standing_street():
    """Its range rates are those of what stands still, seen from the car as odometry says it moves."""
    looks = heard()[1]
    scans = [m.data for look in looks for m in look.percepts[0].readings if m.sensor == "radar"]
    off = np.concatenate([s.detections[:, 2] - ground_rate(s.detections[:, 1], s.pose, s.velocity) for s in scans])
    assert np.median(np.abs(off)) < 0.3
    assert len(off) > 20 * len(scans)


def test_the_radar_tells_of_the_barrier_before_the_lidar():
    frames, _ = heard(20.0, filters=("particle",))
    early = at_distance(frames, 20.0)
    assert (np.exp(early.log_probs[:, 0, 1]) > 0.8).all(), np.exp(early.log_probs[:, 0, 1])
    for frame in frames:
        assert np.isfinite(frame.log_probs[:, 0]).all()
        assert (frame.status == 0).all()


def test_the_visibility_sensor_tells_perception_of_the_fog():
    prior, readings = Visibility(np.log(40.0), 0.3), Readings(visibility=((1.0, 25.0), (2.0, 26.0)))
    after = learn(prior, readings, encounter(visibility_sensor=SENSOR))
    assert after == update(update(prior, SENSOR, 25.0), SENSOR, 26.0)
    assert abs(after.mean - np.log(25.5)) < 0.05
    assert learn(prior, Readings(), encounter()) is prior


def test_what_perception_knows_of_the_fog_moves_towards_each_reading():
    """Features tell how well the fog is known: alike up to the first reading, then nearer to it."""
    with_it, without = (drive(encounter("barrier", 25.0, **c), 3)[0] for c in ({"visibility_sensor": SENSOR}, {}))
    first = next(k for k, f in enumerate(with_it) if np.isfinite(f.visibility_reading))
    fog = FEATURES.index("log_visibility")
    a, b = (np.array([f.features[0, fog] for f in frames]) for frames in (with_it, without))
    assert (a[:first] == b[:first]).all()
    off = np.log(with_it[first].visibility_reading) - b[first]
    assert 0.0 < (a[first] - b[first]) / off < 1.0


def test_odometry_is_the_scenarios():
    odometry = Odometry(translation=0.01, turn=0.001)
    motions = [look.motion for look in drive(encounter("barrier", odometry=odometry), 3)[1][1:]]
    assert all((m.covariance == np.diag(odometry.deviation(0.1) ** 2)).all() for m in motions)


def test_a_frame_keeps_the_latest_reading_of_a_tick():
    seen = Readings(visibility=((1.0, 25.0), (1.5, 31.0)))
    assert reading_fields(seen, 1)["visibility_reading"] == 31.0


def test_one_detection_feeds_one_candidate():
    places = [Gaussian(np.array([20.0, y]), 0.04 * np.eye(2)) for y in (0.0, 1.0)]
    z = np.array([[20.0, 0.0, 0.0, -9.0], [20.0, 0.045, 0.0, -8.0], [20.0, 0.02, 0.0, -7.0]])
    scan = RadarScan(Pose(0.0, 0.0, 0.0, 0.0), np.zeros(2), z, np.arange(3.0))
    told = measurements_of(Readings(((1.0, scan),), ((0.5, 25.0),)), places, 1.2)
    assert [[m.sensor for m in t] for t in told] == [["visibility", "radar"]] * 2
    heard_by = [t[1].data.detections[:, 3].tolist() for t in told]
    assert heard_by == [[-9.0, -7.0], [-8.0]]
    assert [t[1].data.background.tolist() for t in told] == [[0.0, 2.0], [1.0]]


def test_detections_of_another_candidate_are_left_to_it():
    pose, still = Pose(1.0, 0.0, 0.0, 0.0), np.zeros(2)
    places = [Gaussian(np.array([21.0, 0.0]), 0.04 * np.eye(2)), Gaussian(np.array([21.0, 3.0]), 0.04 * np.eye(2))]
    z = np.array([[20.0, 0.0, 0.0, -9.0], [20.2, 0.15, 0.0, -8.0], [40.0, 0.5, 0.0, 0.0]])
    scan = RadarScan(pose, still, z, np.ones(3))
    assert less_others(scan, places, 0).detections[:, 3].tolist() == [-9.0, 0.0]
    assert less_others(scan, places, 1).detections[:, 3].tolist() == [-8.0, 0.0]
    assert less_others(scan, places[:1], 0).detections.shape == (3, 4)


def test_sensors_are_switched_on_by_name():
    scenario = override(override(encounter(), "radar.on", "true"), "visibility_sensor.rate", "2")
    assert scenario.radar.on
    assert scenario.visibility_sensor.rate == 2.0
    with pytest.raises(ValueError, match="expected bool"):
        override(scenario, "radar.on", "yes")
    with pytest.raises(ValueError, match=r"radar\.rate is 0\.0, expected a finite number"):
        override(scenario, "radar.rate", "0")


def test_a_frame_keeps_all_that_a_tick_detects_or_says_so():
    scenario = encounter(radar=RADAR)
    assert detections_kept(encounter()) == 1
    assert detections_kept(scenario) == 2 * detections_kept(replace(scenario, dt=0.05))
    scan = RadarScan(Pose(0, 0, 0, 0), np.zeros(2), np.zeros((300, 4)), np.zeros(300))
    with pytest.raises(ValueError, match=r"found 300 radar detections in a tick, expected up to 256"):
        reading_fields(Readings(((0.1, scan),)), detections_kept(scenario))


# The decision point


@pytest.mark.parametrize("seed", [2, 5, 7])
def test_the_decision_opens_once_and_for_all_filters_at_once(seed):
    runs = [drive(encounter("bag", filters=f), seed)[0] for f in (("kalman",), ("particle", "kalman"), ALL)]
    opened = [[k for k, f in enumerate(frames) if f.at_decision_point] for frames in runs]
    assert len(opened[0]) == 1
    assert opened[0] == opened[1] == opened[2]


def test_the_decision_opens_when_the_track_is_within_the_stopping_distance():
    """Before, no belief may choose more than to slow down; the moment follows from the track, not from truth."""
    scenario = encounter("barrier")
    frames, _ = drive(scenario, 5)
    k = next(k for k, f in enumerate(frames) if f.at_decision_point)
    stop = stopping_distance(scenario.ego, float(frames[k].ego_speed))
    assert stop - 1.5 < frames[k].distance_left[0] < stop + 3.0
    assert all((f.shadow_action <= 1).all() for f in frames[:k])


@pytest.mark.parametrize(("beyond", "opens"), [(0.2, False), (-0.2, True)])
def test_a_standard_deviation_on_the_near_side_decides(beyond, opens):
    scenario = encounter("bag")
    _, looks = drive(scenario, 5)
    motion = looks[4].motion
    stop = stopping_distance(scenario.ego, motion.delta[0] / scenario.dt)
    prior = prior_of(scenario, scenario.hazards[0]).position
    mean = np.array([motion.pose.x + stop + np.sqrt(prior.covariance[0, 0]) + beyond, 0.0])
    far = tracking.start(prior._replace(mean=mean + np.array([50.0, 0.0])))
    tracks = far, tracking.start(prior._replace(mean=mean))
    assert choose([], tracks, motion, replace(scenario, filters=()), False, Bayes(), None, (0.0,) * 4).open == opens
    assert choose([], (far,), motion, replace(scenario, filters=()), True, Bayes(), None, (0.0,) * 4).open


def test_an_action_takes_the_reaction_time_unless_it_is_in_effect():
    ego = Ego(reaction=1.0)
    state = start(ego, np.random.default_rng(0))
    assert delays(state, ego) == (0.0, 1.0, 1.0, 1.0)
    for _ in range(4):
        state = react(state, BRAKE, ego, Road(), 0.1)
    assert delays(state, ego) == pytest.approx((0.0, 1.0, 1.0, 0.6))
    for _ in range(7):
        state = react(state, BRAKE, ego, Road(), 0.1)
    assert delays(state, ego) == pytest.approx((1.0, 1.0, 1.0, 0.0))


# What is told of a decision


@pytest.mark.parametrize("policy", [p for p in POLICIES if p != "open_loop"])
def test_every_decision_is_told_with_belief_threshold_losses_and_reason(policy):
    scenario = encounter("barrier", driver=Driver(belief="kalman", policy=policy))
    frames, _ = drive(scenario, 5)
    for frame in frames:
        assert REASONS[int(frame.reason)]
        q, table = float(frame.in_path[0]), frame.loss_table
        assert 0.0 <= q <= np.exp(frame.log_probs[0, 0, 1]) + 1e-12
        assert (table == scenario.loss.table(None)).all()
        plain = [PROCEED, SLOW, BRAKE]  # a change of lane is charged with what stands there
        expected = (1.0 - q) * table[:, 0] + q * table[:, 1]
        assert frame.expected_loss[0, plain] == pytest.approx(expected[plain], abs=1e-12)
        assert 0.0 < frame.decision_ms < 1e3
    assert len({int(f.reason) for f in frames}) >= (1 if policy in ("bayes", "most_likely_label") else 2)


@pytest.mark.parametrize("policy", list(POLICIES))
def test_the_shadows_do_not_depend_on_who_drives_until_he_does(policy):
    """All beliefs would do by Bayes' rule and by the likeliest label what they would do whoever drives."""
    (by_bayes, _), (frames, _) = (drive(encounter("bag", driver=Driver("kalman", p)), 5) for p in ("bayes", policy))
    same = next((k for k, (a, b) in enumerate(zip(by_bayes, frames, strict=False)) if a.action != b.action), 10**6)
    for a, b in zip(by_bayes[:same], frames[:same], strict=False):
        np.testing.assert_array_equal(a.shadow_action, b.shadow_action)
        np.testing.assert_array_equal(a.expected_loss, b.expected_loss)


def test_a_driver_with_hysteresis_remembers_what_it_did():
    """Left alone it would leave the brakes as soon as that is a little better; with a margin of 1000 it never does."""
    plain = encounter("bag", driver=Driver("kalman", "most_likely_label"))
    held = replace(plain, driver=replace(plain.driver, hysteresis=1000.0))
    for seed in range(5, 25):
        actions = [int(f.action) for f in drive(plain, seed)[0]]
        if any(b < a for a, b in pairwise(actions)):
            kept = [int(f.action) for f in drive(held, seed)[0]]
            assert all(b >= a for a, b in pairwise(kept))
            return
    pytest.fail("no seed in which the label was taken back")


def test_the_sprt_is_told_the_prior_of_the_encounter():
    two = replace(encounter(), hazards=(Hazard(barrier_probability=0.1), Hazard(barrier_probability=0.2)))
    assert policy_of(replace(two, driver=Driver(policy="sprt"))).prior == pytest.approx(0.28)
    assert policy_of(replace(two, driver=Driver(policy="conformal", threshold=0.2))).threshold == 0.2


def test_physical_losses_follow_the_approach():
    scenario = encounter("barrier", loss=PhysicalLoss(), driver=Driver("kalman", "bayes"))
    frames, looks = drive(scenario, 5)
    for frame, look in zip(frames[1:], looks[1:], strict=True):
        speed = look.motion.delta[0] / scenario.dt
        assert frame.loss_table[0, 1] <= 100.0 * (max(speed, 7.25) / 7.25) ** 2 + 1e-9
        assert frame.loss_table[3, 0] > 0.0
    brake = np.array([f.loss_table[3, 1] for f in frames])
    at = next(k for k, f in enumerate(frames) if f.at_decision_point)
    assert brake[at] < 5.0
    assert {CHANGE_LANE, BRAKE} & {int(f.action) for f in frames}
    assert not frames[-1].collided


# What a scenario may ask for


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"filters": ("kalmen",)}, "did you mean 'kalman'"),
        ({"filters": ("bnn", "bnn")}, "each once"),
        ({"hazards": (Hazard(),) * 5}, "expected 1 to 4"),
        ({"hazards": ()}, "expected 1 to 4"),
        ({"driver": Driver("particle", "bayes")}, "particle"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line(changes, text):
    with pytest.raises(ValueError, match=text) as error:
        check(encounter(**changes))
    assert "\n" not in str(error.value)


def test_two_candidates_are_followed_apart():
    hazards = Hazard("bag", y=-0.9, y_spread=0.1), Hazard("barrier", x=38.0, y=0.9, y_spread=0.1)
    frames, looks = drive(encounter(hazards=hazards), 3)
    assert all(len(look.percepts) == 2 for look in looks)
    assert frames[0].track_id.tolist() == [0, 1, -1, -1]
    near = next(f for f in frames if f.distance_left[0] < 8.0)
    off = (near.position_mean[0] - near.truth_position)[:2]
    assert (np.hypot(*off.T) < 0.6).all()
    assert frames[0].log_probs.shape[0] == len(("kalman", FUSED))
