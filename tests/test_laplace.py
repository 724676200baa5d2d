"""Laplace's approximation against exact regression, laplace-torch and its own definition."""

import warnings
from dataclasses import dataclass, replace
from math import inf, log, pi

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from filters.posterior import laplace
from filters.posterior.descent import Schedule
from filters.posterior.laplace import Dense, Laplace, given, kl
from filters.posterior.likelihoods import Bernoulli, Categorical, Gaussian, Prediction, StudentT, of_moments
from filters.posterior.mlp import Mlp
from filters.posterior.spec import Data, predict

torch.set_num_threads(1)


@dataclass(frozen=True)
class FixedNoise:
    """y ~ N(f, scale²)."""

    scale: float = 0.5
    outputs = 1

    def log_prob(self, f: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return -0.5 * ((y - f[..., 0]) / self.scale) ** 2 - log(self.scale * (2.0 * pi) ** 0.5)

    def predict(self, f: torch.Tensor) -> Prediction:
        return of_moments(f[..., 0], torch.full_like(f[..., 0], self.scale**2))

    def curvature(self, f: torch.Tensor) -> torch.Tensor:
        return torch.full_like(f, self.scale**-2)[..., None]


QUICK = Schedule(epochs=60, batch=20, rate=0.02)
LINEAR = Laplace(Mlp((3, 1)), FixedNoise(), schedule=Schedule(epochs=800, batch=64, rate=0.03))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(n: int, kind: object = FixedNoise(), seed: int = 0) -> Data:
    """Of weights from ½ to 1½, about a curved function; of classes, how it compares with 0."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3))
    y = x @ [1.0, -0.5, 0.2] + 0.4 * x[:, 0] ** 2 + 0.5 * rng.standard_normal(n)
    y = (y > 0.0).astype(float) + (y > 1.0) * (kind == Categorical(3)) if kind in (Bernoulli(), Categorical(3)) else y
    return Data.of(x, y, rng.uniform(0.5, 1.5, n))


def exact(data: Data) -> tuple[np.ndarray, np.ndarray]:
    """Mean and precision of Bayesian linear regression from the prior of `LINEAR`."""
    x, y, weight = (np.asarray(part, dtype=float) for part in data)
    design = np.column_stack([x, np.ones(len(x))])
    precision = np.diag(LINEAR.network.deviations().numpy().astype(float) ** -2)
    precision += design.T @ (design * weight[:, None]) / FixedNoise.scale**2
    return np.linalg.solve(precision, design.T @ (weight * y) / FixedNoise.scale**2), precision


def test_a_linear_model_s_posterior_is_exact():
    data = rows(64)
    found = LINEAR.update(LINEAR.init(generator()), data, generator())
    mean, precision = exact(data)
    np.testing.assert_allclose(found.precision, precision, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.mean, mean, atol=1e-4)


def test_halves_one_after_the_other_tell_a_linear_model_what_all_tell_at_once():
    data, rng = rows(128), generator()
    state = LINEAR.init(rng)
    for half in (slice(0, 64), slice(64, 128)):
        state = LINEAR.update(state, Data(*(part[half] for part in data)), rng)
    whole = replace(LINEAR, schedule=replace(LINEAR.schedule, batch=128)).update(LINEAR.init(rng), data, rng)
    np.testing.assert_allclose(state.precision, whole.precision, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(state.mean, whole.mean, atol=2e-4)
    assert LINEAR.kl(state, whole) < 1e-5 < LINEAR.kl(state, LINEAR.init(rng))


def jacobian(network: Mlp, weights: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Of all outputs of all rows (n O, P), in float64, by autograd's own loop."""

    def outputs(w: torch.Tensor) -> torch.Tensor:
        return network.forward(w[None], x.double()).flatten()

    return torch.autograd.functional.jacobian(outputs, weights.double())


def spread(engine: Laplace, state: Dense, x: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Covariance (n O, n O) of the draws of the outputs, exact: each standard normal number is 1 once, else 0."""
    with monkeypatch.context() as patch:
        patch.setattr(laplace, "noise", lambda shape, rng, like: torch.eye(*shape, dtype=like.dtype))
        drawn = engine.outputs(state, x, generator(), len(state.precision))
    away = (drawn - engine.network.forward(state.mean[None], x)).flatten(1)
    return away.T @ away


@pytest.mark.parametrize("cells", [1, 200, laplace.CELLS])
@pytest.mark.parametrize("which", ["all", "last"])
def test_draws_are_of_the_linear_model(which, cells, monkeypatch):
    monkeypatch.setattr(laplace, "CELLS", cells)
    engine = Laplace(Mlp((3, 6, 2), "tanh"), Gaussian(), which, QUICK)
    data = rows(40)
    prior = engine.init(generator())
    state = engine.update(prior, data, generator())
    kept = len(state.precision)
    assert kept == {"all": 38, "last": 14}[which]
    assert engine.rows(state) == max(1, cells // (2 * kept))
    j = jacobian(engine.network, state.mean, data.x)[:, -kept:]
    information = torch.block_diag(*engine.likelihood.curvature(engine.network.forward(state.mean[None], data.x)[0]))
    weighted = j.T @ (information.double() * data.weight.repeat_interleave(2)[:, None]) @ j
    torch.testing.assert_close(state.precision, prior.precision[-kept:, -kept:] + weighted, rtol=1e-4, atol=1e-4)
    expected = j @ torch.linalg.solve(state.precision, j.T)
    torch.testing.assert_close(spread(engine, state, data.x, monkeypatch).double(), expected, rtol=1e-4, atol=1e-5)


def test_draws_spread_and_centre_as_they_should():
    engine = Laplace(Mlp((3, 6, 2), "tanh"), Gaussian(), schedule=QUICK)
    state, x = engine.update(engine.init(generator()), rows(40), generator()), rows(3, seed=1).x
    j = jacobian(engine.network, state.mean, x)
    expected = j @ torch.linalg.solve(state.precision, j.T)
    drawn = engine.outputs(state, x, generator(1), 20_000).flatten(1).double()
    error = torch.sqrt((expected.diagonal()[:, None] * expected.diagonal() + expected**2) / len(drawn))
    assert (drawn.T.cov() - expected).abs().div(error).max() < 4.5
    off = drawn.mean(dim=0) - engine.network.forward(state.mean[None], x).flatten()
    assert off.abs().div(torch.sqrt(expected.diagonal() / len(drawn))).max() < 4.5


def torch_twin(engine: Laplace, weights: torch.Tensor) -> tuple[torch.nn.Module, torch.Tensor]:
    """The network as a module of torch, and which of our weights its parameters are."""
    layers: list[torch.nn.Module] = []
    order = []
    places = torch.arange(engine.network.parameters, dtype=weights.dtype)
    for w, place in zip(engine.network.split(weights), engine.network.split(places), strict=True):
        layer = torch.nn.Linear(len(w) - 1, w.shape[1])
        layer.weight.data, layer.bias.data = w[:-1].T.contiguous(), w[-1]
        layers += [layer, torch.nn.ReLU() if engine.network.activation == "relu" else torch.nn.Tanh()]
        order += [place[:-1].T.flatten(), place[-1]]
    end = [torch.nn.ZeroPad1d((1, 0))] if engine.likelihood == Bernoulli() else []  # logits of both classes: 0 and f
    return torch.nn.Sequential(*layers[:-1], *end), torch.cat(order).long()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("which", "network", "likelihood"),
    [
        ("all", Mlp((3, 7, 5, 1)), Bernoulli()),
        ("all", Mlp((3, 7, 5, 3)), Categorical(3)),
        ("last", Mlp((3, 7, 5, 3)), Categorical(3)),
        ("all", Mlp((3, 7, 5, 1), "tanh"), FixedNoise()),
        ("last", Mlp((3, 7, 5, 1)), FixedNoise()),
    ],
)
def test_it_is_what_laplace_torch_makes(which, network, likelihood, monkeypatch):
    with warnings.catch_warnings(action="ignore"):
        peer = pytest.importorskip("laplace", reason="laplace-torch, the peer, is not installed: see `make bench`")
    engine = Laplace(network, likelihood, which, QUICK)
    data = rows(60, likelihood)._replace(weight=torch.ones(60))  # of rows of other weights it knows nothing
    state = engine.update(engine.init(generator()), data, generator())
    module, order = torch_twin(engine, state.mean)
    order = order[-len(state.precision) :]
    regression = likelihood == FixedNoise()
    theirs = peer.Laplace(
        module,
        "regression" if regression else "classification",
        subset_of_weights="all" if which == "all" else "last_layer",
        hessian_structure="full",
        prior_precision=network.deviations()[order] ** -2,
        sigma_noise=likelihood.scale if regression else 1.0,
    )
    targets = data.y[:, None] if regression else data.y.long()
    theirs.fit(torch.utils.data.DataLoader(torch.utils.data.TensorDataset(data.x, targets), batch_size=25))
    ours = order - (network.parameters - len(order))
    expected = theirs.posterior_precision.double()
    torch.testing.assert_close(state.precision[ours][:, ours], expected, rtol=1e-4, atol=1e-4)
    x = rows(8, seed=1).x
    mean, covariance = theirs._glm_predictive_distribution(x, joint=True)
    told = slice(1, None, 2) if likelihood == Bernoulli() else slice(None)
    f = network.forward(state.mean[None], x).flatten()
    torch.testing.assert_close(f, mean[told], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(spread(engine, state, x, monkeypatch), covariance[told, told], rtol=1e-4, atol=1e-4)


def random_state(seed: int, unknown: int = 5, certain: int = 0) -> Dense:
    rng = generator(seed)
    root = torch.randn(unknown, unknown, generator=rng, dtype=torch.float64)
    mean = torch.cat([torch.zeros(certain), torch.randn(unknown, generator=rng)])
    return Dense(mean, root @ root.T + torch.eye(unknown))


def test_kl_is_what_draws_make_of_it():
    engine, q, p = Laplace(Mlp((4, 1)), FixedNoise()), random_state(0), random_state(1)
    drawn = engine.sample(q, generator(2), 40_000).double()
    ours, theirs = (MultivariateNormal(of.mean.double(), precision_matrix=of.precision) for of in (q, p))
    each = ours.log_prob(drawn) - theirs.log_prob(drawn)
    error = float(each.std()) / len(each) ** 0.5
    assert error < 0.02 * each.mean()
    assert engine.kl(q, p) == pytest.approx(float(each.mean()), abs=4.0 * error)
    assert engine.kl(q, q) == pytest.approx(0.0, abs=1e-9)


def test_conditioning_is_that_of_the_covariance():
    q = random_state(3, 6, certain=1)
    known = torch.tensor([0.0, 0.3, -1.0])
    found = given(q, known)
    covariance = torch.linalg.inv(q.precision)
    gain = covariance[2:, :2] @ torch.linalg.inv(covariance[:2, :2])
    expected = q.mean[3:] + gain @ (known[1:] - q.mean[1:3]).double()
    torch.testing.assert_close(found.mean.double(), torch.cat([known, expected]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.linalg.inv(found.precision), covariance[2:, 2:] - gain @ covariance[:2, 2:])


def test_of_the_last_layer_the_others_stay_where_the_first_update_left_them():
    engine = Laplace(Mlp((3, 6, 1)), FixedNoise(), "last", QUICK)
    prior = engine.init(generator())
    first = engine.update(prior, rows(40), generator())
    second = engine.update(first, rows(40, seed=1), generator())
    assert torch.equal(first.certain, second.certain)
    assert not torch.equal(first.unknown, second.unknown)
    assert len(first.certain) == 24
    drawn = engine.sample(second, generator(), 9)
    assert torch.equal(drawn[:, :24], second.certain.expand(9, -1))
    assert (drawn[:, 24:].std(dim=0) > 0.0).all()
    assert torch.linalg.eigvalsh(second.precision - first.precision)[-1] > 1.0
    alone = Dense(prior.unknown[-7:], prior.precision[-7:, -7:])
    assert engine.kl(second, prior) == pytest.approx(kl(Dense(second.unknown, second.precision), alone))
    other = engine.update(prior, rows(40, seed=2), generator())
    assert engine.kl(second, other) == inf > engine.kl(second, first) > 0.0


def test_a_later_update_starts_where_the_last_ended():
    engine = Laplace(Mlp((3, 6, 1)), FixedNoise(), schedule=QUICK)
    prior = engine.init(generator())
    assert torch.equal(engine.begin(prior, rows(40), generator()).parameters, engine.network.start(generator()))
    after = engine.update(prior, rows(40), generator())
    assert torch.equal(engine.begin(after, rows(40), generator()).parameters, after.mean)


def test_it_is_surest_where_there_were_rows():
    rng = np.random.default_rng(0)
    x = rng.uniform(-2.0, 2.0, (1200, 1))
    y = np.sin(2.0 * x[:, 0]) + (0.1 + 0.2 * np.abs(x[:, 0])) * rng.standard_normal(1200)
    engine = Laplace(Mlp((1, 16, 2)), Gaussian(), schedule=Schedule(epochs=250, batch=100, rate=0.03))
    state = engine.update(engine.init(generator()), Data.of(x, y), generator())
    told = predict(engine, state, torch.tensor([[-5.0], [-1.0], [0.0], [1.0], [5.0]]), generator(), 400)
    inside = told.epistemic[1:4].max()
    assert told.epistemic[[0, 4]].min() > 4.0 * inside
    assert told.aleatoric[[1, 3]].sqrt().numpy() == pytest.approx([0.3, 0.3], rel=0.4)
    assert told.aleatoric[2].sqrt() < 0.2  # where it has a sharp bend, at .1
    assert told.mean[1:4].numpy() == pytest.approx(np.sin([-2.0, 0.0, 2.0]), abs=0.15)


@pytest.mark.parametrize("likelihood", [Bernoulli(), Categorical(3), Gaussian(), StudentT(4.0), StudentT(7.0)])
def test_curvature_is_the_scores_second_moment(likelihood):
    f = torch.randn(likelihood.outputs, generator=generator(), dtype=torch.float64)
    if isinstance(likelihood, (Gaussian, StudentT)):
        u = torch.linspace(-12.0, 12.0, 20_001, dtype=torch.float64)
        y, width = f[0] + torch.sinh(u), torch.cosh(u) * (u[1] - u[0])
    else:
        y = torch.arange(max(2, likelihood.outputs), dtype=torch.float64)
        width = torch.ones_like(y)
    each = f.expand(len(y), -1).clone().requires_grad_()
    told = likelihood.log_prob(each, y)
    (score,) = torch.autograd.grad(told.sum(), each)
    p = told.detach().exp() * width
    assert p.sum() == pytest.approx(1.0, abs=1e-6)
    torch.testing.assert_close(likelihood.curvature(f), score.T @ (p[:, None] * score), rtol=1e-5, atol=1e-9)
