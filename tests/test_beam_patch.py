"""The picture of the beams about a candidate: which beam each cell shows, and what it shows of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from filters.beam_patch import (
    BEHIND,
    CHANNELS,
    COLUMNS,
    DEEP,
    ROWS,
    SCALARS,
    SIZE,
    TALL,
    WIDE,
    beams,
    mirrored,
    patch,
    place_of,
)
from filters.spec import FEATURES, Pose, Scan, Surfaces
from fogsim.background import background_of
from fogsim.dataset import patch_of, usable
from fogsim.sensors.lidar import grid
from fogsim.sensors.presets import HDL_64
from tests.encounters import LIDAR, NOTHING_THERE, REST, drive, encounter, percepts_of, sweep

TURNED = Pose(3.0, -1.0, 1.2, 0.05, 0.03, -0.02)
POWERFUL = 100.0


def features(distance=10.0, lateral=0.0, log_visibility=3.5):
    values = np.zeros(len(FEATURES))
    for name, value in (("distance", distance), ("lateral", lateral), ("log_visibility", log_visibility)):
        values[FEATURES.index(name)] = value
    return values


def empty(pose=REST, lidar=LIDAR, echoes=2):
    """A scan without an echo, of a world without a background."""
    elevation, azimuth = grid(lidar)
    shape = len(elevation), len(azimuth)
    nothing = Surfaces(np.full(shape, np.inf), np.ones(shape), np.zeros(shape))
    none = np.zeros((*shape, echoes))
    return Scan(elevation, azimuth, pose, none, none.copy(), np.ones(shape, bool), nothing)


def noisy(seed, pose=REST, lidar=LIDAR):
    """Any echoes, before any background, some beams not scanned."""
    rng, scan = np.random.default_rng(seed), empty(pose, lidar)
    shape = scan.range.shape
    known = scan.background._replace(range=rng.uniform(5.0, 15.0, shape[:2]))
    powers = np.where(rng.random(shape) < 0.7, rng.uniform(0.5, 500.0, shape), 0.0)
    return scan._replace(
        range=rng.uniform(8.0, 12.0, shape), power=powers, scanned=rng.random(shape[:2]) < 0.8, background=known
    )


def with_echo(scan, ring, column, distance, power=POWERFUL, echo=0):
    ranges, powers = scan.range.copy(), scan.power.copy()
    ranges[ring, column, echo], powers[ring, column, echo] = distance, power
    return scan._replace(range=ranges, power=powers)


def shown(scan, values):
    """The picture by channel (ROWS, COLUMNS)."""
    cells = patch(scan, values)[: SIZE - len(SCALARS)].reshape(len(CHANNELS), ROWS, COLUMNS)
    return dict(zip(CHANNELS, cells, strict=True))


def cells(place, pose):
    """Where (ROWS, COLUMNS, 3) the cells are, one by one."""
    dx, dy = place[0] - pose.x, place[1] - pose.y
    sight = np.array([dx, dy]) / np.hypot(dx, dy)
    points = np.empty((ROWS, COLUMNS, 3))
    for row in range(ROWS):
        for column in range(COLUMNS):
            left = (column + 0.5) * WIDE / COLUMNS - 0.5 * WIDE
            points[row, column, :2] = place[0] - left * sight[1], place[1] + left * sight[0]
            points[row, column, 2] = (row + 0.5) * TALL / ROWS
    return points


def middle(scan, values):
    """Ring, column, distance and cell of a beam in the middle of the picture."""
    ring, column, wall = beams(scan, place_of(values, scan.pose))
    cell = ROWS // 2, COLUMNS // 2
    return ring[cell], column[cell], wall[cell], (ring == ring[cell]) & (column == column[cell])


# Which beams


@pytest.mark.parametrize("lidar", [LIDAR, HDL_64], ids=["16 rings", "64 rings"])
@pytest.mark.parametrize(("place", "pose"), [((10.0, 0.3), REST), ((18.0, -1.5), TURNED), ((5.5, 1.0), TURNED)])
def test_each_cell_shows_the_beam_nearest_to_it(place, pose, lidar):
    scan = empty(pose, lidar)
    ring, column, wall = beams(scan, np.array(place))
    turned = Rotation.from_euler("ZYX", [pose.yaw, pose.pitch, pose.roll])
    for row, points in enumerate(cells(place, pose)):
        for k, point in enumerate(points):
            own = turned.inv().apply(point - [pose.x, pose.y, pose.z])
            assert wall[row, k] == pytest.approx(np.linalg.norm(own))
            elevation, azimuth = np.arcsin(own[2] / np.linalg.norm(own)), np.arctan2(own[1], own[0])
            off = (scan.elevation[:, None] - elevation) ** 2 + (scan.azimuth - azimuth) ** 2
            assert off[ring[row, k], column[row, k]] == pytest.approx(off.min(), rel=1e-9)


def test_the_picture_is_where_perception_looked():
    frames = 0
    for look in drive(encounter("barrier"), 3)[1]:
        seen = look.percepts[0].features
        if seen is not None and seen.detected:
            np.testing.assert_allclose(place_of(seen.values, look.percepts[0].scan.pose), seen.position, atol=1e-6)
            frames += 1
    assert frames > 20
    unseen = percepts_of(sweep(NOTHING_THERE, 60.0), (8.0, 0.4), visibility=60.0)[0]
    assert not unseen.features.detected
    np.testing.assert_allclose(place_of(unseen.features.values, unseen.scan.pose), [8.0, 0.4])


# What they show


@pytest.mark.parametrize("pose", [REST, TURNED], ids=["at rest", "turned"])
def test_an_echo_at_the_wall_is_shown_in_its_cells_and_no_others(pose):
    values = features(12.0, pose.y + 0.4)
    ring, column, wall, mine = middle(empty(pose), values)
    picture = shown(with_echo(empty(pose), ring, column, wall), values)
    np.testing.assert_array_equal(picture["echo"], mine)
    assert picture["depth"][ROWS // 2, COLUMNS // 2] == pytest.approx(0.0, abs=1e-6)
    assert np.abs(picture["depth"]).max() < 0.05
    np.testing.assert_allclose(picture["log_power"], mine * (np.log(POWERFUL) / 3.0 - 1.0), rtol=1e-5)
    assert not picture["background"].any()
    assert picture["scanned"].all()


@pytest.mark.parametrize(("off", "expected"), [(0.6, 0.5), (-0.6, -0.5), (2.0, None), (-2.0, None), (1.3, None)])
def test_depth_is_before_or_behind_the_wall_and_what_is_far_off_is_not_shown(off, expected):
    ring, column, wall, mine = middle(empty(), features())
    picture = shown(with_echo(empty(), ring, column, wall + off), features())
    if expected is None:
        assert not any(picture[name].any() for name in ("echo", "depth", "log_power"))
    else:
        assert picture["depth"][ROWS // 2, COLUMNS // 2] == pytest.approx(expected, abs=1e-6)
        np.testing.assert_array_equal(picture["echo"], mine)


def test_left_is_left_and_above_is_above():
    scan, values = empty(), features()
    ring, column, wall = beams(scan, place_of(values, scan.pose))
    for cell in ((0, 2), (ROWS - 1, COLUMNS - 3)):
        picture = shown(with_echo(scan, ring[cell], column[cell], wall[cell]), values)
        assert picture["echo"][cell] == 1.0
    assert scan.azimuth[column[0, -1]] > scan.azimuth[column[0, 0]]
    assert scan.elevation[ring[-1, 0]] > scan.elevation[ring[0, 0]]


@pytest.mark.parametrize(("power", "depth"), [(60.0, 0.25), (600.0, -0.5)])
def test_of_two_echoes_the_strongest_is_shown(power, depth):
    ring, column, wall, _ = middle(empty(), features())
    scan = with_echo(empty(), ring, column, wall + 0.25 * DEEP, 100.0)
    picture = shown(with_echo(scan, ring, column, wall - 0.5 * DEEP, power, echo=1), features())
    cell = ROWS // 2, COLUMNS // 2
    assert picture["depth"][cell] == pytest.approx(depth, abs=1e-6)
    assert picture["log_power"][cell] == pytest.approx(np.log(max(power, 100.0)) / 3.0 - 1.0, rel=1e-6)


def test_a_stronger_echo_far_behind_does_not_hide_one_at_the_wall():
    ring, column, wall, mine = middle(empty(), features())
    scan = with_echo(empty(), ring, column, wall + 9.0, 1e4)
    picture = shown(with_echo(scan, ring, column, wall, 2.0, echo=1), features())
    np.testing.assert_array_equal(picture["echo"], mine)
    assert picture["log_power"][mine] == pytest.approx(np.log(2.0) / 3.0 - 1.0, rel=1e-6)


@pytest.mark.parametrize(("off", "expected"), [(0.0, True), (0.9 * BEHIND, True), (-0.9 * BEHIND, True), (0.5, False)])
def test_an_echo_of_the_known_background_says_that_the_beam_passed(off, expected):
    ring, column, wall, mine = middle(empty(), features())
    known = empty().background.range.copy()
    known[ring, column] = wall + 8.0
    scan = with_echo(empty(), ring, column, wall + 8.0 + off, echo=1)
    picture = shown(scan._replace(background=scan.background._replace(range=known)), features())
    np.testing.assert_array_equal(picture["background"], mine & expected)
    assert not picture["echo"].any()


def test_a_range_without_power_is_no_echo():
    ring, column, wall, _ = middle(empty(), features())
    scan = with_echo(empty(), ring, column, wall, power=0.0)
    picture = shown(scan._replace(background=scan.background._replace(range=scan.range[..., 0])), features())
    assert not any(picture[name].any() for name in ("echo", "depth", "log_power", "background"))


def test_of_a_beam_that_was_not_scanned_only_the_height_is_shown():
    scan, values = noisy(1), features()
    ring, column, _ = beams(scan, place_of(values, scan.pose))
    picture = shown(scan, values)
    assert (picture["scanned"] == scan.scanned[ring, column]).all()
    blind = picture["scanned"] == 0.0
    assert 0 < blind.sum() < blind.size
    assert picture["echo"][~blind].any()
    assert picture["background"][~blind].any()
    for name in set(CHANNELS) - {"height"}:
        assert not picture[name][blind].any()
    unhidden = shown(scan._replace(scanned=np.ones_like(scan.scanned)), values)
    np.testing.assert_array_equal(picture["height"], unhidden["height"])
    np.testing.assert_array_equal(picture["depth"][~blind], unhidden["depth"][~blind])


def test_height_is_that_at_which_the_shown_beam_passes():
    scan, values = empty(TURNED), features(9.0, TURNED.y)
    place = place_of(values, TURNED)
    ring, column, wall = beams(scan, place)
    picture = shown(scan, values)
    turned = Rotation.from_euler("ZYX", [TURNED.yaw, TURNED.pitch, TURNED.roll])
    for cell in ((0, 0), (2, 11), (ROWS - 1, COLUMNS - 1)):
        e, a = scan.elevation[ring[cell]], scan.azimuth[column[cell]]
        beam = [np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)]
        height = TURNED.z + wall[cell] * turned.apply(beam)[2]
        assert picture["height"][cell] == pytest.approx(np.clip(height / TALL, -2.0, 3.0), abs=1e-6)
    assert len(np.unique(ring)) < ROWS  # so that rows share beams
    assert picture["height"].min() < 0.3


def test_the_numbers_beside_the_picture_are_distance_and_fog():
    assert patch(empty(), features(np.exp(2.0), log_visibility=4.25))[-2:] == pytest.approx([-0.5, 0.75])
    assert patch(empty(), features(0.2))[-2] == pytest.approx(-2.5)


# In a mirror


def test_a_mirror_image_mirrored_is_the_picture():
    pictures = np.random.default_rng(0).normal(size=(3, SIZE)).astype(np.float32)
    once = mirrored(pictures)
    np.testing.assert_array_equal(mirrored(once), pictures)
    cells, turned = (p[1, : SIZE - len(SCALARS)].reshape(-1, ROWS, COLUMNS) for p in (pictures, once))
    np.testing.assert_array_equal(turned[2, 3, 0], cells[2, 3, -1])
    np.testing.assert_array_equal(once[:, -len(SCALARS) :], pictures[:, -len(SCALARS) :])
    assert once.dtype == np.float32


@pytest.mark.parametrize("seed", range(4))
def test_the_picture_of_a_scene_in_a_mirror_is_the_mirror_image(seed):
    scan, a = noisy(seed), 0.37 * seed + 0.123
    np.testing.assert_allclose(-scan.azimuth[::-1], scan.azimuth, atol=1e-12)
    flipped = scan._replace(
        range=scan.range[:, ::-1],
        power=scan.power[:, ::-1],
        scanned=scan.scanned[:, ::-1],
        background=Surfaces(*(part[:, ::-1] for part in scan.background)),
    )
    one, other = patch(scan, features(10.0, a)), patch(flipped, features(10.0, -a))
    np.testing.assert_allclose(mirrored(other[None])[0], one, atol=1e-5)
    assert np.abs(other - one).max() > 0.5


# Always


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from([1e-3, 1.0, 1e6, 1e30]),
    st.floats(-1e12, 1e12),
    st.floats(-1e12, 1e12),
    st.sampled_from([REST, TURNED, Pose(-40.0, 8.0, 0.2, 3.0, 1.0, -0.7)]),
)
def test_all_is_finite_of_any_scan(seed, scale, distance, lateral, pose):
    scan = noisy(seed, pose)
    rng = np.random.default_rng(seed)
    known = np.where(rng.random(scan.scanned.shape) < 0.5, np.inf, scan.background.range)
    wild = scan._replace(
        range=scale * scan.range, power=scan.power / scale, background=scan.background._replace(range=known)
    )
    for values in (features(distance, lateral), features(10.0, 0.0), features(0.0, pose.y)):
        picture = patch(wild, values)
        assert picture.shape == (SIZE,)
        assert picture.dtype == np.float32
        assert np.isfinite(picture).all()
        height = shown(wild, values)["height"]
        np.testing.assert_array_equal(np.clip(height, -2.0, 3.0), height)


# In training


@pytest.mark.parametrize(("kind", "seed"), [("bag", 1), ("barrier", 2)])
def test_a_network_learns_of_the_pictures_that_a_filter_makes(kind, seed):
    scenario = encounter(kind)
    frames, looks = drive(scenario, seed)
    background, seen = background_of(scenario), 0
    for frame, look in zip(frames, looks, strict=True):
        if not usable(frame):
            continue
        (percept,) = look.percepts
        learnt = patch_of(frame, scenario, background).astype(np.float16)
        as_logged = patch(percept.scan, percept.features.values.astype(np.float32).astype(float))
        np.testing.assert_array_equal(learnt, as_logged.astype(np.float16))
        # A frame's features are of half the digits: what is made of all of them differs by the last digit kept.
        np.testing.assert_allclose(learnt, patch(percept.scan, percept.features.values), atol=1e-3)
        seen += int(learnt[ROWS * COLUMNS : 2 * ROWS * COLUMNS].any())
    assert seen > 10
