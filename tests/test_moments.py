"""Moments through the parts of a transformer, against draws and against the exact cases."""

import numpy as np
import pytest

from filters.posterior.moments import (
    MOST,
    Moments,
    centred,
    context,
    linear,
    norm,
    sampled,
    scores,
    softmax,
    with_one,
)

N, D = 6, 5


def positive(n: int, rng: np.random.Generator, *batch: int) -> np.ndarray:
    root = rng.standard_normal((*batch, n, n))
    return root @ root.swapaxes(-1, -2) / n


def some_moments(rng: np.random.Generator, scale: float = 0.2) -> Moments:
    return Moments(rng.standard_normal((1, N, D)), scale * positive(N, rng, 1, D))


def draws_of(x: Moments, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, n, d)."""
    root = np.linalg.cholesky(x.covariance[0] + 1e-12 * np.eye(x.covariance.shape[-1]))
    noise = rng.standard_normal((count, x.mean.shape[2], x.mean.shape[1]))
    return x.mean[0] + np.einsum("ajl,cal->cja", root, noise)


def between_tokens(y: np.ndarray) -> np.ndarray:
    """Covariances (d, n, n) of draws (count, n, d)."""
    off = y - y.mean(axis=0)
    return np.einsum("cja,cla->ajl", off, off) / len(y)


def off(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def scores_of(variance: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of which the greatest variance that a softmax feels is this."""
    rng = np.random.default_rng(seed)
    mean, covariance = rng.standard_normal(N), positive(N, rng)
    return mean, covariance * variance / centred(mean, covariance)[1].max()


@pytest.mark.parametrize("variance", [0.01, 0.03, 0.1])
def test_softmax_moments_are_those_of_draws(variance):
    """The bound that the issue sets, on 12 sets of scores: mean within .01, covariance within 10 %."""
    rng = np.random.default_rng(1)
    for seed in range(12):
        mean, covariance = scores_of(variance, seed)
        a = rng.multivariate_normal(mean, covariance, 100_000)
        s = np.exp(a) / np.exp(a).sum(axis=1, keepdims=True)
        found = softmax(mean[None], covariance[None], rng)
        assert not found.drawn[0]
        assert np.abs(found.mean[0] - s.mean(axis=0)).max() < 0.01
        assert off(found.covariance[0], np.cov(s.T)) < 0.1


def test_softmax_mean_is_of_second_order():
    """Several times nearer than the softmax of the mean."""
    rng, near, first = np.random.default_rng(1), [], []
    for seed in range(6):
        mean, covariance = scores_of(0.1, seed)
        half = rng.multivariate_normal(np.zeros(N), covariance, 200_000)
        s = np.exp(mean + np.concatenate([half, -half]))
        expected = (s / s.sum(axis=1, keepdims=True)).mean(axis=0)
        near.append(np.abs(softmax(mean[None], covariance[None], rng).mean[0] - expected).max())
        first.append(np.abs(centred(mean, covariance)[0] - expected).max())
    assert max(near) < 0.002
    assert np.mean(near) < 0.25 * np.mean(first)


@pytest.mark.parametrize(("variance", "drawn"), [(0.28, False), (0.32, True)])
def test_scores_are_drawn_above_a_variance_of_three_tenths(variance, drawn):
    mean, covariance = scores_of(variance, 3)
    assert softmax(mean[None], covariance[None], np.random.default_rng(0)).drawn[0] == drawn


def test_draws_come_in_pairs_and_are_512():
    """A draw and its mirror image make the mean of two even scores exact; the rest errs as so many draws do."""
    rng = np.random.default_rng(11)
    assert sampled(np.zeros(2), np.eye(2), rng)[0] == pytest.approx([0.5, 0.5], abs=1e-12)
    mean, covariance = scores_of(1.5, 0)
    variances = np.array([np.diag(sampled(mean, covariance, rng)[1]) for _ in range(400)])
    a = rng.multivariate_normal(mean, covariance, 200_000)
    s = np.exp(a) / np.exp(a).sum(axis=1, keepdims=True)
    one = ((s - s.mean(axis=0)) ** 2).std(axis=0)
    assert (variances.std(axis=0) < 1.6 * one / 512**0.5).all()  # 1.4 where a pair is worth one


def test_uncertain_scores_are_drawn_and_then_as_near():
    rng = np.random.default_rng(2)
    mean, covariance = scores_of(1.5, 0)
    a = rng.multivariate_normal(mean, covariance, 200_000)
    s = np.exp(a) / np.exp(a).sum(axis=1, keepdims=True)
    found = softmax(mean[None], covariance[None], rng)
    assert found.drawn[0]
    assert np.abs(found.mean[0] - s.mean(axis=0)).max() < 0.02
    assert off(found.covariance[0], np.cov(s.T)) < 0.2


def test_between_series_and_draws_there_is_no_jump():
    """At the variance where one gives way to the other, both tell nearly the same."""
    mean, covariance = scores_of(MOST, 3)
    series = softmax(mean[None], covariance[None], np.random.default_rng(0))
    drawn = sampled(mean[None], covariance[None], np.random.default_rng(0))
    assert np.abs(series.mean - drawn[0]).max() < 0.02
    assert off(series.covariance, drawn[1]) < 0.25


def test_softmax_does_not_feel_what_all_scores_share_and_weights_add_up_to_one():
    mean, covariance = scores_of(0.1, 4)
    one = softmax(mean[None], covariance[None], np.random.default_rng(0))
    other = softmax(mean[None] + 7.0, covariance[None] + 5.0, np.random.default_rng(0))
    np.testing.assert_allclose(one.mean, other.mean, atol=1e-12)
    np.testing.assert_allclose(one.covariance, other.covariance, atol=1e-12)
    assert one.mean.sum() == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(one.covariance.sum(axis=-1), 0.0, atol=1e-12)
    np.testing.assert_allclose(one.slope.sum(axis=-1), 0.0, atol=1e-12)


