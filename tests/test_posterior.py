"""Every engine of `filters/posterior` keeps one protocol."""

from collections.abc import Callable
from dataclasses import replace
from math import log, pi
from typing import Any

import numpy as np
import pytest
import torch

from filters.posterior.anchored import Anchored
from filters.posterior.checkpoint import leaves
from filters.posterior.descent import Schedule
from filters.posterior.dropout import Dropout
from filters.posterior.ivon import Ivon
from filters.posterior.kalman_network import KalmanNetwork
from filters.posterior.laplace import Laplace
from filters.posterior.likelihoods import Bernoulli, Categorical, Gaussian, StudentT
from filters.posterior.mlp import Mlp
from filters.posterior.normal import Normal, kl, log_det, sample
from filters.posterior.nuts import Nuts
from filters.posterior.pyro_svi import PyroSvi
from filters.posterior.reparameterised import Reparameterised
from filters.posterior.spec import Data, log_predictive, predict

torch.set_num_threads(1)
QUICK = Schedule(epochs=150, batch=100, rate=0.02)
DESCENDING: dict[str, Callable[..., Any]] = {
    "reparameterised": lambda *a: Reparameterised(*a, schedule=QUICK),
    "pyro, diagonal": lambda *a: PyroSvi(*a, schedule=QUICK),
    "pyro, low rank": lambda *a: PyroSvi(*a, rank=3, schedule=QUICK),
    "laplace": lambda *a: Laplace(*a, schedule=QUICK),
    "dropout": lambda *a: Dropout(*a, schedule=QUICK),
    "anchored": lambda *a: Anchored(*a, schedule=QUICK),
    "ivon": lambda *a: Ivon(*a, schedule=replace(QUICK, epochs=300, rate=0.1)),
}
ENGINES = DESCENDING | {
    "nuts": lambda *a: Nuts(*a, chains=2, warmup=40, draws=30, depth=5),
    "kalman": KalmanNetwork,
}
each = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
descending = pytest.mark.parametrize("engine", DESCENDING.values(), ids=DESCENDING)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def two_moons(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    angle, label = pi * rng.random(n), rng.integers(2, size=n)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    x = np.where(label[:, None] == 0, upper, np.array([1.0, 0.5]) - upper)
    return x + 0.1 * rng.standard_normal((n, 2)), label.astype(float)


MOONS = Data.of(*two_moons(400))


@each
def test_it_learns_two_moons(engine):
    made = engine(Mlp((2, 16, 16, 1)), Bernoulli())
    rng = generator()
    before = made.init(rng)
    after = made.update(before, MOONS, rng)
    fresh = Data.of(*two_moons(300, seed=1))
    assert predict(made, before, fresh.x, rng).mean[:, 1].sub(0.5).abs().mean() < 0.15
    assert ((predict(made, after, fresh.x, rng).mean[:, 1] > 0.5) == fresh.y.bool()).float().mean() > 0.97
    assert -log_predictive(made, after, fresh, rng).mean() < 0.15
    assert made.kl(after, before) > 5.0
    assert made.kl(after, after) == pytest.approx(0.0, abs=1e-2)


def short(made):
    """An engine for what does not depend on how far it goes."""
    if isinstance(made, Nuts):
        return replace(made, warmup=12, draws=8, depth=4)
    return replace(made, schedule=replace(made.schedule, epochs=30)) if hasattr(made, "schedule") else made


@each
def test_states_stay_as_they_were_and_one_stream_gives_one_result(engine):
    """Its own: libraries' draws leave the global stream alone."""
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    made = short(engine(Mlp((2, 8, 1)), Bernoulli()))
    first = made.init(generator())
    kept = [part.clone() for _, part in leaves(first)]
    results = [made.update(first, MOONS, generator(3)) for _ in range(2)]
    assert torch.rand(1) == expected
    assert all(torch.equal(part, as_it_was) for (_, part), as_it_was in zip(leaves(first), kept, strict=True))
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(*map(leaves, results), strict=True))
    drawn = made.sample(results[0], generator(4), 7)
    assert drawn.shape == (7, made.network.parameters)
    outputs = made.outputs(results[0], MOONS.x[:5], generator(4), 7)
    assert outputs.shape == (7, 5, 1)
    if not isinstance(made, Laplace):  # whose outputs are those of a linear model
        assert torch.allclose(outputs, made.network.forward(drawn, MOONS.x[:5]))


@descending
def test_a_descent_that_was_broken_off_goes_on(engine):
    made = short(engine(Mlp((2, 8, 1)), Bernoulli()))
    state = made.init(generator())
    whole = list(made.steps(state, MOONS, generator(1), made.begin(state, MOONS, generator(1))))
    rest = list(made.steps(state, MOONS, generator(99), whole[14]))
    assert rest[-1].epoch == whole[-1].epoch == made.schedule.epochs
    assert torch.equal(rest[-1].parameters, whole[-1].parameters)


