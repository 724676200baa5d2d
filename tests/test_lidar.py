"""The lidar: its beams, how it is mounted, what its echoes and labels are, in even and uneven fog; the presets."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2_contingency, ks_2samp

from filters.models.attitude import places
from filters.models.fog import BUNDLE
from filters.models.lidar_echo import FOG, GROUND, LOST, NOISE, NOTHING, STRUCTURE, THING
from filters.models.optics import CELLS, MODES, Optics, extinction
from filters.models.shapes import BagPrior, BarrierPrior, Solids
from filters.spec import Pose, Surfaces
from filters.streams import stream
from fogsim.errors import UserError
from fogsim.frame import POWER_UNIT, RANGE_UNIT
from fogsim.scenario import HDL_64, OS1_128, VLP_16, Scenario
from fogsim.scripts import resolve
from fogsim.sensors.lidar import Lidar, cast, grid, map_surfaces, mounted, on_road, quantise, scan
from fogsim.world.fog import draw_field, extinction_along
from fogsim.world.setting import Bank, Fog, Layer, Road, Texture
from fogsim.world.solids import join, road_map

NONE = Solids(*np.zeros((len(Solids._fields), 0)))
REST = Pose(0.0, 0.0, 0.9, 0.0)
ROAD = road_map(Road())
CLEAR = Lidar(columns=120, azimuth_deg=60.0, optics=Optics(glitch=1e-12))
THINGS = join(
    BarrierPrior().solids(np.array([[8.0, 0.5]]), np.zeros((1, 4))),
    BagPrior().solids(np.array([[6.0, -1.5]]), np.zeros((1, 3))),
)


def sweep(solids=THINGS, alpha=None, lidar=CLEAR, seed=4, pose=REST):
    """The map and the returns of one sweep over the built-in road, in clear air unless an extinction is given."""
    background = map_surfaces(ROAD, pose, lidar)
    alpha = extinction(5000.0) if alpha is None else alpha
    return background, scan(solids, background, pose, alpha, lidar, np.random.default_rng(seed))


def fog_along(fog, lidar, pose=REST):
    return extinction_along(draw_field(fog, fog.visibility, stream(0, "fog")), pose, *grid(lidar), 0.0)


# Beams and mounting


@pytest.mark.parametrize("lidar", [Lidar(), VLP_16, HDL_64, OS1_128, Lidar(azimuth_deg=360.0, columns=720)])
def test_grids_ascend_and_columns_are_even(lidar):
    elevation, azimuth = grid(lidar)
    assert (elevation.size, azimuth.size) == (lidar.rings, lidar.columns)
    assert np.degrees(elevation[[0, -1]]) == pytest.approx([lidar.lowest_deg, lidar.highest_deg])
    assert (np.diff(elevation) > 0.0).all()
    assert np.degrees(np.diff(azimuth)) == pytest.approx(lidar.azimuth_deg / lidar.columns)
    assert azimuth == pytest.approx(-azimuth[::-1])


def turn(yaw, pitch=0.0, roll=0.0):
    (c, cp, cr), (s, sp, sr) = np.cos([yaw, pitch, roll]), np.sin([yaw, pitch, roll])
    Rz = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    Ry = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    return Rz @ Ry @ np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])


def test_mounting_is_the_product_of_egos_pose_and_the_sensors():
    lidar = Lidar(x=-1.2, y=0.4, height=1.7, yaw_deg=20.0, pitch_deg=5.0, roll_deg=-3.0)
    rng = np.random.default_rng(0)
    points = rng.normal(size=(20, 3))
    for x, y, yaw in rng.normal(size=(5, 3)):
        pose = mounted(lidar, x, y, yaw)
        on_ego = points @ turn(*np.radians([20.0, 5.0, -3.0])).T + [-1.2, 0.4, 1.7]
        expected = on_ego @ turn(yaw).T + [x, y, 0.0]
        np.testing.assert_allclose(points @ turn(*pose[3:]).T + pose[:3], expected, atol=1e-12)


def test_a_lidar_is_mounted_by_its_path():
    lidar = resolve(Scenario(), None, ["lidar.x=-1", "lidar.height=1.7", "lidar.pitch_deg=4"]).lidar
    pose = mounted(lidar, 0.0, 0.0, 0.0)
    assert pose == pytest.approx((-1.0, 0.0, 1.7, 0.0, np.radians(4.0), 0.0))


@pytest.mark.parametrize("mount", [{}, {"pitch_deg": 8.0, "roll_deg": -6.0, "yaw_deg": 30.0, "x": -1.0, "height": 1.8}])
def test_ground_is_what_the_map_has_at_the_roads_height(mount):
    lidar = replace(CLEAR, **mount)
    pose = mounted(lidar, 2.0, 0.3, 0.1)
    surfaces = map_surfaces(ROAD, pose, lidar)
    elevation, azimuth = (a.ravel() for a in np.meshgrid(*grid(lidar), indexing="ij"))
    met = np.isfinite(surfaces.range.ravel())
    height = np.full(met.size, np.inf)
    height[met] = places(pose, elevation[met], azimuth[met], surfaces.range.ravel()[met].astype(float))[:, 2]
    ground = on_road(surfaces.range, pose, *grid(lidar)).ravel()
    sure = np.abs(height - 0.05) > 1e-3
    assert (ground == (height < 0.05))[sure].all()
    assert ground.mean() > 0.1
    assert (met & ~ground).mean() > 0.1  # walls, hedge, kerb
    labels = sweep(NONE, lidar=lidar, pose=pose)[1].label[..., 0].ravel()
    assert not (labels == GROUND)[sure & ~ground].any()
    assert not (labels == STRUCTURE)[sure & ground].any()
    assert min((labels == GROUND).sum(), (labels == STRUCTURE).sum()) > 100


# Echoes and labels


def test_each_echo_lies_on_the_surface_its_label_names():
    background, returns = sweep()
    ranges, labels = returns.range[..., 0] * RANGE_UNIT, returns.label[..., 0]
    hits = cast(THINGS, REST, *grid(CLEAR), 2, False)
    front = hits.range[..., 0] < background.range
    assert (front & (hits.what[..., 0] == 0)).sum() > 10
    box, bag, known = labels == THING, labels == THING + 1, (labels == GROUND) | (labels == STRUCTURE)
    assert (box == (front & (hits.what[..., 0] == 0))).all()  # solid: every beam that meets it stops there
    porous = front & (hits.what[..., 0] == 1)
    assert not bag[~porous].any()
    assert 0.5 < bag[porous].mean() < 1.0  # of fill .79
    assert known[porous].any()  # what it lets through
    assert np.abs(ranges - hits.range[..., 0])[box | bag].max() < 0.4
    assert np.abs(ranges - background.range)[known].max() < 0.3


def test_what_stops_a_beam_is_there_or_lost():
    """In fog every beam has its surface's echo, fog's or noise's instead, or the label that says it is lost."""
    background, returns = sweep(alpha=extinction(60.0))
    labels = returns.label[..., 0]
    within = background.range < CLEAR.optics.range_limits[1]
    assert ((labels != NOTHING) | ~within).all()
    assert ((labels == LOST) | (labels == NOTHING) == (returns.power[..., 0] == 0)).all()
    assert min((labels == k).sum() for k in (FOG, LOST, GROUND)) > 20


