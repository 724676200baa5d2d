"""Truth reaches no filter, streams keep runs apart, and the decision opens once, at the same time for all."""

from dataclasses import replace
from typing import get_args, get_type_hints

import numpy as np
import pytest

from filters import make_filter
from filters.spec import EgoMotion, Features, Measurement, Prior, Scan
from filters.streams import stream
from fogsim.driving import choose
from fogsim.followers import FUSED, model_of
from fogsim.frame import Frame
from fogsim.perception import tracks as tracking
from fogsim.runner import check, prior_of, run
from fogsim.scenario import Driver, Hazard
from fogsim.world.ego import stopping_distance
from tests.encounters import drive, encounter

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
            data = look.percepts[0].scan if filter_.sensor == "scan" else look.percepts[0].features
            if data is not None:
                state, _ = filter_.update(state, Measurement(look.time, filter_.sensor, data), rng)
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
    assert choose([], tracks, motion, replace(scenario, filters=()), False).open == opens
    assert choose([], (far,), motion, replace(scenario, filters=()), True).open


# What a scenario may ask for


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"filters": ("kalmen",)}, "did you mean 'kalman'"),
        ({"filters": ("bnn", "bnn")}, "each once"),
        ({"hazards": (Hazard(),) * 3}, "expected 1 to 2"),
        ({"hazards": ()}, "expected 1 to 2"),
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
    assert (frames[0].track_id == [0, 1]).all()
    near = next(f for f in frames if f.distance_left[0] < 8.0)
    off = near.position_mean[0] - near.truth_position
    assert (np.hypot(*off.T) < 0.6).all()
    assert frames[0].log_probs.shape[0] == len(("kalman", FUSED))
