import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from filters import beam_patch, patch
from filters.beam_patch import CHANNELS, COLUMNS, ROWS, SCALARS, SIZE
from filters.belief import LOG_ODDS_LIMIT, entropy
from filters.models.model import Model
from filters.patch import SIDE, STRIDES, PatchNetwork
from filters.posterior.convnet import ConvNet
from filters.posterior.descent import Schedule
from filters.posterior.engines import ANY, NAMES, engine_of
from filters.posterior.likelihoods import Bernoulli
from filters.posterior.mlp import Mlp
from filters.spec import FEATURES, EgoMotion, Features, Gaussian, Measurement, Pose, Prior, Status
from filters.streams import stream
from filters.trained import save, shipped
from fogsim.followers import measurements, model_of
from tests.encounters import box, drive, encounter, percepts_of, sweep

DRAWS, CELLS = 5, SIZE - len(SCALARS)
RNG = np.random.default_rng(0)
PRIOR = Prior(np.log([0.4, 0.6]), Gaussian(np.array([10.0, 0.0]), np.eye(2)), 60.0, 0.3)
NETWORK = ConvNet((len(CHANNELS), ROWS, COLUMNS), len(SCALARS), patch.MAPS, patch.HIDDEN, strides=STRIDES)
TAU = np.array([0.05, 0.5])


def random_weights(draws, seed=2):
    """Of an untrained network (S, P)."""
    common, own = torch.randn(1 + draws, NETWORK.parameters, generator=torch.Generator().manual_seed(seed)).split(
        [1, draws]
    )
    return NETWORK.deviations() * (common + 0.3 * own)


def tensors_of(weights):
    """As a checkpoint has them."""
    tensors = {"prior": np.log([0.45, 0.55]), "tau": TAU}
    for k, layer in enumerate(NETWORK.split(weights), 1):
        w, b = layer[:, :-1].numpy(), layer[:, -1].numpy()
        tensors |= {f"w{k}": w[..., 0] if k == 4 else w, f"b{k}": b[..., 0] if k == 4 else b}
    return tensors


def random_pictures(count, seed=3):
    return np.random.default_rng(seed).normal(size=(count, SIZE)).astype(np.float32)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "net.safetensors"
    save(path, tensors_of(random_weights(DRAWS)), {"kind": "patch"})
    return str(path)


@pytest.fixture
def filter_(checkpoint):
    return PatchNetwork(Model(), checkpoint)


@pytest.fixture(scope="module")
def percept():
    """Of a box 10 m ahead."""
    found = percepts_of(sweep(box(10.2, 0.0), 60.0), (10.0, 0.0), visibility=60.0)[0]
    assert found.features.detected
    return found


def fed(filter_, told, state=None):
    """The state after pairs of a time and data, and every info."""
    state, infos = filter_.init(PRIOR, RNG) if state is None else state, []
    for time, data in told:
        sensor = "features" if isinstance(data, Features) else "scan"
        state, info = filter_.update(state, Measurement(time, sensor, data), RNG)
        infos.append(info)
    return state, infos


# The network


def slow_logit(net, s, picture):
    """One draw, one picture, window by window."""
    maps = picture[:CELLS].reshape(len(CHANNELS), ROWS, COLUMNS).astype(float)
    for w, b, stride in zip((net.w1[s], net.w2[s]), (net.b1[s], net.b2[s]), STRIDES, strict=True):
        rows, columns = maps.shape[1] - SIDE + 1, (maps.shape[2] - SIDE) // stride + 1
        found = np.zeros((len(b), rows, columns))
        for out in range(len(b)):
            for i in range(rows):
                for j in range(columns):
                    total, weight = b[out], iter(w[:, out])
                    for channel in maps:
                        for di in range(SIDE):
                            for dj in range(SIDE):
                                total += next(weight) * channel[i + di, j * stride + dj]
                    found[out, i, j] = max(0.0, total)
        maps = found
    x = [*maps.ravel(), *picture[CELLS:]]
    hidden = [
        max(0.0, b + sum(xi * wi for xi, wi in zip(x, w, strict=True)))
        for b, w in zip(net.b3[s], net.w3[s].T, strict=True)
    ]
    return net.b4[s] + sum(h * w for h, w in zip(hidden, net.w4[s], strict=True))


def test_served_logits_are_the_network_window_by_window(checkpoint):
    net, pictures = patch.network(checkpoint), random_pictures(3)
    assert patch.logits(net, pictures).shape == (3, DRAWS)
    assert patch.logits(net, pictures)[1, 2] == pytest.approx(slow_logit(net, 2, pictures[1]), rel=1e-9)


def test_what_is_served_is_what_was_trained(checkpoint):
    net, pictures, weights = patch.network(checkpoint), random_pictures(7), random_weights(DRAWS)
    with torch.no_grad():
        trained = NETWORK.forward(weights, torch.from_numpy(pictures))
    assert trained.shape == (DRAWS, 7, 1)
    np.testing.assert_allclose(patch.logits(net, pictures), trained[..., 0].T, atol=1e-5)
    assert np.ptp(trained.numpy()) > 0.5


