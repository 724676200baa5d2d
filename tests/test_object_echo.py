"""The log-ratio of an imagined object against a double loop over every beam of the scan."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from filters.models.lidar_echo import log_density_background
from filters.models.object_echo import (
    ODDEST,
    PLAUSIBLE,
    Window,
    clutter_table,
    object_log_ratios,
    odd_echoes,
    unexplained,
    window_of,
)
from filters.models.optics import Optics, echo_table, extinction
from filters.models.shapes import BACKGROUND_ROUGHNESS, BACKGROUND_TEXTURE, BagPrior, BarrierPrior
from filters.models.visibility import Clutter, update_visibility, visibility_prior
from filters.spec import Gaussian, Pose, Scan, Surfaces
from fogsim.frame import POWER_UNIT, RANGE_UNIT
from fogsim.sensors.lidar import Lidar, grid, map_surfaces, scan
from fogsim.world.setting import Road
from fogsim.world.solids import join, road_map
from tests import reference

POSE = Pose(2.0, 0.3, 0.9, -0.1)
TILTED = Pose(2.0, 0.3, 1.4, -0.1, 0.08, -0.15)
POSES = pytest.mark.parametrize("pose", [POSE, TILTED], ids=["level", "tilted"])
PRIORS = {"bag": BagPrior(), "barrier": BarrierPrior()}
LIDARS = {
    "strongest": Lidar(columns=300),
    "all": Lidar(rings=24, columns=300, optics=Optics(mode="all", threshold=3.0)),
}


def scan_of(lidar, kind, place, visibility=40.0, seed=0, pose=POSE):
    """A sweep past one object, with a twentieth of the beams not scanned."""
    rng = np.random.default_rng(seed)
    prior = PRIORS[kind]
    background = map_surfaces(road_map(Road()), pose, lidar)
    thing = prior.solids(np.array([place]), rng.standard_normal((1, len(prior.names))))
    returns = scan(thing, background, pose, extinction(visibility), lidar, rng)
    scanned = rng.random(background.range.shape) > 0.05
    return Scan(*grid(lidar), pose, returns.range * RANGE_UNIT, returns.power * POWER_UNIT, scanned, background)


def whole(scan):
    """All of a scan as the window."""
    return Window(scan.pose, scan.elevation, scan.azimuth, scan.range, scan.power, scan.scanned, scan.background)


def score(table, alpha, window, r, k, distance, cosine, reflectance, roughness, texture):
    """ln L of one beam with one stop."""
    arrays = (np.array([v]) for v in (distance, cosine, reflectance))
    return log_density_background(
        table, np.array([alpha]), window.range[r, k][None], window.power[r, k][None], *arrays, roughness, texture
    )[0, 0]


def slow_log_ratio(table, solids, i, log_visibility, window, background):
    """Σ over every scanned beam that meets object i of ln(fill L_object + (1 - fill) L_background) - ln L_background.

    `background(r, k)` is ln L_background; also returns how many beams met it.
    """
    alpha, fill = float(extinction(np.exp(log_visibility))), solids.fill[i]
    origin, total, met = np.array(window.pose[:3]), 0.0, 0
    attitude = Rotation.from_euler("ZYX", window.pose[3:])
    for r, up in enumerate(window.elevation):
        for k, bearing in enumerate(window.azimuth):
            direction = attitude.apply(reference.direction_of(up, bearing))
            distance, cosine = reference.meet(solids, i, origin, direction)
            if not window.scanned[r, k] or distance >= window.background.range[r, k]:
                continue
            own = solids.reflectance[i], solids.roughness[i], solids.texture[i]
            hit, passed = score(table, alpha, window, r, k, distance, cosine, *own), background(r, k)
            total += np.logaddexp(np.log(fill) + hit, np.log(1.0 - fill) + passed if fill < 1.0 else -np.inf) - passed
            met += 1
    return total, met


def imagined(kind, places, seed):
    """An object of the prior's at each place."""
    prior = PRIORS[kind]
    return prior.solids(np.array(places), np.random.default_rng(seed).standard_normal((len(places), len(prior.names))))


PLACES = [(9.0, 0.2), (9.3, 0.5), (12.0, -1.0), (7.0, 12.5), (6.0, -9.4), (40.0, 3.0), (-5.0, 0.0), (20.0, -10.0)]
NODES = np.log(np.geomspace(15.0, 90.0, 12))


