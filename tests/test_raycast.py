import numpy as np
import pytest

from filters.models.optics import Optics
from filters.models.shapes import BagPrior, BarrierPrior, Solids
from filters.spec import Pose
from fogsim.errors import UserError
from fogsim.frame import POWER_UNIT, RANGE_UNIT
from fogsim.sensors.lidar import LIDAR_64, Lidar, grid, map_surfaces, quantise, scan
from fogsim.sensors.raycast import GROUND, NOTHING, cast
from fogsim.world.setting import Road
from fogsim.world.solids import ASPHALT, join, road_map
from tests import reference

POSE = Pose(1.0, -0.3, 0.9, 0.2)
NONE = Solids(*np.zeros((len(Solids._fields), 0)))


def things(n, seed):
    """n barriers and n bags strewn ahead."""
    rng = np.random.default_rng(seed)
    places = np.column_stack([rng.uniform(3.0, 20.0, 2 * n), rng.uniform(-5.0, 5.0, 2 * n)])
    boxes = BarrierPrior().solids(places[:n], rng.standard_normal((n, 4)))
    return join(boxes, BagPrior().solids(places[n:], rng.standard_normal((n, 3))))


@pytest.mark.parametrize("ground", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_cast_is_the_slow_double_loop(depth, ground):
    solids = join(things(6, depth), road_map(Road()))
    elevation, azimuth = np.radians(np.linspace(-15.0, 8.0, 14)), np.radians(np.linspace(-40.0, 40.0, 50))
    hits = cast(solids, *POSE, elevation, azimuth, depth, ground)
    several = 0
    for r, up in enumerate(elevation):
        for c, bearing in enumerate(azimuth):
            expected = reference.cast(solids, POSE, up, bearing, ground)[:depth]
            several += len(expected) > 1
            expected += [(np.inf, 0.0, NOTHING)] * (depth - len(expected))
            distance, cosine, index = (np.array(v) for v in zip(*expected, strict=True))
            assert hits.range[r, c] == pytest.approx(distance, rel=1e-9)
            assert hits.cosine[r, c] == pytest.approx(cosine, abs=1e-9)
            assert (hits.what[r, c] == index).all()
    assert several > 10 or depth == 1


def test_flat_ground_lies_at_height_over_sine():
    elevation, azimuth = np.radians([-15.0, -1.0, 0.0, 5.0]), np.radians([-30.0, 0.0, 30.0])
    hits = cast(NONE, *POSE, elevation, azimuth, 1, True)
    assert hits.range[:2, :, 0] == pytest.approx(np.repeat(0.9 / np.sin(-elevation[:2]), 3).reshape(2, 3))
    assert hits.cosine[:2, :, 0] == pytest.approx(np.repeat(np.sin(-elevation[:2]), 3).reshape(2, 3))
    assert (hits.what[:2] == GROUND).all()
    assert np.isinf(hits.range[2:]).all()
    assert (hits.what[2:] == NOTHING).all()


def test_without_solids_and_ground_there_is_nothing():
    hits = cast(NONE, *POSE, np.array([-0.2, 0.1]), np.array([0.0, 0.1]), 3, False)
    assert np.isinf(hits.range).all()
    assert (hits.what == NOTHING).all()


def test_a_porous_thing_lists_what_stands_behind_it():
    bag = BagPrior().solids(np.array([[8.0, 0.0]]), np.zeros((1, 3)))
    barrier = BarrierPrior().solids(np.array([[12.0, 0.0]]), np.full((1, 4), 0.0))
    hits = cast(join(barrier, bag), 0.0, 0.0, 0.4, 0.0, np.array([0.0]), np.array([0.0]), 3, False)
    assert hits.what[0, 0].tolist() == [1, 0, NOTHING]
    assert hits.range[0, 0, 0] < 8.0 < hits.range[0, 0, 1] == pytest.approx(11.8)


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


def test_grids_are_even_and_ascending():
    for lidar in (Lidar(), LIDAR_64, Lidar(azimuth_deg=360.0, columns=720)):
        elevation, azimuth = grid(lidar)
        assert (elevation.size, azimuth.size) == (lidar.rings, lidar.columns)
        assert np.degrees(elevation[[0, -1]]) == pytest.approx([lidar.lowest_deg, lidar.highest_deg])
        assert np.degrees(np.diff(azimuth)) == pytest.approx(lidar.azimuth_deg / lidar.columns)
        assert azimuth == pytest.approx(-azimuth[::-1])


CLEAR = Lidar(columns=120, azimuth_deg=60.0, optics=Optics(glitch=1e-12))


def sweep(solids, visibility=5000.0, lidar=CLEAR):
    pose = Pose(0.0, 0.0, 0.9, 0.0)
    background = map_surfaces(road_map(Road()), pose, lidar)
    return background, scan(solids, background, pose, visibility, lidar, np.random.default_rng(4))


def test_scan_puts_each_echo_on_the_surface_its_label_names():
    solids = join(
        BarrierPrior().solids(np.array([[8.0, 0.5]]), np.zeros((1, 4))),
        BagPrior().solids(np.array([[6.0, -1.5]]), np.zeros((1, 3))),
    )
    background, returns = sweep(solids)
    ranges = returns.range[..., 0] * RANGE_UNIT
    hits = cast(solids, 0.0, 0.0, 0.9, 0.0, *grid(CLEAR), 2, False)
    front = hits.range[..., 0] < background.range
    assert (front & (hits.what[..., 0] == 0)).sum() > 10
    box, bag, ground = (returns.label[..., 0] == k for k in (4, 5, 3))
    assert (box == (front & (hits.what[..., 0] == 0))).all()  # solid: every beam that meets it stops there
    porous = front & (hits.what[..., 0] == 1)
    assert not bag[~porous].any()
    assert 0.5 < bag[porous].mean() < 1.0  # of fill .79
    assert ground[porous].any()  # what it lets through
    assert np.abs(ranges - hits.range[..., 0])[box | bag].max() < 0.4
    assert np.abs(ranges - background.range)[ground].max() < 0.3


def test_scan_of_an_empty_street_echoes_the_background_only():
    background, returns = sweep(NONE)
    assert set(np.unique(returns.label)) <= {0, 1, 3}
    assert (returns.label[..., 0] == 3).mean() > 0.3
    assert np.isinf(background.range[returns.label[..., 0] == 0]).any()


def test_a_thing_behind_the_background_is_not_seen():
    behind_the_wall = BarrierPrior().solids(np.array([[12.0, 9.5]]), np.full((1, 4), 1.0))
    _, returns = sweep(behind_the_wall)
    assert (returns.label < 4).all()


def test_quantised_returns_are_lossless_and_within_half_a_step():
    rng = np.random.default_rng(0)
    ranges, powers = rng.uniform(0.5, 120.0, (50, 2)), rng.uniform(4.0, 1000.0, (50, 2))
    powers[::3, 1] = 0.0
    found = quantise(ranges, powers, np.where(powers > 0.0, 3, 0), (5, 10, -1))
    assert found.range.shape == (5, 10, 2)
    assert (found.range.dtype, found.power.dtype, found.label.dtype) == (np.uint16, np.uint16, np.uint8)
    heard = powers > 0.0
    flat = found.range.reshape(50, 2), found.power.reshape(50, 2)
    assert (flat[0][~heard] == 0).all()
    assert (flat[1][~heard] == 0).all()
    assert np.abs(flat[0] * RANGE_UNIT - ranges)[heard].max() <= 0.5 * RANGE_UNIT + 1e-12
    assert np.abs(flat[1] * POWER_UNIT - powers)[heard].max() <= 0.5 * POWER_UNIT + 1e-12


def test_a_lidar_of_no_beams_is_an_error():
    with pytest.raises(UserError, match="found 1 rings and 600 columns"):
        Lidar(rings=1)
    with pytest.raises(UserError, match="azimuth_deg is 400"):
        Lidar(azimuth_deg=400.0)
