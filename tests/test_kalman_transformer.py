"""The decision transformer; the Kalman transformer against gradients, Kalman's filter, draws and bad encounters."""

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from filters.losses import Loss
from filters.posterior.checkpoint import write
from filters.posterior.decision_transformer import (
    DecisionTransformer,
    Encounter,
    Pretrained,
    answers,
    asked,
    expected_costs,
    outputs,
    standardised,
    tokens,
)
from filters.posterior.kalman_network import PROBIT, KnownNoise
from filters.posterior.kalman_transformer import (
    SURPRISE,
    Flag,
    KalmanTransformer,
    learn,
    precisions,
)
from filters.posterior.pretraining import misfit, pretrain, rows_of
from filters.posterior.transformer_pass import forward, gradients

torch.set_num_threads(1)
LOSSES = Loss().table(None)
NETWORK = DecisionTransformer(features=3, looks=3, width=8, hidden=12)
SLOW_BOUND = 2_000  # updates of the streams that must not diverge


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def untrained(network: DecisionTransformer = NETWORK, seed: int = 0) -> Pretrained:
    weights = tuple(w.double().numpy() for w in network.start(generator(seed)))
    return Pretrained(weights, np.zeros(network.features), np.ones(network.features))


def drawn(n: int, seed: int, turned: bool = False) -> list[Encounter]:
    """What stands there follows from the first feature, and in the other world from its negative."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(n):
        looks = rng.standard_normal((3, 3))
        sign = -1.0 if turned else 1.0
        outcome = int(rng.random() < ndtr(sign * 2.0 * looks[:, 0].sum()))
        made.append(Encounter(looks, rng.integers(0, 2, 2), LOSSES, outcome))
    return made


@pytest.fixture(scope="module")
def learnt() -> Pretrained:
    return pretrain(NETWORK, drawn(500, 1), generator(), epochs=15)


def passed(engine: KalmanTransformer, encounter: Encounter):
    """The forward pass, and which rows are open."""
    questions, state = asked(encounter.losses), engine.init()
    u = tokens(NETWORK, standardised(engine.pretrained, encounter.looks), encounter.actions, questions.costs)
    at = forward(state.means, state.covariances, u, np.random.default_rng(0))
    return u, at, np.nonzero(questions.open)


def test_expected_costs_of_certain_answers_are_the_tables():
    questions = asked(LOSSES)
    for outcome in (0, 1):
        found = expected_costs(answers(Encounter(np.zeros((1, 3)), np.array([]), LOSSES, outcome)), questions)
        np.testing.assert_allclose(found, LOSSES[:, outcome])


def test_expected_costs_of_a_belief_are_bayes_and_closed_rows_are_not_asked():
    questions, q = asked(LOSSES), 0.3
    one, other = (answers(Encounter(np.zeros((1, 3)), np.array([]), LOSSES, k)) for k in (0, 1))
    p = (1.0 - q) * one + q * other
    np.testing.assert_allclose(expected_costs(p, questions), LOSSES @ [1.0 - q, q])
    nonsense = np.where(questions.open, p, 7.0)
    np.testing.assert_allclose(expected_costs(nonsense, questions), LOSSES @ [1.0 - q, q])
    told = ~questions.open & (questions.gaps > 0.0)[:, None]
    np.testing.assert_array_equal(one[told], other[told])


def test_tokens_are_return_observation_action_and_count_places_from_the_last():
    looks, actions = np.arange(6.0).reshape(2, 3), np.array([1])
    u = tokens(NETWORK, looks, actions, np.array([0.0, 40.0]))
    assert u.shape == (2, 5, NETWORK.shapes[0][1] - 1)
    kind = u[0, :, 8:11].argmax(axis=1)
    np.testing.assert_array_equal(kind, [0, 1, 2, 0, 1])
    np.testing.assert_array_equal(u[0, :, 11:].argmax(axis=1), [1, 1, 1, 0, 0])
    np.testing.assert_array_equal(u[1, [1, 4], 1:4], looks)
    assert u[0, 2, 4:8].tolist() == [0.0, 1.0, 0.0, 0.0]
    assert (u[0, :, 0] == 0.0).all()
    assert (u[1, [0, 3], 0] == 0.5 * np.log(41.0)).all()
    last = tokens(NETWORK, looks[1:], actions[:0], np.array([0.0]))
    np.testing.assert_array_equal(last[0], u[0, 3:])


def test_what_was_trained_is_kept_and_read_back(learnt, tmp_path):
    save(tmp_path / "one", NETWORK, learnt, {"seed": 3})
    network, found, header = load(tmp_path / "one")
    assert (network, header["seed"]) == (NETWORK, 3)
    for one, other in zip((*found.weights, *found[1:]), (*learnt.weights, *learnt[1:]), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("engine", "told"),
    [({"kind": "Ivon"}, "expected a DecisionTransformer"), ({"kind": "DecisionTransformer"}, "expected a Decision")],
)
def test_other_files_are_refused_in_one_line(engine, told, tmp_path):
    write(tmp_path / "other", {"mean": torch.zeros(3)}, {"engine": engine})
    with pytest.raises(ValueError, match=told):
        load(tmp_path / "other")


def test_weights_that_do_not_fit_are_refused_in_one_line(learnt, tmp_path):
    save(tmp_path / "one", DecisionTransformer(3, 3, 8, 16), learnt, {})
    with pytest.raises(ValueError, match="expected finite ones"):
        load(tmp_path / "one")
    save(tmp_path / "two", NETWORK, learnt._replace(mean=np.full(3, np.nan)), {})
    with pytest.raises(ValueError, match="train it again"):
        load(tmp_path / "two")


@pytest.mark.parametrize("looks", [np.zeros((4, 3)), np.zeros((2, 2)), np.zeros((0, 3))])
def test_looks_that_do_not_fit_are_refused_in_one_line(looks):
    with pytest.raises(ValueError, match=r"expected 1 to 3 looks of 3, one action fewer"):
        tokens(NETWORK, looks, np.zeros(max(len(looks) - 1, 0), int), np.zeros(1))


def test_pretraining_learns_the_answers(learnt):
    fresh = rows_of(NETWORK, learnt, drawn(300, 2))
    weights = [torch.as_tensor(w, dtype=torch.float32) for w in learnt.weights]
    blind = -float(np.mean([np.log(0.5)]))
    assert float(misfit(weights, fresh).mean()) < 0.75 * blind
    again = pretrain(NETWORK, drawn(500, 1), generator(), epochs=15)
    for one, other in zip(learnt.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_uncertainty_it_is_the_transformer_and_its_slopes_are_the_gradients():
    engine, encounter = KalmanTransformer(NETWORK, untrained(), spread=1e-7), drawn(1, 3)[0]
    u, at, rows = passed(engine, encounter)
    weights = [torch.tensor(w, requires_grad=True) for w in engine.pretrained.weights]
    f = outputs(weights, torch.tensor(u))
    np.testing.assert_allclose(at.f.mean[:, 0], f.detach().numpy(), atol=1e-10)
    H = gradients(engine.init().means, at, rows)
    for r, (level, action) in enumerate(zip(*rows, strict=True)):
        expected = torch.autograd.grad(f[level, action], weights, retain_graph=True)
        for found, slope in zip(H, expected, strict=True):
            np.testing.assert_allclose(found[:, r], slope.numpy(), atol=1e-8)


def test_moments_of_outputs_are_nearly_those_of_drawn_networks():
    engine, encounter = KalmanTransformer(NETWORK, untrained(), spread=0.1), drawn(1, 4)[0]
    u, at, _ = passed(engine, encounter)
    rng, state, count = np.random.default_rng(0), engine.init(), 1_500
    draws = []
    for _ in range(count):
        weights = [
            torch.as_tensor(m + C[0, 0, 0] ** 0.5 * rng.standard_normal(m.shape))
            for m, C in zip(state.means, state.covariances, strict=True)
        ]
        draws.append(outputs(weights, torch.as_tensor(u)).numpy())
    mean, deviation = np.mean(draws, axis=0), np.std(draws, axis=0)
    assert (np.abs(at.f.mean[:, 0] - mean) < 0.5 * deviation).all()
    ratio = at.f.variance[:, 0] ** 0.5 / deviation
    assert 0.75 < ratio.min() <= ratio.max() < 1.4  # features that depend on one another are taken as independent


def test_one_linear_layer_is_kalmans_filter():
    """With a head alone unknown and noise known, 30 encounters, rows of one encounter seen together."""
    noise, rng = 0.3, np.random.default_rng(0)
    engine = KalmanTransformer(NETWORK, untrained(), spread=0.5, keep=1.0, likelihood=KnownNoise(noise))
    start = engine.init()
    certain = tuple(0.0 * C for C in start.covariances[:-1])
    state = start._replace(covariances=(*certain, start.covariances[-1]))
    m, P = state.means[-1].ravel(), torch.block_diag(*torch.tensor(state.covariances[-1])).numpy()
    out, fan = state.means[-1].shape
    for encounter in drawn(30, 5):
        questions = asked(encounter.losses)
        u = tokens(NETWORK, standardised(engine.pretrained, encounter.looks), encounter.actions, questions.costs)
        at, rows = forward(state.means, state.covariances, u, rng), np.nonzero(questions.open)
        y, weight = rng.standard_normal(len(rows[0])), 1.0 / len(rows[0])
        told = precisions(engine.likelihood, at.f.mean[:, 0][rows], at.f.variance[:, 0][rows], y, weight)
        state = learn(state, gradients(state.means, at, rows), *told)
        H = np.zeros((len(y), out, fan))
        z = np.concatenate([at.top.mean[rows[0], 0], np.ones((len(y), 1))], axis=1)
        H[np.arange(len(y)), rows[1]] = z
        H = H.reshape(len(y), -1)
        K = P @ H.T @ np.linalg.inv(H @ P @ H.T + noise / weight * np.eye(len(y)))
        m, P = m + K @ (y - H @ m), P - K @ H @ P
        blocks = P.reshape(out, fan, out, fan)[np.arange(out), :, np.arange(out)]
        P = torch.block_diag(*torch.tensor(blocks)).numpy()  # rows of two outputs share nothing: nothing is lost
        np.testing.assert_allclose(state.means[-1].ravel(), m, atol=1e-8)
        np.testing.assert_allclose(state.covariances[-1], blocks, atol=1e-8)


def nats(engine: KalmanTransformer, encounters: list[Encounter], adapt: bool) -> float:
    """Mean, each told before it is learnt."""
    state, rng, found = engine.init(), np.random.default_rng(0), []
    for encounter in encounters:
        after, info = engine.update(state, encounter, rng)
        found.append(info.nats)
        state = after if adapt else state
    return float(np.mean(found))


def test_it_follows_a_world_that_turns_and_keeps_what_it_knows_of_one_that_does_not(learnt):
    engine = KalmanTransformer(NETWORK, learnt, spread=0.3)
    turned, same = drawn(150, 6, turned=True), drawn(80, 7)
    assert nats(engine, turned, adapt=True) < 0.75 * nats(engine, turned, adapt=False)
    assert nats(engine, same, adapt=True) < 1.2 * nats(engine, same, adapt=False)


def test_it_drives_by_what_it_learnt(learnt):
    """It does not go on before what it believes to be a barrier, nor brake hard where it believes the path clear."""
    engine, rng = KalmanTransformer(NETWORK, learnt), np.random.default_rng(0)
    for side, likely in ((1.5, 1), (-1.5, 0)):
        looks = np.full((3, 3), [side, 0.0, 0.0])
        found = engine.forecast(engine.init(), looks, np.zeros(2, int), LOSSES, rng)
        assert LOSSES[found.costs.argmin(), likely] <= 5.0
        assert np.abs(found.answers[0, 0] - (1 - likely)) < 0.25
        np.testing.assert_allclose(found.costs, expected_costs(found.answers, asked(LOSSES)))


def streams() -> dict[str, list[Encounter]]:
    """What goes wrong, as many encounters each."""
    rng, n = np.random.default_rng(0), SLOW_BOUND
    fair = drawn(n, 8)
    lost = [e._replace(looks=np.where(rng.random((3, 3)) < 0.2, np.nan, e.looks)) for e in fair]
    huge = [e._replace(looks=np.where(rng.random((3, 3)) < 0.2, np.inf, 1e9 * e.looks)) for e in fair]
    return {
        "fair": fair,
        "wrong labels": [e._replace(outcome=1 - e.outcome) for e in fair],
        "random labels": [e._replace(outcome=int(rng.integers(2))) for e in fair],
        "one label": [e._replace(outcome=1) for e in fair],
        "constant": [e._replace(looks=np.ones((3, 3))) for e in fair],
        "duplicated": [e for e in fair[: n // 10] for _ in range(10)],
        "not a number": lost,
        "nothing at all": [e._replace(looks=np.full((3, 3), np.nan)) for e in fair],
        "huge": huge,
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", streams())
def test_no_stream_of_2000_makes_it_diverge(name, learnt):
    bounded_by(name, learnt, streams()[name])


@pytest.mark.parametrize("name", streams())
def test_no_stream_makes_it_diverge(name, learnt):
    bounded_by(name, learnt, streams()[name][:100])


def bounded_by(name: str, learnt: Pretrained, stream: list[Encounter]) -> None:
    """Weights finite and of the size of trained ones; covariances positive, never above the prior's."""
    engine, rng = KalmanTransformer(NETWORK, learnt, spread=0.3), np.random.default_rng(0)
    state, flags = engine.init(), []
    for encounter in stream:
        state, info = engine.update(state, encounter, rng)
        flags.append(info.flag)
        assert np.isfinite(info.nats)
    for m, C, v in zip(state.means, state.covariances, engine.variances(), strict=True):
        assert np.isfinite(m).all()
        assert np.abs(m).max() < 10.0
        values = np.linalg.eigvalsh(C)
        assert values.min() > 0.0
        assert values.max() <= v * (1.0 + 1e-9)
    expected = {
        "constant": Flag.REPEATED,
        "duplicated": Flag.REPEATED,
        "not a number": Flag.FILLED,
        "nothing at all": Flag.REPEATED,
        "huge": Flag.FILLED,
        "wrong labels": Flag.ASTRAY,
    }
    assert name not in expected or expected[name] in flags
    if name == "fair":
        assert np.mean([f == Flag.OK for f in flags]) > 0.9


