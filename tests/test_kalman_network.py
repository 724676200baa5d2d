"""The Kalman Bayesian network against Monte Carlo, least squares and the paper's own equations, unshortened."""

from math import pi

import numpy as np
import pytest
import torch
from scipy.special import expit, ndtr, ndtri
from scipy.stats import multivariate_normal, norm

from filters.posterior.kalman_network import (
    PROBIT,
    KalmanNetwork,
    KnownNoise,
    Neurons,
    evidence,
    relu,
    sigmoid,
    weighed,
)
from filters.posterior.likelihoods import Bernoulli
from filters.posterior.mlp import Mlp
from filters.posterior.spec import Data, predict

torch.set_num_threads(1)
BOTH = pytest.mark.parametrize("likelihood", [Bernoulli(), KnownNoise(0.01)], ids=["labels", "numbers"])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def two_moons(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    angle, label = pi * rng.random(n), rng.integers(2, size=n)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    x = np.where(label[:, None] == 0, upper, np.array([1.0, 0.5]) - upper)
    return x + 0.1 * rng.standard_normal((n, 2)), label.astype(float)


def stratified(n: int = 200_000) -> np.ndarray:
    """Standard normal draws, one of each quantile."""
    return ndtri((np.arange(n) + np.random.default_rng(0).random(n)) / n)


def rows(n: int, likelihood: Bernoulli | KnownNoise, seed: int = 0) -> Data:
    x, label = two_moons(n, np.random.default_rng(seed))
    return Data.of(x, label if isinstance(likelihood, Bernoulli) else np.sin(3.0 * x[:, 0]))


def learnt(likelihood: Bernoulli | KnownNoise, *hidden: int) -> tuple[KalmanNetwork, Neurons]:
    engine = KalmanNetwork(Mlp((2, *hidden, 1)), likelihood)
    return engine, engine.update(engine.init(generator()), rows(300, likelihood), generator())


@pytest.mark.parametrize("mean", [-12.0, -3.0, -0.4, 0.0, 0.7, 2.5, 30.0])
@pytest.mark.parametrize("variance", [0.04, 1.0, 9.0])
def test_the_rectifiers_moments_are_those_of_draws(mean, variance):
    a = mean + variance**0.5 * stratified()
    y = np.maximum(a, 0.0)
    m, v, slope = (float(part) for part in relu(np.array(mean), np.array(variance)))
    assert m == pytest.approx(y.mean(), rel=1e-3, abs=1e-3 * variance**0.5)
    assert v == pytest.approx(y.var(), rel=1e-3, abs=1e-3 * variance)
    assert slope == pytest.approx(np.cov(a, y)[0, 1] / variance, abs=1e-3)


@pytest.mark.parametrize(("mean", "expected"), [(1e9, 1.0), (-1e9, 0.0)])
def test_the_rectifiers_variance_does_not_drown_in_a_large_mean(mean, expected):
    assert float(relu(np.array(mean), np.array(1.0))[1]) == expected


@pytest.mark.parametrize("mean", [-8.0, -2.0, -0.5, 0.0, 1.0, 4.0])
@pytest.mark.parametrize("variance", [0.01, 1.0, 25.0])
def test_the_sigmoids_moments_are_nearly_those_of_draws(mean, variance):
    f = mean + variance**0.5 * stratified()
    m, v = (float(part) for part in sigmoid(np.array(mean), np.array(variance)))
    for p, tolerance in ((ndtr(PROBIT * f), 1e-4), (expit(f), 0.02)):
        assert m == pytest.approx(p.mean(), abs=tolerance)
        assert v == pytest.approx(p.var(), abs=tolerance)
    assert v >= np.cov(f, ndtr(PROBIT * f))[0, 1] ** 2 / f.var() * (1.0 - 1e-3)


@pytest.mark.parametrize("y", [0.0, 1.0])
@pytest.mark.parametrize("mean", [-9.0, -1.0, 0.5, 6.0])
def test_a_label_teaches_what_bayes_rule_says(y, mean):
    """Moments of p(f | y) by quadrature."""
    f = np.linspace(mean - 20.0, mean + 20.0, 40_001)
    density = norm.pdf(f, mean, 2.0) * ndtr(PROBIT * (2.0 * y - 1.0) * f)
    expected = np.average(f, weights=density)
    score, curvature = (float(part) for part in evidence(Bernoulli(), np.array(mean), np.array(4.0), y))
    assert mean + 4.0 * score == pytest.approx(expected, abs=1e-8)
    assert 4.0 - 16.0 * curvature == pytest.approx(np.average((f - expected) ** 2, weights=density), abs=1e-8)


def test_the_output_of_one_hidden_layer_has_the_moments_of_draws():
    """Where they are exact, as its neurons are normal and independent; of weights that are correlated."""
    engine, rng = KalmanNetwork(Mlp((2, 10, 1)), KnownNoise(0.01)), generator()
    means = tuple(torch.randn(shape, generator=rng).double() for shape in ((10, 3), (1, 11)))
    roots = [0.3 * torch.randn((*mean.shape, mean.shape[1]), generator=rng).double() for mean in means]
    state = Neurons(means, tuple(root @ root.mT + 0.01 * torch.eye(len(root.mT[0])) for root in roots))
    x = torch.tensor([[0.5, 0.2], [-1.0, 0.4], [1.5, -0.6], [3.0, 3.0]])
    mean, variance = engine.moments(state, x)
    drawn = engine.outputs(state, x, rng, 200_000)[..., 0].double()
    assert ((drawn.mean(dim=0) - mean).abs() < 0.01 * variance.sqrt()).all()
    torch.testing.assert_close(drawn.var(dim=0), variance, rtol=0.015, atol=0.0)


def test_of_two_hidden_layers_the_moments_are_nearly_so():
    engine, state = learnt(KnownNoise(0.01), 10, 10)
    x = rows(50, KnownNoise(0.01), seed=1).x
    mean, variance = engine.moments(state, x)
    found = predict(engine, state, x, generator(), 4000)
    assert ((found.mean - mean).abs() < 0.1 * variance.sqrt()).all()
    torch.testing.assert_close(found.epistemic.double(), variance, rtol=0.2, atol=0.0)


def test_of_two_hidden_layers_the_probability_is_nearly_so():
    engine, state = learnt(Bernoulli(), 10, 10)
    x = rows(50, Bernoulli(), seed=1).x
    found = predict(engine, state, x, generator(), 4000)
    for drawn, closed in zip((found.mean[:, 1], found.epistemic[:, 1]), engine.moments(state, x), strict=True):
        torch.testing.assert_close(drawn.double(), closed, rtol=0.0, atol=0.03)
        assert closed.max() - closed.min() > 0.1


def test_one_linear_layer_is_least_squares():
    """Recursive, with weights: precision Σ w z z' / R added to the prior's."""
    engine, rng = KalmanNetwork(Mlp((3, 1)), KnownNoise(0.3)), np.random.default_rng(0)
    x, weight = rng.normal(size=(200, 3)), rng.choice([0.0, 0.25, 1.0, 3.0], 200)
    data = Data.of(x, x @ [1.0, -2.0, 0.5] + rng.normal(size=200), weight)
    prior = Neurons((torch.tensor([[0.3, -0.1, 0.2, 1.0]]).double(),), engine.init(generator()).covariances)
    state = engine.update(prior, data, generator())
    z, precision = np.c_[data.x.double().numpy(), np.ones(200)], np.linalg.inv(prior.covariances[0][0].numpy())
    added = z.T @ (weight[:, None] * z) / 0.3
    moved = precision @ prior.means[0][0].numpy() + z.T @ (weight * data.y.double().numpy()) / 0.3
    np.testing.assert_allclose(state.covariances[0][0], np.linalg.inv(precision + added), rtol=0, atol=1e-8)
    np.testing.assert_allclose(state.means[0][0], np.linalg.solve(precision + added, moved), rtol=0, atol=1e-8)


@pytest.mark.parametrize("weight", [0.25, 2.0, 5.0])
@BOTH
def test_a_rows_weight_divides_its_noise(likelihood, weight):
    """Of one linear layer: what the row adds to the precision of the output is as many times as much."""
    engine = KalmanNetwork(Mlp((2, 1)), likelihood)
    prior, x = engine.init(generator()), np.array([[0.5, -1.0]])
    z = torch.tensor([0.5, -1.0, 1.0]).double()

    def added(w: float) -> float:
        after = engine.update(prior, Data.of(x, np.ones(1), np.array([w])), generator())
        return float(1.0 / (z @ after.covariances[0][0] @ z) - 1.0 / (z @ prior.covariances[0][0] @ z))

    assert added(weight) == pytest.approx(weight * added(1.0), rel=1e-8)
    assert added(1.0) > 0.01


def test_a_step_is_the_papers():
    """Forward and backward as the paper has them, neuron by neuron, of one number seen with noise."""
    engine, state = learnt(KnownNoise(0.5), 4, 3)
    x, y = np.array([[0.25, -0.75]]), 2.0
    after = engine.update(state, Data.of(x, np.array([y])), generator())
    z, v, kept = x[0], np.zeros(2), []
    for layer, (M, C) in enumerate(zip(*((part.numpy() for part in parts) for parts in state), strict=True)):
        z, v = np.append(z, 1.0), np.append(v, 0.0)
        a = M @ z
        va = np.array([z @ c @ z + (m**2 * v).sum() + (c.diagonal() * v).sum() for m, c in zip(M, C, strict=True)])
        r = a / np.sqrt(va)
        my = a * ndtr(r) + np.sqrt(va) * norm.pdf(r) if layer < 2 else a
        vy = (a**2 + va) * ndtr(r) + a * np.sqrt(va) * norm.pdf(r) - my**2 if layer < 2 else va
        kept.append((M, C, z, v, a, va, my, vy, va * ndtr(r) if layer < 2 else va))
        z, v = my, vy
    gain = v / (v + 0.5)
    z_new, v_new = z + gain * (y - z), v - gain * v
    for layer in (2, 1, 0):
        M, C, z, v, a, va, my, vy, cross = kept[layer]
        d, D = cross / vy * (z_new - my), (cross / vy) ** 2 * (v_new - vy)
        k = (C @ z) / va[:, None]
        np.testing.assert_allclose(after.means[layer], M + k * d[:, None], rtol=0, atol=1e-10)
        expected = C + k[:, :, None] * k[:, None, :] * D[:, None, None]
        np.testing.assert_allclose(after.covariances[layer], expected, rtol=0, atol=1e-10)
        back = M * v / va[:, None]
        z_new, v_new = (z + back.T @ d)[:-1], (v + (back**2).T @ D)[:-1]


def test_one_pass_finds_two_moons():
    accuracies = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        data, (x, label) = Data.of(*two_moons(1000, rng)), two_moons(2000, rng)
        engine = KalmanNetwork(Mlp((2, 10, 10, 1)), Bernoulli())
        state = engine.update(engine.init(generator(seed)), data, generator())
        accuracies.append(((engine.moments(state, torch.tensor(x))[0].numpy() > 0.5) == label).mean())
    assert np.median(accuracies) >= 0.97


@pytest.mark.parametrize("size", [1.0, 1e8])
@pytest.mark.parametrize("hidden", [(), (4,), (10, 10)])
@BOTH
def test_covariances_stay_symmetric_and_definite(likelihood, hidden, size):
    """Over 2,000 rows, of which every other is nearly the same."""
    engine, data = KalmanNetwork(Mlp((2, *hidden, 1)), likelihood), rows(2000, likelihood)
    data.x[::2] = data.x[0] + 1e-4 * data.x[::2]
    state = engine.init(generator())
    for part in range(0, 2000, 100):
        state = engine.update(state, Data(size * data.x[part:][:100], *(p[part:][:100] for p in data[1:])), generator())
        for covariance in state.covariances:
            assert torch.equal(covariance, covariance.mT)
            assert torch.linalg.eigvalsh(covariance).min() > 1e-12


@pytest.mark.parametrize("weight", [1e-30, 1.0, 1e30])
def test_a_label_never_teaches_more_than_all(weight):
    """However surely it was thought the other: c lies between 0 and the precision that there would be to lose."""
    variance = np.logspace(0.0, 30.0, 301)
    for mean in (-1e9 * variance**0.5, -1e3 * variance**0.5, 1e9 * variance**0.5):
        score, curvature = weighed(*evidence(Bernoulli(), mean, variance, 1.0), variance, weight)
        assert (np.isfinite(score) & (score >= 0.0)).all()
        assert ((curvature >= 0.0) & (curvature * variance <= 1.0 + 1e-12)).all()


def test_a_sure_probability_has_no_negative_variance():
    assert (sigmoid(np.linspace(-40.0, 40.0, 4001), np.array(1e-6))[1] >= 0.0).all()


@pytest.mark.parametrize("size", [1.0, 1e6, 1e18, 3e38])
@pytest.mark.parametrize("likelihood", [Bernoulli(), KnownNoise(0.01), KnownNoise(1e-12)])
def test_contradictions_and_huge_inputs_give_numbers(likelihood, size):
    engine, rng = KalmanNetwork(Mlp((2, 10, 10, 1)), likelihood), np.random.default_rng(0)
    x, y = rng.uniform(-1.0, 1.0, (300, 2)), np.arange(300) % 4 // 2 * 1.0
    x[::2] = x[0]
    y = y if isinstance(likelihood, Bernoulli) else size * (2.0 * y - 1.0)
    before = engine.init(generator())
    state = engine.update(before, Data.of(size * x, y), generator())
    assert all(torch.isfinite(part).all() for parts in state for part in parts)
    assert engine.sample(state, generator(), 10).isfinite().all()
    assert np.isfinite(engine.kl(state, before))
    assert engine.kl(state, before) > 1.0


def test_far_from_the_data_probability_and_variance_go_to_constants():
    """Some of them near certainty."""
    engine, state = learnt(Bernoulli(), 10, 10)
    angle = torch.linspace(0.0, 2.0 * pi, 33)[:-1]
    ray = torch.stack([angle.cos(), angle.sin()], dim=1)
    far, farther = engine.moments(state, 1e3 * ray), engine.moments(state, 1e6 * ray)
    torch.testing.assert_close(far, farther, rtol=0.0, atol=0.01)
    sure = (far[0] - 0.5).abs().argmax()
    assert (far[0][sure] - 0.5).abs() > 0.4
    assert far[1][sure] < engine.moments(state, torch.tensor([[0.5, 0.25]]))[1]


def test_draws_have_the_neurons_moments():
    engine, state = learnt(KnownNoise(0.01), 3)
    drawn = engine.network.split(engine.sample(state, generator(), 50_000).double())
    for w, mean, covariance in zip(drawn, *state, strict=True):
        for neuron in range(len(mean)):
            found, scale = w[..., neuron], covariance[neuron].diagonal().sqrt()
            assert ((found.mean(dim=0) - mean[neuron]).abs() < 0.02 * scale).all()
            assert ((found.T.cov() - covariance[neuron]).abs() < 0.02 * scale * scale[:, None]).all()


def test_the_divergence_is_the_mean_of_log_ratios():
    engine, state = learnt(Bernoulli(), 2)
    prior = engine.init(generator())
    expected, rng = 0.0, np.random.default_rng(0)
    for parts in zip(*state, *prior, strict=True):
        for m, c, prior_m, prior_c in zip(*(part.numpy() for part in parts), strict=True):
            q, p = multivariate_normal(m, c), multivariate_normal(prior_m, prior_c)
            w = q.rvs(20_000, random_state=rng)
            expected += (q.logpdf(w) - p.logpdf(w)).mean()
    assert expected > 3.0
    assert engine.kl(state, prior) == pytest.approx(expected, rel=0.02)
    assert engine.kl(state, state) == pytest.approx(0.0, abs=1e-9)


@BOTH
def test_states_are_values_and_rows_are_taken_in_turn(likelihood):
    engine, data = KalmanNetwork(Mlp((2, 5, 1)), likelihood), rows(40, likelihood)
    prior = engine.init(generator())
    whole = engine.update(prior, data, generator())
    halves = prior
    for half in (slice(20), slice(20, 40)):
        halves = engine.update(halves, Data(*(part[half] for part in data)), generator(1))
    ignored = engine.update(prior, data._replace(weight=torch.zeros(40)), generator())
    for after, again, same, before, fresh in zip(
        *(sum(s, ()) for s in (whole, halves, ignored, prior, engine.init(generator()))), strict=True
    ):
        assert torch.equal(after, again)
        assert torch.equal(before, fresh)
        assert torch.equal(before, same)
        assert not torch.equal(after, before)


def test_neurons_begin_unlike_and_the_output_at_nought():
    engine = KalmanNetwork(Mlp((2, 10, 10, 1)), Bernoulli())
    state, other = engine.init(generator()), engine.init(generator(1))
    assert all(len(mean.unique(dim=0)) == 10 for mean in state.means[:-1])
    assert not torch.equal(state.means[0], other.means[0])
    assert (engine.moments(state, torch.randn(20, 2, generator=generator()))[0] == 0.5).all()


def test_known_noise():
    p, f = KnownNoise(0.3), torch.tensor([[[1.0]], [[3.0]]]).double()
    np.testing.assert_allclose(p.log_prob(f, torch.tensor([2.5]))[:, 0], norm.logpdf(2.5, [1.0, 3.0], 0.3**0.5))
    found = p.predict(f)
    assert [float(part) for part in (found.mean, found.epistemic, found.aleatoric)] == pytest.approx([2.0, 1.0, 0.3])
    assert p.curvature(f).flatten().tolist() == pytest.approx([1.0 / 0.3] * 2)


@pytest.mark.parametrize(
    ("network", "likelihood", "said"),
    [
        (Mlp((2, 3, 1), "tanh"), Bernoulli(), "expected a relu network of one output"),
        (Mlp((2, 3, 2)), Bernoulli(), "expected a relu network of one output"),
        (Mlp((2, 3, 1)), KnownNoise(0.0), "found a noise of variance 0"),
        (Mlp((2, 3, 1)), KnownNoise(float("nan")), "found a noise of variance nan"),
    ],
)
def test_what_it_cannot_do_is_refused(network, likelihood, said):
    with pytest.raises(ValueError, match=said):
        KalmanNetwork(network, likelihood)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (Data.of(np.ones((1, 2)), np.array([0.5])), "no classes"),
        (Data.of(np.ones((1, 3)), np.ones(1)), "(n, 2)"),
    ],
)
def test_so_are_other_data(data, said):
    engine = KalmanNetwork(Mlp((2, 3, 1)), Bernoulli())
    with pytest.raises(ValueError, match=said.replace("(", r"\(").replace(")", r"\)")):
        engine.update(engine.init(generator()), data, generator())
    with pytest.raises(ValueError, match=r"expected \(n, 2\)"):
        engine.moments(engine.init(generator()), torch.ones(1, 3))
