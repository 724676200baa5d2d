"""A sweep as the street: how it is stood on its road, and what a lidar sees of it as ego moves."""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from filters.spec import Pose
from fogsim.errors import UserError
from fogsim.scans import RealScan, read_scan
from fogsim.world import street as street_module
from fogsim.world.street import clear_corridor, real_street, street_surfaces
from tests import reference

HEIGHT, WALL_X, WALL_TOP = 1.73, 30.0, 4.0
POLE = np.array([12.0, 1.0])
POLE_RADIUS = 0.15
PITCH, ROLL = 0.02, -0.015
ELEVATION = np.radians(np.linspace(-15.0, 15.0, 16))
AZIMUTH = np.radians(np.linspace(-60.0, 60.0, 601))
AHEAD = 300
LIDAR = 0.9


def sensor_axes():
    """Rotation from the tilted sensor into the world: roll, then pitch, no yaw."""
    cp, sp, cr, sr = np.cos(PITCH), np.sin(PITCH), np.cos(ROLL), np.sin(ROLL)
    return np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]]) @ np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])


def generated_sweep():
    """(n, 4) points and intensities, shuffled: a road, a wall across it, a pole; the bonnet, and a mirror image."""
    elevation, azimuth = np.meshgrid(np.radians(np.linspace(-24.8, 6.0, 70)), np.radians(np.arange(-80, 80, 0.18)))
    level = np.cos(elevation)
    ray = np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)], -1).reshape(-1, 3)
    ray = ray @ sensor_axes().T
    with np.errstate(divide="ignore", invalid="ignore"):
        road = np.where(ray[:, 2] < 0, -HEIGHT / ray[:, 2], np.inf)
        wall = WALL_X / ray[:, 0]
        wall[HEIGHT + wall * ray[:, 2] > WALL_TOP] = np.inf
        flat = ray[:, :2]
        b, a = flat @ POLE, (flat**2).sum(axis=1)
        pole = (b - np.sqrt(b * b - a * (POLE @ POLE - POLE_RADIUS**2))) / a
    surfaces = np.stack([road, wall, np.where(np.isnan(pole), np.inf, pole)])
    distance = surfaces.min(axis=0)
    seen = distance < 90.0
    world = ray[seen] * distance[seen, None]
    intensity = np.array([0.3, 0.6, 0.9])[surfaces.argmin(axis=0)[seen]]
    extra = np.array([[1.5, 0.3, -0.8], [10.0, 0.0, -3.0 - HEIGHT]])  # the bonnet, an image in wet asphalt
    points = np.vstack([world @ sensor_axes(), extra])
    rows = np.column_stack([points, [*intensity, 0.1, 0.1]])
    return np.random.default_rng(0).permutation(rows)


@pytest.fixture(scope="module")
def sweep():
    return generated_sweep()


@pytest.fixture(scope="module")
def street(sweep):
    return real_street(RealScan(sweep[:, :3], sweep[:, 3], "kitti", 0), HEIGHT)


def look(street, x=0.0, y=0.0, yaw=0.0, elevation=ELEVATION, azimuth=AZIMUTH):
    return street_surfaces(street, Pose(x, y, LIDAR, yaw), elevation, azimuth)


# Standing the sweep on its road


def test_the_tilted_road_becomes_level(street):
    assert street.height == pytest.approx(HEIGHT, abs=0.01)
    up = sensor_axes()[2]  # the world's up in the sensor's axes
    np.testing.assert_allclose(street.tilt, -up[:2] / up[2], atol=1e-3)
    x, y, z = street.points.T
    on_road = (x < WALL_X - 0.5) & (np.hypot(x - POLE[0], y - POLE[1]) > 0.3)
    assert np.abs(z[on_road]).max() < 0.06


def test_own_car_and_mirror_images_are_removed(street, sweep):
    assert len(street.points) < len(sweep)
    assert np.hypot(*street.points[:, :2].T).min() > 2.5
    assert street.points[:, 2].min() > -0.2


def test_cars_on_the_road_do_not_tilt_it(sweep):
    rng = np.random.default_rng(3)
    cars = np.column_stack([rng.uniform(8, 20, 6000), rng.uniform(-4, 0, 6000), rng.uniform(-1.5, -0.3, 6000)])
    points = np.vstack([sweep[:, :3], cars])
    scan = RealScan(points, np.full(len(points), 0.3), "kitti", 0)
    assert real_street(scan, HEIGHT).height == pytest.approx(HEIGHT, abs=0.02)


