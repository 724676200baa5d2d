"""Regression in closed form: the Gaussian process it is, sums that add up, and what it refuses."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from filters.posterior import newton, regression
from filters.posterior.compositional import ChangePoint, OneLayer, Periodic, Polynomial, Stationary
from filters.posterior.kalman_network import KnownNoise
from filters.posterior.laplace import Laplace
from filters.posterior.spec import Data, generator

SERIES = Polynomial(1, 30.0) + Stationary(8.0, 0.7, span=100.0) + Periodic(40.0)
TIMES = torch.linspace(-60.0, 0.0, 50, dtype=torch.float64)
READINGS = torch.sin(TIMES / 9.0) + 0.1 * torch.randn(50, generator=generator(0), dtype=torch.float64)
VARIANCE = 0.04


def test_moments_and_evidence_are_those_of_the_gaussian_process():
    at = torch.cat([TIMES, TIMES.new_tensor([15.0])])
    scaled = (regression.hidden(SERIES, at) * SERIES.deviations().double()).numpy()
    k, y = scaled @ scaled.T, READINGS.numpy()
    noisy = k[:-1, :-1] + VARIANCE * np.eye(50)
    gain = np.linalg.solve(noisy, k[:-1, -1])
    expected = multivariate_normal(np.zeros(50), noisy).logpdf(y), gain @ y, k[-1, -1] - gain @ k[:-1, -1]
    found = regression.learnt(SERIES, regression.sums(SERIES, TIMES, READINGS, VARIANCE), 15.0)
    assert found == pytest.approx(expected, rel=1e-6)


def test_newtons_steps_end_there():
    data = Data.of(TIMES[:, None], READINGS)
    engine = Laplace(SERIES, KnownNoise(VARIANCE), device="cpu")
    prior = engine.init(generator(0))
    posterior = newton.update(engine, prior, data, generator(0))
    mean, variance = newton.moments(engine, posterior, torch.tensor([[15.0]]))
    found = regression.learnt(SERIES, regression.sums(SERIES, TIMES, READINGS, VARIANCE), 15.0)
    assert found[1:] == pytest.approx((float(mean), float(variance)), rel=1e-2)
    assert found.log_evidence == pytest.approx(newton.log_evidence(engine, prior, posterior, data), abs=0.05)


def test_updates_that_are_small_each_add_up():
    """A hundred readings of one level, then two hundred of another, one by one."""
    level, times = Polynomial(0), torch.linspace(-30.0, 0.0, 300, dtype=torch.float64)
    readings = torch.where(times < times[100], 0.1, 0.5)
    engine, rng = Laplace(level, KnownNoise(1.0), device="cpu"), generator(0)
    q = newton.update(engine, engine.init(rng), Data.of(times[:100, None], readings[:100]), rng)
    for t, y in zip(times[100:], readings[100:], strict=True):
        q = newton.update(engine, q, Data.of(t[None, None], y[None]), rng)
    mean, variance = newton.moments(engine, q, torch.tensor([[15.0]]))
    found = regression.learnt(level, regression.sums(level, times, readings, 1.0), 15.0)
    assert found[1:] == pytest.approx((float(mean), float(variance)), rel=1e-4)


def test_the_sums_of_two_stretches_are_those_of_both_and_of_none_is_the_prior():
    parts = [regression.sums(SERIES, TIMES[part], READINGS[part], VARIANCE) for part in (slice(20), slice(20, None))]
    both, whole = parts[0].plus(parts[1]), regression.sums(SERIES, TIMES, READINGS, VARIANCE)
    assert regression.learnt(SERIES, both, 15.0) == pytest.approx(regression.learnt(SERIES, whole, 15.0), rel=1e-9)
    none = regression.learnt(SERIES, regression.sums(SERIES, TIMES[:0], READINGS[:0], VARIANCE), 15.0)
    spread = regression.hidden(SERIES, TIMES.new_tensor([15.0])) * SERIES.deviations()
    assert none == pytest.approx((0.0, 0.0, float(spread.square().sum())))


def test_what_is_not_linear_in_its_weights_is_told_apart():
    level = Polynomial(0)
    for series in (OneLayer(), level * level, level + OneLayer(), ChangePoint(level, level, -30.0)):
        assert not regression.linear(series)
        with pytest.raises(TypeError, match="expected a sum of units"):
            regression.hidden(series, TIMES)
    assert regression.linear(SERIES)
    weights = torch.randn(SERIES.parameters, generator=generator(1), dtype=torch.float64)
    torch.testing.assert_close(regression.hidden(SERIES, TIMES) @ weights, SERIES.at(weights, TIMES))