@each
@pytest.mark.parametrize("wrong", ["width", "nan", "huge", "empty", "lengths", "column", "class", "weight"])
def test_bad_data_is_refused_in_one_line(engine, wrong):
    x, y = two_moons(20)
    made = engine(Mlp((2, 8, 1)), Bernoulli())
    weight = np.ones(20)
    x = {"width": np.c_[x, x], "huge": 1e39 * x, "nan": np.where(x > 0, np.nan, x), "empty": x[:0]}.get(wrong, x)
    y = {"empty": y[:0], "lengths": y[:-1]}.get(wrong, y)
    y = y[:, None] if wrong == "column" else y + 6.0 * (wrong == "class")
    weight = -weight if wrong == "weight" else weight[: len(y)]
    with pytest.raises(ValueError, match=r"^found [^\n]*$"):
        made.update(made.init(generator()), Data.of(x, y, weight), generator())


@each
def test_a_network_with_other_outputs_than_its_likelihood_is_refused(engine):
    def learnt() -> None:
        made = engine(Mlp((2, 8, 2)), Bernoulli())
        made.update(made.init(generator()), MOONS, generator())

    with pytest.raises(ValueError, match=r"^found [^\n]*outputs?[^\n]*$"):
        learnt()


def test_a_descent_that_diverges_says_so():
    made = Reparameterised(Mlp((2, 8, 1)), Bernoulli(), Schedule(5, 100, 1e9))
    with pytest.raises(FloatingPointError, match="lower the"):
        made.update(made.init(generator()), Data(1e6 * MOONS.x, *MOONS[1:]), generator())


@pytest.mark.parametrize("engine", [Reparameterised, PyroSvi])
def test_of_a_linear_model_it_finds_the_best_diagonal_normal(engine):
    """Mean that of the exact posterior, precision its diagonal; rows of different weight, in uneven batches."""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((90, 2)), rng.uniform(0.0, 3.0, 90)
    y = x @ [1.0, -0.5] + 0.3 + rng.standard_normal(90)
    rows = np.c_[x, np.ones(90)]
    network = Mlp((2, 1))
    precision = np.diag(network.deviations().numpy() ** -2.0) + (rows * weight[:, None]).T @ rows
    mean = np.linalg.solve(precision, (rows * weight[:, None]).T @ y)
    made = engine(network, Known(), schedule=Schedule(1500, 40, 0.03))
    q = made.update(made.init(generator()), Data.of(x, y, weight), generator())
    deviation = np.diag(precision) ** -0.5
    np.testing.assert_allclose(q.scale.numpy(), deviation, rtol=0.1)
    np.testing.assert_allclose((q.mean.numpy() - mean) / deviation, 0.0, atol=0.15)


@pytest.mark.parametrize("rank", [0, 3])
def test_kl_and_draws_of_normals(rank):
    rng = generator()
    q, p = (Normal(torch.randn(6, generator=rng), torch.rand(6, generator=rng) + 0.5, f) for f in factors(rank, rng))
    dense = [
        torch.distributions.MultivariateNormal(n.mean, torch.diag(n.scale**2) + n.factor @ n.factor.T) for n in (q, p)
    ]
    assert kl(q, p) == pytest.approx(float(torch.distributions.kl_divergence(*dense)), rel=1e-4)
    assert log_det(q) == pytest.approx(float(torch.logdet(dense[0].covariance_matrix)), abs=1e-4)
    drawn = sample(q, rng, 100_000)
    assert torch.allclose(drawn.mean(dim=0), q.mean, atol=0.03)
    assert torch.allclose(torch.cov(drawn.T), dense[0].covariance_matrix, atol=0.1)


def factors(rank: int, rng: torch.Generator) -> list[torch.Tensor]:
    return [torch.randn(6, size, generator=rng) for size in (rank, 2 if rank else 0)]


