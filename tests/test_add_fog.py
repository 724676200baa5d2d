"""Fog over real scans: the law is the echo model's, clear air changes nothing, the published model is reproduced."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import fogsim
from filters.models.fog import fog_at, fog_power, log_fog_mass, log_range_fog
from filters.models.lidar_echo import FOG, NOISE, STRUCTURE, hard_power, range_deviation
from filters.models.optics import Optics, echo_table, extinction
from fogsim import compatibility, fog_kernel
from fogsim.errors import UserError
from fogsim.fogging import add_fog
from fogsim.layouts import FARTHEST

TABLE = echo_table(Optics())
LN20 = np.log(20.0)
P_LEAST = 1e-4  # per test; seeds are fixed


def real(name):
    folders = [os.environ.get("FOGSIM_DATA"), Path(__file__).parents[1] / ".." / "shared" / "data"]
    for folder in folders:
        if folder and (Path(folder) / name).is_file():
            return Path(folder) / name
    pytest.skip(f"{name} is neither in FOGSIM_DATA nor in ../shared/data")


def some_scan(count=3000, seed=0, dtype=np.float32):
    """(count, 4) points 0.3 to 110 m about a sensor, intensity 0-1, some of it 0."""
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal((count, 3)) * [1.0, 1.0, 0.1]
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    intensity = np.where(rng.random(count) < 0.1, 0.0, rng.random(count))
    return np.column_stack([direction * np.exp(rng.uniform(-1.0, 4.7, count))[:, None], intensity]).astype(dtype)


@pytest.fixture(scope="module")
def stf():
    return np.fromfile(real("stf_hdl64.bin"), "<f4").reshape(-1, 5)


def clear_power(distance, reflectance):
    return hard_power(TABLE, fog_at(TABLE, 1e-12), distance, 1.0, reflectance)


class Beam:
    """Many echoes of one surface in clear air, powers N(P, 1) as the model has them, and what fog makes of them."""

    def __init__(self, distance, reflectance, visibility, count=200_000, spread=0.0):
        rng = np.random.default_rng(5)
        self.clear = clear_power(distance, reflectance)
        assert self.clear > 10.0, "else the threshold had cut the powers"
        ranges = np.full(count, distance)
        power = self.clear + rng.standard_normal(count)
        if spread:
            ranges = ranges + rng.standard_normal(count) * spread * np.sqrt(TABLE.threshold / power)
        self.factor = TABLE.gain / np.pi * np.clip((ranges - TABLE.near) / (TABLE.far - TABLE.near), 0, 1) / ranges**2
        zeros = np.zeros(count)
        points = np.column_stack([ranges, zeros, zeros, power / self.factor])
        self.result = add_fog(points, visibility, 1, full_scale=1.0)
        self.fog = fog_at(TABLE, float(extinction(visibility)))
        self.soft = fog_power(TABLE, self.fog, distance)
        self.hard = hard_power(TABLE, self.fog, distance, 1.0, reflectance)
        self.power = np.linspace(TABLE.threshold, max(self.soft, self.hard, 4.0) + 12.0, 40_001)

    def density(self, label):
        """Of the power of an echo of this kind, as in the module's formula for the strongest echo."""
        means = {STRUCTURE: self.hard, FOG: self.soft, NOISE: 0.0}
        others = [stats.norm.cdf(self.power - mean) for other, mean in means.items() if other != label]
        return stats.norm.pdf(self.power - means[label]) * others[0] * others[1]


BEAMS = [(12.0, 0.15, 30.0), (20.0, 0.3, 30.0), (35.0, 0.2, 50.0), (5.0, 0.1, 15.0), (45.0, 0.3, 200.0)]


@pytest.mark.parametrize("beam", [*BEAMS, (60.0, 0.5, 1.0)])
def test_shares_of_kept_fog_noise_and_lost_are_the_models(beam):
    beam = Beam(*beam, count=1_000_000 if beam[2] == 1.0 else 200_000)
    count = len(beam.factor)
    shares = np.array([np.trapezoid(beam.density(k), beam.power) for k in (STRUCTURE, FOG, NOISE)])
    seen = np.array([(beam.result.label == k).sum() for k in (STRUCTURE, FOG, NOISE)])
    expected = np.append(shares, 1.0 - shares.sum()) * count
    seen = np.append(seen, count - seen.sum())
    enough = expected > 5.0
    assert seen[~enough].sum() < 20
    rest = np.append(seen[enough], seen[~enough].sum()), np.append(expected[enough], expected[~enough].sum() + 1e-9)
    chi = ((rest[0] - rest[1])[:-1] ** 2 / rest[1][:-1]).sum()
    assert stats.chi2.sf(chi, enough.sum()) > P_LEAST, (seen, expected)


