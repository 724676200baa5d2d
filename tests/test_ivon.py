"""IVON against what is known exactly: conjugate regression, other optimisers, its own curvature."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from filters.posterior.descent import Descent, Schedule
from filters.posterior.ivon import Belief, Ivon, Pace, learn, unbiased
from filters.posterior.likelihoods import Gaussian, Prediction, of_moments
from filters.posterior.mlp import Mlp
from filters.posterior.normal import Normal
from filters.posterior.spec import Data, Engine, predict

torch.set_num_threads(1)


@dataclass(frozen=True)
class Known:
    """y ~ N(f, noise²)."""

    noise: float = 0.5
    outputs = 1

    def log_prob(self, f: Tensor, y: Tensor) -> Tensor:
        return -0.5 * ((y - f[..., 0]) / self.noise) ** 2

    def predict(self, f: Tensor) -> Prediction:
        return of_moments(f[..., 0], torch.full_like(f[..., 0], self.noise**2))


LINEAR = Ivon(Mlp((4, 1)), Known(), Schedule(epochs=200, batch=64, rate=0.1), share=0.02, pairs=64)
TANH = Ivon(Mlp((2, 3, 1), "tanh"), Known())


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear_data(n: int, seed: int = 0) -> Data:
    """Correlated inputs, rows of unequal weight."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)) @ np.array([[1.0, 0.7, 0.0, 0.0], [0.0, 0.7, 0.0, 0.0], [0, 0, 1, 0.8], [0, 0, 0, 0.6]])
    y = x @ np.array([1.0, -0.5, 0.3, 2.0]) + 0.7 + 0.5 * rng.normal(size=n)
    return Data.of(x, y, rng.uniform(0.2, 1.8, n))


def tanh_data() -> Data:
    rng = seeded(3)
    x = torch.randn((20, 2), generator=rng, dtype=torch.float64)
    return Data(x, torch.sin(2.0 * x[:, 0]) + x[:, 1], torch.rand(20, generator=rng, dtype=torch.float64))


def a_prior() -> Normal:
    """Not the network's own: means and deviations that matter, weight by weight."""
    mean = torch.tensor([0.0, 1.0, -2.0, 1.0, 0.5])
    return Normal(mean, torch.tensor([0.03, 0.1, 0.3, 1.0, 0.05]), mean.new_zeros(5, 0))


def curvature_and_pull(data: Data) -> tuple[Tensor, Tensor]:
    """A, b of the misfit ½ w'Aw - b'w of `Known` noise, bias last."""
    x = torch.cat([data.x, torch.ones(len(data.y), 1)], dim=1).double()
    weighted = x * data.weight[:, None] / 0.25
    return weighted.T @ x, weighted.T @ data.y.double()


def mean_field(p: Normal, data: Data) -> tuple[Tensor, Tensor]:
    """Mean and precision of the best diagonal posterior: the exact mean, and of the exact precision the diagonal."""
    (a, b), d = curvature_and_pull(data), p.scale.double() ** -2
    return torch.linalg.solve(a + torch.diag(d), b + d * p.mean.double()), torch.diagonal(a) + d


def normal(mean: Tensor, precision: Tensor) -> Normal:
    return Normal(mean, precision**-0.5, mean.new_zeros(len(mean), 0))


def assert_close(q: Normal, mean: Tensor, precision: Tensor) -> None:
    torch.testing.assert_close(q.mean.double(), mean, atol=1e-2, rtol=0.0)
    torch.testing.assert_close(q.scale.double() ** -2, precision, rtol=0.05, atol=0.0)


@pytest.mark.parametrize("prior", [lambda: LINEAR.init(seeded(0)), a_prior], ids=["its", "another"])
@pytest.mark.parametrize("start", [1.0, 10.0, 100.0])
def test_a_linear_posterior_is_the_best_diagonal_one(prior, start):
    data, p = linear_data(200), prior()
    assert_close(replace(LINEAR, start=start).update(p, data, seeded(1)), *mean_field(p, data))


def test_two_halves_are_about_all():
    """By each half the posterior is the best diagonal one; what was correlated is lost between them, and no more."""
    data, p = linear_data(400), LINEAR.init(seeded(0))
    one, two = (Data(*(part[rows] for part in data)) for rows in (slice(200), slice(200, None)))
    q = LINEAR.update(LINEAR.update(p, one, seeded(1)), two, seeded(2))
    assert_close(q, *mean_field(normal(*mean_field(p, one)), two))
    mean, precision = mean_field(p, data)
    torch.testing.assert_close(q.scale.double() ** -2, precision, rtol=0.05, atol=0.0)
    assert ((q.mean - mean) * precision.sqrt()).abs().max() < 1.0


