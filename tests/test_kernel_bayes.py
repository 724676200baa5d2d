import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import kernel_bayes as kb
from filters.kernel_bayes import KernelBayes
from filters.models.model import Model
from filters.spec import BARRIER, FEATURES, EgoMotion, Features, Gaussian, Measurement, Pose, Prior, Status
from filters.trained import save

RNG = np.random.default_rng(0)
POSE = Pose(0.0, 0.0, 0.9, 0.0)
DISTANCE, WIDTH, DETECTED = (FEATURES.index(k) for k in ("distance", "width", "detected"))


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


def test_embedding_is_the_mean_kernel_under_the_prior():
    latents, width = RNG.normal(size=(5, 2)), np.array([0.7, 1.3])
    prior = Gaussian(np.array([0.4, -0.2]), np.diag([0.5, 0.1]))
    draws = RNG.multivariate_normal(prior.mean, prior.covariance, 200_000)
    kernel = np.exp(-0.5 * (((latents[:, None] - draws) / width) ** 2).sum(axis=2))
    np.testing.assert_allclose(kb.embed(latents, width, prior), kernel.mean(axis=1), atol=4e-3)


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


def test_ten_thousand_frames_without_an_echo_leave_a_finite_belief(checkpoint, prior):
    filter_ = KernelBayes(Model(), checkpoint)
    motion = EgoMotion(np.zeros(3), 1e-6 * np.eye(3), POSE)
    state = filter_.init(prior, RNG)
    for _ in range(10_000):
        state = filter_.predict(state, motion, 0.1, RNG)
        state, info = filter_.update(state, Measurement(0.0, "features", frame(15.0)), RNG)
    assert info.status == Status.OK
    assert np.isfinite(state.log_probs).all()
    assert filter_.belief(state).barrier < 0.01
    assert np.isfinite(state.position.covariance).all()


def test_contradictory_frames_leave_a_finite_belief_that_can_turn_back(checkpoint, prior):
    near = Prior(prior.log_probs, Gaussian(np.array([7.0, 0.0]), np.eye(2)), 25.0, 0.3)
    filter_ = KernelBayes(Model(), checkpoint)
    state, info = feed(filter_, near, [frame(7.0, 1.3), frame(7.0, 0.5)] * 50)
    assert info.status == Status.OK
    assert np.isfinite(info.log_evidence).all()
    state, _ = feed(filter_, near, [frame(7.0, 1.3)] * 200 + [frame(7.0, 0.5)] * 40)
    assert filter_.belief(state).barrier < 0.9


@pytest.mark.parametrize("n", [1, 2])
def test_one_pair_gives_a_finite_belief_and_a_status(tmp_path, prior, n):
    features = np.array([frame(15.0, 1.2).values] * n)
    tensors = dict(latents=features[:, [DISTANCE, -1]], features=features, labels=np.ones(n), mean=features[0])
    save(
        tmp_path / "one.safetensors", tensors | {"deviation": np.ones(16), "tau": np.ones(2)}, {"kind": "kernel_bayes"}
    )
    for data in (frame(15.0, 1.2), frame(15.0), frame(300.0, 9.0)):
        state, info = feed(KernelBayes(Model(), str(tmp_path / "one.safetensors")), prior, [data] * 3)
        assert np.isfinite(state.log_probs).all()
        assert np.isfinite(info.log_evidence).all()
        assert isinstance(info.status, Status)
    assert info.status == Status.DEPLETED


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