def test_shapes_are_those_that_the_filter_reads():
    expected = [(rows + 1, columns or 1) for rows, columns in ((54, 16), (144, 16), (290, 24), (24, None))]
    assert NETWORK.shapes == expected
    assert [patch.SHAPES[f"w{k}"][1] + 1 for k in (1, 2, 3, 4)] == [rows for rows, _ in expected]
    assert NETWORK.sizes == (SIZE, 1)


@pytest.mark.parametrize("shape", [(3, SIZE + 1), (3, CELLS), (SIZE,)])
def test_pictures_of_another_size_are_refused(shape):
    with pytest.raises(ValueError, match=rf"^found inputs of shape [^\n]*, expected \(n, {SIZE}\)$"):
        NETWORK.forward(random_weights(1), torch.zeros(shape))


def test_gradients_reach_every_weight():
    weights = random_weights(2).requires_grad_()
    NETWORK.forward(weights, torch.from_numpy(random_pictures(20))).square().sum().backward()
    for layer in NETWORK.split(weights.grad):
        assert (layer != 0.0).float().mean() > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_engines_that_need_a_perceptron_are_refused(name):
    schedule = Schedule(1, 10, 0.01)
    assert engine_of(name, Mlp((2, 4, 1)), Bernoulli(), schedule, "cpu").network == Mlp((2, 4, 1))
    if name in ANY:
        assert engine_of(name, NETWORK, Bernoulli(), schedule, "cpu").network == NETWORK
        return
    with pytest.raises(ValueError, match=rf"^found engine '{name}', expected one of pyro, low_rank, ivon, anchored$"):
        engine_of(name, NETWORK, Bernoulli(), schedule, "cpu")


# The filter


def test_evidence_is_the_log_ratio_of_posterior_to_training_share(checkpoint):
    net, pictures = patch.network(checkpoint), random_pictures(2)
    p = 1.0 / (1.0 + np.exp(-patch.logits(net, pictures)))
    expected = np.log(np.stack([(1.0 - p) / 0.45, p / 0.55], axis=-1))
    np.testing.assert_allclose(patch.evidence(net, pictures), expected, atol=1e-6)


def test_a_single_draw_fuses_as_tempered_bayes(tmp_path, percept):
    save(tmp_path / "one.safetensors", tensors_of(random_weights(1)), {"kind": "patch"})
    filter_ = PatchNetwork(Model(), str(tmp_path / "one.safetensors"))
    net, odds = patch.network(filter_.checkpoint), np.log(0.6 / 0.4)
    unseen = percept.features.values.copy()
    unseen[0] = 0.0
    told = []
    for k, values in enumerate((percept.features.values, unseen, percept.features.values)):
        told += [(0.1 * k, percept.features._replace(values=values)), (0.1 * k, percept.scan)]
        logit = patch.logits(net, beam_patch.patch(percept.scan, values)[None])[0, 0]
        odds += TAU[int(values[0])] * (logit - np.log(0.55 / 0.45))
    state, infos = fed(filter_, told)
    belief = filter_.belief(state)
    assert np.diff(belief.log_probs)[0] == pytest.approx(odds)
    assert odds != pytest.approx(np.log(0.6 / 0.4), abs=0.01)
    assert belief.epistemic == pytest.approx(0.0, abs=1e-9)
    total = PRIOR.log_probs + sum(info.log_evidence for info in infos)
    np.testing.assert_allclose(belief.log_probs, total - np.logaddexp(*total), atol=1e-9)


def test_belief_is_the_mean_of_what_each_draw_believes(filter_, percept):
    state, _ = fed(filter_, [(0.0, percept.features), (0.0, percept.scan)] * 3)
    net = patch.network(filter_.checkpoint)
    logits = patch.logits(net, beam_patch.patch(percept.scan, percept.features.values)[None])[0]
    p = 1.0 / (1.0 + np.exp(-np.log(0.6 / 0.4) - 3.0 * TAU[1] * (logits - np.log(0.55 / 0.45))))
    belief = filter_.belief(state)
    assert belief.barrier == pytest.approx(p.mean())
    assert belief.epistemic == pytest.approx(
        entropy(belief.log_probs) - np.mean([entropy(np.log([q, 1.0 - q])) for q in p])
    )
    assert belief.epistemic > 1e-3


def test_features_alone_move_the_position_but_not_the_class(filter_, percept):
    place = percept.features._replace(position=np.array([9.0, 0.5]), covariance=0.01 * np.eye(2))
    state, (info,) = fed(filter_, [(0.0, place)])
    np.testing.assert_allclose(state.position.mean, [10.0 - 1.0 / 1.01, 0.5 / 1.01])
    np.testing.assert_allclose(state.position.covariance, np.eye(2) / 101.0)
    assert filter_.belief(state).barrier == pytest.approx(0.6)
    np.testing.assert_allclose(info.log_evidence, 0.0, atol=1e-12)
    assert info.nis > 0.0
    bad = place._replace(covariance=-9.0 * np.eye(2))
    state, (info,) = fed(filter_, [(0.0, bad)])
    assert (info.status, state.position) == (Status.NOT_POSITIVE, PRIOR.position)


