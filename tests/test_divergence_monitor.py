"""The divergence monitor: silent in calm, quick after a jump, and back; and what an engine under it does meanwhile."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta

from filters.adaptation import monitor
from filters.adaptation.monitor import Monitor, Monitored, Signs, Watch, Watched, bet, p_values, tails
from filters.adaptation.power_prior import power_prior
from filters.adaptation.streaming import Flag, Streaming, finite, look
from filters.posterior.kalman_network import KalmanNetwork
from filters.posterior.likelihoods import Bernoulli
from filters.posterior.mlp import Mlp
from filters.posterior.spec import Data
from tests.moons import batch, two_moons
from tests.studies import study_of

torch.set_num_threads(1)


def calm_signs(rng: np.random.Generator, tail: float = 1.0) -> Signs:
    """Of a calm batch: signs that depend on one another, and have tails as heavy as Cauchy's to a power."""
    entropy, inputs = rng.exponential(), rng.standard_cauchy(2)
    return Signs((entropy * rng.exponential()) ** tail, entropy, tuple(np.sign(inputs) * abs(inputs) ** tail))


def warm(rng: np.random.Generator, count: int = monitor.WINDOW) -> Watch:
    """After so many calm batches."""
    signs = tuple(calm_signs(rng) for _ in range(count))
    return Watch(signs, tuple(part.cost - part.entropy for part in signs))


def alarms(count: int, told: Monitor, tail: float, rng: np.random.Generator) -> int:
    """How many there are in so many calm batches, if after each the bets start again."""
    watch, found = warm(rng, monitor.WINDOW), 0
    for _ in range(count):
        watch = told.update(watch, calm_signs(rng, tail), 0.0)
        if watch.alarm:
            watch, found = watch._replace(alarm=False, statistics=(0.0, 0.0)), found + 1
    return found


@pytest.mark.parametrize("tail", [1.0, 3.0])
def test_alarms_of_exchangeable_batches_are_one_in_the_run_at_most(tail, monkeypatch):
    """Whatever the distribution, and how the signs depend: 16 windows, so that none decides."""
    monkeypatch.setattr(monitor, "WINDOW", 80)
    rng = np.random.default_rng(int(tail))
    found = [alarms(200, Monitor(run=50.0), tail, rng) for _ in range(16)]
    assert 0 < sum(found) <= 16 * 200 / 50


def slow_p_values(calm: list[Signs], new: Signs) -> list[float]:
    """By counting."""
    bag = [*calm, new]

    def share(values: list[float], one: float) -> float:
        return sum(other >= one for other in values) / len(values)

    def far_out(one: Signs) -> float:
        columns = zip(zip(*(part.inputs for part in bag), strict=True), one.inputs, strict=True)
        return -sum(np.log(min(share(c, value), share([-each for each in c], -value))) for c, value in columns)

    def strange(one: Signs) -> float:
        entropies, distances = [part.entropy for part in bag], [far_out(part) for part in bag]
        return -np.log(share(entropies, one.entropy)) - np.log(share(distances, far_out(one)))

    return [share([part.cost for part in bag], new.cost), share([strange(part) for part in bag], strange(new))]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 12), st.integers(0, 999))
def test_p_values_are_what_counting_gives(count, seed):
    """Of batches all different, and of others that are often alike in a part."""
    rng = np.random.default_rng(seed)
    for bag in (
        [calm_signs(rng) for _ in range(count + 1)],
        [Signs(*map(float, rng.integers(3, size=2)), tuple(rng.integers(3, size=1))) for _ in range(count + 1)],
    ):
        np.testing.assert_allclose(p_values(tuple(bag[:-1]), bag[-1]), slow_p_values(bag[:-1], bag[-1]))