def test_a_wrong_sensor_height_is_told(sweep):
    with pytest.raises(UserError, match=r"found the road 1\.73 m .*expected 0\.90 m: set .*sensor_height=1\.73"):
        real_street(RealScan(sweep[:, :3], sweep[:, 3], "kitti", 0), 0.9)


@pytest.mark.parametrize("count", [0, 1, 40])
def test_a_sweep_without_road_is_told(sweep, count):
    points = np.random.default_rng(0).uniform([3, -4, -2], [25, 4, 2], (count, 3))
    with pytest.raises(UserError, match=r"found \d+ points of a road .*expected at least 100.*: choose a sweep"):
        real_street(RealScan(points, np.ones(count), "kitti", 0), HEIGHT)


def test_reflectance_is_tied_to_asphalt_and_any_scale_cancels(sweep, street):
    faint = real_street(RealScan(sweep[:, :3], 0.1 * sweep[:, 3], "kitti", 0), HEIGHT)
    np.testing.assert_allclose(faint.reflectance, street.reflectance, atol=1e-9)
    on_road = (street.points[:, 0] < 25) & (street.points[:, 2] < 0.1)
    assert np.median(street.reflectance[on_road]) == pytest.approx(0.15)
    assert street.reflectance[street.points[:, 2] > 0.5].min() > 0.5
    assert street.reflectance.min() >= 0.05
    assert street.reflectance.max() <= 0.9


# Looking at it


@pytest.mark.parametrize("pose", [(0.0, 0.0, 0.0), (5.0, 0.0, 0.0), (14.0, 1.5, 0.2), (22.0, -2.0, -0.1)])
def test_the_wall_is_where_it_stands(street, pose):
    x, y, yaw = pose
    seen = look(street, x, y, yaw)
    up, bearing = np.meshgrid(ELEVATION, AZIMUTH, indexing="ij")
    expected = (WALL_X - x) / np.cos(bearing + yaw) / np.cos(up)
    height = LIDAR + expected * np.sin(up)
    across = y + (WALL_X - x) * np.tan(bearing + yaw)
    on_wall = (height > 0.5) & (height < WALL_TOP - 0.5) & (np.abs(across) < 20)
    on_wall &= (across < 1.9) | (across > 3.1)  # the real sensor's own shadow of the pole
    free = on_wall & ((x > 12) | (np.abs(bearing - np.arctan2(POLE[1] - y, POLE[0] - x)) > 0.05))
    assert free.sum() > 300
    np.testing.assert_allclose(seen.range[free], expected[free], atol=0.2)
    assert np.abs(seen.range[free] - expected[free]).mean() < 0.03
    assert (seen.reflectance[free] > 0.5).all()


def test_five_metres_ahead_the_wall_is_five_metres_nearer(street):
    level = np.array([0.0])
    ahead = np.array([0.0])
    far, near = (look(street, x, -1.0, 0.0, level, ahead).range[0, 0] for x in (0.0, 5.0))
    assert far - near == pytest.approx(5.0, abs=0.02)


@pytest.mark.parametrize("x", [0.0, 6.0])
def test_the_pole_hides_the_wall_behind_it_and_nothing_beside_it(street, x):
    distance = np.hypot(POLE[0] - x, POLE[1])
    bearing = np.arctan2(POLE[1], POLE[0] - x)
    reach = np.arcsin(POLE_RADIUS / distance)
    beams = bearing + np.array([-reach - 0.02, 0.0, reach + 0.02])
    beside, on, beyond = look(street, x, 0.0, 0.0, np.array([0.0]), beams).range[0]
    assert on == pytest.approx(distance - POLE_RADIUS, abs=0.1)
    assert beside == pytest.approx((WALL_X - x) / np.cos(beams[0]), abs=0.2)
    assert beyond == pytest.approx((WALL_X - x) / np.cos(beams[2]), abs=0.2)


def test_the_pole_is_gone_once_passed(street):
    assert np.nanmin(look(street, 13.0).range[8]) > 15.0


@pytest.mark.parametrize("x", [0.0, 8.0, 16.0])
def test_ground_is_met_at_height_over_sine(street, x):
    seen = look(street, x).range[:, AHEAD]
    expected = LIDAR / np.sin(-ELEVATION[:7])
    expected = np.minimum(expected, (WALL_X - x) / np.cos(ELEVATION[:7]))
    np.testing.assert_allclose(seen[:7], expected, rtol=0.02)


