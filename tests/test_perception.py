"""Perception: what is an object's cluster, whose it is, and what is measured on it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from filters.models.optics import echo_table
from filters.models.visibility import update_visibility, visibility_prior
from filters.spec import FEATURES, EgoMotion, Features, Gaussian, Pose
from fogsim.perception import tracks as tracking
from fogsim.perception.perceive import EDGE, clutter, doubtful, in_view, mask, perceive, predict
from fogsim.perception.segment import (
    BLIND,
    FEWEST,
    GROUND_CLEARANCE,
    LINK,
    TALLEST,
    Points,
    agreement,
    clusters,
    linked,
    object_points,
)
from fogsim.sensors.lidar import Lidar
from fogsim.world.solids import join
from tests.encounters import LIDAR, NOTHING_THERE, REST, ball, box, memory_of, percepts_of, sweep

TABLE = echo_table(LIDAR.optics)
CLEAR = 1e4
FINE = Lidar(rings=64, lowest_deg=-10.0, highest_deg=2.0, columns=1200, azimuth_deg=60.0)


def points_at(xy):
    """Echoes at places in the plane, 0.3 m high."""
    xy = np.asarray(xy, float).reshape(-1, 2)
    n = len(xy)
    xyz = np.column_stack([xy, np.full(n, 0.3)])
    return Points(xyz, np.full(n, 20.0), np.hypot(*xy.T), np.zeros(n, int), np.arange(n))


# Which echoes may be an object's


@pytest.mark.parametrize("make", [box, ball])
def test_the_object_is_what_remains(make):
    points = object_points(sweep(make(10.0, 0.0), CLEAR))
    groups = clusters(points)
    assert len(groups) == 1
    assert len(groups[0]) == len(points.range) >= 10
    assert (np.hypot(*(points.xyz[:, :2] - [10.0, 0.0]).T) < 0.8).all()


@pytest.mark.parametrize("make", [box, ball])
def test_a_tilted_sensor_finds_the_object_where_it_stands(make):
    tilted = REST._replace(pitch=0.03, roll=-0.12)
    points = object_points(sweep(make(10.0, 2.0), CLEAR, pose=tilted))
    assert len(points.range) >= 10
    assert (np.hypot(*(points.xyz[:, :2] - [10.0, 2.0]).T) < 0.8).all()
    assert in_view(sweep(NOTHING_THERE, CLEAR, pose=REST._replace(yaw=np.pi, pitch=0.1)), np.array([-9.0, 0.0]))
    assert not in_view(sweep(NOTHING_THERE, CLEAR, pose=REST._replace(pitch=0.1)), np.array([-9.0, 0.0]))


@pytest.mark.parametrize("make", [box, ball])
def test_the_object_is_found_in_fog(make):
    seen = [percepts_of(sweep(make(10.0, 0.0), 40.0, s), (10.0, 0.3), visibility=40.0)[0].features for s in range(10)]
    assert sum(bool(f.detected) for f in seen) >= 9
    assert all(np.hypot(*(f.position - [10.0, 0.0])) < 0.5 for f in seen if f.detected)


def test_ground_and_known_background_are_removed():
    for seed in range(5):
        scan = sweep(NOTHING_THERE, CLEAR, seed)
        assert (scan.power > 0.0).mean() > 0.3, "found hardly any echo to remove"
        assert len(object_points(scan).range) == 0


def test_a_background_that_is_not_known_would_remain():
    scan = sweep(NOTHING_THERE, CLEAR)
    unknown = scan._replace(background=scan.background._replace(range=np.full_like(scan.background.range, np.inf)))
    points = object_points(unknown)
    assert len(points.range) > 300
    assert (points.xyz[:, 2] > GROUND_CLEARANCE).all()
    assert (points.xyz[:, 2] < TALLEST).all()
    assert (points.range > BLIND).all()


def test_echoes_behind_the_known_background_are_removed():
    scan = sweep(box(10.0, 0.0), CLEAR)
    nearer = np.minimum(scan.background.range, 8.0)  # a wall before the box
    assert len(object_points(scan).range) > 10
    assert len(object_points(scan._replace(background=scan.background._replace(range=nearer))).range) == 0


def test_an_odometry_a_beam_off_still_knows_the_background():
    step = LIDAR.azimuth_deg / LIDAR.columns
    for beams in (-1.5, 1.5):
        off = REST._replace(yaw=np.radians(beams * step), x=0.05)
        seen, believed = sweep(NOTHING_THERE, CLEAR, pose=off), sweep(NOTHING_THERE, CLEAR)
        scan = seen._replace(pose=REST, background=believed.background)
        assert not [g for g in clusters(object_points(scan)) if len(g) >= FEWEST]


def test_fog_alone_is_seldom_a_cluster():
    found = 0
    for seed in range(40):
        visibility = (15.0, 25.0, 40.0, 60.0)[seed % 4]
        percept = percepts_of(sweep(NOTHING_THERE, visibility, seed), (10.0, 0.0), visibility=visibility)[0]
        found += int(percept.features.detected)
    assert found <= 2


def test_beams_not_scanned_are_no_points():
    scan = sweep(box(10.0, 0.0), CLEAR)
    assert len(object_points(scan._replace(scanned=np.zeros_like(scan.scanned))).range) == 0


def test_agreement_counts_level_neighbours():
    scan = sweep(NOTHING_THERE, CLEAR)
    ranges, powers = np.zeros((2, 8, 1)), np.zeros((2, 8, 1))
    ranges[0, [1, 2, 3, 4, 7], 0], powers[0, [1, 2, 3, 4, 7], 0] = [10.0, 10.1, 14.0, 10.2, 10.2], 9.0
    count = agreement(scan._replace(range=ranges, power=powers))
    heard = count[..., 0][powers[..., 0] > 0.0]
    assert heard.tolist() == [2, 2, 0, 3, 1]
    assert count[1].sum() == 0


def test_clusters_are_chains_of_near_points():
    chain = [(10.0, 0.9 * LINK * k) for k in range(5)]
    apart = [(10.0, chain[-1][1] + 1.1 * LINK + 0.1 * k) for k in range(3)]
    stray = [(30.0, 0.0), (30.1, 0.0)]
    groups = clusters(points_at(chain + apart + stray))
    assert sorted(map(sorted, (g.tolist() for g in groups))) == [[0, 1, 2, 3, 4], [5, 6, 7]]
    assert clusters(points_at(stray)) == []
    assert clusters(points_at([])) == []


@given(st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_clusters_are_the_connected_components(n, seed):
    """As SciPy finds them in the graph of all pairs."""
    xyz = np.random.default_rng(seed).uniform(-1.5, 1.5, (n, 3))
    near = ((xyz[:, None, :2] - xyz[None, :, :2]) ** 2).sum(axis=2) < LINK**2
    _, label = connected_components(near, directed=False)
    np.testing.assert_array_equal(linked(xyz, LINK), label)


def test_beams_beside_a_lamp_post_are_doubtful():
    scan = sweep(NOTHING_THERE, CLEAR)
    doubt = doubtful(scan.background.range)
    azimuth = np.arctan2(-3.4, 6.0)  # of the first post
    post, ring = int(np.argmin(np.abs(scan.azimuth - azimuth))), 9
    assert scan.background.range[ring, post] == pytest.approx(np.hypot(3.4, 6.0), abs=0.3)
    on_post = np.abs(scan.background.range[ring] - scan.background.range[ring, post]) < 0.3
    first, last = np.flatnonzero(on_post)[[0, -1]]
    assert 4 < last - first < 14
    for edge in (first, last + 1):
        assert doubt[ring, edge - 3 : edge + 3].all()
    assert doubt.mean() < 0.3
    level = np.full((3, 50), 20.0)
    assert not doubtful(level).any()
    level[1, 25:] -= 1.01 * EDGE
    assert np.flatnonzero(doubtful(level)[1]).tolist() == [22, 23, 24, 25, 26, 27]
    assert not doubtful(level)[[0, 2]].any()
    assert not mask(scan, []).scanned[doubt].any()


# Features


def features_of(things, place=(10.0, 0.0), visibility=CLEAR, lidar=LIDAR, seed=0):
    return percepts_of(sweep(things, visibility, seed, lidar), place, visibility=visibility)[0].features


@pytest.mark.parametrize("seed", range(4))
def test_a_box_in_clear_air_is_measured(seed):
    seen = features_of(box(10.2, 0.0, width=1.0, height=0.6, reflectance=0.3), seed=seed)
    ring = 10.0 * np.radians(2.0)
    assert seen.detected == 1.0
    assert seen.distance == pytest.approx(10.0, abs=0.1)
    assert seen.lateral == pytest.approx(0.0, abs=0.1)
    assert seen.width == pytest.approx(1.0, abs=0.15)
    assert 0.6 - ring - 0.05 < seen.top < 0.65
    assert seen.depth < 0.3
    assert seen.fill > 0.9
    assert seen.log_reflectance == pytest.approx(np.log(0.3), abs=0.3)
    assert seen.speed == 0.0
    assert np.exp(seen.log_count) - 1.0 == pytest.approx(1.0 / (10.0 * np.radians(0.2)), rel=0.1)  # one ring


def test_reflectance_has_range_and_fog_taken_out():
    values = [
        features_of(box(x, 0.0, reflectance=rho), (x, 0.0), visibility).log_reflectance - np.log(rho)
        for x, visibility, rho in ((6.0, CLEAR, 0.2), (10.0, 60.0, 0.3), (14.0, 60.0, 0.4), (14.0, CLEAR, 0.2))
    ]
    assert np.abs(values).max() < 0.3, values


def test_a_porous_ball_lets_beams_pass():
    seen = [features_of(ball(10.0, 0.0, radius=0.4, fill=0.6), lidar=FINE, seed=s) for s in range(4)]
    assert all(f.fill < 0.9 for f in seen)
    assert all(f.passed > 0.05 for f in seen)
    assert all(f.bulge > 0.1 for f in seen)
    solid = features_of(ball(10.0, 0.0, radius=0.4, fill=1.0), lidar=FINE)
    assert solid.fill > 0.95
    assert solid.passed < 0.05
    block = features_of(box(10.2, 0.0, width=0.8), lidar=FINE)
    assert abs(block.bulge) < 0.05
    assert block.roughness < solid.roughness + 0.1


@pytest.mark.parametrize("bearing", [-0.6, 0.0, 0.6])
def test_the_place_has_a_covariance_along_the_sight(bearing):
    x, y = 12.0 * np.cos(bearing), 12.0 * np.sin(bearing)
    seen = features_of(ball(x, y, 0.3, 1.0), (x, y))
    assert np.hypot(*(seen.position - [x, y])) < 0.35
    sight = np.array([np.cos(bearing), np.sin(bearing)])
    assert np.hypot(*seen.position) < 12.0
    np.testing.assert_allclose(seen.covariance, seen.covariance.T)
    assert np.linalg.eigvalsh(seen.covariance).min() > 0.0
    across = np.array([-sight[1], sight[0]])
    assert abs(sight @ seen.covariance @ across) < 1e-3


def test_an_unseen_candidate_has_only_where_it_is_thought_to_be():
    seen = features_of(NOTHING_THERE, (9.0, 1.2))
    named = dict(zip(FEATURES, seen.values, strict=True))
    assert named.pop("distance") == pytest.approx(np.hypot(9.0, 1.2))
    assert named.pop("lateral") == pytest.approx(1.2)
    assert named.pop("log_visibility") != 0.0
    assert set(named.values()) == {0.0}
    assert np.isnan(seen.position).all()
    assert np.isnan(seen.covariance).all()
    assert isinstance(seen, Features)


def test_speed_is_between_one_cluster_and_the_next():
    memory = memory_of((10.0, 0.0), visibility=CLEAR)
    memory, first = perceive(memory, sweep(ball(10.0, 0.0, fill=1.0), CLEAR), 0.0, TABLE)
    memory, _ = perceive(memory, sweep(NOTHING_THERE, CLEAR), 0.1, TABLE)
    memory, third = perceive(memory, sweep(ball(10.0, 0.4, fill=1.0), CLEAR), 0.2, TABLE)
    assert first[0].features.speed == 0.0
    assert third[0].features.speed == pytest.approx(2.0, abs=0.3)


def test_the_fog_is_learned_from_clutter():
    memory = memory_of((10.0, 0.0), visibility=40.0)
    for seed in range(5):
        memory, percepts = perceive(memory, sweep(NOTHING_THERE, 25.0, seed), 0.1 * seed, TABLE)
    assert memory.visibility.mean == pytest.approx(np.log(25.0), abs=0.06)
    assert percepts[0].features.log_visibility == memory.visibility.mean
    beams = clutter(sweep(NOTHING_THERE, 25.0))
    assert 100 < len(beams[0]) <= 820
    assert update_visibility(visibility_prior(40.0, 0.3), TABLE, *beams)[0].mean < np.log(32.0)


# Tracks

MOTION = EgoMotion(np.zeros(3), np.diag([9e-6, 9e-6, 4e-8]), Pose(0.0, 0.0, 0.9, 0.0))


def test_two_tracks_get_their_own_clusters_and_not_each_others_beams():
    things = join(box(10.0, -1.2), ball(12.0, 1.2, fill=1.0))
    places = (10.0, -1.2), (12.0, 1.2)
    scan = sweep(things, CLEAR)
    percepts = percepts_of(scan, *places, visibility=CLEAR)
    for percept, place in zip(percepts, places, strict=True):
        assert percept.features.detected
        assert np.hypot(*(percept.features.position - place)) < 0.4
    swapped = percepts_of(scan, *places[::-1], visibility=CLEAR)
    for one, other in zip(percepts, swapped[::-1], strict=True):
        np.testing.assert_array_equal(one.features.position, other.features.position)
    sides = scan.azimuth < 0.0, scan.azimuth > 0.0  # the box's, the ball's
    vouched = ~doubtful(scan.background.range)
    for percept, own, others in zip(percepts, sides, sides[::-1], strict=True):
        hidden = vouched & ~percept.scan.scanned
        assert not hidden[:, own].any()
        assert hidden[:, others].sum() >= 10
        assert scan.scanned.all(), "found the scan itself changed"
        np.testing.assert_array_equal(percept.scan.range, scan.range)


def test_one_cluster_is_one_tracks_only():
    scan = sweep(box(10.0, 0.0), CLEAR)
    near, far = percepts_of(scan, (10.0, 0.1), (10.0, -0.9), visibility=CLEAR)
    assert near.features.detected
    assert not far.features.detected


def test_of_two_clusters_in_the_gate_the_fuller_wins():
    few, many = [(10.0 + 0.1 * k, -0.3) for k in range(3)], [(10.0, 0.7 + 0.1 * k) for k in range(20)]
    track = tracking.start(Gaussian(np.array([10.0, 0.0]), np.eye(2)))
    assert len(tracking.assign([track], points_at(few + many))[0]) == 20
    assert tracking.assign([], points_at(few)) == []
    assert len(tracking.assign([track], points_at([(x + 8.0, y) for x, y in few]))[0]) == 0


def test_a_track_with_no_cluster_keeps_its_place():
    memory = memory_of((10.0, 0.0), visibility=CLEAR)
    after, _ = perceive(predict(memory, MOTION, 0.1), sweep(NOTHING_THERE, CLEAR), 0.1, TABLE)
    before, track = memory.tracks[0], after.tracks[0]
    np.testing.assert_array_equal(track.position.mean, before.position.mean)
    assert (np.diag(track.position.covariance) > np.diag(before.position.covariance)).all()
    assert np.isnan(track.seen).all()


def test_a_track_follows_its_cluster():
    memory = memory_of((10.5, 0.6), visibility=CLEAR, spread=1.0)
    for k in range(5):
        memory = predict(memory, MOTION, 0.1)
        memory, _ = perceive(memory, sweep(box(10.0, 0.0), CLEAR, k), 0.1 * k, TABLE)
    track = memory.tracks[0]
    assert np.hypot(*(track.position.mean - [9.8, 0.0])) < 0.15
    assert np.linalg.eigvalsh(track.position.covariance).max() < 0.05
    assert track.seen_at == pytest.approx(0.4)


def test_the_track_update_is_kalmans():
    P = np.array([[1.0, 0.2], [0.2, 0.5]])
    track = tracking.start(Gaussian(np.array([10.0, 0.0]), P))
    after = tracking.update(track, np.array([10.6, 0.3]), 20, 1.0)
    information = np.linalg.inv((tracking.BODY**2 / 20 + 0.01) * np.eye(2))
    exact = np.linalg.inv(np.linalg.inv(P) + information)
    np.testing.assert_allclose(after.position.covariance, exact)
    np.testing.assert_allclose(after.position.mean, track.position.mean + exact @ information @ [0.6, 0.3])