def test_von_with_exact_expectations_is_exact():
    data, p = linear_data(50), a_prior()
    p, (a, b) = Normal(*(part.double() for part in p)), curvature_and_pull(data)
    at = Belief(p.mean, torch.zeros(5).double(), torch.zeros(5).double())
    for _ in range(2000):
        at = learn(at, a @ at.mean - b, torch.diagonal(a), p, Pace(0.2, 1.0, 0.2, bend=0.0))
    mean, precision = mean_field(p, data)
    torch.testing.assert_close(at.mean, mean, rtol=0.0, atol=1e-9)
    torch.testing.assert_close(at.precision(p), precision)


def test_a_full_step_of_von_is_conjugate():
    """Of independent weights, from anywhere."""
    p, a, b = a_prior(), torch.arange(1.0, 6.0), torch.ones(5)
    at = Belief(torch.full((5,), 7.0), torch.full((5,), 9.0), torch.full((5,), 3.0))
    new = learn(at, a * at.mean - b, a, p, Pace(1.0, 1.0, 1.0, bend=0.0))
    d = p.scale**-2
    torch.testing.assert_close(new.precision(p), a + d)
    torch.testing.assert_close(new.mean, (b + d * p.mean) / (a + d))


def test_slope_and_curvature_are_the_expected_ones():
    """Against a network's exact Hessians, averaged over draws of their own."""
    data, mean = tanh_data(), 0.5 * torch.randn(13, generator=seeded(4), dtype=torch.float64)
    q = Normal(mean, torch.full_like(mean, 0.1), mean.new_zeros(13, 0))

    draws = TANH.sample(q, seeded(5), 20000).requires_grad_()
    misfit = -(data.weight * TANH.likelihood.log_prob(TANH.network.forward(draws, data.x), data.y)).sum(dim=1)
    (slope,) = torch.autograd.grad(misfit.sum(), draws, create_graph=True)
    each = [torch.autograd.grad(slope[:, k].sum(), draws, retain_graph=True)[0][:, k].mean() for k in range(13)]
    found = replace(TANH, pairs=20000).expectations(q, data, seeded(6))
    for one, exact in zip(found, (misfit.mean().detach(), slope.mean(dim=0).detach(), torch.stack(each)), strict=True):
        torch.testing.assert_close(one, exact, rtol=0.02, atol=0.02 * float(exact.abs().max()))


def test_a_pair_of_draws_has_the_slope_of_a_linear_model():
    data, q = linear_data(50), LINEAR.init(seeded(0))._replace(mean=torch.arange(5.0))
    a, b = curvature_and_pull(data)
    _, gradient, _ = replace(LINEAR, pairs=1).expectations(q, data, seeded(1))
    torch.testing.assert_close(gradient.double(), a @ q.mean.double() - b, rtol=1e-4, atol=1e-2)


def test_the_noise_of_few_draws_averages_out():
    """One pair's curvature is off by its own size, that of all late steps together by less than a tenth."""
    data, p = linear_data(200), LINEAR.init(seeded(0))
    precision = mean_field(p, data)[1]
    found = torch.stack([replace(LINEAR, pairs=1).update(p, data, seeded(seed)).scale ** -2 for seed in range(4)])
    assert (found / precision - 1.0).square().mean().sqrt() < 0.12


def optimised(make, steps: int) -> list[Tensor]:
    """A torch optimiser's weights after each step, by slopes at the mean."""
    data, theta = tanh_data(), first().requires_grad_()
    optimiser, seen = make([theta]), []
    for _ in range(steps):
        optimiser.zero_grad()
        f = TANH.network.forward(theta[None], data.x)
        (-(data.weight * TANH.likelihood.log_prob(f, data.y)).sum()).backward()
        optimiser.step()
        seen.append(theta.detach().clone())
    return seen


def learned(pace, steps: int) -> list[Tensor]:
    """The rule's weights after each step: draws all but at the mean, Ĥ = G², a prior that is but `EPS`."""
    zero, eps = torch.zeros_like(first()), torch.full_like(first(), EPS)
    at, p, seen = Belief(first(), zero, zero), normal(first(), eps), []
    for step in range(1, steps + 1):
        delta = Normal(at.mean, torch.full_like(zero, 1e-9), zero.new_zeros(13, 0))
        _, slope, _ = TANH.expectations(delta, tanh_data(), seeded(step))
        at = learn(at, slope, slope**2, p, pace(step))
        seen.append(at.mean)
    return seen