def test_no_beam_passes_the_road_and_the_sky_is_empty(street):
    for x in (0.0, 10.0, 20.0):
        seen = look(street, x).range
        down = ELEVATION < 0
        assert (seen[down] <= LIDAR / np.sin(-ELEVATION[down])[:, None] + 1e-9).all()
        assert np.isinf(seen[-1, AHEAD]) == (x < 15.0)  # 15 degrees up clears a wall of 4 m from 11.6 m away


def test_holes_in_the_wall_are_bridged_as_ego_comes_near(street, monkeypatch):
    level = np.radians([1.0, 4.0])
    middle = np.radians(np.linspace(-50, 0, 251))
    assert np.isfinite(look(street, 24.0, 0.0, 0.0, level, middle).range).all()
    wide = street_module.StreetMap(
        street.points[::3], street.sampled_at[::3], street.reflectance[::3], street.height, street.tilt
    )
    bridged = look(wide, 20.0, 0.0, 0.0, level, middle).range
    monkeypatch.setattr(street_module, "bridge", lambda *_: None)
    assert np.isinf(look(wide, 20.0, 0.0, 0.0, level, middle).range).sum() > np.isinf(bridged).sum()


def test_corridor_counts_what_stands_in_it(street):
    assert clear_corridor(street, 5.0, 25.0, -2.0, 0.5) == 0
    assert clear_corridor(street, 5.0, 25.0, 0.5, 1.5) > 20
    assert clear_corridor(street, 25.0, 35.0, -2.0, 0.5) > 100


def test_beams_out_of_order_are_refused(street):
    with pytest.raises(ValueError, match="expected ascending"):
        look(street, elevation=ELEVATION[::-1])


def slow_surfaces(street, pose, elevation, azimuth):
    """NumPy twin: for each beam all points, then each gap, then the road."""
    m = street_module
    relative = street.points - [pose.x, pose.y, pose.z]
    attitude = Rotation.from_euler("ZYX", pose[3:])
    x, y, z = attitude.inv().apply(relative).T
    level, r = np.hypot(x, y), np.linalg.norm(relative, axis=1)
    up, bearing = np.arctan2(z, level), np.arctan2(y, x)
    rise = np.array([[attitude.apply(reference.direction_of(e, a))[2] for a in azimuth] for e in elevation])
    size = np.minimum(street.sampled_at / r, m.LARGEST)
    distance = np.full((len(elevation), len(azimuth)), np.inf)
    colour, cosine = np.full(distance.shape, m.ASPHALT), np.ones(distance.shape)
    for j, e in enumerate(elevation):
        for k, a in enumerate(azimuth):
            lies = (np.abs(street.points[:, 2]) <= m.FLAT) & (rise[j, k] < 0) & (relative[:, 2] < 0)
            meets = np.where(lies, relative[:, 2] / rise[j, k], r)
            covers = np.abs(up - e) <= size * m.HALF_RING
            covers &= np.abs(bearing - a) <= size * m.HALF_COLUMN * r / level
            covers &= level >= m.NEAREST
            if covers.any():
                first = np.flatnonzero(covers)[meets[covers].argmin()]
                distance[j, k], colour[j, k] = meets[first], street.reflectance[first]
                cosine[j, k] = -rise[j, k] if lies[first] else 1.0
    for d, c, i, climb in zip(distance, colour, cosine, rise, strict=True):
        known = np.flatnonzero(np.isfinite(d))
        for left, right in pairwise(known):
            alike = abs(d[left] - d[right]) <= m.ALIKE * min(d[left], d[right])
            if azimuth[right] - azimuth[left] <= m.GAP and alike:
                inside = slice(left, right + 1)
                for v in (d, c, i):
                    v[inside] = np.interp(azimuth[inside], azimuth[[left, right]], v[[left, right]])
        road = np.where(climb < 0.0, pose.z / -np.minimum(climb, -1e-12), np.inf)
        lies = (road <= m.ROAD_REACH) & (d >= road)
        i[lies], d[lies] = -climb[lies], road[lies]
    return distance, colour, cosine


