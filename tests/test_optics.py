import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from filters.models.fog import fog_at, fog_power
from filters.models.lidar_echo import hard_power, log_density, stop_at
from filters.models.optics import POWER_LIMIT, Optics, echo_table, extinction, peak, waveform
from tests import reference

WIDE = Optics(pulse=20e-9, overlap=(0.9, 1.0))  # of the golden numbers
GRID = 100  # every .1 m of a grid of 1 mm: R = .001 + .1 k


def on_the_grid(alpha):
    ranges, received = waveform(WIDE, alpha, 20.0, 0.001)
    return ranges[::GRID], received[::GRID]


@pytest.mark.parametrize(
    ("alpha", "peak", "value"), [(0.02, 4.702, 4.347e-9), (0.06, 4.602, 3.816e-9), (0.2, 4.502, 2.476e-9)]
)
def test_saturated_peak_is_the_golden_one(alpha, peak, value):
    ranges, received = on_the_grid(alpha)
    assert received.max() == pytest.approx(value, rel=1e-3)
    assert ranges[received.argmax()] == pytest.approx(peak, abs=0.0015)  # the source's grid drifts by 1 mm


@pytest.mark.parametrize(("stop", "peak", "value"), [(2.0, 1.901, 3.299e-10), (3.0, 2.901, 1.749e-9)])
def test_truncated_peak_is_the_golden_one(stop, peak, value):
    ranges, received = on_the_grid(0.06)
    before = received[ranges < stop]
    assert before.max() == pytest.approx(value, rel=1e-3)
    assert ranges[before.argmax()] == pytest.approx(peak, abs=1e-9)


@pytest.mark.parametrize("top", [-0.3, 0.0, 0.2, 0.5, 3.27, 3.4999, 3.5001, 4.0, 8.7, 9.0, 9.3])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 50.0])
def test_a_parabola_has_its_peak_where_it_is(top, scale):
    """Sampled beside its top, at its ends and, by less than a step, beyond them."""
    ranges = 2.0 + 0.25 * np.arange(10.0)
    assert peak(ranges, scale * (7.0 - (np.arange(10.0) - top) ** 2)) == pytest.approx(2.0 + 0.25 * top, abs=1e-6)


@pytest.mark.parametrize("received", [[1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 2.0, 3.0], [4.0, 1.0, 0.5, 0.3]])
def test_what_has_no_top_peaks_at_a_sample(received):
    ranges = np.array([1.0, 1.5, 2.0, 2.5])
    assert abs(peak(ranges, np.array(received)) - ranges[int(np.argmax(received))]) <= 0.5
    assert peak(ranges, np.array(received)) in ranges


@pytest.mark.parametrize("optics", [Optics(), WIDE], ids=["house", "wide"])
@pytest.mark.parametrize("alpha", [2e-4, 0.01, 0.06, 0.2, 0.5, 1.3, 4.0])
def test_the_peak_is_that_of_a_finer_waveform(optics, alpha):
    """To a tenth of a millimetre, from samples that are a centimetre apart."""
    coarse, fine = (peak(*waveform(optics, alpha, 15.0, step)) for step in (0.01, 0.001))
    assert coarse == pytest.approx(fine, abs=1e-4)


def test_fog_echoes_come_nearer_with_every_step_of_the_table():
    """Their median has no stairs: from a step to the next the slope changes little."""
    slope = np.diff(np.exp(echo_table(Optics()).log_median))
    assert (slope < 0.0).all()
    assert np.abs(np.diff(np.log(-slope))).max() < 0.1


def test_no_fog_echo_before_the_overlap_begins():
    ranges, received = on_the_grid(0.06)
    assert received[ranges < 1.0].max() < 1e-9 * received.max()


def test_waveform_is_the_integral():
    for optics in (WIDE, Optics()):
        ranges, received = waveform(optics, 0.1, 20.0, 0.01)
        for k in range(150, 1900, 170):
            assert received[k] == pytest.approx(reference.received(optics, 0.1, ranges[k]), rel=1e-3)


def test_the_lidar_ratio_reproduces_the_published_backscatter():
    assert extinction(50.0) / Optics().lidar_ratio == pytest.approx(0.046 / 50.0, rel=1e-3)
    assert extinction(49.93) == pytest.approx(0.06, rel=1e-4)


def crossover(optics, alpha, reflectance):
    """Range at which a hard target is as bright as the fog before it."""
    table = echo_table(optics)
    fog = fog_at(table, alpha)
    return brentq(lambda r: hard_power(table, fog, r, 1.0, reflectance) - fog_power(table, fog, r), 8.0, 60.0)


@pytest.mark.parametrize(("reflectance", "expected"), [(0.15, 13.0), (0.4, 15.9)])
def test_crossover_of_the_house_sensor_at_30_m(reflectance, expected):
    assert crossover(Optics(), float(extinction(30.0)), reflectance) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize(("reflectance", "expected"), [(0.1, 16.86), (0.9, 27.20)])
def test_crossover_at_50_m_is_the_golden_one(reflectance, expected):
    assert crossover(Optics(), 0.06, reflectance) == pytest.approx(expected, abs=0.01)