@pytest.mark.parametrize(
    "likelihood", [Bernoulli(), Categorical(3), Gaussian(), StudentT()], ids=lambda l: type(l).__name__
)
def test_a_likelihood_is_a_density_with_the_moments_that_it_predicts(likelihood):
    f = torch.tensor([0.3, -0.4, 0.9], dtype=torch.float64)[: likelihood.outputs].expand(1, 1, -1)
    found = likelihood.predict(f)
    if isinstance(likelihood, Bernoulli | Categorical):
        p = torch.stack(
            [likelihood.log_prob(f[0], torch.tensor([float(k)]))[0].exp() for k in range(found.mean.shape[-1])]
        )
        assert float(p.sum()) == pytest.approx(1.0)
        assert torch.allclose(found.mean[0], p)
        assert torch.allclose(found.variance[0], p * (1.0 - p))
        assert float(found.entropy[0]) == pytest.approx(float(-(p * p.log()).sum()))
    else:
        y = torch.linspace(-400.0, 400.0, 4_000_001, dtype=torch.float64)
        p = likelihood.log_prob(f[0], y).exp() * (y[1] - y[0])
        assert float(p.sum()) == pytest.approx(1.0, abs=1e-6)
        assert float(found.mean[0]) == pytest.approx(float((p * y).sum()), abs=1e-6)
        assert float(found.variance[0]) == pytest.approx(float((p * (y - f[0, 0, 0]) ** 2).sum()), rel=1e-4)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0, 3e38])
@pytest.mark.parametrize("likelihood", [Bernoulli(), Categorical(2), Categorical(10)])
def test_predictions_of_classes_are_exact_for_any_logits(likelihood, scale):
    f = scale * torch.rand(100, 30, likelihood.outputs, generator=generator()).mul(2.0).sub(1.0)
    logs = torch.log_softmax((torch.cat([0.0 * f, f], dim=-1) if likelihood.outputs == 1 else f).double(), dim=-1)
    p = logs.exp()
    mean, entropy = p.mean(dim=0), torch.special.entr(p.mean(dim=0)).sum(dim=-1)
    information = entropy - torch.special.entr(p).sum(dim=-1).mean(dim=0)
    exact = (mean, p.var(dim=0, correction=0), (p * (1.0 - p)).mean(dim=0), entropy, information)
    for found, expected in zip(likelihood.predict(f), exact, strict=True):
        torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=0.0)


def test_uncertainty_is_split_by_the_laws_of_total_variance_and_information():
    logits = torch.tensor([-8.0, 8.0])[:, None, None]  # two draws that are sure of opposite classes
    sure = Bernoulli().predict(logits)
    assert float(sure.information[0]) == pytest.approx(log(2.0), abs=0.01)
    assert float(sure.epistemic[0, 1]) == pytest.approx(0.25, abs=1e-3)
    doubtful = Bernoulli().predict(torch.zeros(2, 1, 1))
    assert float(doubtful.information[0]) == pytest.approx(0.0, abs=1e-6)
    assert float(doubtful.aleatoric[0, 1]) == pytest.approx(0.25)
    f = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])[:, None]
    real = Gaussian().predict(f)
    assert float(real.epistemic[0]) == pytest.approx(1.0)
    assert float(real.information[0]) == pytest.approx(0.5 * log(float(real.variance[0] / real.aleatoric[0])), rel=1e-5)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_network_is_its_layers(activation):
    network = Mlp((3, 5, 4, 2), activation)
    rng = generator()
    w, x = torch.randn(6, network.parameters, generator=rng), torch.randn(7, 3, generator=rng)
    found = network.forward(w, x)
    apply = np.tanh if activation == "tanh" else lambda h: np.maximum(h, 0.0)
    for s in range(6):
        h, start = x.numpy(), 0
        for layer, (rows, columns) in enumerate([(4, 5), (6, 4), (5, 2)]):
            part = w[s, start : start + rows * columns].numpy().reshape(rows, columns)
            start += rows * columns
            h = np.c_[apply(h) if layer else h, np.ones(7)] @ part
        np.testing.assert_allclose(found[s], h, atol=1e-5)
    assert torch.equal(network.join(network.split(w)), w)


def test_a_guide_of_low_rank_recovers_what_a_diagonal_one_cannot():
    """A correlated posterior: two inputs that are much alike."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal(60)
    x = np.stack([common + 0.4 * rng.standard_normal(60), common], axis=1)
    exact = np.linalg.inv(np.diag([2.0 / 2.25] * 2 + [2.0 / 2.25]) + np.c_[x, np.ones(60)].T @ np.c_[x, np.ones(60)])
    data = Data.of(x, x[:, 0] - x[:, 1])
    found = {}
    for rank in (0, 2):
        made = PyroSvi(Mlp((2, 1)), Known(), rank, Schedule(epochs=2000, batch=60, rate=0.1))
        q = made.update(made.init(generator()), data, generator())
        found[rank] = (torch.diag(q.scale**2) + q.factor @ q.factor.T).numpy()
    off = {rank: np.linalg.norm(c - exact) / np.linalg.norm(exact) for rank, c in found.items()}
    assert off[2] < 0.1
    assert off[0] > 0.3


class Known:
    """y ~ N(f, 1)."""

    outputs = 1

    def log_prob(self, f: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return -0.5 * (y - f[..., 0]) ** 2
