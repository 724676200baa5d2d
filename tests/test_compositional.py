"""Compositional networks: their prior's covariance is the kernel, their posterior that of the Gaussian process."""

from collections.abc import Callable
from math import exp, pi, sqrt

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from filters.posterior import checkpoint, newton
from filters.posterior.compositional import (
    ChangePoint,
    OneLayer,
    Periodic,
    Polynomial,
    Product,
    Series,
    Stationary,
    Sum,
)
from filters.posterior.descent import Schedule
from filters.posterior.engines import ANY, engine_of
from filters.posterior.kalman_network import KnownNoise
from filters.posterior.laplace import Laplace
from filters.posterior.spec import Data, generator, log_predictive

torch.set_num_threads(1)

TIMES = np.array([-80.0, -50.0, -35.0, -10.0, -2.0, 0.0, 30.0])
NOISE = 0.1
Kernel = Callable[[float, float], float]


def arc_cosine(t: float, u: float) -> float:
    a, b = np.array([t / 100.0, 1.0]), np.array([u / 100.0, 1.0])
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    angle = float(np.arccos(np.clip(a @ b / size, -1.0, 1.0)))
    return size * (np.sin(angle) + (pi - angle) * np.cos(angle)) / pi


def matern(order: float, d: float, length: float) -> float:
    r = sqrt(2.0 * order) * abs(d) / length
    return (1.0 + r + (r * r / 3.0 if order == 2.5 else 0.0)) * exp(-r)


WAVES, LINE = Stationary(25.0, 0.7, span=120.0), Polynomial(1, deviation=0.5)
EXACT: dict[str, tuple[Series, Kernel, float]] = {
    "linear": (LINE, lambda t, u: 0.25 * (1.0 + t * u / 1e4), 1e-5),
    "quadratic": (Polynomial(2), lambda t, u: (1.0 + t * u / 1e4) ** 2, 1e-5),
    "normal": (WAVES, lambda t, u: 0.49 * exp(-0.5 * ((t - u) / 25.0) ** 2), 1e-4),
    "Matérn 1.5": (Stationary(25.0, 1.0, 1.5, 120.0), lambda t, u: matern(1.5, t - u, 25.0), 6e-3),
    "Matérn 2.5": (Stationary(25.0, 1.0, 2.5, 120.0), lambda t, u: matern(2.5, t - u, 25.0), 2e-3),
    "periodic": (Periodic(60.0, 0.8, 1.0), lambda t, u: exp(-2.0 * (np.sin(pi * (t - u) / 60.0) / 0.8) ** 2), 1e-4),
}
DRAWN: dict[str, tuple[Series, Kernel]] = {
    "one layer": (OneLayer(), arc_cosine),
    "sum": (LINE + WAVES, lambda t, u: EXACT["linear"][1](t, u) + EXACT["normal"][1](t, u)),
    "product": (LINE * WAVES, lambda t, u: EXACT["linear"][1](t, u) * EXACT["normal"][1](t, u)),
}


def gram(kernel: Kernel, times: np.ndarray) -> np.ndarray:
    return np.array([[kernel(t, u) for u in times] for t in times])


@pytest.mark.parametrize("name", EXACT)
def test_units_have_the_kernel(name):
    series, kernel, off = EXACT[name]
    h = series.units(torch.as_tensor(TIMES)).numpy() * series.deviations().double().numpy()
    np.testing.assert_allclose(h @ h.T, gram(kernel, TIMES), atol=off)


@pytest.mark.parametrize("name", DRAWN)
def test_draws_of_the_prior_have_the_kernel(name):
    series, kernel = DRAWN[name]
    n, rng = 200_000, generator(0, name)
    weights = series.deviations() * torch.randn(n, series.parameters, generator=rng)
    f = series.forward(weights, torch.as_tensor(TIMES, dtype=torch.float32)[:, None])[..., 0].double().numpy()
    products = f[:, :, None] * f[:, None, :]
    off = (products.mean(axis=0) - gram(kernel, TIMES)) / (products.std(axis=0) / sqrt(n))
    assert np.abs(off).max() < 4.5


def test_a_change_point_goes_from_one_series_to_the_other():
    series = ChangePoint(Polynomial(0), Polynomial(0), time=-40.0, spread=10.0, width=1.0)
    weights = torch.tensor([[0.0, 2.0, 5.0], [2.0, 2.0, 5.0]])
    found = series.at(weights, torch.tensor([-80.0, -40.0, -30.0, -20.0, 0.0]))
    expected = [[2.0, 3.5, 5.0, 5.0, 5.0], [2.0, 2.0, 2.0, 3.5, 5.0]]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-3)