@pytest.mark.parametrize(("variance", "bound"), [(0.28, 0.015), (1.0, 0.05)])
def test_slopes_are_those_of_regression_on_the_scores(variance, bound):
    """Stein's lemma: Cov(s, a) = E[J] S, by series and by draws; J at the mean is off by .03 and .11."""
    rng = np.random.default_rng(5)
    mean, covariance = scores_of(variance, 5)
    a = rng.multivariate_normal(mean, covariance, 400_000)
    s = np.exp(a) / np.exp(a).sum(axis=1, keepdims=True)
    found = softmax(mean[None], covariance[None], rng)
    cross = (s - s.mean(axis=0)).T @ (a - a.mean(axis=0)) / len(a)
    assert off(found.slope[0] @ covariance, cross) < bound


def test_linear_moments_are_exact():
    """Of uncertain weights and inputs that are independent from feature to feature."""
    rng = np.random.default_rng(6)
    x, mean, covariance = some_moments(rng), rng.standard_normal((3, D + 1)), 0.1 * positive(D + 1, rng, 3)
    found = linear(mean, covariance, x)
    count = 200_000
    root = np.linalg.cholesky(covariance)
    w = mean + np.einsum("aij,caj->cai", root, rng.standard_normal((count, 3, D + 1)))
    y = np.einsum("cji,cai->cja", with_one(draws_of(x, count, rng)), w)
    np.testing.assert_allclose(found.mean[0], y.mean(axis=0), atol=0.02)
    assert off(found.covariance[0], between_tokens(y)) < 0.03


def test_scores_moments_are_exact():
    rng = np.random.default_rng(7)
    keys, query = some_moments(rng), some_moments(rng).last()
    mean, covariance = scores(query, keys)
    k, q = draws_of(keys, 200_000, rng), draws_of(query, 200_000, rng)
    a = np.einsum("cja,ca->cj", k, q[:, 0]) / D**0.5
    np.testing.assert_allclose(mean[0], a.mean(axis=0), atol=0.01)
    assert off(covariance[0], np.cov(a.T)) < 0.03


def test_scores_of_independent_keys_are_the_references():
    """S_jl = (m_kj'S_q m_kl + δ_jl (m_q'S_k m_q + tr S_q S_k)) / d."""
    rng = np.random.default_rng(8)
    variance = rng.random((D, N))
    keys = Moments(rng.standard_normal((1, N, D)), (variance[:, :, None] * np.eye(N))[None])
    query = some_moments(rng).last()
    Sq, q, k = np.diag(query.variance[0, 0]), query.mean[0, 0], keys.mean[0]
    own = [q @ np.diag(variance[:, j]) @ q + np.trace(Sq @ np.diag(variance[:, j])) for j in range(N)]
    np.testing.assert_allclose(scores(query, keys)[1][0], (k @ Sq @ k.T + np.diag(own)) / D, rtol=1e-12)


def test_norm_is_the_layers_and_its_moments_those_of_draws_near_the_mean():
    rng = np.random.default_rng(9)
    x = some_moments(rng, 0.003)
    found, J = norm(x)
    y = draws_of(x, 100_000, rng)
    z = (y - y.mean(axis=2, keepdims=True)) / y.std(axis=2, keepdims=True)
    np.testing.assert_allclose(found.mean[0], z.mean(axis=0), atol=0.01)
    assert off(found.covariance[0], between_tokens(z)) < 0.05
    step = 1e-6 * rng.standard_normal(x.mean.shape)
    moved = norm(Moments(x.mean + step, x.covariance))[0].mean - found.mean
    np.testing.assert_allclose(moved, np.einsum("ljai,lji->lja", J, step), atol=1e-10)


def test_norm_divides_by_the_expected_scatter():
    """Features of a token that are independent and as uncertain as they are far apart: far from a line."""
    rng = np.random.default_rng(12)
    wide = 12
    x = Moments(rng.standard_normal((1, N, wide)), positive(N, rng, 1, wide))
    y = draws_of(x, 200_000, rng)
    z = (y - y.mean(axis=2, keepdims=True)) / y.std(axis=2, keepdims=True)
    found, _ = norm(x)
    assert np.abs(found.mean[0] - z.mean(axis=0)).max() < 0.1
    assert np.abs(found.variance[0] / z.var(axis=0) - 1.0).max() < 0.35
    scatter = y.var(axis=2).mean(axis=0)
    ratio = (x.mean[0] - x.mean[0].mean(axis=1, keepdims=True)) / found.mean[0]
    np.testing.assert_allclose(ratio**2, np.tile(scatter[:, None], wide), rtol=0.02)


def test_a_token_without_scatter_is_zero():
    found, J = norm(Moments(np.full((1, N, D), 3.0), np.zeros((1, D, N, N))))
    np.testing.assert_array_equal(found.mean, 0.0)
    assert np.isfinite(J).all()


def test_context_moments_are_exact_for_weights_independent_of_values():
    rng = np.random.default_rng(10)
    values, (mean, covariance) = some_moments(rng), scores_of(0.05, 1)
    weights = softmax(mean[None], covariance[None], rng)
    found = context(weights, values)
    count = 200_000
    s = weights.mean[0] + rng.multivariate_normal(np.zeros(N), weights.covariance[0], count)
    c = np.einsum("cj,cja->ca", s, draws_of(values, count, rng))
    np.testing.assert_allclose(found.mean[0, 0], c.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(found.variance[0, 0], c.var(axis=0), rtol=0.03)
