import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import kernel_bayes as kb
from filters.kernel_bayes import KernelBayes
from filters.kernels import incomplete_cholesky, squares
from filters.models.model import Model
from filters.spec import BARRIER, FEATURES, EgoMotion, Features, Gaussian, Measurement, Pose, Prior, Status
from filters.trained import save

RNG = np.random.default_rng(0)
POSE = Pose(0.0, 0.0, 0.9, 0.0)
DISTANCE, WIDTH, DETECTED = (FEATURES.index(k) for k in ("distance", "width", "detected"))


def dense_rule(gram, k_y, gamma, regulariser):
    """sqrt(D) (sqrt(D) G sqrt(D) + lambda I)⁻¹ sqrt(D) k_Y: the rule without the low-rank form."""
    root = np.sqrt(np.maximum(gamma, 0.0))
    inner = root[:, None] * gram * root + regulariser * np.eye(len(gamma))
    return root * np.linalg.solve(inner, root * k_y)


def frame(distance, width=None):
    """Features of a candidate straight ahead, seen if it has a width."""
    values = np.zeros(len(FEATURES))
    values[[DISTANCE, FEATURES.index("log_visibility")]] = distance, np.log(25.0)
    place, covariance = np.full(2, np.nan), np.full((2, 2), np.nan)
    if width is not None:
        values[[DETECTED, WIDTH]] = 1.0, width
        place, covariance = np.array([distance, 0.0]), 0.01 * np.eye(2)
    return Features(values, place, covariance, POSE)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Barriers are 1.2 ± 0.2 m wide and are seen from 20 m, bags 0.6 ± 0.2 m and from 10 m."""
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], 200)
    latents = np.stack([rng.uniform(1.0, 30.0, 400), rng.normal(np.log(25.0), 0.3, 400)], axis=1)
    features = np.array([frame(d).values for d in latents[:, 0]])
    seen = latents[:, 0] < np.where(labels == 1, 20.0, 10.0)
    features[:, DETECTED] = seen
    features[:, WIDTH] = seen * (0.6 + 0.6 * labels + rng.normal(0.0, 0.2, 400))
    features[:, -1] = latents[:, 1]
    path = tmp_path_factory.mktemp("trained") / "pairs.safetensors"
    mean, deviation, tau = features.mean(axis=0), features.std(axis=0) + 1e-3, np.array([0.1, 0.3])
    tensors = dict(latents=latents, features=features, labels=labels, mean=mean, deviation=deviation, tau=tau)
    save(path, tensors, {"kind": "kernel_bayes"})
    return str(path)


@pytest.fixture(scope="module")
def prior():
    return Prior(np.log([0.5, 0.5]), Gaussian(np.array([15.0, 0.0]), np.eye(2)), 25.0, 0.3)


def feed(filter_, prior, frames):
    """The state after frames, and the last info."""
    state = filter_.init(prior, RNG)
    for data in frames:
        state, info = filter_.update(state, Measurement(0.0, "features", data), RNG)
    return state, info


@pytest.mark.parametrize("seed", range(3))
def test_low_rank_rule_is_the_dense_rule(seed):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(120, 4))
    gram = np.exp(-0.5 * squares(y))
    factor, pivots = incomplete_cholesky(gram, 1e-2, 60)
    likeness = np.exp(-0.5 * ((y[pivots] - rng.normal(size=4)) ** 2).sum(axis=1))
    v = np.linalg.solve(factor[pivots], likeness)
    gamma = rng.normal(size=120) / 120
    dense = dense_rule(factor @ factor.T, factor @ v, gamma, 1e-3)
    np.testing.assert_allclose(kb.rule(factor, v, gamma, 1e-3), dense, atol=1e-8)
    assert np.abs(dense).max() > 1e-3


def test_incomplete_cholesky_leaves_less_than_its_tolerance_and_is_exact_at_the_pivots():
    gram = np.exp(-0.5 * squares(RNG.normal(size=(80, 3))))
    factor, pivots = incomplete_cholesky(gram, 1e-2, 80)
    rest = gram - factor @ factor.T
    assert len(pivots) < 80
    assert np.diag(rest).max() < 1e-2
    np.testing.assert_allclose(rest[pivots], 0.0, atol=1e-12)


def test_embedding_is_the_mean_kernel_under_the_prior():
    latents, width = RNG.normal(size=(5, 2)), np.array([0.7, 1.3])
    prior = Gaussian(np.array([0.4, -0.2]), np.diag([0.5, 0.1]))
    draws = RNG.multivariate_normal(prior.mean, prior.covariance, 200_000)
    kernel = np.exp(-0.5 * (((latents[:, None] - draws) / width) ** 2).sum(axis=2))
    np.testing.assert_allclose(kb.embed(latents, width, prior), kernel.mean(axis=1), atol=4e-3)


def linear_gaussian(n, y, prior, seed):
    """Posterior mean of X by the rule: pairs X ~ N(0, 2²), Y = X + N(0, 0.5²)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0.0, 2.0, (n, 1))
    z = x + rng.normal(0.0, 0.5, (n, 1))
    h = np.array([0.5])
    gram = np.exp(-0.5 * squares(x / h))
    gamma = np.linalg.solve(gram + n * 1e-4 * np.eye(n), kb.embed(x, h, prior))
    factor, pivots = incomplete_cholesky(np.exp(-0.5 * squares(z / h)), 1e-6, n)
    v = np.linalg.solve(factor[pivots], np.exp(-0.5 * ((z[pivots, 0] - y) / h[0]) ** 2))
    alpha = kb.rule(factor, v, gamma, 1e-2 / np.sqrt(n))
    return alpha @ x[:, 0] / alpha.sum()


