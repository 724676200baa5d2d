"""Kernel Bayes' rules against their dense twins and the Kalman filter; what is known to be wrong with the first one."""

import numpy as np
import pytest
from filterpy.kalman import KalmanFilter
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import kernel_bayes
from filters.kernel_filter import LAMBDA, KernelFilter, learn, regress
from filters.kernel_rules import hybrid, importance_weighted, kernel_kalman, original, settle
from filters.kernels import coordinates, incomplete_cholesky, leave_one_out, low_rank, squares
from filters.spec import Gaussian, Status
from tests.studies import study_of

RULES = ("importance_weighted", "original", "kernel_kalman", "hybrid")
STEP, NOISE, KEEP = 0.4, 0.5, 0.9  # of a linear-Gaussian walk X' = KEEP X + STEP, Y = X + NOISE


@pytest.fixture(scope="module")
def study():
    """The study's script as a module."""
    return study_of("kernel_bayes")


def filter_of(learned, rule):
    return KernelFilter(learned, rule, log_likelihood if rule == "hybrid" else None)


def log_likelihood(states, y):
    return -0.5 * ((states - y) ** 2).sum(axis=1) / NOISE**2 - 0.5 * states.shape[1] * np.log(2 * np.pi * NOISE**2)


def walk(n, seed):
    """States (n + 1, 1) of a stationary linear-Gaussian walk and its measurements."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0.0, STEP / np.sqrt(1.0 - KEEP**2), 1) * np.ones((n + 1, 1))
    for t in range(n):
        x[t + 1] = KEEP * x[t] + rng.normal(0.0, STEP)
    return x, x + rng.normal(0.0, NOISE, x.shape)


def learned_walk(n, seed, rank=24):
    x, y = walk(n, seed)
    return learn(x[:-1], x[1:], y[:-1], rank)


# the parts


def test_incomplete_cholesky_leaves_less_than_its_tolerance_and_is_exact_at_the_pivots():
    points = np.random.default_rng(0).normal(size=(80, 3))
    factor, pivots = incomplete_cholesky(points, 0.5, 1e-2, 80)
    rest = np.exp(-0.5 * squares(points)) - factor @ factor.T
    assert len(pivots) < 80
    assert np.diag(rest).max() < 1e-2
    np.testing.assert_allclose(rest[pivots], 0.0, atol=1e-12)


def test_coordinates_are_the_factors_rows():
    points = np.random.default_rng(0).normal(size=(60, 2))
    kernel = low_rank(points, 0.5, 1e-3, 20)
    rows = np.array([coordinates(kernel, y) for y in points])
    np.testing.assert_allclose(rows, kernel.factor, atol=1e-10)


def test_equal_points_make_one_pivot():
    factor, pivots = incomplete_cholesky(np.ones((5, 2)), 1.0, 1e-3, 5)
    assert len(pivots) == 1
    np.testing.assert_array_equal(factor, np.ones((5, 1)))


def test_leave_one_out_is_what_leaving_one_out_gives():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 1))
    inputs = low_rank(x, 2.0, 1e-6, 40).factor
    targets = np.hstack([np.sin(3.0 * x), x**2]) + 0.3 * rng.normal(size=(40, 2))

    def loss(epsilon):
        total = 0.0
        for i in range(40):
            rest = np.delete(np.arange(40), i)
            ridge = inputs[rest].T @ inputs[rest] + 40 * epsilon * np.eye(inputs.shape[1])
            slope = np.linalg.solve(ridge, inputs[rest].T @ targets[rest])
            total += ((targets[i] - inputs[i] @ slope) ** 2).sum()
        return total

    grid = np.geomspace(1e-7, 1e-1, 25)
    best = grid[np.argmin([loss(e) for e in grid])]
    assert leave_one_out(inputs, targets) == pytest.approx(best)
    assert 1e-5 < best < 1e-1


def test_regression_finds_the_map_and_what_it_leaves():
    rng = np.random.default_rng(2)
    inputs, true = rng.normal(size=(2000, 3)), rng.normal(size=(2, 3))
    slope, solve, rest = regress(inputs, inputs @ true.T + 0.3 * rng.normal(size=(2000, 2)))
    np.testing.assert_allclose(slope, true, atol=0.03)
    np.testing.assert_allclose(rest, 0.09 * np.eye(2), atol=0.01)
    np.testing.assert_allclose(solve, np.eye(3) / 2000, atol=1e-4)


def test_settled_weights_sum_to_one_and_failures_come_back_as_they_are():
    weights, mass, ess = settle(np.array([0.5, 1.5, -0.5]))
    np.testing.assert_allclose(weights, np.array([0.5, 1.5, -0.5]) / 1.5)
    assert (mass, ess) == (pytest.approx(1.5), pytest.approx(4.0 / 2.5))
    for bad in (np.zeros(3), np.array([1.0, -2.0])):
        np.testing.assert_array_equal(settle(bad)[0], bad)
    assert not settle(np.array([np.nan, 1.0]))[1] > 0.0


# the rules against their dense twins


def dense_importance_weighted(gram, k_y, gamma, regulariser):
    """sqrt(D) (sqrt(D) G sqrt(D) + lambda I)⁻¹ sqrt(D) k_Y, of the n x n Gram matrix."""
    root = np.sqrt(np.maximum(gamma, 0.0))
    inner = root[:, None] * gram * root + regulariser * np.eye(len(gamma))
    return root * np.linalg.solve(inner, root * k_y)


def dense_original(gram, k_y, gamma, regulariser):
    """Λ G ((Λ G)² + delta I)⁻¹ Λ k_Y."""
    inner = gamma[:, None] * gram
    return inner @ np.linalg.solve(inner @ inner + regulariser * np.eye(len(gamma)), gamma * k_y)


TWINS = {importance_weighted: dense_importance_weighted, original: dense_original}


@pytest.mark.parametrize("rule", TWINS)
@pytest.mark.parametrize("seed", range(3))
def test_low_rank_rule_is_the_dense_rule(rule, seed):
    rng = np.random.default_rng(seed)
    kernel = low_rank(rng.normal(size=(120, 4)), 0.5, 1e-2, 60)
    v = coordinates(kernel, rng.normal(size=4))
    gamma = rng.normal(size=120) / 120
    dense = TWINS[rule](kernel.factor @ kernel.factor.T, kernel.factor @ v, gamma, 1e-3)
    np.testing.assert_allclose(rule(kernel.factor, v, gamma, 1e-3), dense, atol=1e-8)
    assert np.abs(dense).max() > 1e-3


def dense_run(learned, after, rule, regulariser, ys):
    """Estimates of a filter that inverts n x n matrices at every step, on the Gram matrices U U', U U_+' and V V'."""
    n, U, V = len(learned.states), learned.factor, learned.observed.factor
    following = np.array([coordinates(low_rank_of(learned), x) for x in after])
    ridge = n * leave_one_out(U, following) * np.eye(n)
    G, G_plus, w, estimates = U @ U.T, U @ following.T, np.full(n, 1.0 / n), []
    for k, y in enumerate(ys):
        if k:
            w = np.linalg.solve(G + ridge, G_plus @ np.linalg.solve(G + ridge, G @ w))
        alpha = TWINS[rule](V @ V.T, V @ coordinates(learned.observed, y), w / w.sum(), regulariser)
        w = alpha / alpha.sum()
        estimates.append(w @ learned.states)
    return np.array(estimates)