@pytest.mark.parametrize("beam", BEAMS)
def test_powers_and_ranges_of_echoes_are_the_models(beam):
    distance = beam[0]
    beam = Beam(*beam)
    for label in (STRUCTURE, FOG):
        of_kind = beam.result.label == label
        if of_kind.sum() < 500:
            continue
        ranges = beam.result.points[of_kind, 0]
        factor = beam.factor[0] if label == STRUCTURE else TABLE.gain / np.pi / ranges**2
        density = beam.density(label)
        law = np.cumsum(density) / density.sum()
        powers = beam.result.intensity[of_kind] * factor
        assert stats.kstest(powers, lambda p, law=law: np.interp(p, beam.power, law)).pvalue > P_LEAST
    fog = beam.result.points[beam.result.label == FOG, 0]
    if len(fog) > 500:
        r = np.linspace(TABLE.near, distance, 20_001)[1:-1]
        mass = log_fog_mass(TABLE, beam.fog, distance)
        g = np.exp([log_range_fog(TABLE, beam.fog, x, distance, mass) for x in r])
        assert stats.kstest(fog, lambda x: np.interp(x, r, np.cumsum(g) / g.sum())).pvalue > P_LEAST


@pytest.mark.parametrize("beam", [(12.0, 0.3, 40.0), (30.0, 0.4, 150.0)])
def test_the_range_noise_of_kept_points_is_that_of_their_power_in_fog(beam):
    distance = beam[0]
    beam = Beam(*beam, spread=TABLE.range_noise)
    kept = beam.result.label == STRUCTURE
    source, ranges = beam.result.source[kept], beam.result.points[kept, 0]
    powers = beam.result.intensity[kept] * beam.factor[source]
    deviation = np.array([range_deviation(TABLE, p, 0.0) for p in powers[:20_000]])
    assert stats.kstest((ranges[:20_000] - distance) / deviation, "norm").pvalue > P_LEAST


@pytest.mark.parametrize("visibility", [1.0, 30.0, 1000.0])
def test_tabulated_powers_are_the_models_between_the_steps_too(visibility):
    alpha = float(extinction(visibility))
    scan = some_scan(fog_kernel.BLOCK)
    points, intensity = scan[:, :3].copy(), scan[:, 3].copy()
    distance, through, power = np.empty((3, len(scan)))
    law = fog_kernel.fog_table(Optics(), alpha)
    fog_kernel.clear_echoes(law, points, intensity, 1.0, distance, through, power)
    np.testing.assert_allclose(distance, np.linalg.norm(points.astype(float), axis=1), rtol=1e-6)
    np.testing.assert_allclose(through, np.exp(-2.0 * alpha * distance), rtol=3e-6)
    for r, i, p in zip(distance, intensity, power, strict=True):
        expected = clear_power(r, max(float(i), fog_kernel.DARKEST)) if r > TABLE.near else 500.0
        assert min(p, 500.0) == pytest.approx(expected, rel=1e-6)
    for r in distance[distance > TABLE.near]:
        soft = fog_power(TABLE, fog_at(TABLE, alpha), r)
        assert fog_kernel.between(law.soft, r * fog_kernel.PER_METRE) == pytest.approx(soft, rel=1e-9, abs=1e-12)


def test_false_alarms_are_uniform_in_range_and_of_the_noises_power():
    beam = Beam(60.0, 0.5, 1.0, count=2_000_000)
    alarm = beam.result.label == NOISE
    ranges = beam.result.points[alarm, 0]
    powers = beam.result.intensity[alarm] * TABLE.gain / np.pi / ranges**2
    low, high = TABLE.range_min, TABLE.range_max
    assert stats.kstest(ranges, stats.uniform(low, high - low).cdf).pvalue > P_LEAST
    quiet = stats.norm.sf(TABLE.threshold)
    assert stats.kstest(powers, lambda p: 1.0 - stats.norm.sf(p) / quiet).pvalue > P_LEAST


