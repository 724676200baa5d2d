"""Forgetting: the power prior against dense matrices, rates against change-point detection, a bank that recalls."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from filters.adaptation.bank import SETTLED, Bank
from filters.adaptation.changepoint import ChangePoints
from filters.adaptation.power_prior import Forgetting, power_prior
from filters.adaptation.rates import Hypothesis, Mixed, Rates, merged
from filters.adaptation.streaming import Flag, Streaming, finite, look
from filters.posterior.kalman_network import KalmanNetwork, KnownNoise, Neurons
from filters.posterior.laplace import Dense
from filters.posterior.likelihoods import Bernoulli
from filters.posterior.mlp import Mlp
from filters.posterior.normal import Normal
from filters.posterior.reparameterised import Reparameterised
from filters.posterior.spec import Data, predict
from tests.moons import batch
from tests.studies import study_of

torch.set_num_threads(1)
NOISE = 0.25
LINEAR = KalmanNetwork(Mlp((2, 1)), KnownNoise(NOISE))
PRIOR = Neurons((torch.zeros(1, 3).double(),), (torch.eye(3).double()[None],))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(seed: int, rank: int, size: int = 5) -> Normal:
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=size), 0.1 + rng.random(size), rng.normal(size=(size, rank))
    return Normal(*map(torch.tensor, parts))


def dense(q: Normal) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and precision (P, P)."""
    return q.mean, torch.linalg.inv(torch.diag(q.scale**2) + q.factor @ q.factor.T)


def mixed(q, r, rate):
    """Mean and covariance of q^rate r^(1 - rate), by means and precisions."""
    (m, L), (m_r, L_r) = q, r
    precision = rate * L + (1.0 - rate) * L_r
    return torch.linalg.solve(precision, rate * L @ m + (1.0 - rate) * L_r @ m_r), torch.linalg.inv(precision)


@settings(max_examples=40)
@given(st.integers(0, 999), st.integers(0, 3), st.integers(0, 2), st.floats(0.001, 0.999))
def test_a_normal_of_low_rank_fades_as_its_dense_form_does(seed, rank, other, rate):
    q, r = normal(seed, rank), normal(seed + 1000, other)
    found = power_prior(q, r, rate)
    mean, covariance = mixed(dense(q), dense(r), rate)
    torch.testing.assert_close(found.mean, mean, rtol=1e-8, atol=1e-8)
    own = torch.diag(found.scale**2) + found.factor @ found.factor.T
    torch.testing.assert_close(own, covariance, rtol=1e-8, atol=1e-8)
    assert found.factor.shape[1] == rank + other


