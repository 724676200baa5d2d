import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import bnn, novelty
from filters.belief import LOG_ODDS_LIMIT, entropy, normalise
from filters.bnn import BayesianNetwork
from filters.models.model import Model
from filters.network_filter import NetworkFilter
from filters.spec import FEATURES, EgoMotion, Features, Gaussian, Measurement, Pose, Prior, Status
from filters.trained import load, save

DRAWS = 16
RNG = np.random.default_rng(0)
POSE = Pose(0.0, 0.0, 0.9, 0.0)
UNSEEN = np.full(2, np.nan), np.full((2, 2), np.nan)
PRIOR = Prior(np.log([0.4, 0.6]), Gaussian(np.array([15.0, 0.0]), np.eye(2)), 25.0, 0.3)


def random_tensors(scale):
    """An untrained network whose draws differ by `scale`."""
    rng = np.random.default_rng(2)
    sites = {name: (DRAWS, *shape[1:]) for name, shape in bnn.SHAPES.items() if name[0] in "wb"}
    weights = {k: rng.normal(size=s[1:]) * 0.3 + scale * rng.normal(size=s) for k, s in sites.items()}
    f = len(FEATURES)
    rest = dict(mean=np.zeros(f), deviation=np.ones(f), prior=np.log([0.5, 0.5]), tau=np.array([0.05, 0.5]))
    return weights | rest | nothing_is_odd()


def nothing_is_odd():
    """Tensors of `novelty` under which known objects show more than any other ever will."""
    blank = {name: np.zeros(shape) for name, shape in novelty.SHAPES.items()}
    return blank | {"tails": np.full(novelty.SHAPES["tails"], 1e30)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "net.safetensors"
    save(path, random_tensors(0.2), {"kind": "bnn"})
    return str(path)


def features(values, place=UNSEEN[0], covariance=UNSEEN[1]):
    return Features(np.asarray(values, float), place, covariance, POSE)


def feed(filter_, frames):
    """The state after frames, and every info."""
    state, infos = filter_.init(PRIOR, RNG), []
    for data in frames:
        state, info = filter_.update(state, Measurement(0.0, "features", data), RNG)
        infos.append(info)
    return state, infos


def slow_logit(net, s, values):
    """One draw, one frame, neuron by neuron."""
    x = [max(-5.0, min(5.0, (v - m) / d)) for v, m, d in zip(values, net.mean, net.deviation, strict=True)]
    for w, b in ((net.w1[s], net.b1[s]), (net.w2[s], net.b2[s])):
        x = [max(0.0, b[j] + sum(x[i] * w[i, j] for i in range(len(x)))) for j in range(len(b))]
    return net.b3[s] + sum(x[j] * net.w3[s, j] for j in range(len(x)))


def test_served_logits_are_the_network_neuron_by_neuron(checkpoint):
    (net, _), values = bnn.network(checkpoint), RNG.normal(size=(3, len(FEATURES))) * 4.0
    slow = [[slow_logit(net, s, v) for s in range(DRAWS)] for v in values]
    np.testing.assert_allclose(bnn.logits(net, values), slow, rtol=1e-10)


def test_evidence_is_the_log_ratio_of_posterior_to_training_share(checkpoint):
    net = bnn.network(checkpoint)[0]._replace(prior=np.log([0.3, 0.7]))
    values = RNG.normal(size=(2, len(FEATURES)))
    p = 1.0 / (1.0 + np.exp(-bnn.logits(net, values)))
    expected = np.log(np.stack([(1.0 - p) / 0.3, p / 0.7], axis=-1))
    np.testing.assert_allclose(bnn.evidence(net, values), expected, rtol=1e-9)


def test_a_single_draw_fuses_as_tempered_bayes(tmp_path):
    tensors = random_tensors(0.2)
    one = {k: v[:1] if k[0] in "wb" else v for k, v in tensors.items()}
    save(tmp_path / "one.safetensors", one, {"kind": "bnn"})
    filter_ = BayesianNetwork(Model(), str(tmp_path / "one.safetensors"))
    frames = [RNG.normal(size=len(FEATURES)) for _ in range(4)]
    for k, values in enumerate(frames):
        values[0] = k % 2
    state, _ = feed(filter_, [features(v) for v in frames])
    net, _ = bnn.network(filter_.checkpoint)
    logits = bnn.logits(net, np.array(frames))[:, 0]
    odds = np.log(0.6 / 0.4) + net.tau[[0, 1, 0, 1]] @ logits
    assert np.diff(state.log_probs[0])[0] == pytest.approx(odds)


def test_a_belief_is_never_surer_than_the_limit(checkpoint):
    frames = [features(np.full(len(FEATURES), 5.0))] * 3000
    state, _ = feed(BayesianNetwork(Model(), checkpoint), frames)
    np.testing.assert_allclose(state.log_probs, [normalise(row) for row in state.log_probs], atol=1e-9)
    assert np.abs(np.diff(state.log_probs)).max() == pytest.approx(LOG_ODDS_LIMIT)


def test_a_frame_without_detection_is_evidence(checkpoint):
    filter_ = BayesianNetwork(Model(), checkpoint)
    state, (info,) = feed(filter_, [features(np.zeros(len(FEATURES)))])
    assert filter_.belief(state).barrier != pytest.approx(0.6, abs=1e-3)
    assert np.isnan(info.nis)


def test_evidence_adds_up_to_the_belief(checkpoint):
    filter_ = BayesianNetwork(Model(), checkpoint)
    state, infos = feed(filter_, [features(RNG.normal(size=len(FEATURES))) for _ in range(5)])
    total = PRIOR.log_probs + sum(i.log_evidence for i in infos)
    np.testing.assert_allclose(filter_.belief(state).log_probs, total - np.logaddexp(*total), atol=1e-9)


def test_epistemic_is_the_spread_of_the_draws(checkpoint, tmp_path):
    save(tmp_path / "same.safetensors", random_tensors(0.0), {"kind": "bnn"})
    frames = [features(np.full(len(FEATURES), 1.5))]
    spread, same = BayesianNetwork(Model(), checkpoint), BayesianNetwork(Model(), str(tmp_path / "same.safetensors"))
    belief = NetworkFilter.belief(spread, feed(spread, frames)[0])
    assert NetworkFilter.belief(same, feed(same, frames)[0]).epistemic == pytest.approx(0.0, abs=1e-9)
    assert 1e-3 < belief.epistemic <= entropy(belief.log_probs)


def test_the_belief_is_that_of_draws_and_of_none_of_these(checkpoint):
    filter_ = BayesianNetwork(Model(), checkpoint)
    state, _ = feed(filter_, [features(np.full(len(FEATURES), 1.5))])
    state = state._replace(unknown=0.4)
    u = 1.0 / (1.0 + np.exp(-0.4))
    weights = np.append(np.full(DRAWS, (1.0 - u) / DRAWS), u)
    hypotheses = np.exp(np.vstack([state.log_probs, normalise(PRIOR.log_probs)]))
    belief = filter_.belief(state)
    np.testing.assert_allclose(np.exp(belief.log_probs), weights @ hypotheses)
    spread = entropy(np.log(weights @ hypotheses)) - weights @ [entropy(np.log(p)) for p in hypotheses]
    assert belief.epistemic == pytest.approx(spread)


def test_position_follows_the_cluster_and_the_class_does_not_leak(checkpoint):
    filter_ = BayesianNetwork(Model(), checkpoint)
    seen = features(np.ones(len(FEATURES)), np.array([14.0, 0.5]), 0.01 * np.eye(2))
    state, _ = feed(filter_, [seen])
    np.testing.assert_allclose(state.position.mean, [15.0 - 1.0 / 1.01, 0.5 / 1.01])
    np.testing.assert_allclose(state.position.covariance, np.eye(2) / 101.0)
    motion = EgoMotion(np.array([0.7, 0.0, 0.0]), 1e-6 * np.eye(3), POSE)
    later = filter_.predict(state, motion, 0.1, RNG)
    np.testing.assert_array_equal(later.log_probs, state.log_probs)
    assert later.position.covariance[0, 0] > state.position.covariance[0, 0]


def test_a_covariance_that_is_none_leaves_the_position_and_says_so(checkpoint):
    bad = features(np.ones(len(FEATURES)), np.array([14.0, 0.5]), -9.0 * np.eye(2))
    state, (info,) = feed(BayesianNetwork(Model(), checkpoint), [bad])
    assert info.status == Status.NOT_POSITIVE
    assert state.position == PRIOR.position


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e12, 1e12), min_size=16, max_size=16))
def test_belief_is_finite_for_any_finite_features(checkpoint, values):
    filter_ = BayesianNetwork(Model(), checkpoint)
    state, _ = feed(filter_, [features(values)] * 60)
    belief = filter_.belief(state)
    assert np.isfinite(belief.log_probs).all()
    assert np.exp(belief.log_probs).sum() == pytest.approx(1.0)
    assert np.isfinite(belief.epistemic)