def rows(n: int, seed: int = 0) -> Data:
    rng = np.random.default_rng(seed)
    t = np.linspace(-90.0, 0.0, n)
    return Data.of(t[:, None], 0.3 + 0.6 * np.sin(t / 20.0) + NOISE * rng.standard_normal(n))


def test_newtons_posterior_and_evidence_are_those_of_the_gaussian_process():
    series, data = LINE + WAVES, rows(60)
    t, y = data.x[:, 0].double().numpy(), data.y.double().numpy()
    k = gram(DRAWN["sum"][1], np.append(t, 30.0))
    inner = k[:-1, :-1] + NOISE**2 * np.eye(len(t))
    gain = np.linalg.solve(inner, k[:-1, -1])
    engine, rng = Laplace(series, KnownNoise(NOISE**2), device="cpu"), generator(0)
    prior = engine.init(rng)
    posterior = newton.update(engine, prior, data, rng)
    mean, variance = newton.moments(engine, posterior, torch.tensor([[30.0]]))
    assert float(mean) == pytest.approx(gain @ y, abs=2e-3)
    assert float(variance) == pytest.approx(k[-1, -1] - gain @ k[:-1, -1], rel=2e-3)
    expected = multivariate_normal.logpdf(y, np.zeros(len(t)), inner)
    assert newton.log_evidence(engine, prior, posterior, data) == pytest.approx(expected, abs=0.05)


def test_newton_ends_where_a_long_descent_does_and_a_product_is_learnt():
    series, data = Polynomial(1) * Stationary(25.0, span=120.0), rows(40)
    engine, rng = Laplace(series, KnownNoise(NOISE**2), schedule=Schedule(400, 64, 0.02), device="cpu"), generator(1)
    prior = engine.init(rng)
    quick, slow = (way(prior, data, generator(1)) for way in (lambda *a: newton.update(engine, *a), engine.update))
    ends = [newton.log_posterior(engine, prior, data, q.mean) for q in (quick, slow)]
    assert ends[0] > ends[1] - 0.1
    f = series.forward(quick.mean[None], data.x)[0, :, 0]
    assert float((f - data.y).square().mean().sqrt()) < 1.5 * NOISE


@pytest.mark.parametrize("name", ANY)
def test_any_engine_can_train_a_composition(name):
    series, data = Polynomial(0) + Stationary(25.0, span=120.0), rows(60)
    held, rng = rows(60, seed=1), generator(0, name)
    engine = engine_of(name, series, KnownNoise(NOISE**2), Schedule(200, 64, 0.03), "cpu")
    before = engine.init(rng)
    after = engine.update(before, data, rng)
    gain = log_predictive(engine, after, held, rng) - log_predictive(engine, before, held, rng)
    assert float(gain.mean()) > 0.5


def test_evidence_tells_a_line_from_waves():
    rng = np.random.default_rng(3)
    t = np.linspace(-90.0, 0.0, 60)
    kinds = {"line": LINE, "waves": WAVES}
    for truth, y in {"line": 0.5 * t / 100.0, "waves": 0.7 * np.sin(t / 18.0)}.items():
        data = Data.of(t[:, None], y + NOISE * rng.standard_normal(60))
        found = {}
        for name, series in kinds.items():
            engine = Laplace(series, KnownNoise(NOISE**2), device="cpu")
            prior = engine.init(generator(0))
            found[name] = newton.log_evidence(engine, prior, newton.update(engine, prior, data, generator(0)), data)
        assert max(found, key=found.get) == truth


def test_a_checkpoint_keeps_a_composition(tmp_path):
    series = ChangePoint(Sum(Polynomial(0), OneLayer(3)), Product(LINE, Periodic(60.0)), -30.0)
    engine, rng = Laplace(series, KnownNoise(NOISE**2), device="cpu"), generator(0)
    checkpoint.save(tmp_path / "a.safetensors", engine, engine.init(rng), {})
    assert checkpoint.load(tmp_path / "a.safetensors")[0].network == series


def test_what_no_kernel_has_is_refused():
    with pytest.raises(ValueError, match="expected a smoothness of"):
        Stationary(25.0, smoothness=2.0)
    with pytest.raises(ValueError, match="expected a smoothness of"):
        Stationary(0.0)


@pytest.mark.parametrize("wrong", [{"period": 0.0}, {"period": float("nan")}, {"period": 60.0, "length": 0.3}])
def test_waves_that_harmonics_cannot_make_are_refused(wrong):
    with pytest.raises(ValueError, match="expected a period above 0 and a length of"):
        Periodic(**wrong)
