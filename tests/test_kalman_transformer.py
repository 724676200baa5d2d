"""The decision transformer; the Kalman transformer against gradients, Kalman's filter, draws and bad encounters."""

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from filters.losses import Loss
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
from filters.posterior.kalman_network import FLOOR, PROBIT, KnownNoise
from filters.posterior.kalman_transformer import (
    MEMORY,
    SURPRISE,
    Belief,
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


@pytest.mark.parametrize("least", [0.0, 3.0])
def test_expected_costs_of_certain_answers_are_the_tables(least):
    losses = LOSSES + least
    for outcome in (0, 1):
        found = expected_costs(answers(Encounter(np.zeros((1, 3)), np.array([]), losses, outcome)), asked(losses))
        np.testing.assert_allclose(found, losses[:, outcome])


def test_a_cost_that_stands_twice_in_the_table_is_asked_once():
    questions = asked(np.array([[0.0, 5.0], [5.0, 5.0], [1.0, 9.0], [2.0, 2.0]]))
    np.testing.assert_array_equal(questions.costs, [0.0, 1.0, 2.0, 2.0, 5.0, 5.0, 5.0])
    np.testing.assert_array_equal(questions.open.sum(axis=1), [1, 2, 0, 2, 0, 0, 1])


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


def test_looks_are_standard_scores_that_end_at_five():
    like = Pretrained((), np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0]))
    looks = np.array([[2.0, 0.0, 3.0], [40.0, -60.0, np.nan], [np.inf, -np.inf, 30.0]])
    np.testing.assert_array_equal(standardised(like, looks), [[1.0, -1.0, 0.0], [5.0, -5.0, 0.0], [5.0, -5.0, 5.0]])


@pytest.mark.parametrize("looks", [np.zeros((4, 3)), np.zeros((2, 2)), np.zeros((0, 3))])
def test_looks_that_do_not_fit_are_refused_in_one_line(looks):
    with pytest.raises(ValueError, match=r"expected 1 to 3 looks of 3, one action fewer"):
        tokens(NETWORK, looks, np.zeros(max(len(looks) - 1, 0), int), np.zeros(1))


@pytest.mark.parametrize("actions", [[0, 4], [-1, 0], [np.nan, 0.0], [0.5, 0.0]])
def test_actions_that_it_does_not_know_are_refused_in_one_line(actions):
    with pytest.raises(ValueError, match=r"^found actions \[.*\], expected 0 to 3$"):
        tokens(NETWORK, np.zeros((3, 3)), np.array(actions), np.zeros(1))


@pytest.mark.parametrize("losses", [np.zeros((3, 2)), np.zeros((5, 2)), np.zeros((4, 3)), np.zeros(4)])
def test_loss_tables_that_do_not_fit_are_refused_in_one_line(losses):
    engine, (looks, actions, _, outcome) = KalmanTransformer(NETWORK, untrained()), drawn(1, 9)[0]
    state, rng = engine.init(), np.random.default_rng(0)
    told = r"^found a loss table \(.*\), expected \(4, 2\)$"
    with pytest.raises(ValueError, match=told):
        engine.forecast(state, looks, actions, losses, rng)
    with pytest.raises(ValueError, match=told):
        engine.update(state, Encounter(looks, actions, losses, outcome), rng)


@pytest.mark.parametrize("outcome", [True, 1.0, np.int8(1), np.True_])
def test_an_outcome_is_a_column_however_it_is_written(outcome):
    engine, one = KalmanTransformer(NETWORK, untrained()), drawn(1, 9)[0]
    found, expected = (
        engine.update(engine.init(), one._replace(outcome=k), np.random.default_rng(0)) for k in (outcome, 1)
    )
    assert found[1] == expected[1]
    np.testing.assert_array_equal(found[0].means[-1], expected[0].means[-1])


def test_looks_are_standardised_by_those_trained_on(learnt):
    looks = np.concatenate([e.looks for e in drawn(500, 1)])
    np.testing.assert_allclose(learnt.mean, looks.mean(axis=0))
    np.testing.assert_allclose(learnt.deviation, looks.std(axis=0), atol=2e-3)


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


def networks(state: Belief, count: int) -> list[torch.Tensor]:
    """Drawn weights (count, out, in + 1) of a belief before anything was learnt."""
    g, layers = generator(), zip(state.means, state.covariances, strict=True)
    return [
        torch.as_tensor(m) + float(C[0, 0, 0]) ** 0.5 * torch.randn(count, *m.shape, generator=g, dtype=torch.float64)
        for m, C in layers
    ]


@pytest.mark.parametrize(
    ("trained", "spread", "least", "most"),
    [(False, 0.1, 0.45, 2.6), (False, 0.5, 0.75, 1.8), (True, 0.1, 0.14, 3.2), (True, 0.5, 0.4, 2.4)],
)
def test_moments_of_outputs_are_nearly_those_of_drawn_networks(trained, spread, least, most, learnt):
    """Features that depend on one another, as those of trained weights do, are taken as independent."""
    engine, ratios = KalmanTransformer(NETWORK, learnt if trained else untrained(), spread=spread), []
    for encounter in drawn(4, 4):
        u, at, rows = passed(engine, encounter)
        inputs = torch.as_tensor(u)
        f = torch.func.vmap(lambda *w, u=inputs: outputs(list(w), u))(*networks(engine.init(), 2_000)).numpy()
        mean, deviation = f.mean(axis=0)[rows], f.std(axis=0)[rows]
        assert (np.abs(at.f.mean[:, 0][rows] - mean) < 0.4 * deviation).all()
        ratios.append(at.f.variance[:, 0][rows] / deviation**2)
    assert least < np.min(ratios) <= np.max(ratios) < most


