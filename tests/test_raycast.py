"""The rasteriser against every beam on every solid, one by one, in double precision."""

from math import cos, inf, sin

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from filters.jit import jit
from filters.models.attitude import rotation
from filters.models.incidence import meet, standing
from filters.models.shapes import BOX, CYLINDER, ELLIPSOID, GROUND, JERSEY, NOTHING, BagPrior, BarrierPrior, Solids
from filters.spec import Pose
from fogsim.sensors.lidar import Lidar, grid, map_surfaces
from fogsim.sensors.raycast import around, cast
from fogsim.sensors.windows import windows_of
from fogsim.world.setting import Road
from fogsim.world.solids import ASPHALT, join, road_map
from tests import reference

POSE = Pose(1.0, -0.3, 0.9, 0.2)
NONE = Solids(*np.zeros((len(Solids._fields), 0)))
KINDS = {"box": BOX, "ellipsoid": ELLIPSOID, "cylinder": CYLINDER, "jersey": JERSEY}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
UP = np.radians(np.linspace(-30.0, 25.0, 40))
AROUND = -np.pi + 2.0 * np.pi / 180 * (np.arange(180) + 0.5)


def solids_of(rows):
    """Solids from rows (kind, x, y, z, hx, hy, hz, yaw, pitch, roll)."""
    table = np.array(rows, dtype=float).reshape(len(rows), 10)
    n = len(table)
    return Solids(*(c.copy() for c in table.T), np.full(n, 0.3), np.ones(n), np.full(n, 0.02), np.full(n, 0.1))


def scatter(rng, n, kinds=tuple(KINDS.values()), tilt=3.0):
    """n solids about the origin in any attitude, some around or above a sensor there."""
    place = rng.normal(0.0, [8.0, 8.0, 2.0], (n, 3))
    half = np.exp(rng.uniform(np.log(0.1), np.log(4.0), (n, 3)))
    attitude = np.column_stack([rng.uniform(-4.0, 4.0, n), rng.uniform(-tilt, tilt, (n, 2))])
    return solids_of(np.column_stack([rng.choice(kinds, n), place, half, attitude]))


@jit
def brute(solids, pose, elevation, azimuth, depth, ground):
    """Ranges, cosines and indices of the nearest surfaces by trying all; equal ranges in order of index."""
    shape = (elevation.size, azimuth.size, depth)
    distance, cosine, index = np.full(shape, inf), np.zeros(shape), np.full(shape, NOTHING)
    view = rotation(pose.yaw, pose.pitch, pose.roll)
    for r in range(shape[0]):
        for c in range(shape[1]):
            x, y, z = cos(elevation[r]) * cos(azimuth[c]), cos(elevation[r]) * sin(azimuth[c]), sin(elevation[r])
            rise = view[2][0] * x + view[2][1] * y + view[2][2] * z
            if ground and rise < 0.0:
                distance[r, c, 0], cosine[r, c, 0], index[r, c, 0] = -pose.z / rise, -rise, GROUND
            for i in range(solids.x.size):
                hit, incidence = meet(standing(solids, i, pose, view), x, y, z)
                for k in range(depth):
                    if hit < distance[r, c, k]:
                        held = distance[r, c, k], cosine[r, c, k], index[r, c, k]
                        distance[r, c, k], cosine[r, c, k], index[r, c, k] = hit, incidence, i
                        for j in range(k + 1, depth):
                            after = distance[r, c, j], cosine[r, c, j], index[r, c, j]
                            distance[r, c, j], cosine[r, c, j], index[r, c, j] = held
                            held = after
                        break
    return distance, cosine, index


def grown(solids, factor):
    """The solids with other half extents."""
    return solids._replace(hx=solids.hx * factor, hy=solids.hy * factor, hz=solids.hz * factor)