def low_rank_of(learned):
    """The states' low-rank kernel again, as `learn` makes it."""
    from filters.kernel_filter import STATE_WIDTH, TOLERANCE
    from filters.kernels import median_square

    scale = 0.5 / (STATE_WIDTH * median_square(learned.states))
    return low_rank(learned.states, scale, TOLERANCE, learned.factor.shape[1])


def low_rank_run(learned, rule, regulariser, ys):
    """Estimates of the low-rank recursion with any regulariser."""
    filter_ = KernelFilter(learned)
    state, estimates = filter_.init(), []
    for k, y in enumerate(ys):
        state = filter_.predict(state) if k else state
        v = coordinates(learned.observed, y)
        alpha = rule(learned.observed.factor, v, state.weights, regulariser)
        state = state._replace(weights=alpha / alpha.sum())
        estimates.append(filter_.mean(state))
    return np.array(estimates)


@pytest.fixture(scope="module")
def hard(study):
    """Triples of the oscillation problem, and measurements of another path."""
    rng = np.random.default_rng(0)
    x = study.PROBLEMS["oscillation"].path(301, rng)[:, 0]
    y = study.seen(x, rng)
    later = study.PROBLEMS["oscillation"].path(40, rng)[:, 0]
    return learn(x[:-1], x[1:], y[:-1]), x[1:], study.seen(later, rng)