def test_p_values_by_hand():
    """Of one number its rank; of five entropies and inputs, shares .2 .4, .6 1 and 1 1, which others beat."""
    calm = tuple(Signs(float(cost), 1.0) for cost in range(9))
    assert [p_values(calm, Signs(cost, 1.0))[0] for cost in (9.0, 7.5, 5.0, -1.0)] == [0.1, 0.2, 0.5, 1.0]
    assert p_values(calm, Signs(9.0, 1.0))[1] == 1.0
    assert list(p_values((), Signs(9.0, 9.0, (9.0,)))) == [1.0, 1.0]
    calm = tuple(Signs(0.0, entropy, (x,)) for entropy, x in ((1.0, 5.0), (2.0, 3.0), (3.0, 2.0), (4.0, 4.0)))
    found = [p_values(calm, Signs(0.0, entropy, (x,)))[1] for entropy, x in ((5.0, 9.0), (2.5, 3.5), (0.0, 3.6))]
    assert found == [0.2, 0.8, 1.0]
    np.testing.assert_allclose(tails(np.array([3.0, 1.0, 2.0, 2.0])), [0.25, 1.0, 0.75, 0.75])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 60), st.integers(0, 999))
def test_a_bet_wins_nothing_in_calm(count, seed):
    """E[e] <= 1, whichever batch of a bag comes last: that is what exchangeable batches are."""
    rng = np.random.default_rng(seed)
    bag = [calm_signs(rng, 3.0) for _ in range(count + 1)]
    p = np.array([p_values((*bag[:k], *bag[k + 1 :]), bag[k]) for k in range(len(bag))])
    for level in np.arange(1, len(bag) + 1) / len(bag):
        assert ((p <= level).mean(axis=0) <= level + 1e-12).all()
    assert np.mean([[bet(each) for each in row] for row in p], axis=0).max() <= 1.0 + 1e-9


def test_the_bet_is_a_density_that_falls():
    p = np.linspace(0.001, 1.0, 100)
    np.testing.assert_allclose([bet(each) for each in p], beta.pdf(p, *monitor.BET), rtol=1e-12)
    assert (np.diff([bet(each) for each in p]) < 0.0).all()
    assert quad(bet, 0.0, 1.0)[0] == pytest.approx(1.0, abs=1e-6)


def test_bets_add_up_as_shiryaev_and_roberts_have_it():
    rng, told, expected = np.random.default_rng(0), Monitor(run=1e9), np.zeros(2)
    watch = Watch()
    for _ in range(50):
        signs = calm_signs(rng)
        expected = (1.0 + expected) * [bet(p) for p in p_values(watch.signs, signs)]
        watch = told.update(watch, signs, 0.0)
        np.testing.assert_allclose(watch.statistics, expected, rtol=1e-12)


def test_it_is_the_mean_of_both_that_rings():
    rng = np.random.default_rng(2)
    watch, signs = warm(rng)._replace(statistics=(70.0, 3.0)), Signs(50.0, 0.1, (0.0, 0.0))
    cost, strangeness = (bet(p) for p in p_values(watch.signs, signs))
    mean = (71.0 * cost + 4.0 * strangeness) / 2.0
    assert Monitor(run=0.999 * mean).update(watch, signs, 0.0).alarm
    assert not Monitor(run=1.001 * mean).update(watch, signs, 0.0).alarm


def test_ranks_alone_count():
    """Any rising function of a sign or an input says the same, and an input that never changes says nothing."""
    rng = np.random.default_rng(1)
    bag = [calm_signs(rng) for _ in range(50)]
    other = [Signs(np.log(a), b**3, (*np.arctan(x), 4.0)) for a, b, x in bag]
    for k in range(0, 50, 7):
        np.testing.assert_array_equal(p_values(tuple(bag[:k]), bag[k]), p_values(tuple(other[:k]), other[k]))


@pytest.mark.parametrize(
    "moved",
    [
        lambda signs: signs._replace(cost=50.0 + signs.cost),
        lambda signs: signs._replace(entropy=50.0 + signs.entropy),
        lambda signs: signs._replace(inputs=tuple(1e4 + np.array(signs.inputs))),
        lambda signs: signs._replace(inputs=tuple(-1e4 * np.array([1.0, -1.0]) + signs.inputs)),
    ],
)
def test_a_jump_that_one_sign_alone_shows_is_found(moved):
    """Of twenty streams: by each of them soon, and by most within five batches."""
    rng, told, found = np.random.default_rng(0), Monitor(), []
    for _ in range(20):
        watch, count = warm(rng), 0
        while not watch.alarm and count < 40:
            watch, count = told.update(watch, moved(calm_signs(rng)), 0.0), count + 1
        found.append(count)
    assert max(found) <= 15
    assert np.median(found) <= 5