@settings(max_examples=20)
@given(st.integers(0, 999), st.floats(0.001, 0.999))
def test_neurons_and_laplace_fade_as_their_dense_forms_do(seed, rate):
    rng = np.random.default_rng(seed)
    roots = [torch.tensor(rng.normal(size=(2, 4, 4))) for _ in range(2)]
    covariances = [root @ root.mT + 0.1 * torch.eye(4) for root in roots]
    q, r = (Neurons((torch.tensor(rng.normal(size=(2, 4))),), (covariance,)) for covariance in covariances)
    found = power_prior(q, r, rate)
    for k in range(2):
        pair = [(state.means[0][k], torch.linalg.inv(state.covariances[0][k])) for state in (q, r)]
        mean, covariance = mixed(*pair, rate)
        torch.testing.assert_close(found.means[0][k], mean, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(found.covariances[0][k], covariance, rtol=1e-6, atol=1e-6)
    certain = torch.tensor(rng.normal(size=3))
    laplace = [Dense(torch.cat([certain, state.means[0][0]]), state.covariances[0][0]) for state in (q, r)]
    known = power_prior(*laplace, rate)
    mean, covariance = mixed(*((d.unknown, d.precision) for d in laplace), rate)
    torch.testing.assert_close(known.unknown, mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(torch.linalg.inv(known.precision), covariance, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(known.certain, certain, rtol=0, atol=0)


def test_at_its_ends_nothing_or_all_is_forgotten():
    q, r = normal(0, 2), normal(1, 0)
    assert power_prior(q, r, 1.0) is q
    assert power_prior(q, r, 0.0) is r
    for rate in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="forgetting rate"):
            power_prior(q, r, rate)
    with pytest.raises(ValueError, match="posteriors of kind Normal and Neurons"):
        power_prior(q, PRIOR, 0.5)
    state = Dense(torch.ones(5), torch.eye(2))
    with pytest.raises(ValueError, match="other certain weights"):
        power_prior(state, state._replace(mean=torch.zeros(5)), 0.5)


@pytest.mark.parametrize("rate", [0.5, 0.9, 0.99])
def test_without_data_precision_goes_to_the_references(rate):
    """As λ^n Λ + (1 - λ^n) Λ_r, which plain discounting's λ^n Λ does not."""
    q, r = normal(0, 2), normal(1, 0)
    (m, L), (m_r, L_r), state = dense(q), dense(r), q
    for _ in range(60):
        state = power_prior(state, r, rate)
    mean, covariance = mixed((m, L), (m_r, L_r), rate**60)
    torch.testing.assert_close(state.mean, mean, rtol=1e-6, atol=1e-8)
    own = torch.diag(state.scale**2) + state.factor @ state.factor.T
    torch.testing.assert_close(own, covariance, rtol=1e-6, atol=1e-8)


def unexcited(steps: int, reference: Neurons) -> float:
    """Greatest variance of a direction that no input excites, where λ is .95."""
    way = Forgetting(LINEAR, reference, 0.95)
    state, greatest = PRIOR, 0.0
    for k in range(steps):
        data = Data(torch.tensor([[1.0, 0.0]]), torch.tensor([float(k % 2)]), torch.ones(1))
        state = way.update(state, data, generator())
        greatest = max(greatest, float(torch.linalg.eigvalsh(state.covariances[0])[0, -1]))
    assert finite(state)
    return greatest


def test_the_variance_of_what_is_not_excited_is_bounded_by_the_references():
    flat = PRIOR._replace(covariances=(1e12 * PRIOR.covariances[0],))
    assert unexcited(400, PRIOR) <= 1.0 + 1e-9
    assert unexcited(400, flat) > 1e7  # λ^-400, a little less


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_variance_is_bounded_after_1e5_unexcited_steps():
    assert unexcited(100_000, PRIOR) <= 1.0 + 1e-9


def rows(x: np.ndarray, y: np.ndarray) -> list[Data]:
    return [Data.of(a[None], np.array([b])) for a, b in zip(x, y, strict=True)]


def regimes(seed: int, *lengths: int, again: bool = False) -> tuple[list[Data], np.ndarray, np.ndarray, np.ndarray]:
    """A regression's steps as batches, inputs and targets; weights are drawn anew for each length; ln p by the truth.

    With `again` every other length has the first's weights.
    """
    rng, weights = np.random.default_rng(seed), []
    for k, length in enumerate(lengths):
        own = rng.normal(size=3)
        weights += [weights[0] if again and k and k % 2 == 0 else own] * length
    x = rng.normal(size=(len(weights), 2)).astype(np.float32).astype(float)
    f = (np.c_[x, np.ones(len(x))] * weights).sum(axis=1)
    y = (f + NOISE**0.5 * rng.normal(size=len(x))).astype(np.float32).astype(float)
    return rows(x, y), np.c_[x, np.ones(len(x))], y, norm.logpdf(y, f, NOISE**0.5)


def followed(way, stream, state=None):
    """ln p of every batch before it is learnt, and the last state."""
    rng = generator()
    state, said = way.init(rng) if state is None else state, []
    for data in stream:
        said.append(float(look(way, state, data, rng).log_predictive.sum()))
        state = way.update(state, data, rng)
    return np.array(said), state


def test_fresh_starts_alone_are_change_point_detection():
    stream, x, y, _ = regimes(0, 15, 25)
    said, _ = followed(Rates(LINEAR, (PRIOR,), (1.0,), 0.05, 1000), stream)
    detector = ChangePoints((0.0,) * 3, tuple(map(tuple, np.eye(3))), NOISE, 0.05)
    runs, expected = detector.init(), []
    for a, b in zip(x, y, strict=True):
        runs, evidence = detector.update(runs, a, b)
        expected.append(evidence)
    np.testing.assert_allclose(said, expected, atol=1e-8)


def test_a_single_rate_without_share_is_that_rate():
    stream, *_ = regimes(1, 40)
    said, _ = followed(Rates(LINEAR, (PRIOR,), (0.9,), 1e-12), stream)
    expected, _ = followed(Forgetting(LINEAR, PRIOR, 0.9), stream)
    np.testing.assert_allclose(said, expected, atol=1e-6)


def test_after_a_switch_rates_lose_less_than_half_of_what_no_forgetting_does_and_nearly_nothing_before():
    before, after = np.zeros(2), np.zeros(2)
    for seed in range(3):
        stream, *_, truth = regimes(seed, 60, 40)
        mixed_rates, state = followed(Rates(LINEAR, (PRIOR,)), stream)
        never, _ = followed(Forgetting(LINEAR, PRIOR, 1.0), stream)
        for regret, part in ((before, slice(60)), (after, slice(60, None))):
            regret += (truth - mixed_rates)[part].sum(), (truth - never)[part].sum()
        assert len(state.hypotheses) <= 6
        assert state.log_weights.exp().sum() == pytest.approx(1.0)
    assert after[0] <= 0.5 * after[1]
    assert before[0] <= 1.1 * before[1]


def test_where_the_world_drifts_a_rate_that_forgets_pays():
    """Weights that walk: fresh starts alone, at rate 1, cannot follow them."""
    ours, alone = [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        weights = 0.15 * rng.normal(size=(150, 3)).cumsum(axis=0)
        x = rng.normal(size=(150, 2))
        y = (np.c_[x, np.ones(150)] * weights).sum(axis=1) + NOISE**0.5 * rng.normal(size=150)
        for way, said in ((Rates(LINEAR, (PRIOR,)), ours), (Rates(LINEAR, (PRIOR,), (1.0,)), alone)):
            said.append(followed(way, rows(x, y))[0].sum())
    assert np.mean(ours) > np.mean(alone) + 5.0


def test_a_mixture_says_what_its_hypotheses_say():
    """Costs and entropies are means by weight, probabilities are mixed; of one origin and rate one is kept."""
    others = [PRIOR._replace(means=(torch.tensor([[a, 0.3, -0.2]]).double(),)) for a in (0.5, -1.0)]
    weights = torch.tensor([0.7, 0.3]).double().log()
    hypotheses = tuple(Hypothesis(q, rate, 0) for q, rate in zip(others, (1.0, 0.9), strict=True))
    data = Data.of(np.array([[0.2, 1.0], [1.0, -1.0]]), np.array([0.4, -0.3]))
    way = Rates(LINEAR, (PRIOR,))
    found = look(way, Mixed(weights, hypotheses, (PRIOR,), (0,)), data, generator())
    one, two = (look(LINEAR, q, data, generator()) for q in others)
    torch.testing.assert_close(found.cost, 0.7 * one.cost + 0.3 * two.cost)
    torch.testing.assert_close(found.entropy, 0.7 * one.entropy + 0.3 * two.entropy)
    torch.testing.assert_close(
        found.log_predictive, (0.7 * one.log_predictive.exp() + 0.3 * two.log_predictive.exp()).log()
    )
    kept, total = merged(
        [*hypotheses, hypotheses[1]._replace(posterior=PRIOR)], torch.tensor([0.5, 0.3, 0.2]).double().log()
    )
    assert [h.posterior for h in kept] == others
    torch.testing.assert_close(total.exp(), torch.tensor([0.5, 0.5]).double())


def test_who_leads_on_end_is_counted_anew_when_another_leads():
    stream, *_ = regimes(1, 40, 40)
    way, seen = Rates(LINEAR, (PRIOR,)), []
    state = way.init(generator())
    for data in stream:
        state = way.update(state, data, generator())
        seen.append((state.leader.origin, state.led))
    assert len({origin for origin, _ in seen}) > 1
    assert all(led == (before[1] + 1 if origin == before[0] else 1) for before, (origin, led) in pairwise(seen))


def test_a_bank_recalls_a_regime_that_comes_back():
    gains = []
    for seed in range(3):
        stream, *_ = regimes(seed, 45, 45, 12, again=True)
        recalled, state = followed(Bank(LINEAR, (PRIOR,)), stream)
        learnt, _ = followed(Rates(LINEAR, (PRIOR,)), stream)
        assert 2 <= len(state.references) <= 5
        gains.append(recalled[90:].sum() - learnt[90:].sum())
    assert np.mean(gains) > 0.5


def test_a_bank_given_its_regimes_tells_which_is_on():
    stream, *_ = regimes(2, 60, 60)
    known = [followed(LINEAR, part)[1] for part in (stream[:40], stream[60:100])]
    bank = Bank(LINEAR, (PRIOR, *known))
    for k, part in enumerate((stream[40:58], stream[100:118]), 1):
        _, state = followed(bank, part, bank.start(known[2 - k]))
        assert state.leader.origin == k


def test_a_full_bank_gives_up_the_regime_kept_longest_ago():
    old, new, recent = (PRIOR._replace(means=(torch.full((1, 3), value).double(),)) for value in (1.0, 2.0, 3.0))
    leader, other, third = Hypothesis(new, 1.0, -5), Hypothesis(old, 1.0, 2), Hypothesis(new, 0.9, -5)
    weights = torch.log_softmax(torch.tensor([2.0, 1.0, 0.0]).double(), dim=0)
    state = Mixed(weights, (leader, other, third), (PRIOR, recent, old), (0, 10, 7), SETTLED, 30)
    kept = Bank(LINEAR, (PRIOR,), size=2).keep(state)
    assert kept.references == (PRIOR, recent, new)
    assert kept.kept == (0, 10, 30)
    assert [h.origin for h in kept.hypotheses] == [2, -30, 2]
    assert Bank(LINEAR, (PRIOR,), size=3).keep(state).references == (PRIOR, recent, old, new)
    known = state._replace(hypotheses=(leader._replace(origin=1), other))
    assert Bank(LINEAR, (PRIOR,), size=2).keep(known).references == (PRIOR, new, old)


def test_wrapped_engines_are_engines():
    """A network of classes, by draws: outputs, predictions, samples, KL, within `Streaming`."""
    engine = KalmanNetwork(Mlp((2, 8, 1)), Bernoulli())
    rng, data = generator(), np.random.default_rng(0)
    prior = engine.init(rng)
    q = engine.update(prior, batch(200, data), rng)
    for way in (Rates(engine, (prior, q)), Bank(engine, (prior,)), Forgetting(engine, prior, 0.98)):
        learner = Streaming(way, 20.0)
        state = learner.init(way.start(q) if isinstance(way, Rates) else q)
        for _ in range(4):
            state, info = learner.update(state, batch(10, data), rng)
            assert info.flags & ~Flag.ANOMALOUS == 0
        fresh = batch(200, data)
        told = predict(way, state.posterior, fresh.x, rng, 60)
        assert ((told.mean[:, 1] > 0.5) == fresh.y.bool()).float().mean() > 0.9
        assert way.outputs(state.posterior, fresh.x, rng, 7).shape == (7, 200, 1)
        assert way.sample(state.posterior, rng, 7).shape == (7, engine.network.parameters)
        assert way.kl(state.posterior, state.posterior) == pytest.approx(0.0, abs=1e-6)
        by_draws = way.likelihood.log_prob(way.outputs(state.posterior, fresh.x, rng, 2000), fresh.y)
        expected = (torch.logsumexp(by_draws, dim=0) - np.log(2000)).double()
        found = look(way, state.posterior, fresh, rng, 1000).log_predictive.double()
        assert (found - expected).abs().mean() < 0.05


def test_variational_inference_forgets_too():
    engine = Reparameterised(Mlp((2, 4, 1)), Bernoulli())
    prior = engine.init(generator())
    told = prior._replace(mean=torch.ones_like(prior.mean), scale=0.1 * prior.scale)
    for rate, wider in ((0.5, True), (1.0, False)):
        faded = power_prior(told, prior, rate)
        assert bool((faded.scale > told.scale).all()) is wider
        assert (faded.scale <= prior.scale).all()


@pytest.mark.parametrize(
    ("rates", "share", "most"),
    [((), 0.1, 6), ((0.9, 1.0), 0.1, 6), ((1.1,), 0.1, 6), ((1.0,), 0.0, 6), ((1.0,), 1.0, 6), ((1.0,), 0.1, 1)],
)
def test_what_rates_cannot_be_is_refused(rates, share, most):
    with pytest.raises(ValueError, match="expected"):
        Rates(LINEAR, (PRIOR,), rates, share, most)
    with pytest.raises(ValueError, match="0 references"):
        Rates(LINEAR, ())
    for size, references in ((0, 1), (-1, 1), (1, 3)):
        with pytest.raises(ValueError, match=f"found a bank of {size} for {references - 1} references"):
            Bank(LINEAR, (PRIOR,) * references, size=size)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_regret_is_near_change_point_detections_and_half_of_no_forgettings_at_most():
    """Of five seeds, as the study has it; each seed by itself after a switch, their sums on a stationary stream."""
    study = study_of("forgetting")
    switched, *others = zip(*(study.regression(seed) for seed in range(5)), strict=True)
    sums = [{name: sum(each[name] for each in part) for name in part[0]} for part in (switched, *others)]
    ours, never, best = "rates and fresh starts", "no forgetting", "change-point detection"
    assert all(each[ours] <= 0.5 * each[never] for each in switched)
    assert sums[0][ours] <= 1.1 * sums[0][best]
    assert sums[1][ours] <= 1.1 * sums[1][never]
    assert sums[2][ours] <= 0.9 * min(sums[2]["fresh starts"], sums[2][never])