def test_importing_the_filter_imports_no_torch():
    code = "import filters.bnn, sys; sys.exit('torch' in sys.modules or 'pyro' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


SHAPES = {"a": (None, 2)}


class TestCheckpoint:
    def write(self, path, tensors=None, **header):
        save(path, {"a": np.ones((3, 2))} if tensors is None else tensors, {"kind": "x", **header})

    def test_round_trip(self, tmp_path):
        self.write(tmp_path / "a.safetensors", seed=7)
        tensors, header = load(tmp_path / "a.safetensors", "x", SHAPES)
        np.testing.assert_array_equal(tensors["a"], np.ones((3, 2)))
        assert header["seed"] == 7
        assert not list(tmp_path.glob("*.part"))

    @pytest.mark.parametrize(
        ("tensors", "kind", "message"),
        [
            (None, "y", "found kind x, expected y"),
            ({"b": np.ones((3, 2))}, "x", "found tensors"),
            ({"a": np.ones((3, 1))}, "x", r"expected float32 \(None, 2\)"),
            ({"a": np.full((3, 2), np.nan)}, "x", "not finite"),
        ],
    )
    def test_another_checkpoint_is_refused(self, tmp_path, tensors, kind, message):
        self.write(tmp_path / "a.safetensors", tensors)
        with pytest.raises(ValueError, match=message):
            load(tmp_path / "a.safetensors", kind, SHAPES)

    @pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"{}" * 100])
    def test_any_other_file_is_refused_in_one_line(self, tmp_path, content):
        path = tmp_path / "a.safetensors"
        path.write_bytes(content)
        with pytest.raises(ValueError, match="fogsim train") as caught:
            load(path, "x", SHAPES)
        assert "\n" not in str(caught.value)

    def test_a_missing_file_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="no such checkpoint"):
            load(tmp_path / "none.safetensors", "x", SHAPES)

    def test_a_file_trained_on_other_features_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr("filters.trained.FEATURES", ("width",))
        self.write(tmp_path / "a.safetensors")
        monkeypatch.undo()
        with pytest.raises(ValueError, match="found features"):
            load(tmp_path / "a.safetensors", "x", SHAPES)