def test_clear_air_makes_no_false_alarms_even_of_the_faintest_points():
    faint = np.tile(np.float32([100.0, 0.0, 0.0, 0.01]), (1_000_000, 1))
    fogged = add_fog(faint, np.inf, 0)
    np.testing.assert_array_equal(fogged.points, faint[:, :3])


def test_far_fog_echoes_follow_the_law_too():
    law = fog_kernel.fog_table(Optics(), 0.01)
    u = np.linspace(0.0, 1.0, 50_001)[1:-1]
    for stop in (1.02, 3.0, 40.0, 300.0):
        drawn = np.array([fog_kernel.fog_range(law.law, law.quantile, stop, x) for x in u])
        fog = fog_at(TABLE, 0.01)
        z = (np.log([TABLE.near, stop]) - fog.location) / TABLE.fog_spread
        low, high = stats.norm.cdf(z)
        exact = np.exp(fog.location + TABLE.fog_spread * stats.norm.ppf(low + u * (high - low)))
        np.testing.assert_allclose(drawn, exact, rtol=1e-3)
        assert (drawn <= stop).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clear_air_gives_the_scan_back_to_the_last_bit(dtype):
    scan = some_scan(20_000, dtype=dtype)
    fogged = add_fog(scan, np.inf, 3)
    assert fogged.points.dtype == dtype
    np.testing.assert_array_equal(fogged.points, scan[:, :3])
    np.testing.assert_array_equal(fogged.intensity, scan[:, 3])
    np.testing.assert_array_equal(fogged.source, np.arange(len(scan)))
    assert (fogged.label == STRUCTURE).all()


def test_ten_kilometres_hardly_change_a_scan_and_one_metre_blinds():
    scan = some_scan(20_000)
    haze = add_fog(scan, 10_000.0, 3)
    assert len(haze.label) > 0.9 * len(scan)
    near = np.linalg.norm(scan[haze.source, :3], axis=1) < 20.0
    assert (haze.label[near] == STRUCTURE).all()
    np.testing.assert_allclose(haze.intensity[near], scan[haze.source[near], 3], rtol=0.3)
    blind = add_fog(scan, 1.0, 3)
    assert (np.linalg.norm(scan[blind.source[blind.label == STRUCTURE], :3], axis=1) < 3.0).all()


def test_the_real_sweep_in_clear_air_is_unchanged(stf):
    fogged = add_fog(stf, np.inf, 0)
    assert (fogged.points == stf[:, :3]).all()
    assert (fogged.intensity == stf[:, 3]).all()


@settings(deadline=None, max_examples=40)
@given(st.floats(1.0, 1e4), st.integers(0, 2**32), st.sampled_from([1.0, 255.0]), st.integers(0, 50))
def test_what_comes_out_lies_on_the_beams_that_went_in(visibility, seed, scale, count):
    scan = some_scan(count, seed) * np.float32([1, 1, 1, scale])
    fogged = add_fog(scan, visibility, seed, full_scale=scale)
    assert set(fogged.label) <= {STRUCTURE, FOG, NOISE}
    assert (np.diff(fogged.source) > 0).all()
    assert ((fogged.intensity >= 0.0) & (fogged.intensity <= scale)).all()
    old, new = scan[fogged.source, :3].astype(float), fogged.points.astype(float)
    along = np.linalg.norm(new, axis=1) / np.linalg.norm(old, axis=1)
    np.testing.assert_allclose(new, old * along[:, None], rtol=1e-5, atol=1e-5)
    assert (along[fogged.label == FOG] <= 1.0 + 1e-6).all()
    assert (np.linalg.norm(new[fogged.label == FOG], axis=1) >= TABLE.near - 1e-5).all()