@pytest.mark.parametrize("kind", PRIORS)
@pytest.mark.parametrize(
    ("mode", "pose"), [*((m, POSE) for m in LIDARS), ("strongest", TILTED)], ids=[*LIDARS, "tilted"]
)
def test_log_ratios_are_the_slow_double_loop(mode, kind, pose):
    """Near, far, half outside the columns, behind the hedge, behind ego; background read by linear interpolation."""
    table, seen = echo_table(LIDARS[mode].optics), scan_of(LIDARS[mode], kind, (9.0, 0.2), pose=pose)
    window, solids = whole(seen), imagined(kind, PLACES, 13)
    log_visibility = np.log(np.array([40.0, 30.0, 25.0, 60.0, 33.0, 50.0, 40.0, 40.0]))
    background = background_at(table, window, NODES)
    found = object_log_ratios(table, solids, log_visibility, window, NODES, background)
    count = []
    everywhere = window._replace(background=window.background._replace(range=np.full(window.scanned.shape, np.inf)))
    for i, v in enumerate(log_visibility):
        expected, met = slow_log_ratio(
            table, solids, i, v, window, lambda r, k, v=v: np.interp(v, NODES, background[r, k])
        )
        assert found[i] == pytest.approx(expected, rel=1e-9, abs=1e-9)
        count.append(met)
    assert min(count[0], count[1], count[2]) > 3  # beams that meet them
    assert count[6] == 0  # behind ego
    hidden = slow_log_ratio(table, solids, 7, 3.5, everywhere, lambda r, k: 0.0)
    assert (count[7], hidden[1] > 0) == (0, True)  # behind the hedge, without which beams would meet it
    assert np.abs(found[:3]).min() > 1e-3


def background_at(table, window, nodes):
    """ln L (rings, columns, nodes) of the background alone."""
    shape = window.scanned.shape
    flat = [a.reshape(-1) for a in window.background]
    echoes = [a.reshape(-1, a.shape[-1]) for a in (window.range, window.power)]
    values = log_density_background(
        table, extinction(np.exp(nodes)), *echoes, *flat, BACKGROUND_ROUGHNESS, BACKGROUND_TEXTURE
    )
    return np.moveaxis(values.reshape(nodes.size, *shape), 0, -1).copy()


@pytest.mark.parametrize("kind", PRIORS)
def test_interpolated_background_is_close_to_exact(kind):
    """With the nodes that the visibility update leaves, over the fog's posterior +- 2 deviations."""
    lidar = Lidar()
    table, seen = echo_table(lidar.optics), scan_of(lidar, kind, (9.0, 0.2), visibility=30.0, seed=4)
    window = window_of(seen, np.array(PLACES[:2]), 1.1)
    fog, clutter = update_visibility(visibility_prior(25.0, 0.3), table, *window.beams())
    solids = imagined(kind, [PLACES[0]] * 5, 7)
    log_visibility = fog.mean + fog.deviation * np.linspace(-2.0, 2.0, 5)
    found = object_log_ratios(table, solids, log_visibility, window, clutter.nodes, clutter_table(window, clutter))
    surfaces = window.background
    for i, v in enumerate(log_visibility):
        alpha = float(extinction(np.exp(v)))

        def exact(r, k, alpha=alpha):
            place = (surfaces.range[r, k], surfaces.cosine[r, k], surfaces.reflectance[r, k])
            return score(table, alpha, window, r, k, *place, BACKGROUND_ROUGHNESS, BACKGROUND_TEXTURE)

        expected, met = slow_log_ratio(table, solids, i, v, window, exact)
        assert met > 5
        assert found[i] == pytest.approx(expected, abs=0.02)


def test_a_wrong_background_density_is_noticed():
    """The interpolation test's control: read some nodes too far, the log-ratio moves by more than its tolerance."""
    lidar = Lidar()
    table, seen = echo_table(lidar.optics), scan_of(lidar, "bag", (9.0, 0.2), visibility=30.0, seed=4)
    window = window_of(seen, np.array(PLACES[:2]), 1.1)
    fog, clutter = update_visibility(visibility_prior(25.0, 0.3), table, *window.beams())
    solids, at = imagined("bag", [PLACES[0]] * 5, 7), np.full(5, fog.mean)
    background = clutter_table(window, clutter)
    moved = clutter.nodes + 4 * (clutter.nodes[1] - clutter.nodes[0])
    right, wrong = (object_log_ratios(table, solids, at, window, n, background) for n in (clutter.nodes, moved))
    assert np.abs(right - wrong).max() > 0.02