def test_slopes_are_the_mean_gradients_of_drawn_networks():
    """By Stein's lemma Cov(f, w) = C E[df/dw]."""
    engine, encounter = KalmanTransformer(NETWORK, untrained(), spread=0.1), drawn(1, 4)[0]
    u, at, rows = passed(engine, encounter)
    level, action = (torch.as_tensor(k) for k in rows)
    slopes = torch.func.jacrev(lambda w: outputs(w, torch.as_tensor(u))[level, action])
    drawn_slopes = torch.func.vmap(slopes, chunk_size=250)(networks(engine.init(), 1_000))
    for found, expected in zip(gradients(engine.init().means, at, rows), drawn_slopes, strict=True):
        expected = expected.mean(dim=0).numpy().swapaxes(0, 1)
        assert np.linalg.norm(found - expected) < 0.1 * np.linalg.norm(expected)


def test_one_linear_layer_is_kalmans_filter():
    """With a head alone unknown and noise known, 30 encounters, rows of one encounter seen together."""
    noise, rng = 0.3, np.random.default_rng(0)
    engine = KalmanTransformer(NETWORK, untrained(), spread=0.5, keep=1.0)
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
        told = precisions(KnownNoise(noise), at.f.mean[:, 0][rows], at.f.variance[:, 0][rows], y, weight)
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


def test_copies_of_any_of_the_last_looks_change_nothing(learnt):
    """One after another, in turns, and with another label; until they are so long ago that they are not known."""
    engine, rng = KalmanTransformer(NETWORK, learnt), np.random.default_rng(0)
    one, other, *more = drawn(2 + MEMORY, 9)
    state = engine.init()
    for encounter in (one, other):
        state, info = engine.update(state, encounter, rng)
        assert info.flag != Flag.REPEATED
    for k, copy in enumerate((one, other, other, one) * 5):
        after, info = engine.update(state, copy._replace(outcome=k % 2), rng)
        assert after is state
        assert (info.flag, info.weight) == (Flag.REPEATED, 0.0)
    for encounter in more[:-1]:
        state, _ = engine.update(state, encounter, rng)
    assert len(state.recent) == MEMORY
    _, info = engine.update(state, other, rng)
    assert info.flag == Flag.REPEATED
    state, info = engine.update(state, one, rng)
    assert info.flag != Flag.REPEATED
    assert len(state.recent) == MEMORY


def test_what_was_learnt_of_covariances_is_forgotten_where_nothing_is_learnt(learnt):
    """Tables without a choice ask nothing: C - C_0 falls by λ each time, and means stay."""
    engine, rng = KalmanTransformer(NETWORK, learnt, keep=0.95), np.random.default_rng(0)
    prior = state = engine.init()
    for encounter in drawn(20, 12):
        state, _ = engine.update(state, encounter, rng)
    before, steps = state, 40
    for encounter in drawn(steps, 13):
        state, _ = engine.update(state, encounter._replace(losses=np.full((4, 2), 3.0)), rng)
    for C, C_20, C_0 in zip(state.covariances, before.covariances, prior.covariances, strict=True):
        assert np.abs(C_20 - C_0).max() > 0.0
        np.testing.assert_allclose(C - C_0, 0.95**steps * (C_20 - C_0), atol=1e-12)
    for m, m_20 in zip(state.means, before.means, strict=True):
        np.testing.assert_array_equal(m, m_20)


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


def test_an_update_without_a_finite_result_is_refused(learnt):
    engine = KalmanTransformer(NETWORK, learnt)
    state = engine.init()
    broken = state._replace(covariances=(*state.covariances[:-1], np.nan * state.covariances[-1]))
    after, info = engine.update(broken, drawn(1, 9)[0], np.random.default_rng(0))
    assert after is broken
    assert (info.flag, info.weight) == (Flag.REFUSED, 0.0)


def test_no_row_becomes_better_known_than_float64_can_tell():
    """Of one row and the head alone, seen all but without noise: the variance falls by 1 + 1 / FLOOR, no further."""
    engine = KalmanTransformer(NETWORK, untrained())
    start = engine.init()
    state = start._replace(covariances=(*(0.0 * C for C in start.covariances[:-1]), start.covariances[-1]))
    _, at, rows = passed(engine, drawn(1, 9)[0])
    h = gradients(state.means, at, tuple(k[:1] for k in rows))
    after = learn(state, h, np.array([1e30]), np.zeros(1))
    a, z = rows[1][0], h[-1][rows[1][0], 0]
    before, left = (z @ belief.covariances[-1][a] @ z for belief in (state, after))
    assert left == pytest.approx(before / (1.0 + 1.0 / FLOOR), rel=1e-3)
    assert np.linalg.eigvalsh(after.covariances[-1]).min() > 0.0


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