def test_a_jump_is_found_in_three_batches_and_ends_after_three_calm_ones():
    rng, told = np.random.default_rng(0), Monitor()
    watch, seen = warm(rng), []
    for _ in range(6):
        watch = told.update(watch, Signs(50.0, 50.0, (1e4,) * 2), 50.0)
        seen.append(watch.alarm)
    assert seen == [False, False, True, True, True, True]
    for excess, alarm, calm in ((-0.9, True, 1), (0.0, True, 2), (50.0, True, 0), (0.0, True, 1), (0.0, True, 2)):
        watch = told.update(watch, Signs(50.0, 50.0, (1e4,) * 2), excess)
        assert (watch.alarm, watch.calm) == (alarm, calm)
    watch = told.update(watch, Signs(50.0, 50.0, (1e4,) * 2), 0.0)
    assert not watch.alarm
    assert not watch.signs
    for _ in range(200):
        cost, entropy, inputs = calm_signs(rng)
        watch = told.update(watch, Signs(50.0 + cost, 50.0 + entropy, tuple(1e4 + np.array(inputs))), 0.0)
        assert not watch.alarm
    assert len(watch.signs) == 200


def test_an_alarm_has_an_end_though_excesses_never_are_again_what_they_were():
    rng, told = np.random.default_rng(0), Monitor()
    watch, seen = warm(rng), []
    for _ in range(300):
        cost, entropy, inputs = calm_signs(rng)
        watch = told.update(watch, Signs(50.0 + cost, 50.0 + entropy, inputs), 50.0 + cost)
        seen.append(watch.alarm)
    found = seen.index(True)
    assert found < 5
    assert seen == [False] * found + [True] * monitor.LONGEST + [False] * (300 - found - monitor.LONGEST)
    assert len(watch.excesses) == 300 - found - monitor.LONGEST - 1


def test_an_alarm_by_inputs_alone_is_over_after_three_batches_whose_labels_come_as_expected():
    rng, told, seen = np.random.default_rng(0), Monitor(), []
    watch = warm(rng)
    for _ in range(100):
        cost, entropy, inputs = calm_signs(rng)
        watch = told.update(watch, Signs(cost, entropy, tuple(1e4 + np.array(inputs))), 0.0)
        seen.append(watch.alarm)
    found = seen.index(True)
    assert sum(seen) == 3
    assert not any(seen[found + 3 :])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_as_odd_as_can_be(value):
    watch, told = warm(np.random.default_rng(0)), Monitor()
    for _ in range(4):
        watch = told.update(watch, Signs(value, value, (value,) * 2), value)
        assert np.isfinite(watch.statistics).all()
    assert watch.alarm
    signs = Signs(value, value, (value,) * 2)
    assert not told.update(told.update(watch, signs, value), signs, value).calm


def test_an_excess_above_all_of_a_few_is_not_calm():
    watch = Watch(excesses=tuple(np.arange(12.0)), alarm=True, rung=1)
    assert Monitor().update(watch, Signs(0.0, 0.0), float("inf")).calm == 0
    assert Monitor().update(watch, Signs(0.0, 0.0), 10.5).calm == 1


def watched(learning: float = 0.5) -> tuple[Streaming, object]:
    """A network that knows two moons, watched."""
    engine, rng = KalmanNetwork(Mlp((2, 8, 1)), Bernoulli()), torch.Generator().manual_seed(0)
    prior = engine.init(rng)
    q = engine.update(prior, batch(300, np.random.default_rng(0)), rng)
    way = Monitored(engine, prior, learning=learning)
    learner = Streaming(way)
    state = learner.init(way.start(q))
    data = np.random.default_rng(1)
    for _ in range(60):
        state, _ = learner.update(state, batch(6, data), rng)
    return learner, state