@given(st.floats(0.005, 0.4), st.floats(0.05, 0.9))
@settings(max_examples=40, deadline=None)
def test_crossover_in_any_fog_is_that_of_the_equations(alpha, reflectance):
    """The soft-target integral by adaptive quadrature, the hard target by its formula: no table."""
    optics = Optics(range_limits=(0.5, 320.0))
    soft = reference.soft_power(optics, alpha, np.inf)

    def gap(r):
        return np.log(reference.hard_power(optics, alpha * r, reference.Surface(r, 1.0, reflectance)) / soft)

    table = echo_table(optics)
    fog = fog_at(table, alpha)
    if gap(12.0) < 0.0:
        return  # the fog outshines it before the overlap is full
    found = brentq(
        lambda r: np.log(hard_power(table, fog, r, 1.0, reflectance) / fog_power(table, fog, r)), 12.0, 319.0
    )
    assert found == pytest.approx(brentq(gap, 12.0, 319.0), rel=1e-3)


@pytest.mark.parametrize("optics", [Optics(), Optics(pulse=20e-9, overlap=(0.9, 1.0), range_10=15.0, lidar_ratio=20.0)])
@pytest.mark.parametrize("visibility", [8.0, 30.0, 300.0, 3000.0])
def test_the_table_is_the_integral(optics, visibility):
    table, alpha = echo_table(optics), float(extinction(visibility))
    fog = fog_at(table, alpha)
    full = reference.soft_power(optics, alpha, np.inf)
    assert full < POWER_LIMIT  # else the comparison is of two limits
    assert fog.power == pytest.approx(full, rel=1e-3)
    for stop in (1.3, 1.77, 2.513, 3.98, 6.02, 9.0, 30.0, np.inf):
        expected = reference.soft_power(optics, alpha, stop)
        assert fog_power(table, fog, stop) == pytest.approx(expected, rel=1e-3, abs=1e-3 * full)


def test_no_room_for_fog_is_negative():
    table = echo_table(Optics())
    assert fog_power(table, fog_at(table, 0.1), 1.0) < 0.0 <= fog_power(table, fog_at(table, 0.1), 1.001)


@pytest.mark.parametrize("range_10", [30.0, 50.0, 120.0])
def test_gain_makes_a_tenth_detectable_at_range_10(range_10):
    optics = Optics(range_10=range_10, threshold=4.5, range_limits=(0.5, 200.0))
    table = echo_table(optics)
    assert hard_power(table, fog_at(table, 1e-12), range_10, 1.0, 0.1) == pytest.approx(4.5, rel=1e-9)


def test_hard_power_is_the_equation():
    optics = Optics()
    table = echo_table(optics)
    for r in (0.5, 1.5, 8.0, 9.99, 10.01, 40.0):
        surface = reference.Surface(r, 0.4, 0.3)
        assert hard_power(table, fog_at(table, 0.1), r, 0.4, 0.3) == pytest.approx(
            reference.hard_power(optics, 0.1 * r, surface)
        )
    assert hard_power(table, fog_at(table, 0.1), np.inf, 1.0, 1.0) < 0.0


def test_fog_echoes_are_reported_where_a_wall_would_be():
    """The median is the waveform's peak less c tau/2, by a search of its own."""
    optics, alpha = Optics(), 0.1
    ranges = np.arange(1.5, 11.0, 0.01)
    peak = ranges[np.argmax([reference.received(optics, alpha, r) for r in ranges])]
    fog = fog_at(echo_table(optics), alpha)
    assert np.exp(fog.location) == pytest.approx(peak - 0.5 * reference.C * optics.pulse, abs=0.02)


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 0.0},
        {"threshold": -1.0},
        {"glitch": 1.0},
        {"glitch": -0.1},
        {"range_noise": -1.0},
        {"range_limits": (100.0, 10.0)},
        {"range_limits": (0.5, 400.0)},
        {"overlap": (1.0, 1.0)},
        {"overlap": (5.0, 1.0)},
        {"overlap": (0.0, 10.0)},
        {"pulse": 0.0},
        {"pulse": 1e-6},
        {"fog_spread": 0.0},
        {"lidar_ratio": 0.0},
        {"range_10": np.nan},
    ],
    ids=str,
)
def test_impossible_optics_are_an_error(wrong):
    with pytest.raises(ValueError, match=f"optics.{next(iter(wrong))}"):
        Optics(**wrong)


@pytest.mark.parametrize("beyond", [0.0, 0.5])
def test_no_surface_is_heard_from_the_limit_of_range_on(beyond):
    optics = Optics(range_10=200.0)
    table = echo_table(optics)
    fog = fog_at(table, 1e-4)
    assert hard_power(table, fog, 119.9, 1.0, 0.8) > 4.0
    assert hard_power(table, fog, 120.0 + beyond, 1.0, 0.8) < 0.0


def test_a_glitch_bounds_what_a_beam_can_say_even_at_the_limits():
    """A strong echo that strays beyond the limit of range, or a power at the ceiling, off a map that errs by 1 m."""
    table = echo_table(Optics())
    fog = fog_at(table, 1e-4)
    for r, p, wall in ((121.5, 20.0, 119.5), (60.0, 1020.0, 61.0)):
        stop = stop_at(table, fog, wall, 1.0, 0.5, 0.03, 0.15)
        assert log_density(table, fog, np.array([r]), np.array([p]), stop) > -25.0


def test_unknown_mode_is_an_error():
    with pytest.raises(ValueError, match=r"optics\.mode is 'first', expected one of strongest, last, dual, all"):
        Optics(mode="first")
