"""Forecasts of the visibility sensor: the mixture's arithmetic, what it learns, what it refuses."""

import numpy as np
import pytest
import scoringrules
import torch
from scipy.stats import multivariate_normal

from filters.adaptation.forecast import Forecast, Forecaster
from filters.models.visibility_sensor import VisibilitySensor
from filters.posterior.spec import generator

torch.set_num_threads(1)

MIXED = Forecast(np.log([0.3, 0.7]), np.array([3.0, 4.5]), np.array([0.5, 0.2]), (10.0, 20000.0))
FEW = ("linear", "waves 27 s, 0.6", "waves 64 s, 0.6")
LONGER = ("waves 16 s, 0.6", "waves 19 s, 0.6", "waves 22.5 s, 0.6", "waves 27 s, 0.6", "waves 32 s, 0.6")


def drawn(n: int, seed: int, length: float = 28.0) -> tuple[np.ndarray, np.ndarray]:
    """Times, and readings of a fog whose ln visibility is a Gaussian process of that length about 100 m."""
    rng = np.random.default_rng(seed)
    t = np.arange(float(n))
    k = 0.5 * np.exp(-0.5 * ((t[:, None] - t) / length) ** 2) + 1e-6 * np.eye(n)
    return t, 100.0 * np.exp(np.linalg.cholesky(k) @ rng.standard_normal(n) + 0.1 * rng.standard_normal(n))


def test_the_mixtures_sampler_fits_its_density_and_its_score_is_scoringrules():
    draws = np.log(MIXED.sample(np.random.default_rng(0), 100_000))
    edges = np.linspace(1.0, 6.0, 4001)
    density = np.exp([MIXED.log_density(float(np.exp(u))) for u in edges])
    inside = edges >= np.log(10.0)
    total = np.trapezoid(density[inside][1:], edges[inside][1:]) + np.exp(MIXED.log_density(10.0))
    assert total == pytest.approx(1.0, abs=2e-3)
    for p in (0.05, 0.5, 0.95):
        assert np.mean(draws < np.log(MIXED.quantile(p))) == pytest.approx(p, abs=0.005)
    expected = scoringrules.crps_mixnorm(np.log(50.0), MIXED.means, MIXED.deviations, np.exp(MIXED.log_weights))
    assert MIXED.crps(50.0) == pytest.approx(float(expected), abs=1e-9)


def test_quantiles_are_held_at_the_limits():
    thick = MIXED._replace(means=np.array([1.0, 1.5]))
    assert thick.quantile(0.5) == 10.0
    assert thick.log_density(10.0) == pytest.approx(np.log(thick.below(np.log(10.0))))


def test_evidence_finds_the_length_and_gaps_are_no_readings():
    t, readings = drawn(300, 0)
    told = Forecaster(structures=FEW).forecast(t, readings, 30.0, generator(0))
    assert told.log_weights.argmax() in (1, 4)
    apart = np.full(2 * len(t), np.nan)
    apart[::2] = readings
    gaps = Forecaster(structures=FEW).forecast(np.arange(2 * len(t)) / 2.0, apart, 30.0, generator(0))
    assert gaps.quantile(0.5) == pytest.approx(
        Forecaster(structures=FEW).forecast(t, readings, 30.5, generator(0)).quantile(0.5), rel=0.2
    )


def test_weights_and_moments_are_those_of_gaussian_processes_with_and_without_a_change():
    t, readings = drawn(400, 1, 40.0)
    told = Forecaster(structures=("waves 38 s, 0.6", "waves 45 s, 0.6")).forecast(t, readings, 30.0, generator(0))
    logs = np.log(readings) - np.log(readings).mean()
    late = t > t[-1] - 300.0
    rows = [[process(t[part], logs[part], length) for length in (38.0, 45.0)] for part in (late | True, ~late, late)]
    every, before, since = np.array(rows)
    changed = since[:, 0] + np.log(0.1) - 2.0 * np.log(2.0) + np.logaddexp(*before[:, 0])
    expected = np.append(every[:, 0] + np.log(0.9) - np.log(2.0), changed)
    np.testing.assert_allclose(told.log_weights, expected - np.logaddexp.reduce(expected), atol=0.05)
    assert np.exp(told.log_weights).min() > 1e-4  # none so small that it would not show
    np.testing.assert_allclose(told.means, np.append(every[:, 1], since[:, 1]) + np.log(readings).mean(), atol=0.01)
    deviations = np.sqrt(np.append(every[:, 2], since[:, 2]) + 0.01)
    np.testing.assert_allclose(
        told.deviations, deviations, rtol=0.01
    )  # a grid of frequencies is their kernel but for some .001


def process(t: np.ndarray, y: np.ndarray, length: float) -> tuple[float, float, float]:
    """Log evidence, and mean and variance 30 s after 399, of a level and waves of strength .6."""
    at = np.append(t, 429.0)
    k = 1.0 + 0.36 * np.exp(-0.5 * ((at[:, None] - at) / length) ** 2)
    noisy = k[:-1, :-1] + 0.01 * np.eye(len(t))
    gain = np.linalg.solve(noisy, k[:-1, -1])
    evidence = multivariate_normal(np.zeros(len(t)), noisy).logpdf(y)
    return float(evidence), float(gain @ y), float(k[-1, -1] - gain @ k[:-1, -1])