def test_repeated_looks_teach_nothing(learnt):
    engine, rng, encounter = KalmanTransformer(NETWORK, learnt), np.random.default_rng(0), drawn(1, 9)[0]
    once, _ = engine.update(engine.init(), encounter, rng)
    twice, info = engine.update(once, encounter, rng)
    assert info.flag == Flag.REPEATED
    for one, other in zip(once.means, twice.means, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_surprise_weighs_less(learnt):
    engine, rng = KalmanTransformer(NETWORK, learnt, spread=0.1), np.random.default_rng(0)
    looks = np.full((3, 3), [-4.0, 0.0, 0.0])
    _, info = engine.update(engine.init(), Encounter(looks, np.zeros(2, int), LOSSES, 1), rng)
    assert info.flag == Flag.SURPRISED
    assert info.weight == pytest.approx(SURPRISE / info.nats)


@pytest.mark.parametrize("bad", [{"outcome": 2}, {"losses": np.full((4, 2), np.nan)}])
def test_what_is_no_outcome_is_refused(bad, learnt):
    engine, encounter = KalmanTransformer(NETWORK, learnt), drawn(1, 9)[0]
    state = engine.init()
    after, info = engine.update(state, encounter._replace(**bad), np.random.default_rng(0))
    assert after is state
    assert info.flag == Flag.REFUSED


def test_what_makes_no_finite_weights_is_none(learnt):
    """Of covariances that are not finite, as of weights that overflow, nothing is learnt."""
    engine, encounter = KalmanTransformer(NETWORK, learnt), drawn(1, 9)[0]
    _, at, rows = passed(engine, encounter)
    state, H = engine.init(), gradients(engine.init().means, at, rows)
    W, pull = np.ones(len(rows[0])), np.ones(len(rows[0]))
    assert learn(state, H, W, pull) is not None
    assert learn(state, H, W, np.inf * pull) is None
    broken = state._replace(covariances=tuple(np.nan * C for C in state.covariances))
    assert learn(broken, H, W, pull) is None


def test_memory_does_not_grow_and_a_state_is_not_changed_in_place(learnt):
    engine, rng = KalmanTransformer(NETWORK, learnt), np.random.default_rng(0)
    first = engine.init()
    kept = [part.copy() for part in (*first.means, *first.covariances)]
    state = first
    for encounter in drawn(20, 10):
        state, _ = engine.update(state, encounter, rng)
    for old, copy, new in zip(
        (*first.means, *first.covariances), kept, (*state.means, *state.covariances), strict=True
    ):
        np.testing.assert_array_equal(old, copy)
        assert old.shape == new.shape


def test_scores_too_uncertain_for_the_series_are_drawn_by_the_stream_given():
    engine, encounter = KalmanTransformer(NETWORK, untrained(), spread=1.5), drawn(1, 11)[0]
    found = [engine.update(engine.init(), encounter, np.random.default_rng(s)) for s in (0, 0, 1)]
    assert found[0][1].drawn > 0.0
    np.testing.assert_array_equal(found[0][0].means[0], found[1][0].means[0])
    assert (found[0][0].means[0] != found[2][0].means[0]).any()


def test_a_probability_is_that_of_drawn_outputs():
    from filters.posterior.kalman_transformer import probability

    f = 0.7 + 1.3 * np.random.default_rng(0).standard_normal(400_000)
    assert float(probability(np.array(0.7), np.array(1.69))) == pytest.approx(ndtr(PROBIT * f).mean(), abs=2e-3)
