"""Uneven fog along a ray: even fog as its special case, and physics in banks and gradients."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from filters.models.fog import (
    cell_of,
    fog_along,
    fog_at,
    fog_law,
    fog_power,
    fog_rays,
    log_fog_mass,
    log_range_fog,
    optical_depth,
    sample_fog_range,
)
from filters.models.lidar_echo import hard_power
from filters.models.optics import CELLS, CENTRES, EDGES, Optics, cell_table, echo_table, extinction
from tests import reference
from tests.echoes import BANK, FOGS, PATCHY, ray

OPTICS = Optics()
TABLE = echo_table(OPTICS)


def along(alphas, optics=OPTICS):
    return fog_along(echo_table(optics), fog_rays(optics, np.broadcast_to(alphas, (1, 1, CELLS)).copy()), 0, 0)


@given(st.floats(5.0, 2000.0), st.one_of(st.floats(1.01, 119.0), st.just(np.inf)))
@settings(max_examples=100, deadline=None)
def test_the_same_fog_in_every_cell_is_even_fog(visibility, stop):
    """Up to the table's steps in alpha, and, where the first return is still rising, the cells' in range."""
    alpha = float(extinction(visibility))
    even, uneven = fog_at(TABLE, alpha), along(alpha)
    if np.isfinite(stop):
        assert optical_depth(TABLE, uneven, stop) == pytest.approx(alpha * stop, rel=1e-9)
        assert hard_power(TABLE, uneven, stop, 0.5, 0.3) == pytest.approx(hard_power(TABLE, even, stop, 0.5, 0.3))
    gap = 0.015 if stop > 3.0 else 0.12
    assert fog_power(TABLE, uneven, stop) == pytest.approx(fog_power(TABLE, even, stop), abs=gap * even.power)
    for r in (1.5, 3.0, 6.0):  # edges of cells
        if r < stop - 3.0:
            share = [fog_law(TABLE, f, r) / fog_law(TABLE, f, stop) for f in (even, uneven)]
            assert share[1] == pytest.approx(share[0], abs=0.005)


def waveform(optics, alphas, at):
    """A/ratio (c/2) ∫ sin² alpha(r) exp(-2 tau(r)) xi/r² dt at R = at, on a fine grid: no cells, no table."""
    length = reference.C * optics.pulse
    r = at - np.linspace(0.0, length, 2001)[1:-1]
    r = r[r > optics.overlap[0]]
    tau = np.concatenate([[0.0], np.cumsum(alphas * np.diff(EDGES))])
    alpha = alphas[np.searchsorted(EDGES, r, side="right") - 1]
    overlap = np.clip((r - optics.overlap[0]) / (optics.overlap[1] - optics.overlap[0]), 0.0, 1.0)
    pulse = np.sin(np.pi * (at - r) / length) ** 2
    light = pulse * alpha * np.exp(-2.0 * np.interp(r, EDGES, tau)) * overlap / r**2
    return optics.gain / optics.lidar_ratio * light.sum() * length / 2000.0


def edge(at, scale, before, behind):
    """Visibility changes from one to the other about a range, over about 4 scales."""
    share = 1.0 / (1.0 + np.exp(-(CENTRES - at) / scale))
    return (1.0 - share) * extinction(before) + share * extinction(behind)


@pytest.mark.parametrize(
    ("alphas", "tolerance"),
    [
        (PATCHY, 0.06),
        (edge(14.0, 1.5, 1000.0, 20.0), 0.06),
        (edge(6.0, 1.0, 20.0, 300.0), 0.06),
        (edge(5.0, 1.0, 1000.0, 20.0), 0.25),  # steep where the return is bright: a cell is half a pulse
    ],
)
def test_the_brightest_return_is_that_of_the_true_pulse(alphas, tolerance):
    fog = along(alphas)
    for stop in (3.0, 5.0, 9.0, 14.0, 25.0, 60.0):
        true = max(waveform(OPTICS, alphas, r) for r in np.arange(1.1, stop, 0.1))
        assert fog_power(TABLE, fog, stop) == pytest.approx(true, rel=tolerance, abs=0.02 * fog.power), stop


def test_a_bank_echoes_from_the_bank():
    """Haze, then a wall of fog at 14 m: most of its echoes lie in the wall, where even fog has almost none."""
    fog = along(np.where(CENTRES > 14.0, extinction(20.0), extinction(1000.0)))
    rng = np.random.default_rng(0)
    draws = np.array([sample_fog_range(TABLE, fog, np.inf, rng.standard_normal(), rng) for _ in range(2000)])
    assert np.mean((draws > 13.0) & (draws < 30.0)) > 0.5
    even = fog_at(TABLE, float(extinction(50.0)))
    draws = np.array([sample_fog_range(TABLE, even, np.inf, rng.standard_normal(), rng) for _ in range(2000)])
    assert np.mean(draws > 13.0) < 0.2


@pytest.mark.parametrize("stop", [4.0, 15.0, 70.0, 200.0, np.inf])
@pytest.mark.parametrize(
    "alphas", [BANK, PATCHY, np.full(CELLS, 3.0), np.zeros(CELLS)], ids=["bank", "patchy", "1m", "no fog"]
)
def test_ranges_follow_the_law_and_the_density_is_its_slope(alphas, stop):
    fog, rng = along(alphas), np.random.default_rng(3)
    draws = np.array([sample_fog_range(TABLE, fog, stop, 0.0, rng) for _ in range(4000)])
    assert draws.min() > 1.0
    assert draws.max() < stop

    def law(x):
        return np.array([fog_law(TABLE, fog, v) for v in x]) / fog_law(TABLE, fog, stop)

    assert stats.kstest(draws, law).pvalue > 1e-3
    mass = log_fog_mass(TABLE, fog, stop)
    for r in (2.0, 3.1, 8.3, 13.5):
        if r < stop:
            slope = np.diff(law([r - 1e-4, r + 1e-4]))[0] / 2e-4
            assert np.exp(log_range_fog(TABLE, fog, r, stop, mass)) == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_cells():
    for r in np.concatenate([np.linspace(0.0, 130.0, 2000), EDGES, EDGES[1:] - 1e-9]):
        assert cell_of(r) == min(np.searchsorted(EDGES, r, side="right") - 1, CELLS - 1)


@pytest.mark.parametrize("alpha", [0.02, 0.2, 1.0])
def test_the_cells_peaks_are_the_waveform_s(alpha):
    row = round((np.log(alpha) - TABLE.log_alpha_0) / TABLE.log_alpha_step)
    near = float(np.exp(TABLE.log_alpha_0 + row * TABLE.log_alpha_step))
    soft, delay = cell_table(OPTICS).soft[row], 0.5 * reference.C * OPTICS.pulse
    for j in (2, 4, 9, 15, 20):
        grid = np.linspace(EDGES[j], EDGES[j + 1], 40) + delay
        peak = 0.5 * reference.C * max(reference.received(OPTICS, near, r) for r in grid)
        assert soft[j] == pytest.approx(peak, rel=5e-3)


def test_python_and_kernels_choose_alike():
    for name in ("even", "bank"):
        fog = ray(OPTICS, FOGS[name])
        assert optical_depth(TABLE, fog, 10.0) > 0.0
        assert fog_power(TABLE, fog, 1.0) < 0.0 < fog_power(TABLE, fog, 10.0)