def assert_same(solids, pose, elevation, azimuth, depth, ground, allowed=0.0):
    """`cast` against `brute`, but for beams that graze an edge: there solids a little larger or smaller differ.

    `allowed`: share of the beams that may differ all the same.
    """
    hits = cast(solids, pose, elevation, azimuth, depth, ground)
    expected = brute(solids, pose, elevation, azimuth, depth, ground)
    others = [brute(grown(solids, f), pose, elevation, azimuth, depth, ground) for f in (1.0 + 2e-5, 1.0 - 2e-5)]
    with np.errstate(invalid="ignore"):
        clear = np.ones(hits.what.shape, bool)
        for other in others:
            clear &= (other[2] == expected[2]) & ~(np.abs(other[0] - expected[0]) > 1e-3 * expected[0])
        apart = np.abs(hits.range - expected[0]) > 1e-4 * expected[0]
    apart |= np.isinf(hits.range) != np.isinf(expected[0])
    wrong = apart | (hits.what != expected[2]) | (np.abs(hits.cosine - expected[1]) > 2e-3)
    whole = clear.all(axis=-1)
    assert whole.mean() > 0.9
    assert wrong[whole].any(axis=-1).mean() <= allowed
    return hits


@given(st.integers(0, 2**32), st.integers(0, 12), st.integers(1, 4), st.booleans(), st.booleans())
@settings(max_examples=80, deadline=None)
def test_cast_tries_all_solids_on_all_beams(seed, n, depth, ground, tilted):
    """Kinds, attitudes and mounts of any sort; sensors inside, under and above solids; all round and steep beams."""
    rng = np.random.default_rng(seed)
    angles = rng.uniform(-0.6, 0.6, 2) if tilted else np.zeros(2)
    pose = Pose(*rng.normal(0.0, 1.0, 2), rng.uniform(0.5, 2.5), rng.uniform(-4.0, 4.0), *angles)
    elevation = np.sort(rng.uniform(-1.55, 1.55, 24))
    start, width = rng.uniform(-np.pi, np.pi), rng.uniform(0.2, 2.0 * np.pi)
    azimuth = start + width / 90 * np.arange(90)
    assert_same(scatter(rng, n), pose, elevation, azimuth, depth, ground, allowed=0.002)


@pytest.mark.parametrize("depth", [1, 3])
def test_a_street_differs_on_fewer_than_one_in_ten_thousand_beams(depth):
    """No beam left out: a full sweep on 60 solids of all kinds and attitudes."""
    rng = np.random.default_rng(7)
    solids = scatter(rng, 60)._replace(x=rng.uniform(-40.0, 40.0, 60), y=rng.uniform(-25.0, 25.0, 60))
    pose = Pose(0.2, 0.1, 1.8, 0.3)
    elevation, azimuth = np.radians(np.linspace(-24.8, 2.0, 64)), -np.pi + 2.0 * np.pi / 1800 * np.arange(1800)
    hits = cast(solids, pose, elevation, azimuth, depth, True)
    distance, _, index = brute(solids, pose, elevation, azimuth, depth, True)
    assert (hits.what != index).mean() < 1e-4
    same = (hits.what == index) & (index != NOTHING)
    assert (np.abs(hits.range[same] / distance[same] - 1.0) > 1e-4).mean() < 1e-4