def test_a_quarter_of_an_hour_tells_lengths_apart_that_five_minutes_do_not():
    right = []
    for seed in range(8):
        t, readings = drawn(1000, 100 + seed, 22.5)
        for n in (300, 1000):
            told = Forecaster(structures=LONGER).forecast(t[-n:], readings[-n:], 30.0, generator(0))
            right.append(np.exp(told.log_weights).reshape(2, -1).sum(axis=0)[2])
    short, long = np.reshape(right, (8, 2)).mean(axis=0)
    assert short < 0.8 < long


def test_fog_of_another_kind_is_noticed_and_fog_of_the_same_is_not_forgotten():
    changed, same = [], []
    for seed in range(8):
        t, old = drawn(900, 200 + seed, 16.0)
        _, new = drawn(900, 300 + seed, 32.0)
        turned = np.where(t < 600.0, old, new)
        for readings, found in ((turned, changed), (old, same)):
            told = Forecaster(structures=LONGER).forecast(t, readings, 30.0, generator(0))
            found.append(np.exp(told.log_weights[len(LONGER) :]).sum())
    assert np.mean(changed) > 0.9
    assert np.mean(same) < 0.1


def test_what_takes_a_descent_is_learnt_by_all_readings_only():
    t, readings = drawn(50, 8)
    for few, rows in ((("one layer",), 1), (("one layer", FEW[1]), 3)):
        told = Forecaster(structures=few).forecast(10.0 * t, readings, 30.0, generator(0))
        assert len(told.means) == rows
        assert np.exp(told.log_weights).sum() == pytest.approx(1.0)


def test_intervals_cover_and_beat_persistence_where_the_structure_is_known():
    inside, ours, last = [], [], []
    for seed in range(60):
        t, readings = drawn(211, seed)
        told = Forecaster(structures=FEW[1:2]).forecast(t[:180], readings[:180], 30.0, generator(seed))
        inside.append(told.quantile(0.05) <= readings[209] <= told.quantile(0.95))
        ours.append(told.crps(readings[209]))
        apart = np.log(readings[30:180] / readings[:150])
        still = np.log(readings[179:180])
        stays = Forecast(np.zeros(1), still, apart.std()[None], MIXED.limits)
        last.append(stays.crps(readings[209]))
    assert 0.78 <= np.mean(inside) <= 0.98  # 99 % of such means, if 90 % is true
    assert np.mean(ours) < np.mean(last)


def test_what_stands_still_is_forecast_to_stand_still():
    told = Forecaster().forecast(np.arange(100.0), np.full(100, 50.0), 30.0, generator(0))
    assert np.isfinite(told.log_weights).all()
    assert told.quantile(0.05) < 50.0 < told.quantile(0.95)
    assert told.quantile(0.5) == pytest.approx(50.0, rel=0.05)


def test_what_was_read_before_the_window_is_forgotten():
    t, readings = drawn(400, 5)
    other = np.where(t < 95.0, 3.0 * readings, readings)
    lately = Forecaster(window=300.0, structures=FEW)
    told = [lately.forecast(t, each, 30.0, generator(0)) for each in (readings, other)]
    np.testing.assert_allclose(told[0].means, told[1].means)


def test_a_reading_is_spread_about_the_fog_by_the_sensors_noise():
    t, readings = drawn(200, 6)
    told = Forecaster(structures=FEW).forecast(t, readings, 0.5, generator(0))
    assert (told.deviations > VisibilitySensor().spread).all()
    assert told.deviations[1] < 1.2 * VisibilitySensor().spread  # half a second ahead there is hardly more to it


def test_what_cannot_be_forecast_is_told_in_a_line():
    t, readings = drawn(60, 7)
    for p in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="expected one between 0 and 1"):
            MIXED.quantile(p)
    with pytest.raises(ValueError, match="found structures foo, expected some of `library`"):
        Forecaster(structures=("foo", "linear"))
    for ahead in (0.0, -3.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="expected a finite time above 0"):
            Forecaster().forecast(t, readings, ahead, generator(0))
    with pytest.raises(ValueError, match=r"expected two of \(n,\)"):
        Forecaster().forecast(t[:-1], readings, 30.0, generator(0))


def test_too_little_and_what_is_no_reading_are_refused():
    t = np.arange(100.0)
    with pytest.raises(ValueError, match="found 5 readings in the last 1800 s, expected 20 or more"):
        Forecaster().forecast(t[:5], np.full(5, 50.0), 30.0, generator(0))
    with pytest.raises(ValueError, match="found 0 readings"):
        Forecaster().forecast(t, np.full(100, np.nan), 30.0, generator(0))
    for wrong in (0.0, np.inf):
        with pytest.raises(ValueError, match="not above 0"):
            Forecaster().forecast(t, np.append(np.full(99, 50.0), wrong), 30.0, generator(0))
    with pytest.raises(ValueError, match="do not increase"):
        Forecaster().forecast(t[::-1], np.full(100, 50.0), 30.0, generator(0))


def test_what_is_late_is_a_part_of_what_is_learnt():
    for lately in (0.0, -1.0, 301.0, float("nan")):
        with pytest.raises(ValueError, match="expected more than 0"):
            Forecaster(window=300.0, lately=lately)
