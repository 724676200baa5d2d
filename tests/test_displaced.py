"""Which beams the oracle does not hear: those behind which odometry may have moved the map."""

from functools import reduce

import numpy as np
import pytest
from scipy.ndimage import maximum_filter

from filters.displaced import REACH, ROAD, Odometry, certain, displacement
from filters.models.shapes import BACKGROUND_ROUGHNESS
from filters.oracle import Oracle
from filters.spec import EgoMotion, Measurement, Pose, Scan, Surfaces
from filters.streams import stream
from tests.encounters import NOTHING_THERE
from tests.test_oracle import MODEL, PRIOR, scans_of

HIGH, ASIDE = 0.9, 2.0  # m: of the sensor, and to a wall beside the road
POSE = Pose(0.0, 0.0, HIGH, 0.0)
ELEVATION, AZIMUTH = np.radians(np.arange(-16.0, 0.0, 2.0)), np.radians(np.arange(5.0, 60.0, 0.1))

STEP = AZIMUTH[1] - AZIMUTH[0]


def wall_and_road() -> tuple[Scan, np.ndarray]:
    """A scan along a wall of no end, and which beams meet it; none lower than what counts as road."""
    up, azimuth = np.meshgrid(ELEVATION, AZIMUTH, indexing="ij")
    wall, road = ASIDE / (np.cos(up) * np.sin(azimuth)), -HIGH / np.sin(up)
    foot = (wall < road) & (HIGH + wall * np.sin(up) < ROAD)
    range_ = np.where(foot, road, np.minimum(wall, road))
    none = np.zeros((*range_.shape, 1))
    surfaces = Surfaces(range_, np.full_like(range_, 0.5), np.full_like(range_, 0.3))
    scan = Scan(ELEVATION, AZIMUTH, POSE, none, none, np.ones(range_.shape, bool), surfaces)
    return scan, range_ < road


def motion(deviation: float, turn: float = 0.0, pose: Pose = POSE) -> EgoMotion:
    """A step whose error has these deviations, m and rad."""
    return EgoMotion(np.array([1.0, 0.0, 0.0]), np.diag([deviation**2, deviation**2, turn**2]), pose)


def after(steps: list[EgoMotion]) -> Odometry:
    """What their errors add up to."""
    return reduce(Odometry.after, steps, Odometry())


def inside(met: np.ndarray) -> np.ndarray:
    """The beams whose neighbours meet the same."""
    padded = np.pad(met, ((0, 0), (1, 1)), mode="edge")
    return (padded[:, :-2] == met) & (padded[:, 2:] == met)


@pytest.mark.parametrize("deviation", [0.004, 0.01, 0.02])
def test_a_wall_at_a_grazing_angle_is_not_heard(deviation):
    """Moved by d it is d / sin(azimuth) nearer or farther; the road does not move."""
    scan, met = wall_and_road()
    kept = certain(scan, after([motion(deviation / 2.0)] * 4), 100.0).scanned
    wanted = ~met | (deviation / np.sin(AZIMUTH) < BACKGROUND_ROUGHNESS)
    clear = np.abs(deviation / np.sin(AZIMUTH) - BACKGROUND_ROUGHNESS) > 0.02 * BACKGROUND_ROUGHNESS
    reach = int(REACH * deviation / (ASIDE * STEP)) + 2
    beside = wanted & maximum_filter(~wanted | ~inside(met), (1, 2 * reach + 1))  # of an edge that may have moved
    of = inside(met) & clear & ~beside
    np.testing.assert_array_equal(kept[of], wanted[of])
    assert wanted[met].any()
    assert not wanted[met].all()


def test_beams_are_heard_where_nothing_moves_or_the_fog_hides_it():
    scan, met = wall_and_road()
    blind = scan._replace(scanned=np.arange(len(AZIMUTH)) % 3 > np.zeros((len(ELEVATION), 1)))
    for steps in ([], [motion(0.0)] * 5):
        np.testing.assert_array_equal(certain(blind, after(steps), 100.0).scanned, blind.scanned)
    kept = certain(blind, after([motion(0.05)]), 8.0).scanned
    near = met & (scan.background.range < 8.0)
    reached = maximum_filter(near, (1, 2 * int(REACH * 0.05 / (ASIDE * STEP)) + 5))
    np.testing.assert_array_equal(kept[~reached], blind.scanned[~reached])
    assert not kept[near].any()
    assert (~reached & met).any()
    empty = scan._replace(background=scan.background._replace(range=np.full_like(scan.background.range, np.inf)))
    assert certain(empty, after([motion(1.0)]), 100.0).scanned.all()