def kalman(y, prior):
    gain = prior.covariance[0, 0] / (prior.covariance[0, 0] + 0.25)
    return prior.mean[0] + gain * (y - prior.mean[0])


def test_posterior_mean_approaches_kalman_as_pairs_grow():
    prior = Gaussian(np.array([1.0]), np.array([[0.49]]))
    error = {}
    for n in (50, 800):
        errors = [linear_gaussian(n, y, prior, s) - kalman(y, prior) for s in range(8) for y in (0.0, 1.0, 2.0)]
        error[n] = np.sqrt(np.mean(np.square(errors)))
    assert error[800] < 0.06
    assert error[800] < 0.5 * error[50]


def test_the_prior_moves_the_posterior():
    # Johno et al. 2015 (arXiv 1507.01059): the original rule may ignore its prior; this one follows Bayes.
    y = 0.3
    means = [linear_gaussian(400, y, Gaussian(np.array([m]), np.array([[0.3]])), 0) for m in (-1.0, 0.0, 1.0)]
    exact = [kalman(y, Gaussian(np.array([m]), np.array([[0.3]]))) for m in (-1.0, 0.0, 1.0)]
    np.testing.assert_allclose(means, exact, atol=0.12)


def test_uninformative_frames_leave_an_even_belief_even(checkpoint, prior):
    far = Prior(prior.log_probs, Gaussian(np.array([28.0, 0.0]), np.eye(2)), 25.0, 0.3)
    state, _ = feed(KernelBayes(Model(), checkpoint), far, [frame(28.0)] * 5)
    assert abs(np.exp(state.log_probs[BARRIER]) - 0.5) < 0.1


@pytest.mark.parametrize(("width", "barrier"), [(1.3, True), (0.5, False)])
def test_width_tells_the_classes_apart(checkpoint, width, barrier):
    filter_ = KernelBayes(Model(), checkpoint)
    near = Prior(np.log([0.5, 0.5]), Gaussian(np.array([7.0, 0.0]), np.eye(2)), 25.0, 0.3)
    state, info = feed(filter_, near, [frame(7.0, width)] * 3)
    p = filter_.belief(state).barrier
    assert p > 0.7 if barrier else p < 0.3
    assert info.status == Status.OK
    assert info.ess > 5.0


def test_a_frame_without_detection_is_evidence(checkpoint, prior):
    filter_ = KernelBayes(Model(), checkpoint)
    state, info = feed(filter_, prior, [frame(15.0)])
    assert filter_.belief(state).barrier < 0.45  # a barrier would have been seen from 15 m
    assert np.isnan(info.nis)
    np.testing.assert_array_equal(state.position.mean, prior.position.mean)


def test_evidence_adds_up_to_the_belief(checkpoint, prior):
    state, info = feed(KernelBayes(Model(), checkpoint), prior, [frame(15.0)])
    odds = prior.log_probs + info.log_evidence
    np.testing.assert_allclose(np.diff(state.log_probs), np.diff(odds))


def test_no_pair_like_the_frame_leaves_the_class_and_says_so(checkpoint, prior):
    strange = frame(15.0, 1.0)
    strange.values[2:] = 1e9
    state, info = feed(KernelBayes(Model(), checkpoint), prior, [strange])
    assert info.status == Status.DEPLETED
    np.testing.assert_array_equal(state.log_probs, prior.log_probs)


def test_the_class_does_not_leak_through_time(checkpoint, prior):
    filter_ = KernelBayes(Model(), checkpoint)
    state = filter_.init(prior, RNG)._replace(log_probs=np.log([0.01, 0.99]))
    motion = EgoMotion(np.array([0.7, 0.0, 0.0]), 1e-6 * np.eye(3), POSE)
    later = state
    for _ in range(100):
        later = filter_.predict(later, motion, 0.1, RNG)
    np.testing.assert_array_equal(later.log_probs, state.log_probs)
    assert later.position.covariance[0, 0] > state.position.covariance[0, 0]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e12, 1e12), min_size=16, max_size=16), st.floats(0.0, 1e6))
def test_belief_is_finite_for_any_finite_features(checkpoint, values, distance):
    far = Prior(np.log([0.5, 0.5]), Gaussian(np.array([distance, 0.0]), np.eye(2)), 25.0, 0.3)
    data = Features(np.array(values), np.full(2, np.nan), np.full((2, 2), np.nan), POSE)
    state, info = feed(KernelBayes(Model(), checkpoint), far, [data] * 2)
    assert np.isfinite(state.log_probs).all()
    assert np.isfinite(info.log_evidence).all()