@POSES
@pytest.mark.parametrize("kind", PRIORS)
def test_the_window_holds_every_beam_that_can_meet_a_candidate(kind, pose):
    lidar = Lidar(rings=60, columns=100)  # so many rings that a spare one hides no error
    table = echo_table(lidar.optics)
    rng = np.random.default_rng(5)
    for place in [(7.0, 0.0), (12.0, 2.0), (18.0, -1.5)]:
        seen = scan_of(lidar, kind, place, seed=int(place[0]), pose=pose)
        places = np.array(place) + rng.normal(0.0, 0.4, (30, 2))
        solids, v = imagined(kind, places, 8), np.full(30, np.log(35.0))
        cut, everything = window_of(seen, places, 1.1), whole(seen)
        assert cut.scanned.size < everything.scanned.size
        inside, outside = (
            object_log_ratios(table, solids, v, w, NODES, background_at(table, w, NODES)) for w in (cut, everything)
        )
        assert inside == pytest.approx(outside, abs=1e-9)
        assert np.abs(outside).max() > 1e-3


def test_a_window_thins_columns_evenly_nearby():
    seen = scan_of(Lidar(rings=64, columns=1200), "barrier", (5.0, 0.2))
    window = window_of(seen, np.array([[7.0, 0.2]]), 1.1, beams=32)
    step = np.diff(window.azimuth)
    assert step == pytest.approx(step[0])
    assert step[0] > 1.5 * np.diff(seen.azimuth)[0]
    assert window.scanned.size < 6 * 32


def test_beams_not_scanned_say_nothing():
    lidar = Lidar()
    table, seen = echo_table(lidar.optics), scan_of(lidar, "barrier", (9.0, 0.2))
    blind = whole(seen)._replace(scanned=np.zeros_like(seen.scanned))
    solids = imagined("barrier", [(9.0, 0.2)], 0)
    arguments = (table, solids, np.log([40.0]))
    background = background_at(table, blind, NODES)
    assert object_log_ratios(*arguments, blind, NODES, background) == 0.0
    assert object_log_ratios(*arguments, whole(seen), NODES, background) != 0.0


def test_clutter_table_puts_densities_back_in_the_grid():
    seen = scan_of(Lidar(columns=50), "bag", (9.0, 0.2))
    window = window_of(seen, np.array([[9.0, 0.2]]), 1.1)
    n = int(window.scanned.sum())
    clutter = Clutter(np.arange(3.0), np.arange(3.0 * n).reshape(3, n))
    table = clutter_table(window, clutter)
    assert table.shape == (*window.scanned.shape, 3)
    assert (table[window.scanned] == clutter.log_density.T).all()
    assert not table[~window.scanned].any()


def test_the_object_that_is_there_is_favoured():
    """Summed over scans, the true object beats the background, and the background beats an object that is not there."""
    lidar, total = Lidar(), np.zeros(2)
    table = echo_table(lidar.optics)
    for seed in range(5):
        seen = scan_of(lidar, "barrier", (11.0, 0.0), visibility=50.0, seed=seed)
        prior = PRIORS["barrier"]
        rng = np.random.default_rng(seed)
        there = prior.solids(np.array([[11.0, 0.0]]), rng.standard_normal((1, 4)))
        absent = prior.solids(np.array([[11.0, 2.2]]), np.zeros((1, 4)))
        window = whole(seen)
        total += object_log_ratios(
            table, join(there, absent), np.full(2, np.log(50.0)), window, NODES, background_at(table, window, NODES)
        )
    assert total[0] > 20.0
    assert total[1] < -20.0