def test_the_same_seed_gives_the_same_fog_and_another_one_another():
    scan = some_scan()
    a, b, c = (add_fog(scan, 20.0, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a.points, b.points)
    assert len(a.label) != len(c.label) or (a.points != c.points).any()


def test_intensities_in_255_get_the_same_fog_as_in_1():
    scan = some_scan()
    scan[:, 3] = np.round(scan[:, 3] * 255.0)
    a, b = add_fog(scan, 20.0, 1), add_fog(scan / np.float32([1, 1, 1, 255]), 20.0, 1)
    np.testing.assert_array_equal(a.label, b.label)
    np.testing.assert_allclose(a.intensity, b.intensity * 255.0, rtol=1e-4)


def test_rays_without_return_and_dropped_points_keep_the_others_index():
    scan = some_scan(100)
    scan[3, :3], scan[7, 1] = 0.0, np.nan
    fogged = add_fog(scan, np.inf, 0, drop=True)
    np.testing.assert_array_equal(fogged.source, np.delete(np.arange(100), [3, 7]))


def test_an_empty_scan_stays_empty():
    for model in ("fogsim", "hahner"):
        fogged = add_fog(np.zeros((0, 4), np.float32), 20.0, 0, model=model)
        assert [len(part) for part in fogged] == [0, 0, 0, 0]


BAD = {
    "shape": (np.zeros((5, 3)), 20.0, {}, "expected (n, 4 or more)"),
    "nan": (np.full((5, 4), np.nan), 20.0, {}, "not finite in 5 of 5 points (first: point 0)"),
    "far": (np.full((5, 4), 0.5) * [1e4, 1, 1, 1], 20.0, {}, "beyond 300 m"),
    "intensity": (np.full((5, 4), 300.0) / [300, 1, 1, 1], 20.0, {}, "intensities of 300 to 300"),
    "negative": (-np.ones((5, 4)), 20.0, {}, "intensities of -1 to -1"),
    "full scale 0": (some_scan(5), 20.0, {"full_scale": 0}, "full_scale is 0, expected a number above 0"),
    "full scale 0 of nothing": (np.zeros((0, 4)), 20.0, {"full_scale": 0.0}, "full_scale is 0.0"),
    "full scale inf": (some_scan(5), 20.0, {"full_scale": np.inf}, "full_scale is inf"),
    "full scale nan": (some_scan(5), 20.0, {"full_scale": np.nan}, "full_scale is nan"),
    "full scale in words": (some_scan(5), 20.0, {"full_scale": "255"}, "full_scale is '255'"),
    "visibility in words": (some_scan(5), "40", {}, "visibility is '40', expected a number of metres"),
    "visibility missing": (some_scan(5), None, {}, "visibility is None"),
    "seed below 0": (some_scan(5), 20.0, {"seed": -1}, "seed is -1, expected an integer of 0 or more"),
    "seed missing": (some_scan(5), 20.0, {"seed": None}, "seed is None"),
    "seed in parts": (some_scan(5), 20.0, {"seed": 1.5, "model": "hahner"}, "seed is 1.5"),
    "above": (np.full((5, 4), 2.0), 20.0, {"full_scale": 1.0}, "expected 0 to 1.0"),
    "no visibility": (some_scan(5), 0.0, {}, "visibility is 0.0 m"),
    "below": (some_scan(5), -3.0, {}, "visibility is -3.0 m"),
    "not a visibility": (some_scan(5), np.nan, {}, "visibility is nan m"),
    "model": (some_scan(5), 20.0, {"model": "lisa"}, "'lisa', expected one of fogsim, hahner"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case):
    points, visibility, options, words = BAD[case]
    with pytest.raises(UserError) as caught:
        add_fog(points, visibility, **{"seed": 0, **options})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_it_is_the_packages():
    assert fogsim.add_fog is add_fog


# The published model.


@pytest.mark.parametrize(
    ("alpha", "stop", "peak", "integral"),
    [
        (0.02, 50.0, 4.702, 4.347e-9),
        (0.06, 50.0, 4.602, 3.816e-9),
        (0.2, 50.0, 4.502, 2.476e-9),
        (0.06, 3.0, 2.901, 1.749e-9),
        (0.06, 2.0, 1.901, 3.299e-10),
        (0.06, 1.0, 0.0, 0.0),
    ],
)
def test_golden_peaks_of_the_fogs_return(alpha, stop, peak, integral):
    found = compatibility.soft_peak(alpha, stop)
    np.testing.assert_allclose(found, (peak, integral), rtol=1e-3, atol=1e-13)


def watts(alpha, distance):
    """Hard echo and soft peak of the published calibration, W."""
    scale = compatibility.PEAK_POWER * compatibility.GAIN
    hard = scale * compatibility.REFLECTIVITY / np.pi * np.exp(-2.0 * alpha * distance) / distance**2
    soft = scale * compatibility.backscatter(LN20 / alpha) * compatibility.soft_peak(alpha, distance)[1]
    return hard, soft


def test_golden_powers_and_crossovers():
    np.testing.assert_allclose(watts(0.06, 30.0), (1.4486e-3, 5.270e-4), rtol=1e-3)
    for alpha, crossover in ((0.06, 35.58), (0.2, 13.57)):
        before, after = (np.subtract(*watts(alpha, crossover + d)) for d in (-0.02, 0.02))
        assert before > 0.0 > after


@pytest.mark.parametrize(("alpha", "moved"), [(0.06, 1841), (0.2, 15_896)])
def test_the_published_numbers_of_points_move(stf, alpha, moved):
    fogged = add_fog(stf, LN20 / alpha, 0, model="hahner")
    assert (fogged.label == FOG).sum() == moved
    assert len(fogged.label) == 109_431


@pytest.mark.parametrize("alpha", [0.01, 0.06, 0.137, 0.2, 3.0])
def test_the_preset_is_its_slow_twin(alpha):
    scan = some_scan(20_000) * np.float32([1, 1, 1, 255])
    moved, faded, label = compatibility.lay_haze(scan[:, :3].copy(), scan[:, 3].copy(), LN20 / alpha)
    distance, intensity = np.linalg.norm(scan[:, :3].astype(float), axis=1), scan[:, 3].astype(float)
    peaks = np.array([compatibility.soft_peak(alpha, stop) for stop in np.arange(0.0, 10.05, 0.1)])
    peak, integral = peaks[np.minimum(np.round(distance * 10).astype(int), 100)].T
    hard = np.round(intensity * np.exp(-2 * alpha * distance))
    soft = np.minimum(intensity * distance**2 * compatibility.BETA / 1e-6 * np.pi * integral, 255.0)
    same = (label == FOG) == (soft > hard)
    assert (~same).sum() <= 2, "but for roundings"
    np.testing.assert_allclose(faded[same], np.where(soft > hard, soft, hard)[same], rtol=1e-4, atol=1.0)
    expected = scan[:, :3] * np.where(soft > hard, peak / distance, 1.0)[:, None]
    near_step = np.abs(distance * 10 % 1 - 0.5) < 1e-4
    np.testing.assert_allclose(moved[same & ~near_step], expected[same & ~near_step], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_preset_reaches_the_corners_of_the_cube(dtype):
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
    corners = np.column_stack([np.vstack([signs * 299.0, signs * 300.0]), np.full(16, 200.0)]).astype(dtype)
    distance = np.linalg.norm(corners[:, :3], axis=1)
    for visibility in (50.0, 5_000.0):
        alpha = LN20 / visibility
        fogged = add_fog(corners, visibility, 0, model="hahner")
        soft = compatibility.soft_peak(alpha, 10.0)
        echo = np.minimum(200.0 * distance**2 * compatibility.BETA / 1e-6 * np.pi * soft[1], 255.0)
        hard = np.round(200.0 * np.exp(-2.0 * alpha * distance))
        np.testing.assert_allclose(fogged.intensity, np.maximum(echo, hard), rtol=1e-4, atol=1.0)
        ranges = np.linalg.norm(fogged.points, axis=1)
        np.testing.assert_allclose(ranges, np.where(echo > hard, soft[0], distance), rtol=1e-5)
    assert np.sqrt(3.0) * FARTHEST < compatibility.REACH
    assert len(compatibility.haze_table(0.06).clear) > np.sqrt(3.0) * FARTHEST / compatibility.STEP + 1


def test_numbers_of_numpy_are_numbers():
    a = add_fog(some_scan(), np.float32(40.0), np.int64(3), full_scale=np.float64(1.0))
    np.testing.assert_array_equal(a.points, add_fog(some_scan(), 40, 3, full_scale=1).points)


def test_the_preset_scales_intensities_of_kitti():
    scan = some_scan()
    scan[:, 3] = np.round(scan[:, 3] * 255.0)
    a = add_fog(scan, 50.0, 1, model="hahner")
    b = add_fog(scan / np.float32([1, 1, 1, 255]), 50.0, 1, model="hahner")
    assert (a.label != b.label).sum() <= 2, "but for roundings"
    assert b.intensity.max() <= 1.0