def test_a_jump_is_found_and_over():
    learner, state = watched()
    assert not state.posterior.watch.alarm
    rng, data, on = torch.Generator().manual_seed(1), np.random.default_rng(2), []
    for _ in range(60):
        state, _ = learner.update(state, batch(6, data, turn=1.5), rng)
        on.append(state.posterior.watch.alarm)
    assert 1 <= on.index(True) + 1 <= 5
    assert False in on[on.index(True) :]
    assert on[on.index(True) :].index(False) <= 20


@pytest.mark.parametrize("alarm", [False, True])
def test_a_batch_is_learnt_as_calm_or_alarm_has_it(alarm):
    """In calm from the posterior, in alarm from one that has faded, with less weight; ln p, H and x are watched."""
    engine, rng = KalmanNetwork(Mlp((2, 8, 1)), Bernoulli()), torch.Generator().manual_seed(0)
    prior = engine.init(rng)
    q = engine.update(prior, batch(300, np.random.default_rng(0)), rng)
    way, data = Monitored(engine, prior, low=0.9, learning=0.25), batch(6, np.random.default_rng(4))
    data = data._replace(weight=torch.tensor([3.0, 0.5, 1.0, 2.0, 0.1, 1.0]))
    rng = np.random.default_rng(0)
    calm = Watch(tuple(Signs(*rng.exponential(size=2), tuple(rng.normal(size=2))) for _ in range(50)), (0.0,) * 50)
    start = calm._replace(alarm=True, rung=1) if alarm else calm
    after = way.update(Watched(q, start), data, torch.Generator().manual_seed(1))
    seen = look(engine, q, data, torch.Generator().manual_seed(1))
    weight = data.weight.double() / data.weight.double().sum()
    cost, entropy, log_p = (float(weight @ part.double()) for part in seen)
    signs = Signs(-log_p, entropy, tuple(float(weight @ column) for column in data.x.T.double()))
    expected_watch = way.monitor.update(start, signs, cost - entropy)
    assert after.watch._replace(signs=()) == expected_watch._replace(signs=())
    for part, told in zip(after.watch.signs[-1], calm.signs[-1] if alarm else signs, strict=True):
        assert part == pytest.approx(told)
    assert after.watch.alarm is alarm
    believed = power_prior(q, prior, 0.9) if alarm else q
    expected = engine.update(believed, data._replace(weight=(0.25 if alarm else 1.0) * data.weight), rng)
    torch.testing.assert_close(after.posterior, expected, rtol=0.0, atol=0.0)


def test_wrong_labels_ring():
    learner, state = watched()
    rng, data = torch.Generator().manual_seed(1), np.random.default_rng(2)
    rang, flags = [], []
    for _ in range(5):
        x, y = two_moons(6, data)
        state, info = learner.update(state, Data.of(x, 1.0 - y), rng)
        flags.append(info.flags)
        rang.append(state.posterior.watch.alarm)
        assert finite(state)
        assert info.weight <= 1.0
    assert any(rang)
    assert Flag.ANOMALOUS in flags[0]


def test_what_it_cannot_be_is_refused():
    engine = KalmanNetwork(Mlp((2, 2, 1)), Bernoulli())
    prior = engine.init(torch.Generator().manual_seed(0))
    for wrong in ({"low": 2.0}, {"rate": -1.0}, {"learning": 0.0}, {"learning": 1.5}):
        with pytest.raises(ValueError, match="rate of"):
            Monitored(engine, prior, **wrong)
    with pytest.raises(ValueError, match="expected two of one of Normal, Neurons, Dense"):
        Monitored(engine, (prior,))
    for run, calm in ((1.0, 3), (float("nan"), 3), (100.0, 0)):
        with pytest.raises(ValueError, match="expected a run of more than 1 batch"):
            Monitor(run, calm)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_jump_into_fog_is_found_within_five_and_the_prior_is_back_within_twenty(tmp_path):
    """Of the simulator's frames, as the study has it, by three networks that know clear air."""
    study = study_of("forgetting")
    runs = [study.jump(seed, tmp_path) for seed in range(study.FIRST, study.FIRST + 3)]
    assert all(run.found <= 5.0 for run in runs)
    assert all(run.back <= 20.0 for run in runs)
    assert sum(run.false_alarms for run in runs) <= sum(run.calm for run in runs) / 1000.0
