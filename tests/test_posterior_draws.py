"""Engines whose posterior is a set of draws: anchored ensemble, MC dropout, Hamiltonian Monte Carlo."""

import random
from dataclasses import replace
from itertools import product

import numpy as np
import pyro
import pytest
import torch

from filters.posterior.anchored import Anchored
from filters.posterior.descent import Schedule
from filters.posterior.draws import joined, kl_of_moments, moments, pick
from filters.posterior.dropout import Dropout
from filters.posterior.laplace import Laplace
from filters.posterior.likelihoods import Bernoulli, Gaussian
from filters.posterior.mlp import SPREAD, Mlp
from filters.posterior.nuts import Chains, Nuts
from filters.posterior.pyro_svi import PyroSvi
from filters.posterior.reparameterised import Reparameterised
from filters.posterior.spec import Data, predict

torch.set_num_threads(1)
NOISE = 2.0


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Known:
    """y ~ N(f, NOISE²)."""

    outputs = 1

    def log_prob(self, f, y):
        return -0.5 * ((y - f[..., 0]) / NOISE) ** 2


# Draws


def test_picked_draws_are_each_as_often_as_the_others():
    draws = torch.arange(7.0)[:, None].expand(7, 3)
    assert sorted(pick(draws, generator(), 14)[:, 0].tolist()) == sorted(2 * list(range(7)))
    few = pick(draws, generator(), 4)
    assert few.shape == (4, 3)
    assert len(set(few[:, 0].tolist())) == 4
    assert not torch.equal(few, pick(draws, generator(1), 4))


def test_kl_of_draws_is_that_of_their_moments():
    a, b = torch.randn(50, 2, generator=generator()), 2.0 + 3.0 * torch.randn(60, 2, generator=generator(1))
    q, p = (torch.distributions.Normal(m.mean, m.scale) for m in (moments(a), moments(b)))
    assert kl_of_moments(a, b) == pytest.approx(float(torch.distributions.kl_divergence(q, p).sum()), rel=1e-4)
    assert kl_of_moments(a, a) == pytest.approx(0.0, abs=1e-5)
    with pytest.raises(ValueError, match=r"^found 1 draw[^\n]*$"):
        moments(a[:1])


# Linear models, whose posterior is known


def line(n: int) -> tuple[Data, np.ndarray, np.ndarray, np.ndarray]:
    """Data of two inputs that go together and one that is always 0; mean, covariance, prior precision."""
    rng = np.random.default_rng(0)
    x = np.c_[rng.standard_normal((n, 2)) @ [[1.0, 0.7], [0.0, 1.0]], np.zeros(n)]
    z = np.c_[x, np.ones(n)]
    noise = rng.standard_normal(n)
    noise -= z @ np.linalg.lstsq(z, noise, rcond=None)[0]
    y = x @ [1.0, -0.5, 0.0] + 0.3 + NOISE * noise / noise.std()
    return Data.of(x, y), *exact(z, y)