def test_default_rule_runs_alike_dense_and_in_low_rank(hard):
    learned, after, ys = hard
    dense = dense_run(learned, after, importance_weighted, LAMBDA, ys)
    np.testing.assert_allclose(low_rank_run(learned, importance_weighted, LAMBDA, ys), dense, atol=1e-5)
    filter_ = KernelFilter(learned)
    state, _ = filter_.update(filter_.init(), ys[0])
    np.testing.assert_allclose(filter_.mean(state), dense[0], atol=1e-5)
    state, _ = filter_.update(filter_.predict(state), ys[1])
    np.testing.assert_allclose(filter_.mean(state), dense[1], atol=1e-5)


def test_known_defect_original_runs_part_where_the_default_does_not(hard):
    # With a small regulariser the original rule's rounding errors grow to the size of the state, whose radius is 1.
    learned, after, ys = hard

    def gap(rule, regulariser):
        return np.abs(low_rank_run(learned, rule, regulariser, ys) - dense_run(learned, after, rule, regulariser, ys))

    assert gap(original, 1e-10).max() > 0.05
    assert gap(importance_weighted, 1e-10).max() < 1e-5


# the rules against Bayes


def linear_gaussian(rule, n, y, prior, seed, regulariser):
    """Posterior mean of X by a rule: pairs X ~ N(0, 2²), Y = X + N(0, 0.5²)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0.0, 2.0, (n, 1))
    z = x + rng.normal(0.0, NOISE, (n, 1))
    h = np.array([0.5])
    gram = np.exp(-0.5 * squares(x / h))
    gamma = np.linalg.solve(gram + n * 1e-4 * np.eye(n), kernel_bayes.embed(x, h, prior))
    kernel = low_rank(z, 0.5 / h[0] ** 2, 1e-6, n)
    alpha = rule(kernel.factor, coordinates(kernel, np.array([y])), gamma, regulariser)
    return alpha @ x[:, 0] / alpha.sum()


def prior_of(mean, variance):
    return Gaussian(np.array([mean]), np.array([[variance]]))


def kalman(y, prior):
    gain = prior.covariance[0, 0] / (prior.covariance[0, 0] + NOISE**2)
    return prior.mean[0] + gain * (y - prior.mean[0])


def test_posterior_mean_approaches_kalman_as_pairs_grow():
    prior, error = prior_of(1.0, 0.49), {}
    for n in (50, 800):
        errors = [
            linear_gaussian(importance_weighted, n, y, prior, s, 1e-2 / np.sqrt(n)) - kalman(y, prior)
            for s in range(8)
            for y in (0.0, 1.0, 2.0)
        ]
        error[n] = np.sqrt(np.mean(np.square(errors)))
    assert error[800] < 0.06
    assert error[800] < 0.5 * error[50]


def gap_between_priors(rule, regulariser, seed):
    """How far the posterior mean at y = .3 moves with the prior N(±1, 1): 41 pairs, narrow kernel, exact weights."""
    x = np.linspace(-3.0, 3.0, 41)
    y = x + np.random.default_rng(seed).normal(0.0, NOISE, 41)
    kernel = low_rank(y[:, None], 0.5 / 0.05**2, 1e-14, 41)
    v, means = coordinates(kernel, np.array([0.3])), []
    for mean in (-1.0, 1.0):
        gamma = np.exp(-0.5 * (x - mean) ** 2)
        alpha = rule(kernel.factor, v, gamma / gamma.sum(), regulariser)
        means.append(alpha @ x / alpha.sum())
    return means[1] - means[0]


def test_known_defect_original_ignores_its_prior_where_the_default_follows_it():
    # Johno, Nakamoto, Saigo 2015 (arXiv 1507.01059): where G_Y is regular the original tends to G_Y⁻¹ k_Y as delta
    # falls to 0. So would the default, which is why its lambda is large. Bayes' posterior means are 0.4 apart.
    deaf = [gap_between_priors(original, 1e-20, seed) for seed in range(8)]
    default = [gap_between_priors(importance_weighted, LAMBDA, seed) for seed in range(8)]
    np.testing.assert_allclose(deaf, 0.0, atol=1e-3)
    assert np.mean(default) > 0.15


def test_the_prior_moves_the_default():
    priors = [prior_of(m, 0.3) for m in (-1.0, 0.0, 1.0)]
    means = [linear_gaussian(importance_weighted, 400, 0.3, p, 0, 5e-4) for p in priors]
    np.testing.assert_allclose(means, [kalman(0.3, p) for p in priors], atol=0.12)


def test_hybrid_weights_and_evidence_are_bayes_rule_over_the_pairs():
    gamma, likelihood = np.array([0.5, -0.2, 0.3, 0.0]), np.array([0.1, 9.0, 0.4, 9.0])
    weights, log_evidence = hybrid(gamma, np.log(likelihood) - 800.0)
    np.testing.assert_allclose(weights, [0.05 / 0.17, 0.0, 0.12 / 0.17, 0.0])
    assert log_evidence == pytest.approx(np.log(0.17 / 0.8) - 800.0)


def test_kernel_kalman_is_filterpys_update():
    rng = np.random.default_rng(0)
    P, R, H = np.cov(rng.normal(size=(3, 9))), np.cov(rng.normal(size=(2, 9))), rng.normal(size=(2, 3))
    x, z = rng.normal(size=3), rng.normal(size=2)
    kf = KalmanFilter(3, 2)
    kf.x, kf.P, kf.H, kf.R = x.copy(), P.copy(), H, R
    kf.update(z)
    mean, covariance = kernel_kalman(x, P, H, R, z)
    np.testing.assert_allclose(mean, kf.x, atol=1e-9)
    np.testing.assert_allclose(covariance, kf.P, atol=1e-9)


def kalman_run(ys):
    """Means, variances and log-evidence of the exact filter of the walk."""
    kf = KalmanFilter(1, 1)
    kf.x, kf.P, kf.F = np.zeros(1), np.eye(1) * STEP**2 / (1.0 - KEEP**2), np.array([[KEEP]])
    kf.H, kf.Q, kf.R = np.eye(1), np.eye(1) * STEP**2, np.eye(1) * NOISE**2
    rows = []
    for k, y in enumerate(ys):
        if k:
            kf.predict()
        kf.update(y)
        rows.append((kf.x[0], kf.P[0, 0], kf.log_likelihood))
    return np.array(rows)


def test_hybrid_filter_approaches_the_kalman_filter_as_pairs_grow():
    ys = walk(150, 99)[1]
    exact, error = kalman_run(ys), {}
    for n in (60, 1500):
        rows = []
        for seed in range(4):
            filter_ = filter_of(learned_walk(n, seed), "hybrid")
            state = filter_.init()
            for k, y in enumerate(ys):
                state, info = filter_.update(filter_.predict(state) if k else state, y)
                belief = filter_.belief(state)
                rows.append((belief.mean[0], belief.covariance[0, 0], info.log_evidence[0]))
        error[n] = np.sqrt(np.square(np.reshape(rows, (4, -1, 3)) - exact).mean(axis=(0, 1)))
    assert (error[1500] < [0.06, 0.015, 0.15]).all()
    assert (error[1500] < 0.5 * error[60]).all()


@pytest.mark.parametrize("rule", ["importance_weighted", "kernel_kalman"])
def test_filters_that_learn_their_likelihood_too_follow_the_kalman_filter(rule):
    ys = walk(150, 99)[1]
    filter_, means = filter_of(learned_walk(1500, 0), rule), []
    state = filter_.init()
    for k, y in enumerate(ys):
        state, _ = filter_.update(filter_.predict(state) if k else state, y)
        means.append(filter_.mean(state)[0])
    error = np.sqrt(np.square(means - kalman_run(ys)[:, 0]).mean())
    assert error < 0.08  # the walk's own deviation is 0.9, a measurement's 0.5


def test_study_finds_the_known_order(study, monkeypatch):
    monkeypatch.setattr(study, "PARTICLES", 4000)
    monkeypatch.setattr(study, "MANY", 1600)
    for name in study.PROBLEMS:
        rows = study.study(name, 2)
        error = {method: values[:, 0].mean() for method, values in rows.items()}
        bound, raw = error[study.BOUND], error["raw observation"]
        assert bound < error["hybrid, n = 1600"] < 1.1 * bound
        assert error["importance-weighted, n = 800"] < min(error["original, n = 800"], 0.85 * raw)
        assert error["UKF, alpha 1"] < 1.1 * bound


def test_study_knows_its_slope(study):
    problem, x = study.PROBLEMS["oscillation"], np.array([0.7, -0.4])
    columns = [(problem.move(x + d) - problem.move(x - d)) / 2e-6 for d in 1e-6 * np.eye(2)]
    np.testing.assert_allclose(problem.slope(x), np.transpose(columns), rtol=1e-6)


# what must not break


@pytest.mark.parametrize("rule", RULES)
def test_one_pair_gives_a_finite_belief_and_a_status(rule):
    filter_ = filter_of(learn(np.ones((1, 2)), np.zeros((1, 2)), np.ones((1, 2))), rule)
    state = filter_.init()
    for y in (np.ones(2), np.full(2, 3.0), np.full(2, 1e9), np.full(2, np.nan)):
        state, info = filter_.update(filter_.predict(state), y)
        belief = filter_.belief(state)
        assert np.isfinite(belief.mean).all()
        assert np.isfinite(belief.covariance).all()
        assert isinstance(info.status, Status)
    assert info.status == Status.DEPLETED


@pytest.mark.parametrize("rule", RULES)
def test_ten_thousand_measurements_that_say_nothing_leave_the_belief_finite(rule):
    learned = learned_walk(40, 0)
    filter_ = filter_of(learned, rule)
    state = filter_.init()
    for _ in range(10_000):
        state, info = filter_.update(filter_.predict(state), np.array([np.nan]))
    assert info.status == Status.DEPLETED
    belief, spread = filter_.belief(state), learned.states.std()  # back at what the pairs say of the walk
    assert abs(belief.mean[0] - learned.states.mean()) < 0.5 * spread
    assert 0.5 < belief.covariance[0, 0] / spread**2 < 2.0


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6))
def test_belief_is_finite_whatever_is_measured(rule, values):
    filter_ = filter_of(learned_walk(40, 0), rule)
    state = filter_.init()
    for y in [*values, 3.0, -3.0, 3.0]:
        state, info = filter_.update(filter_.predict(state), np.array([y]))
        assert state.weights.sum() == pytest.approx(1.0)
        assert np.isfinite(filter_.belief(state).mean).all()
        assert np.linalg.eigvalsh(filter_.belief(state).covariance).min() >= 0.0
        assert info.ess >= 0.0


def test_a_belief_that_the_sum_rule_loses_starts_afresh():
    filter_ = filter_of(learned_walk(40, 0), "importance_weighted")
    start = filter_.init()
    np.testing.assert_array_equal(filter_.predict(start._replace(weights=-start.weights)).weights, start.weights)


def test_a_measurement_that_no_pair_explains_leaves_the_belief():
    filter_ = filter_of(learned_walk(40, 0), "importance_weighted")
    before = filter_.init()
    after, info = filter_.update(before, np.array([1e3]))
    assert info.status == Status.DEPLETED
    np.testing.assert_array_equal(after.weights, before.weights)


def test_what_cannot_be_learned_is_refused_in_one_line():
    x = np.zeros((3, 1))
    for triples in ((x, x, x[:2]), (x[:0], x[:0], x[:0]), (x, x, np.full((3, 1), np.nan))):
        with pytest.raises(ValueError, match="expected") as caught:
            learn(*triples)
        assert "\n" not in str(caught.value)
    learned = learned_walk(5, 0)
    for rule, likelihood in (("hybrid", None), ("original", log_likelihood)):
        with pytest.raises(ValueError, match="hybrid"):
            KernelFilter(learned, rule, likelihood)