def first() -> Tensor:
    return TANH.network.start(seeded(7)).double()


EPS = 1e-12
# RMSprop at a rate of 0.01 is chaotic: its own run from weights 1e-13 off is 1e-3 off after 60 steps.
LIMITS = {
    "RMSprop": (
        lambda w: torch.optim.RMSprop(w, lr=0.001, alpha=0.95, eps=EPS),
        lambda step: Pace(0.001, 1.0, 0.05, bend=0.0, power=0.5),
    ),
    "Adam": (
        lambda w: torch.optim.Adam(w, lr=0.01, betas=(0.9, 0.99), eps=EPS),
        lambda step: Pace(0.01, unbiased(0.1, step), unbiased(0.01, step), bend=0.0, power=0.5),
    ),
}


@pytest.mark.parametrize("name", LIMITS)
def test_other_optimisers_are_limits(name):
    theirs, ours = (run(rule, 200) for run, rule in zip((optimised, learned), LIMITS[name], strict=True))
    torch.testing.assert_close(torch.stack(ours), torch.stack(theirs), rtol=1e-6, atol=1e-9)
    assert (theirs[-1] - first()).abs().min() > 1e-3  # all weights have moved


def test_precision_stays_positive_whatever_the_curvature():
    p, at = a_prior(), Belief(torch.zeros(5), torch.zeros(5), torch.ones(5))
    wild = torch.tensor([-1e9, -1e3, -1.0, 1e3, 1e9])
    assert (learn(at, wild, wild, p, Pace(0.1, 0.1, 0.1)).precision(p) > 0.0).all()
    assert (learn(at, wild, wild, p, Pace(0.1, 0.1, 0.1, bend=0.0)).precision(p) < 0.0).any()


def same(a: Descent, b: Descent) -> bool:
    parts = [(a.parameters, b.parameters), *zip(a.moments, b.moments, strict=True), (a.generator, b.generator)]
    return a.epoch == b.epoch and a.loss == b.loss and all(torch.equal(x, y) for x, y in parts)


def test_going_on_midway_is_going_straight_through():
    """With another generator, whose numbers do not count."""
    engine, data = replace(LINEAR, schedule=Schedule(epochs=9, batch=64, rate=0.1)), linear_data(200)
    p, rng = engine.init(seeded(0)), seeded(1)
    straight = list(engine.steps(p, data, rng, engine.begin(p, data, rng)))
    assert len(straight) == 9
    again = list(engine.steps(p, data, seeded(2), straight[3]))
    assert [one.epoch for one in again] == [5, 6, 7, 8, 9]
    assert all(same(*pair) for pair in zip(again, straight[4:], strict=True))
    q = engine.update(p, data, seeded(1))
    assert all(torch.equal(*pair) for pair in zip(q, engine.reached(p, data, again[-1]), strict=True))


def test_it_learns_a_curve_and_knows_where_it_has_not_been():
    rng = np.random.default_rng(0)
    x = rng.uniform(-2.0, 2.0, (1000, 1))
    data = Data.of(x, np.sin(3.0 * x[:, 0]) + 0.1 * rng.normal(size=1000))
    engine: Engine[Normal] = Ivon(Mlp((1, 64, 2)), Gaussian(), Schedule(epochs=250, batch=100, rate=0.1))
    p = engine.init(seeded(0))
    q = engine.update(p, data, seeded(1))
    inside, outside = torch.linspace(-1.9, 1.9, 50)[:, None], torch.tensor([[-4.0], [4.0]])
    near, far = predict(engine, q, inside, seeded(2)), predict(engine, q, outside, seeded(2))
    assert (near.mean - torch.sin(3.0 * inside[:, 0])).square().mean().sqrt() < 0.1
    assert near.aleatoric.sqrt().mean() == pytest.approx(0.1, rel=0.2)
    assert far.epistemic.min().sqrt() > 3.0 * near.epistemic.mean().sqrt()
    assert engine.kl(q, q) == pytest.approx(0.0, abs=1e-3)
    assert engine.kl(q, p) > 10.0


def test_a_rate_that_diverges_is_refused():
    engine = replace(LINEAR, schedule=Schedule(epochs=50, batch=64, rate=1e9))
    with pytest.raises(FloatingPointError, match="diverged in epoch"):
        engine.update(engine.init(seeded(0)), linear_data(200), seeded(1))