def test_errors_add_up_and_turns_count_by_their_lever():
    """By draws of what `follow` does: a step's error shifts the map's point, and turns it about the car's pose."""
    poses = [Pose(x, 0.2 * x, HIGH, 0.1 * x) for x in (0.0, 1.0, 2.0)]
    point, rng = np.array([9.0, -2.0]), stream(0, "errors")
    dx, dy, turn = np.array([0.02, 0.02, 0.003])[:, None, None] * rng.standard_normal((3, 20_000, 3))
    lever = point - np.array([[p.x, p.y] for p in poses])
    x, y = (dx - turn * lever[:, 1]).sum(axis=1), (dy + turn * lever[:, 0]).sum(axis=1)
    found = displacement(after([motion(0.02, 0.003, p) for p in poses]), *point)
    assert found >= 0.98 * max(x.std(), y.std())  # as far as in the worst direction
    assert found == pytest.approx(np.sqrt(3 * 0.02**2 + 0.003**2 * (lever**2).sum()), rel=1e-12)


def standing(
    range_: np.ndarray, deviation: float, visibility: float = 100.0, reach: float = REACH, turn: float = 0.0
) -> np.ndarray:
    """Which level beams are heard of surfaces at these ranges (columns,)."""
    surfaces = Surfaces(range_[None], np.full((1, len(range_)), 0.5), np.full((1, len(range_)), 0.3))
    none = np.zeros((1, len(range_), 1))
    scan = Scan(np.zeros(1), AZIMUTH[: len(range_)], POSE, none, none, np.ones((1, len(range_)), bool), surfaces)
    return certain(scan, after([motion(deviation, turn)]), visibility, reach).scanned[0]


def test_a_surface_across_the_beam_moves_as_far_as_the_car_is_off():
    assert standing(np.full(50, 7.0), 0.99 * BACKGROUND_ROUGHNESS).all()
    assert not standing(np.full(50, 7.0), 1.01 * BACKGROUND_ROUGHNESS).any()


@pytest.mark.parametrize("behind", [20.0, np.inf])
def test_a_post_one_beam_wide_is_all_edge(behind):
    """In fog that hides what is behind it too."""
    range_ = np.full(9, behind)
    range_[4] = 7.0
    np.testing.assert_array_equal(standing(range_, 0.001, 15.0), [True] * 2 + [False] * 5 + [True] * 2)


@pytest.mark.parametrize(("reach", "silent"), [(0.0, 1), (REACH, 1 + 3)])
def test_what_an_edge_reaches_if_it_moves_aside_is_not_heard(reach, silent):
    """A hundredth of a metre at 7 m, thrice over, are 2.5 beams."""
    range_ = np.full(15, 20.0)
    range_[7] = 7.0
    wanted = np.abs(np.arange(15) - 7) > silent
    np.testing.assert_array_equal(standing(range_, 0.01, 15.0, reach), wanted)


@pytest.mark.parametrize("behind", [20.0, np.inf])
def test_how_far_an_edge_reaches_is_told_by_where_it_stands(behind):
    """Turned by a thousandth a post at 7 m is 7 mm aside, what is behind it much more: thrice that are 1.7 beams."""
    range_ = np.full(15, behind)
    range_[7] = 7.0
    wanted = np.abs(np.arange(15) - 7) > 1 + 2
    np.testing.assert_array_equal(standing(range_, 0.0, 15.0, turn=0.001), wanted)


def test_road_beside_a_post_is_not_heard():
    """The post may stand there."""
    scan, _ = wall_and_road()
    road = -HIGH / np.sin(ELEVATION)[:, None] * np.ones_like(AZIMUTH)
    road[:, 100] = 0.9 * road[:, 100]
    scan = scan._replace(background=scan.background._replace(range=road))
    kept = certain(scan, after([motion(0.01)]), 100.0).scanned
    reach = np.ceil(REACH * 0.01 / (road[:, [100]] * STEP))
    np.testing.assert_array_equal(kept, np.abs(np.arange(len(AZIMUTH)) - 100) > 1 + reach)


def test_the_oracle_does_not_hear_what_may_have_moved():
    """A fence that odometry has moved: without its beams nothing was seen."""
    (scan, _) = scans_of(NOTHING_THERE, 30.0, (0.0, 1.0))
    wall = Surfaces(np.full_like(scan.background.range, 8.0), *scan.background[1:])
    odd = scan._replace(background=wall, range=np.full_like(scan.range, 7.4), power=np.full_like(scan.power, 60.0))
    state = Oracle(MODEL, 50).init(PRIOR, stream(1, "moved"))
    moving = motion(0.2, pose=scan.pose)
    for error, heard in ((motion(0.0, pose=scan.pose), True), (moving, False)):
        now = Oracle(MODEL, 50).predict(state, error, 0.1, stream(2, "moved"))
        after, _ = Oracle(MODEL, 50).update(now, Measurement(0.1, "scan", odd), stream(3, "moved"))
        high = scan.pose.z + 8.0 * np.sin(scan.elevation) > ROAD
        np.testing.assert_array_equal(after.looks[-1].window.scanned, heard | ~np.repeat(high[:, None], 60, axis=1))