def test_a_scan_alone_moves_the_class_but_not_the_position(filter_, percept):
    before, _ = fed(filter_, [(0.0, percept.features)])
    after, (info,) = fed(filter_, [(0.0, percept.scan)], before)
    assert after.position == before.position
    assert abs(filter_.belief(after).barrier - 0.6) > 0.01
    assert np.isnan(info.nis)


def test_a_scan_whose_features_were_not_told_is_not_fused(filter_, percept):
    for told in ([], [(0.0, percept.features)], [(0.2, percept.features)]):
        before, _ = fed(filter_, told)
        after, (info,) = fed(filter_, [(0.1, percept.scan)], before)
        np.testing.assert_array_equal(after.log_probs, before.log_probs)
        np.testing.assert_array_equal(info.log_evidence, np.zeros(2))
    told, _ = fed(filter_, [(0.1, percept.features)], before)
    assert (fed(filter_, [(0.1, percept.scan)], told)[0].log_probs != before.log_probs).any()


def test_where_to_look_is_perceptions_last_word(filter_, percept):
    """Not that of the frame before."""
    other = percept.features.values.copy()
    other[FEATURES.index("lateral")] += 1.5
    late = [(0.0, percept.features._replace(values=other)), (0.1, percept.features), (0.1, percept.scan)]
    at_once = [(0.1, percept.features), (0.1, percept.scan)]
    np.testing.assert_array_equal(fed(filter_, late)[0].log_probs, fed(filter_, at_once)[0].log_probs)
    elsewhere = [(0.1, percept.features._replace(values=other)), (0.1, percept.scan)]
    assert (fed(filter_, elsewhere)[0].log_probs != fed(filter_, at_once)[0].log_probs).any()


def test_time_spreads_the_position_and_leaves_the_class(filter_, percept):
    state, _ = fed(filter_, [(0.0, percept.features), (0.0, percept.scan)])
    motion = EgoMotion(np.array([0.7, 0.0, 0.0]), 1e-6 * np.eye(3), Pose(0.0, 0.0, 0.9, 0.0))
    later = filter_.predict(state, motion, 0.1, RNG)
    np.testing.assert_array_equal(later.log_probs, state.log_probs)
    assert later.position.covariance[0, 0] > state.position.covariance[0, 0]


def test_a_belief_is_never_surer_than_the_limit(filter_, percept):
    state, _ = fed(filter_, [(0.0, percept.features), (0.0, percept.scan)] * 600)
    assert np.abs(np.diff(state.log_probs)).max() == pytest.approx(LOG_ODDS_LIMIT)


def test_another_sensors_data_is_refused(filter_):
    with pytest.raises(AssertionError, match="found radar, expected features or scan"):
        filter_.update(filter_.init(PRIOR, RNG), Measurement(0.0, "radar", 3.0), RNG)


# Its checkpoint


def test_importing_the_filter_imports_no_torch():
    code = "import filters.patch, sys; sys.exit('torch' in sys.modules or 'pyro' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_checkpoint_of_another_filter_is_refused():
    with pytest.raises(ValueError, match=r"^[^\n]*found kind bnn, expected patch; train one with `fogsim train`$"):
        PatchNetwork(Model(), shipped("bnn")).init(PRIOR, RNG)


def test_a_network_of_another_form_is_refused(tmp_path):
    tensors = tensors_of(random_weights(2))
    save(tmp_path / "a.safetensors", tensors | {"w3": tensors["w3"][:, 1:]}, {"kind": "patch"})
    with pytest.raises(ValueError, match="w3 is float32"):
        patch.network(str(tmp_path / "a.safetensors"))


def told_apart(kind, seed):
    """ln odds of a barrier after an encounter."""
    scenario = encounter(kind)
    filter_, rng = PatchNetwork(model_of(scenario)), stream(seed, "patch")
    state = filter_.init(replace(PRIOR, log_probs=np.log([0.5, 0.5])), rng)
    for look in drive(scenario, seed)[1]:
        if look.motion is not None:
            state = filter_.predict(state, look.motion, scenario.dt, rng)
        if look.percepts[0].features is None:
            break
        for measurement in measurements(look.percepts[0], look.time):
            state, _ = filter_.update(state, measurement, rng)
    return float(np.diff(filter_.belief(state).log_probs)[0])


def test_the_shipped_network_tells_a_barrier_from_a_bag():
    odds = np.array([[told_apart(kind, seed) for seed in range(10, 14)] for kind in ("bag", "barrier")])
    assert (np.sign(odds) == [[-1.0], [1.0]]).mean() > 0.8
    assert odds[1].min() > odds[0].max()
    assert np.abs(odds.mean(axis=1)).min() > 2.0