def test_an_empty_street_echoes_the_map_only():
    background, returns = sweep(NONE)
    assert set(np.unique(returns.label)) <= {NOTHING, NOISE, LOST, GROUND, STRUCTURE}
    assert (returns.label[..., 0] >= GROUND).mean() > 0.3
    assert np.isinf(background.range[returns.label[..., 0] == NOTHING]).any()


def test_a_thing_behind_the_map_is_not_seen():
    behind_the_wall = BarrierPrior().solids(np.array([[12.0, 9.5]]), np.full((1, 4), 1.0))
    assert (sweep(behind_the_wall)[1].label < THING).all()


def test_quantised_returns_are_lossless_and_within_half_a_step():
    rng = np.random.default_rng(0)
    shape = (5, 10, 2)
    ranges, powers = rng.uniform(0.5, 120.0, shape), rng.uniform(4.0, 1000.0, shape)
    powers[..., 1][::2] = 0.0
    ranges[0, 0, 0], ranges[0, 1, 0] = 1e-4, 1e4  # nearer and farther than 16 bits hold
    heard = powers > 0.0
    found = quantise(ranges, powers, np.where(heard, GROUND, LOST))
    assert tuple(a.dtype for a in found) == (np.uint16, np.uint16, np.uint8)
    assert all(a.shape == shape for a in found)
    assert (found[0][0, 0, 0], found[0][0, 1, 0]) == (1, 65535)
    assert ((found[0] == 0) == ~heard).all()
    assert ((found[1] == 0) == ~heard).all()
    assert (found[2] == np.where(heard, GROUND, LOST)).all()
    inner = heard & (ranges > 0.1) & (ranges < 300.0)
    assert np.abs(found[0] * RANGE_UNIT - ranges)[inner].max() <= 0.5 * RANGE_UNIT + 1e-9
    assert np.abs(found[1] * POWER_UNIT - powers)[heard].max() <= 0.5 * POWER_UNIT + 1e-9