def exact(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    prior = np.eye(z.shape[1]) * (z.shape[1] - 1) / SPREAD**2
    covariance = np.linalg.inv(z.T @ z / NOISE**2 + prior)
    return covariance @ (z.T @ y) / NOISE**2, covariance, prior


def far(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_anchored_members_of_a_line_are_where_the_paper_says():
    data, mean, c, prior = line(200)
    made = Anchored(Mlp((3, 1)), Known(), 1000, Schedule(300, 200, 0.2))
    before = made.init(generator())
    found = made.update(before, data, generator(1)).draws
    told = c @ prior @ c
    error = (found.mean(dim=0).numpy() - mean) / np.sqrt(np.diag(told) / made.members)
    assert np.abs(error).max() < 4.0
    some = np.ix_([0, 1, 3], [0, 1, 3])
    covariance = np.cov(found.T)
    assert far(covariance[some], told[some]) < 0.1
    assert (np.diag(covariance) / np.diag(c))[[0, 1, 3]].max() < 0.06  # too small by far, but where there are no data:
    assert torch.allclose(found[:, 2], before.draws[:, 2], atol=1e-3)


def test_an_anchored_ensemble_goes_on_to_where_all_data_lead():
    data = line(200)[0]
    made = Anchored(Mlp((3, 1)), Known(), 200, Schedule(300, 200, 0.2))
    halves = [Data(*(part[rows] for part in data)) for rows in (slice(0, 100), slice(100, 200))]
    before = made.init(generator())
    first = made.update(before, halves[0], generator(1))
    second = made.update(first, halves[1], generator(2))
    whole = made.update(before, data, generator(1))
    assert torch.allclose(second.draws, whole.draws, atol=1e-3)
    assert far(first.draws.numpy(), whole.draws.numpy()) > 0.1


# Networks


def wave(n: int, low: float, high: float, seed: int = 0) -> Data:
    rng = np.random.default_rng(seed)
    x = rng.uniform(low, high, (n, 1))
    return Data.of(x, np.sin(3.0 * x[:, 0]) + 0.1 * rng.standard_normal(n))


ENGINES = {
    "anchored": lambda network, likelihood, schedule: Anchored(network, likelihood, 10, schedule),
    "dropout": lambda network, likelihood, schedule: Dropout(network, likelihood, 0.05, schedule),
}
each = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)


@each
def test_spread_grows_away_from_the_data(engine):
    made = engine(Mlp((1, 32, 2)), Gaussian(), Schedule(300, 50, 0.01))
    state = made.update(made.init(generator(1)), wave(200, -1.0, 1.0), generator(2))
    x = torch.tensor([[-4.0], [-2.5], [-0.5], [0.0], [0.5], [2.5], [4.0]])
    found = predict(made, state, x, generator(3), 200)
    assert (found.mean - torch.sin(3.0 * x[:, 0]))[2:5].abs().max() < 0.25
    left, near, inside, also, right = (found.epistemic[i].mean().sqrt() for i in ([0], [1], [2, 3, 4], [5], [6]))
    assert min(near, also) > 2.0 * inside
    assert left > near
    assert right > also


@each
def test_rows_of_two_updates_count_alike(engine):
    made = engine(Mlp((1, 16, 1)), Known(), Schedule(60, 50, 0.02))
    x = torch.linspace(-1.0, 1.0, 41)[:, None]
    for first, second in ((400, 40), (40, 400)):
        state, levels = made.init(generator()), []
        for n, level in ((first, 0.0), (second, 3.0)):
            noise = NOISE * torch.randn(n, generator=generator(n))
            data = Data(
                2.0 * torch.rand(n, 1, generator=generator()) - 1.0, level + noise - noise.mean(), torch.ones(n)
            )
            state = made.update(state, data, generator(1))
            levels.append(float(made.outputs(state, x, generator(2), 200).mean()))
        assert len(state.y) == first + second
        assert levels[0] == pytest.approx(0.0, abs=0.3)
        assert levels[1] == pytest.approx(3.0 * second / (first + second), abs=0.4)


# Dropout


def trained() -> tuple[Dropout, tuple]:
    made = Dropout(Mlp((1, 20, 1)), Known(), 0.3, Schedule(100, 50, 0.02))
    return made, made.update(made.init(generator()), wave(50, -1.0, 1.0), generator(1))


def test_masks_of_one_hidden_layer_have_the_moments_that_they_must():
    made, state = trained()
    x = torch.tensor([[0.4]])
    first, last = made.network.split(state.mean)
    parts = torch.relu(x @ first[:-1] + first[-1])[0] * last[:-1, 0]
    mean, variance = parts.sum() + last[-1, 0], parts.square().sum() * 0.3 / 0.7
    drawn = made.outputs(state, x, generator(2), 40_000)[:, 0, 0]
    rows = made.dropped(state.mean, x.expand(40_000, 1), generator(3))[:, 0]
    assert variance > 1e-4
    for found in (drawn, rows):
        assert abs(found.mean() - mean) < 4.0 * (variance / 40_000) ** 0.5
        assert found.var() == pytest.approx(float(variance), rel=0.05)


def test_masks_of_many_layers_take_whole_units():
    made = Dropout(Mlp((2, 5, 4, 1)), Known(), 0.3)
    none = made.init(generator())
    state = none._replace(mean=torch.ones(made.network.parameters), y=torch.zeros(1))
    first, *others = made.network.split(made.sample(state, generator(), 5000))
    assert torch.equal(first, torch.ones_like(first))
    for w in others:
        assert torch.equal(w[:, -1], torch.ones_like(w[:, -1]))
        assert torch.equal(w[:, :-1], w[:, :-1, :1].expand_as(w[:, :-1]))
        assert w[:, :-1].unique().tolist() == pytest.approx([0.0, 1.0 / 0.7])
        assert float((w[:, :-1, 0] == 0.0).float().mean()) == pytest.approx(0.3, abs=0.02)
        assert float(torch.corrcoef(w[:, :-1, 0].T).fill_diagonal_(0.0).abs().max()) < 0.07


def test_before_data_dropout_is_the_prior():
    made = Dropout(Mlp((2, 6, 1)), Known())
    found = made.sample(made.init(generator()), generator(1), 20_000)
    scale = made.network.deviations()
    assert (found.mean(dim=0) / scale).abs().max() < 0.04
    assert torch.allclose(found.std(dim=0), scale, rtol=0.03)


def test_divergence_is_of_draws_on_average_and_none_of_itself():
    made, state = trained()
    drawn = made.sample(state, generator(2), 40_000)
    expected = 0.5 * (drawn / made.network.deviations()).square().sum(dim=1).mean()
    assert made.kl(state, made.init(generator())) == pytest.approx(float(expected), rel=0.02)
    assert made.kl(state, state) == 0.0


def test_divergence_from_and_to_the_prior_are_the_mean_of_log_ratios():
    """Of masks and of weights that are as wide as the prior's about what the masks leave; the prior's is 0."""
    made, state = trained()
    prior, scale = made.init(generator()), made.network.deviations()
    left = made.sample(state, generator(2), 40_000)
    own = scale * torch.randn(left.shape, generator=generator(3))
    for one, other, drawn in ((state, prior, left + own), (prior, state, own)):
        to = left, torch.zeros_like(left)
        mine, its = to if one is state else to[::-1]
        ratios = 0.5 * (((drawn - its) / scale).square() - ((drawn - mine) / scale).square()).sum(dim=1)
        assert made.kl(one, other) == pytest.approx(float(ratios.mean()), rel=0.02)


@pytest.mark.parametrize(("sizes", "rate"), [((2, 1), 0.1), ((2, 4, 1), 0.0), ((2, 4, 1), 1.0)])
def test_a_dropout_that_drops_nothing_is_refused(sizes, rate):
    with pytest.raises(ValueError, match=r"^found [^\n]*$"):
        Dropout(Mlp(sizes), Known(), rate)


# Hamiltonian Monte Carlo


def logistic(n: int, slopes: list[float], seed: int = 0) -> Data:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, len(slopes)))
    return Data.of(x, (rng.random(n) < 1.0 / (1.0 + np.exp(-(x @ slopes + 0.5)))).astype(float))