@pytest.mark.parametrize(
    "pose", [(0.0, 0.0, 0.0), (9.0, 0.7, 0.3), (11.0, -1.0, 3.0), (20.0, -2.0, -0.4), (5.0, 0.3, 0.2, 0.12, -0.2)]
)
def test_kernels_equal_their_slow_twin(street, pose):
    rng = np.random.default_rng(1)
    some = rng.permutation(len(street.points))[:8000]
    sparse = street_module.StreetMap(
        street.points[some] + rng.normal(0, 0.1, (8000, 3)),
        2.0 * street.sampled_at[some],
        street.reflectance[some],
        street.height,
        street.tilt,
    )
    elevation, azimuth = np.radians(np.linspace(-14.5, 9.0, 13)), np.radians(np.linspace(-70, 70, 141))
    at = Pose(pose[0], pose[1], LIDAR, *pose[2:])
    fast = street_surfaces(sparse, at, elevation, azimuth)
    distance, colour, cosine = slow_surfaces(sparse, at, elevation, azimuth)
    np.testing.assert_allclose(fast.range, distance, rtol=1e-9)
    np.testing.assert_allclose(fast.reflectance, colour, rtol=1e-9)
    np.testing.assert_allclose(fast.cosine, cosine, rtol=1e-9)


def test_the_road_is_met_at_a_slant_and_the_wall_head_on(street):
    cosine = look(street).cosine[:, AHEAD]
    np.testing.assert_allclose(cosine[:7], np.sin(-ELEVATION[:7]))
    np.testing.assert_allclose(cosine[8:14], 1.0)
    assert cosine[7] == 1.0  # one degree down reaches the wall 30 m away before the road


# The real files


def real(name):
    folders = [os.environ.get("FOGSIM_DATA"), Path(__file__).parents[1] / ".." / "shared" / "data"]
    for folder in folders:
        if folder and (Path(folder) / name).is_file():
            return Path(folder) / name
    pytest.skip(f"{name} is neither in FOGSIM_DATA nor in ../shared/data")


REAL = {"stf_hdl64.bin": ("stf", 109_431), "kitti_000008.bin": ("kitti", 17_238)}


@pytest.fixture(params=REAL)
def real_scan(request):
    scan = read_scan(real(request.param))
    assert (scan.layout, len(scan.points) + scan.dropped) == REAL[request.param]
    return scan


def test_real_sweeps_stand_on_their_road(real_scan):
    street = real_street(real_scan, HEIGHT)
    assert street.height == pytest.approx(HEIGHT, abs=0.15)
    x, y, z = street.points.T
    road = (x > 3) & (x < 15) & (np.abs(y) < 2) & (np.abs(z) < 0.2)
    assert road.sum() > 500
    assert abs(np.median(z[road])) < 0.03


def test_real_points_are_met_by_their_own_beam(real_scan):
    """From where the sweep was taken each point is met along its own ray, or something in front of it is."""
    street = real_street(real_scan, HEIGHT)
    aside = np.array([0.0, 0.0, street.height])
    high = np.flatnonzero((street.points[:, 2] > 0.5) & (street.points[:, 0] > 3))
    error = []
    for i in np.random.default_rng(0).choice(high, 300, replace=False):
        dx, dy, dz = street.points[i] - aside
        r = float(np.sqrt(dx * dx + dy * dy + dz * dz))
        beam = np.array([np.arcsin(dz / r)]), np.array([np.arctan2(dy, dx)])
        error.append(street_surfaces(street, Pose(*aside, 0.0), *beam).range[0, 0] - r)
    assert max(error) < 1e-6
    assert np.median(np.abs(error)) < 0.05


def test_real_ground_ahead_is_met_at_height_over_sine(real_scan):
    street = real_street(real_scan, HEIGHT)
    seen = look(street, 0.0, 0.0, 0.0, np.radians([-15.0, -12.0, -10.0])).range[:, AHEAD - 10 : AHEAD + 10]
    expected = LIDAR / np.sin(np.radians([15.0, 12.0, 10.0]))
    np.testing.assert_allclose(np.median(seen, axis=1), expected, rtol=0.05)


def test_only_one_of_the_real_streets_is_clear():
    clear, cars = (real_street(read_scan(real(name)), HEIGHT) for name in REAL)
    assert clear_corridor(clear, 5.0, 35.0, -2.0, 1.0) == 0
    assert clear_corridor(cars, 5.0, 20.0, -2.0, 1.0) > 100