def test_a_scan_is_determined_by_its_stream():
    a, b, c = (sweep(alpha=extinction(20.0), seed=seed)[1] for seed in (1, 1, 2))
    assert all((x == y).all() for x, y in zip(a, b, strict=True))
    assert (a.power != c.power).any()


# Uneven fog


@pytest.mark.parametrize("mode", MODES)
def test_rays_of_one_extinction_have_the_law_of_even_fog(mode):
    lidar = replace(CLEAR, columns=240, optics=Optics(mode=mode))
    alpha = extinction(20.0)
    rays = np.full((lidar.rings, lidar.columns // BUNDLE, CELLS), alpha, np.float32)
    drawn = [[sweep(alpha=a, lidar=lidar, seed=s + k)[1] for s in range(15)] for k, a in ((0, alpha), (100, rays))]
    labels, ranges, powers = (
        [np.concatenate([getattr(r, name).ravel() for r in runs]) for runs in drawn]
        for name in ("label", "range", "power")
    )
    counts = np.array([np.bincount(found, minlength=8) for found in labels])
    counts = counts[:, counts.sum(axis=0) > 10]
    assert chi2_contingency(counts).pvalue > 1e-3
    for label in (FOG, GROUND, THING):
        for values in (ranges, powers):
            apart = ks_2samp(*(v[found == label] for v, found in zip(values, labels, strict=True)))
            assert apart.pvalue > 1e-3 or (label == FOG and apart.statistic < 0.03)  # cells round P_soft by a percent


def shares(alpha, lidar, beams, *labels):
    """Share of beams with an echo of one of the labels, over several sweeps."""
    runs = [sweep(NONE, alpha, lidar, seed)[1].label[beams] for seed in range(20)]
    return np.mean([np.isin(found, labels).any(axis=-1) for found in runs])


def test_a_bank_dims_what_is_behind_it_and_not_what_is_before():
    lidar = replace(CLEAR, optics=Optics(range_10=80.0))
    alone, banked = (fog_along(fog, lidar) for fog in (Fog(60.0), Fog(60.0, bank=Bank((9.0, 14.0), 5.0, 0.5))))
    distance = sweep(NONE, lidar=lidar)[0].range
    before, behind = (distance > 4.0) & (distance < 7.0), (distance > 16.0) & (distance < 22.0)
    known = GROUND, STRUCTURE
    assert shares(banked, lidar, before, *known) == pytest.approx(shares(alone, lidar, before, *known), abs=0.02)
    assert shares(alone, lidar, behind, *known) > 0.25
    assert shares(banked, lidar, behind, *known) < 0.05


def test_inside_a_bank_the_fog_echoes_as_in_even_fog_of_its_visibility():
    lidar = replace(CLEAR, lowest_deg=1.0, highest_deg=15.0)
    sky = np.ones((lidar.rings, lidar.columns), bool)
    within = fog_along(Fog(60.0, bank=Bank((-200.0, 200.0), 12.0)), lidar)
    expected = [shares(extinction(v), lidar, sky, FOG) for v in (60.0, 12.0)]
    assert expected[1] - expected[0] > 0.2
    assert shares(within, lidar, sky, FOG) == pytest.approx(expected[1], abs=0.02)


def test_clear_air_above_a_layer_sends_no_fog_back():
    lidar = replace(CLEAR, lowest_deg=1.0, highest_deg=15.0, height=3.0)
    alpha = fog_along(Fog(10.0, layer=Layer(1.5, 1.0)), lidar, REST._replace(z=3.0))
    labels = sweep(NONE, alpha, lidar, pose=REST._replace(z=3.0))[1].label
    assert (alpha == 0.0).all()
    assert (labels == FOG).sum() == 0
    assert (sweep(NONE, extinction(10.0), lidar)[1].label == FOG).sum() > 100


# At the edges of what can be asked for

UNEVEN = Fog(1.0, 0.3, Bank((5.0, 20.0), 0.5), Layer(4.0), Texture(2.0, 3.0))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("solids", [NONE, THINGS], ids=["nothing", "things"])
@pytest.mark.parametrize(
    "fog", [Fog(0.01), Fog(1.0), Fog(1e4), Fog(1e7), UNEVEN, replace(UNEVEN, visibility=1e4)], ids=range(6)
)
def test_no_fog_however_thin_or_thick_breaks_a_scan(fog, solids, mode):
    lidar = replace(CLEAR, columns=62, optics=Optics(mode=mode))
    nothing = Surfaces(np.full((16, 62), np.inf), np.ones((16, 62)), np.zeros((16, 62)))
    for background in (map_surfaces(ROAD, REST, lidar), nothing):
        returns = scan(solids, background, REST, fog_along(fog, lidar), lidar, np.random.default_rng(0))
        heard = returns.power > 0
        assert ((returns.range > 0) == heard).all()
        assert ((returns.label == NOTHING) | (returns.label == LOST) == ~heard).all()
        seen = returns.label >= GROUND
        assert not seen.any() or fog.visibility > 0.5


def test_fog_so_thick_that_nothing_returns_leaves_an_empty_scan():
    lidar = replace(CLEAR, optics=Optics(glitch=1e-12, threshold=8.0))
    returns = sweep(alpha=extinction(0.01), lidar=lidar)[1]
    assert not returns.power.any()
    assert set(np.unique(returns.label)) == {NOTHING, LOST}


MEMORY = """
import resource, sys
from dataclasses import replace
import numpy as np
from filters.models.optics import extinction
from filters.streams import stream
from fogsim.scenario import HDL_64
from fogsim.sensors.lidar import grid, map_surfaces, scan
from fogsim.world.fog import draw_field, extinction_along
from fogsim.world.setting import Bank, Fog, Road
from fogsim.world.solids import road_map
from filters.models.shapes import BarrierPrior
from filters.spec import Pose

POSE = Pose(0.0, 0.0, 1.7, 0.0)

def once(columns, visibility, things, bank):
    lidar, rng = replace(HDL_64, columns=columns), stream(0, "a")
    solids = BarrierPrior().solids(rng.uniform(3.0, 30.0, (things, 2)), rng.standard_normal((things, 4)))
    field = draw_field(Fog(visibility, bank=Bank((5.0, 9.0 if bank else 5.0))), visibility, rng)
    alpha = extinction_along(field, POSE, *grid(lidar), 0.0)
    return scan(solids, map_surfaces(road_map(Road()), POSE, lidar), POSE, alpha, lidar, rng)

peak = lambda: 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for bank in (False, True):
    once(40, 20.0, 5, bank)
before, columns = peak(), 4000
for visibility, things in ((20.0, 5), (5000.0, 5), (5.0, 60)):
    returns = once(columns, visibility, things, False)
    print((peak() - before) / (64 * columns), sum(a.nbytes for a in returns) / (64 * columns))
once(columns, 20.0, 5, True)
print((peak() - before) / (64 * columns), 5)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read as Linux reports it")
def test_the_memory_of_a_scan_is_bounded_by_its_output():
    """Bytes per beam at the peak: 5 of output, beside them hits and echoes; in uneven fog its rays too, and no more."""
    told = subprocess.run([sys.executable, "-c", MEMORY], check=True, capture_output=True, text=True).stdout
    peaks = [float(line.split()[0]) for line in told.splitlines()]
    assert float(told.split()[1]) == 5.0
    assert peaks[0] < 160.0
    assert max(peaks[:3]) < peaks[0] + 16.0
    assert peaks[3] < max(peaks[:3]) + 64.0


# Errors and presets


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rings": 1}, "found 1 rings and 600 columns"),
        ({"azimuth_deg": 400.0}, "azimuth_deg is 400"),
        ({"x": np.nan}, "lidar.x is nan, expected a finite number"),
        ({"pitch_deg": np.inf}, "lidar.pitch_deg is inf"),
        ({"rings": 3, "elevations_deg": (-2.0, 1.0, 0.0)}, "not in order, expected ascending"),
        (
            {"elevations_deg": (-2.0, 0.0, 1.0)},
            r"found 16 rings from -15.0 to 15.0 deg, but 3 elevations_deg from -2.0 to 1.0, .* to spread rings evenly",
        ),
    ],
)
def test_impossible_lidars_are_errors(changes, text):
    with pytest.raises(UserError, match=text) as caught:
        Lidar(**changes)
    assert "\n" not in str(caught.value)


def test_a_preset_with_other_rings_says_how():
    with pytest.raises(UserError, match=r"set lidar.elevations_deg=\(\)"):
        resolve(Scenario(lidar=HDL_64), None, ["lidar.rings=32"])
    assert resolve(Scenario(lidar=HDL_64), None, ["lidar.elevations_deg=()", "lidar.rings=32"]).lidar.rings == 32


@pytest.mark.parametrize(
    ("lidar", "pulse", "noise", "limits"),
    [(VLP_16, 6e-9, 0.03, (1.0, 100.0)), (HDL_64, 5e-9, 0.02, (0.9, 120.0)), (OS1_128, 5e-9, 0.156, (0.8, 120.0))],
)
def test_the_optics_of_presets(lidar, pulse, noise, limits):
    assert (lidar.optics.pulse, lidar.optics.range_noise, lidar.optics.range_limits) == (pulse, noise, limits)


def test_presets_are_as_their_data_sheets_say():
    elevation = np.degrees(grid(HDL_64)[0])
    gaps = np.diff(elevation)
    assert elevation[[0, 31, 32, 63]] == pytest.approx([-24.33, -8.83, -8.33, 2.0])
    assert gaps[:32] == pytest.approx(0.5, abs=0.011)
    assert gaps[32:] == pytest.approx(1.0 / 3.0, abs=0.011)
    assert np.degrees(np.diff(grid(VLP_16)[0])) == pytest.approx(2.0)
    assert np.ptp(np.degrees(grid(OS1_128)[0])) == pytest.approx(45.0)
    assert 360.0 / np.array([VLP_16.columns, HDL_64.columns]) == pytest.approx([0.2, 0.1728], abs=1e-4)


@pytest.mark.parametrize(("lidar", "range_10"), [(VLP_16, 35.4), (HDL_64, 50.0), (OS1_128, 40.0)])
def test_half_of_the_echoes_of_a_tenth_are_heard_at_r10(lidar, range_10):
    """A wall of reflectance .1 at R10, square to every beam, in clear air: P = threshold, so half are heard."""
    assert lidar.optics.range_10 == range_10
    lidar = replace(lidar, columns=180)
    shape = (lidar.rings, lidar.columns)
    wall = Surfaces(np.full(shape, range_10), np.ones(shape), np.full(shape, 0.1))
    labels = scan(NONE, wall, REST, extinction(1e6), lidar, np.random.default_rng(0)).label
    heard = np.isin(labels, (GROUND, STRUCTURE)).mean()
    assert heard == pytest.approx(0.5, abs=5.0 * np.sqrt(0.25 / labels.size) + 0.005)


def test_an_os1_errs_in_range_as_its_data_sheet_says():
    """Standard deviation 10, 3 and 1.5 cm at a signal-to-noise ratio of 12, 100 and 250: the model within a third."""
    optics = OS1_128.optics
    found = [optics.range_noise * np.sqrt(optics.threshold / ratio) for ratio in (12.0, 100.0, 250.0)]
    assert found == pytest.approx([0.10, 0.03, 0.015], rel=0.34)