@pytest.mark.parametrize("ground", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_cast_is_the_references_double_loop(depth, ground):
    rng = np.random.default_rng(depth)
    places = np.column_stack([rng.uniform(3.0, 20.0, 12), rng.uniform(-5.0, 5.0, 12)])
    strewn = join(
        BarrierPrior().solids(places[:6], rng.standard_normal((6, 4))),
        BagPrior().solids(places[6:], rng.standard_normal((6, 3))),
    )
    solids = join(strewn, road_map(Road()))
    elevation, azimuth = np.radians(np.linspace(-15.0, 8.0, 14)), np.radians(np.linspace(-40.0, 40.0, 50))
    hits = cast(solids, POSE, elevation, azimuth, depth, ground)
    several = 0
    for r, up in enumerate(elevation):
        for c, bearing in enumerate(azimuth):
            expected = reference.cast(solids, POSE, up, bearing, ground)[:depth]
            several += len(expected) > 1
            expected += [(np.inf, 0.0, NOTHING)] * (depth - len(expected))
            distance, cosine, index = (np.array(v) for v in zip(*expected, strict=True))
            assert hits.range[r, c] == pytest.approx(distance, rel=1e-6)
            assert hits.cosine[r, c] == pytest.approx(cosine, abs=2e-5)  # single precision, worst on small far balls
            assert (hits.what[r, c] == index).all()
    assert several > 10 or depth == 1


def test_flat_ground_lies_at_height_over_sine():
    elevation, azimuth = np.radians([-15.0, -1.0, 0.0, 5.0]), np.radians([-30.0, 0.0, 30.0])
    hits = cast(NONE, POSE, elevation, azimuth, 1, True)
    assert hits.range[:2, :, 0] == pytest.approx(np.repeat(0.9 / np.sin(-elevation[:2]), 3).reshape(2, 3))
    assert hits.cosine[:2, :, 0] == pytest.approx(np.repeat(np.sin(-elevation[:2]), 3).reshape(2, 3))
    assert (hits.what[:2] == GROUND).all()
    assert np.isinf(hits.range[2:]).all()
    assert (hits.what[2:] == NOTHING).all()
    assert not hits.cosine[2:].any()


def test_ground_of_a_tilted_sensor_is_the_plane_below_it():
    pose = Pose(3.0, 1.0, 1.2, 0.4, 0.3, -0.2)
    hits = cast(NONE, pose, UP, AROUND, 1, True)
    beams = np.stack([reference.direction_of(u, a) for u in UP for a in AROUND])
    rise = (beams @ Rotation.from_euler("ZYX", pose[3:]).as_matrix().T)[:, 2].reshape(UP.size, AROUND.size)
    assert (hits.what[..., 0] == np.where(rise < 0.0, GROUND, NOTHING)).all()
    down = rise < -0.02  # nearer to the horizon, range magnifies the rounding of a direction
    assert hits.range[down, 0] == pytest.approx(-1.2 / rise[down], rel=1e-5)
    assert hits.cosine[down, 0] == pytest.approx(-rise[down], rel=1e-5)


def test_without_solids_and_ground_there_is_nothing():
    hits = cast(NONE, POSE, np.array([-0.2, 0.1]), np.array([0.0, 0.1]), 3, False)
    assert hits.range.shape == (2, 2, 3)
    assert np.isinf(hits.range).all()
    assert (hits.what == NOTHING).all()
    assert not hits.cosine.any()


def test_beams_parallel_to_faces():
    """Straight ahead between the planes of a box's sides, along them, and beside them."""
    beam = np.array([0.0]), np.array([0.0])
    for y, met in ((0.0, True), (0.999, True), (1.001, False)):
        hits = cast(solids_of([(BOX, 4.0, y, 1.0, 1.0, 1.0, 1.0, 0, 0, 0)]), Pose(0.0, 0.0, 1.0, 0.0), *beam, 1, False)
        assert (hits.range[0, 0, 0] == pytest.approx(3.0)) == met
        assert hits.cosine[0, 0, 0] == pytest.approx(float(met))
    for z in (0.0, 2.0):  # the beam runs in the plane of a face
        hits = cast(solids_of([(BOX, 4.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0, 0, 0)]), Pose(0.0, 0.0, z, 0.0), *beam, 1, False)
        assert hits.what[0, 0, 0] == NOTHING or hits.range[0, 0, 0] == pytest.approx(3.0)


@EVERY_KIND
def test_a_solid_around_the_sensor_is_not_seen(kind):
    around, beyond = (kind, 0.3, 0.2, 0.5, 2.0, 2.0, 2.0, 0.3, 0.1, -0.2), (BOX, 9.0, 0, 0.5, 1, 4, 3, 0, 0, 0)
    pose = Pose(0.0, 0.0, 0.2, 0.0)
    assert (cast(solids_of([around]), pose, UP, AROUND, 2, False).what == NOTHING).all()
    both, alone = (cast(solids_of(rows), pose, UP, AROUND, 1, True) for rows in ([beyond, around], [beyond]))
    assert (alone.what == 0).any()
    for found, expected in zip(both, alone, strict=True):
        assert (found == expected).all()


def test_a_sensor_in_a_barriers_foot_does_not_see_its_upper_part():
    pose = Pose(-0.25, 0.0, 0.02, 0.0)
    assert (
        cast(solids_of([(JERSEY, 0, 0, 0.4, 0.3, 2.0, 0.4, 0, 0, 0)]), pose, UP, AROUND, 1, False).what == NOTHING
    ).all()


@EVERY_KIND
@pytest.mark.parametrize("azimuth", [AROUND, AROUND + np.pi + 1e-3, AROUND + 0.3], ids=["pi", "two pi", "skew"])
def test_an_object_behind_straddles_the_seam(kind, azimuth):
    """What stands across the first and the last column is seen in both, as if ego had turned."""
    solids = solids_of([(kind, 5.0 * cos(a), 5.0 * sin(a), 0.6, 0.5, 1.2, 0.6, 0.4, 0, 0) for a in (azimuth[0], 1.0)])
    hits = assert_same(solids, Pose(0.0, 0.0, 0.9, 0.0), UP, azimuth, 2, True)
    assert (hits.what[:, 0, 0] == 0).any()
    assert (hits.what[:, -1, 0] == 0).any()
    turned = cast(solids, Pose(0.0, 0.0, 0.9, azimuth[90] - azimuth[0]), UP, azimuth, 2, True)
    assert np.roll(turned.range, 90, axis=1) == pytest.approx(hits.range, rel=1e-5)


@EVERY_KIND
def test_a_tilted_mount_is_a_tilted_world(kind):
    rng = np.random.default_rng(3)
    solids = scatter(rng, 9, kinds=(kind,))
    pose = Pose(0.4, -0.2, 1.5, 0.7, 0.35, -0.5)
    R = Rotation.from_euler("ZYX", pose[3:])
    place = R.inv().apply(np.column_stack([solids.x, solids.y, solids.z]) - np.array(pose[:3]))
    attitude = (R.inv() * Rotation.from_euler("ZYX", np.column_stack(solids[7:10]))).as_euler("ZYX")
    moved = Solids(solids.kind, *place.T.copy(), *solids[4:7], *attitude.T.copy(), *solids[10:])
    found = assert_same(solids, pose, UP, AROUND, 3, False)
    level = cast(moved, Pose(0.0, 0.0, 0.0, 0.0), UP, AROUND, 3, False)
    same = found.what == level.what
    assert same.mean() > 0.999
    assert found.range[same] == pytest.approx(level.range[same], rel=1e-4)
    assert (found.what[..., 0] != NOTHING).sum() > 200


def test_a_solid_overhead_is_seen_all_round():
    above = solids_of([(BOX, 0.0, 0.0, 3.0, 1.0, 1.0, 0.2, 0.3, 0.0, 0.0)])
    hits = cast(above, Pose(0.1, 0.2, 1.0, 0.0), np.radians([30.0, 60.0, 85.0]), AROUND, 1, True)
    assert (hits.what[2] == 0).all()
    assert (hits.what[0] == NOTHING).all()


def test_a_porous_thing_lists_what_stands_behind_it():
    bag = BagPrior().solids(np.array([[8.0, 0.0]]), np.zeros((1, 3)))
    barrier = BarrierPrior().solids(np.array([[12.0, 0.0]]), np.full((1, 4), 0.0))
    hits = cast(join(barrier, bag), Pose(0.0, 0.0, 0.4, 0.0), np.array([0.0]), np.array([0.0]), 3, False)
    assert hits.what[0, 0].tolist() == [1, 0, NOTHING]
    assert hits.range[0, 0, 0] < 8.0 < hits.range[0, 0, 1] == pytest.approx(11.8)


def test_layers_run_near_to_far_and_are_the_same_for_every_depth():
    solids = scatter(np.random.default_rng(11), 30)
    deep = cast(solids, POSE, UP, AROUND, 6, True)
    assert (deep.range[..., 1:] >= deep.range[..., :-1]).all()
    assert (deep.what[..., 2] != NOTHING).sum() > 400
    for depth in (1, 2, 4):
        for found, expected in zip(cast(solids, POSE, UP, AROUND, depth, True), deep, strict=True):
            assert (found == expected[..., :depth]).all()


def test_of_two_at_one_range_the_ground_then_the_lower_index_comes_first():
    one = (BOX, 6.0, 0.0, 0.5, 0.5, 2.0, 0.5, 0.2, 0.0, 0.0)
    hits = cast(solids_of([one, one, one]), Pose(0.0, 0.0, 0.4, 0.0), UP, AROUND, 3, False)
    met = hits.what[..., 0] != NOTHING
    assert met.sum() > 20
    assert (hits.what[met] == [0, 1, 2]).all()
    buried = (BOX, 0.0, 0.0, -1.0, 50.0, 50.0, 1.0, 0.0, 0.0, 0.0)  # its top is the ground
    hits = cast(solids_of([buried]), Pose(0.0, 0.0, 1.0, 0.0), np.array([-0.5]), np.array([0.0]), 2, True)
    assert hits.what[0, 0].tolist() == [GROUND, 0]


@pytest.mark.parametrize("azimuth", [np.linspace(-np.pi, np.pi, 3600), np.linspace(0.2, 0.3, 2), np.array([1.0])])
def test_cosines_and_sines_of_a_grid(azimuth):
    np.testing.assert_allclose(around(azimuth), (np.cos(azimuth), np.sin(azimuth)), atol=1e-12)


def test_windows_are_near_to_far_and_small():
    """A window holds a few times the beams that meet its solid at most, or cost would not fall with size."""
    rng = np.random.default_rng(5)
    solids = scatter(rng, 40, tilt=0.0)
    solids = solids._replace(x=solids.x + 20.0 * np.sign(solids.x), hx=np.full(40, 0.8), hy=np.full(40, 2.0))
    windows = windows_of(solids, POSE, UP, AROUND)
    assert (np.diff(windows.nearness) <= 0.0).all()
    area = (windows.last_ring - windows.ring) * (windows.last_column - windows.column)
    met = [
        (brute(Solids(*(c[i : i + 1] for c in solids)), POSE, UP, AROUND, 1, False)[2] == 0).sum() for i in range(40)
    ]
    assert area.sum() < 2.5 * sum(met)


def test_single_precision_in_single_precision_out():
    hits = cast(scatter(np.random.default_rng(0), 3), POSE, UP, AROUND, 2, True)
    assert [a.dtype for a in hits] == [np.float32, np.float32, np.int32]


def test_map_surfaces_are_the_first_of_the_map_with_its_reflectance():
    lidar, solids = Lidar(columns=40), road_map(Road())
    surfaces = map_surfaces(solids, POSE, lidar)
    elevation, azimuth = grid(lidar)
    for r, up in enumerate(elevation):
        for c, bearing in enumerate(azimuth):
            first = next(iter(reference.cast(solids, POSE, up, bearing, True)), (np.inf, 0.0, NOTHING))
            reflectance = {NOTHING: 0.0, GROUND: ASPHALT}.get(first[2])
            reflectance = solids.reflectance[first[2]] if reflectance is None else reflectance
            found = [values[r, c] for values in surfaces]
            assert found == pytest.approx([first[0], first[1], reflectance])