def quadrature(data: Data) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviations of the exact posterior, by Gauss-Hermite nodes about the mode."""
    z = np.c_[data.x.numpy(), np.ones(len(data.y))].astype(float)
    y, p = data.y.numpy().astype(float), z.shape[1]
    prior = np.eye(p) * (p - 1) / SPREAD**2
    mode = np.zeros(p)
    for _ in range(30):
        s = 1.0 / (1.0 + np.exp(-z @ mode))
        hessian = z.T @ (z * (s * (1.0 - s))[:, None]) + prior
        mode = mode + np.linalg.solve(hessian, z.T @ (y - s) - prior @ mode)
    nodes, weights = np.polynomial.hermite_e.hermegauss(15)
    u = np.array(list(product(nodes, repeat=p)))
    w = mode + u @ np.linalg.cholesky(np.linalg.inv(hessian)).T
    fit = -np.logaddexp(0.0, -(2.0 * y - 1.0) * (w @ z.T)).sum(axis=1) - 0.5 * ((w @ prior) * w).sum(axis=1)
    log = fit + 0.5 * (u**2).sum(axis=1) + np.log(np.array(list(product(weights, repeat=p)))).sum(axis=1)
    share = np.exp(log - log.max())
    share /= share.sum()
    mean = share @ w
    return mean, np.sqrt(share @ (w - mean) ** 2)


@pytest.fixture(scope="module")
def sampled() -> tuple[Data, Nuts, Chains]:
    """A logistic regression of three parameters, and its posterior's draws."""
    data = logistic(1000, [1.0, -2.0])
    made = Nuts(Mlp((2, 1)), Bernoulli(), warmup=150, draws=250, device="cpu")
    return data, made, made.update(made.init(generator(1)), data, generator(2))