def test_surfaces_of_the_window_are_those_of_its_beams():
    seen = scan_of(Lidar(columns=80), "bag", (9.0, 0.2))
    window = window_of(seen, np.array([[9.0, 0.2], [11.0, -0.5]]), 1.1)
    ranges, powers, background = window.beams()
    rows = np.isin(seen.elevation, window.elevation)
    columns = np.isin(seen.azimuth, window.azimuth)
    inside = np.ix_(rows, columns)
    assert (ranges == seen.range[inside][seen.scanned[inside]]).all()
    assert (powers == seen.power[inside][seen.scanned[inside]]).all()
    assert isinstance(background, Surfaces)
    assert (background.range == seen.background.range[inside][seen.scanned[inside]]).all()


@pytest.mark.parametrize("aside", [0.0, 0.4, -0.4])
def test_a_window_straddles_the_seam_of_a_sensor_that_looks_all_round(aside):
    """A candidate behind ego: the window is as narrow as one ahead, and holds every beam that meets it."""
    lidar = Lidar(rings=24, columns=360, azimuth_deg=360.0)
    behind = POSE._replace(yaw=np.pi - 0.05)
    seen = scan_of(lidar, "barrier", (9.0, 0.2), pose=behind)
    places = np.array([(9.0, aside), (9.3, aside)])
    window = window_of(seen, places, 1.1)
    assert window.scanned.shape[1] < 60
    assert np.diff(window.azimuth) == pytest.approx(np.radians(1.0))
    table, solids = echo_table(lidar.optics), imagined("barrier", places, 4)
    background = background_at(table, window, NODES)
    found = object_log_ratios(table, solids, np.full(2, np.log(40.0)), window, NODES, background)
    for i in range(2):

        def passed(r, k):
            return np.interp(np.log(40.0), NODES, background[r, k])

        expected, met = slow_log_ratio(table, solids, i, np.log(40.0), window, passed)
        all_round = whole(seen)._replace(scanned=np.ones_like(seen.scanned))
        everywhere = slow_log_ratio(table, solids, i, np.log(40.0), all_round, lambda r, k: 0.0)[1]
        inside = slow_log_ratio(
            table, solids, i, np.log(40.0), window._replace(scanned=np.ones_like(window.scanned)), lambda r, k: 0.0
        )[1]
        assert met > 3
        assert inside == everywhere
        assert found[i] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_sensor_that_does_not_look_behind_keeps_one_side_of_what_straddles():
    lidar = Lidar(rings=24, columns=300, azimuth_deg=300.0)
    seen = scan_of(lidar, "barrier", (9.0, 0.2), pose=POSE._replace(yaw=np.pi - 0.05))
    window = window_of(seen, np.array([(3.2, 0.2), (3.2, 0.5)]), 1.1)
    assert window.azimuth.size > 5
    assert np.diff(window.azimuth) == pytest.approx(np.diff(window.azimuth)[0])


@POSES
def test_unexplained_echoes_lie_where_the_object_stands(pose):
    seen = scan_of(Lidar(rings=32, columns=300), "barrier", (9.0, 0.2), visibility=500.0, pose=pose)
    found = unexplained(window_of(seen, np.array([[9.0, 0.2]]), 1.1))
    near = np.abs(found - [9.0, 0.2]).max(axis=1) < 1.1
    assert near.sum() > 10
    assert near.mean() > 0.8


def test_odd_echoes_are_those_the_background_explains_worst():
    """Fog echoes lie in front of a wall too; the object's are the odd ones, none odder than the limit."""
    where = Gaussian(np.array([9.0, 0.2]), np.diag([0.5, 0.12]))
    seen = scan_of(Lidar(rings=32, columns=300), "barrier", (9.0, 0.2), visibility=12.0)
    window = window_of(seen, np.array([[9.0, 0.2]]), 3.0)
    table = echo_table(Lidar().optics)
    background = background_at(table, window, NODES)[..., 2]
    found = odd_echoes(window, background, where, 0.8)
    off = (found.places - where.mean) / np.sqrt(np.diag(where.covariance))
    assert ((off**2).sum(axis=1) < PLAUSIBLE**2).all()
    near = np.abs(found.places - [9.0, 0.2]).max(axis=1) < 1.1
    weights = np.exp(found.oddness - found.oddness.max())
    assert near.mean() < 0.9 < weights @ near / weights.sum()
    assert np.ptp(found.oddness) <= ODDEST + 1e-9
    aside = odd_echoes(window, background, where._replace(mean=where.mean + 30.0), 0.8)
    assert len(aside.places) == len(aside.oddness) == 0