def test_chains_mix_and_draw_from_the_exact_posterior(sampled):
    data, _, state = sampled
    mean, deviation = quadrature(data)
    assert state.draws.shape == (1000, 3)
    assert state.r_hat.max() < 1.01
    assert np.abs((state.draws.mean(dim=0).numpy() - mean) / deviation).max() < 0.15
    np.testing.assert_allclose(state.draws.std(dim=0).numpy(), deviation, rtol=0.12)


@pytest.mark.parametrize("engine", [Reparameterised, PyroSvi, Laplace])
def test_quick_posteriors_predict_what_the_exact_one_does(engine, sampled):
    """Probabilities within .05 of it at 95 of 100 inputs, those away from the data included."""
    data, exact, state = sampled
    made = engine(exact.network, exact.likelihood, schedule=Schedule(300, 100, 0.03))
    quick = made.update(made.init(generator(3)), data, generator(4))
    x = torch.cartesian_prod(*[torch.linspace(-3.0, 3.0, 41)] * 2)
    told, expected = (predict(*of, x, generator(5), 1000).mean[:, 1] for of in ((made, quick), (exact, state)))
    assert ((told - expected).abs() <= 0.05).float().mean() >= 0.95
    assert expected.min() < 0.01 < 0.99 < expected.max()


def test_a_second_update_draws_given_all_data():
    first, second = logistic(60, [2.0], 1), logistic(60, [-1.0], 2)
    made = Nuts(Mlp((1, 1)), Bernoulli(), chains=2, warmup=80, draws=200)
    state = made.update(made.update(made.init(generator(1)), first, generator(2)), second, generator(3))
    mean, deviation = quadrature(joined(first, second))
    assert len(state.y) == 120
    assert np.abs((state.draws.mean(dim=0).numpy() - mean) / deviation).max() < 0.25
    assert np.abs((quadrature(second)[0] - mean) / deviation).max() > 2.0


def test_chains_of_a_later_update_start_wider_than_any_posterior(sampled, monkeypatch):
    data, made, state = sampled
    starts = []
    monkeypatch.setattr(Nuts, "chain", lambda self, data, start: starts.append(start) or torch.randn(8, 3))
    replace(made, chains=200).update(state, data, generator())
    assert torch.allclose(torch.stack(starts).std(dim=0), made.network.deviations(), rtol=0.15)
    assert (torch.stack(starts).std(dim=0) > 5.0 * state.draws.std(dim=0)).all()


def test_potential_is_minus_the_log_posterior_of_weighted_rows():
    data = logistic(30, [1.0, -2.0])._replace(weight=torch.linspace(0.0, 3.0, 30))
    made = Nuts(Mlp((2, 1)), Bernoulli())
    w = torch.randn(2, 3, generator=generator())
    f = data.x @ w[:, :2].T + w[:, 2]
    likelihood = torch.distributions.Bernoulli(logits=f).log_prob(data.y[:, None].expand(30, 2))
    prior = torch.distributions.Normal(torch.zeros(3), made.network.deviations())
    expected = -(data.weight[:, None] * likelihood).sum(dim=0) - prior.log_prob(w).sum(dim=1)
    found = [made.potential(one, data) for one in w]
    assert float(found[0] - found[1]) == pytest.approx(float(expected[0] - expected[1]), rel=1e-4)


def test_one_seed_gives_the_same_draws_and_leaves_all_that_is_global_alone():
    data = logistic(50, [1.0])
    made = Nuts(Mlp((1, 1)), Bernoulli(), chains=2, warmup=20, draws=20)
    prior = made.init(generator())
    pyro.param("kept", torch.ones(1))
    stored = list(pyro.get_param_store().keys())
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    one, same, other = (made.update(prior, data, generator(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one.draws, other.draws)
    assert not torch.equal(one.draws[:20], one.draws[20:])
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])
    assert before[2] == random.getstate()
    assert list(pyro.get_param_store().keys()) == stored


def test_r_hat_tells_of_chains_that_have_not_met():
    made = Nuts(Mlp((2, 6, 1)), Bernoulli(), chains=4, warmup=10, draws=20)
    state = made.update(made.init(generator()), logistic(50, [1.0, -2.0]), generator(1))
    assert 1.1 < state.r_hat.max() < 10.0
