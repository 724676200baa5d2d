"""The gate on compute: what it asks again, that this is said as all draws say it, and what it saves."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from filters.adaptation.compute_gate import FEW, INFORMATION, QUANTILES, ComputeGate, smoothed, taken
from filters.posterior.ensemble import Ensemble
from filters.posterior.likelihoods import Bernoulli, Categorical
from filters.posterior.mlp import Mlp

TAU = 0.5
NETWORK = Mlp((2, 16, 1))


@pytest.fixture(scope="module")
def ensemble():
    """100 draws about one network that says either class, with rows on which they disagree."""
    rng = torch.Generator().manual_seed(3)
    mean = torch.cat([NETWORK.start(rng)[:-1], torch.tensor([0.0])])
    return Ensemble.of(NETWORK, Bernoulli(), mean + 0.3 * torch.randn(100, NETWORK.parameters, generator=rng))


@pytest.fixture(scope="module")
def rows():
    return 4.0 * torch.randn(500, 2, generator=torch.Generator().manual_seed(1))


def told(ensemble, rows):
    """P(barrier), its deviation over pseudo-draws, and the draws' share of the entropy, by the first draws: SciPy's."""
    f = taken(ensemble, slice(FEW)).outputs(rows)[..., 0].double().numpy()
    z = stats.norm.ppf((np.arange(QUANTILES) + 0.5) / QUANTILES)
    f = f.mean(axis=0) + f.std(axis=0, ddof=1) * np.sqrt(1.0 + 1.0 / FEW) * (z / np.sqrt(np.mean(z**2)))[:, None]
    p = special.expit(f)
    mean, entropy = p.mean(axis=0), (special.entr(p) + special.entr(1.0 - p)).mean(axis=0)
    return mean, p.std(axis=0), special.entr(mean) + special.entr(1.0 - mean) - entropy


@pytest.mark.parametrize("compact", [False, True])
def test_rows_asked_again_are_said_as_by_all_draws_and_others_by_the_firsts_normal(ensemble, rows, compact):
    ensemble = ensemble.compact() if compact else ensemble
    answer = ComputeGate.of(ensemble, TAU).predict(rows)
    assert 0 < answer.again.sum() < len(rows)
    for found, full in zip(answer.prediction, ensemble.predict(rows), strict=True):
        torch.testing.assert_close(found[answer.again], full[answer.again], atol=1e-5, rtol=1e-4)
    mean, deviation, information = (torch.tensor(part)[~answer.again] for part in told(ensemble, rows))
    found = [part[~answer.again].double() for part in answer.prediction]
    torch.testing.assert_close(found[0][:, 1], mean, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[1][:, 1].sqrt(), deviation, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(found[4], information, atol=1e-5, rtol=1e-3)


def test_the_normal_of_few_logits_foretells_better_than_their_mean():
    """Nats lost beyond what all draws lose: of labels drawn from them, and of the less likely label."""
    rng = torch.Generator().manual_seed(2)
    mean, deviation = 4.0 * torch.randn(4000, generator=rng), 3.0 * torch.rand(4000, generator=rng)
    logits = mean + deviation * torch.randn(100, 4000, generator=rng)
    said = [logits, logits[:FEW], smoothed(logits[:FEW, :, None])[..., 0]]
    whole, few, normal = (torch.sigmoid(f).mean(dim=0).clamp(1e-6, 1.0 - 1e-6) for f in said)
    likely = whole >= 0.5

    def beyond(p):
        lost = (whole / p).log(), ((1.0 - whole) / (1.0 - p)).log()
        contrary = torch.where(likely, lost[1], lost[0])
        return float((whole * lost[0] + (1.0 - whole) * lost[1]).mean()), float(contrary.mean())

    assert 0.0 < beyond(normal)[0] < 0.95 * beyond(few)[0]
    assert abs(beyond(normal)[1]) < 0.5 * abs(beyond(few)[1])


def test_the_share_is_counted_in_draws_of_rows(ensemble, rows):
    answer = ComputeGate.of(ensemble, TAU).predict(rows)
    n, again = len(rows), int(answer.again.sum())
    assert answer.share == pytest.approx((FEW * n + (100 - FEW) * again) / (100 * n))


def test_it_asks_again_near_the_threshold_and_where_draws_disagree_and_nowhere_else(ensemble, rows):
    mean, deviation, information = told(ensemble, rows)
    expected = (np.abs(mean - TAU) <= 3.0 * deviation / np.sqrt(FEW)) | (information >= INFORMATION)
    assert (ComputeGate.of(ensemble, TAU).predict(rows).again.numpy() == expected).all()


def test_decisions_are_nearly_always_those_of_all_draws(ensemble, rows):
    full = ensemble.predict(rows).mean[:, 1] >= TAU
    gated = ComputeGate.of(ensemble, TAU).predict(rows).prediction.mean[:, 1] >= TAU
    few = taken(ensemble, slice(FEW)).predict(rows).mean[:, 1] >= TAU
    assert (few != full).sum() >= 5  # there is something to lose
    assert (gated != full).sum() <= 1


def test_draws_that_agree_on_a_coin_are_left_alone():
    """The entropy is ln 2, and no draw has anything to add."""
    ensemble = Ensemble.of(NETWORK, Bernoulli(), torch.zeros(100, NETWORK.parameters))
    answer = ComputeGate.of(ensemble, 0.1).predict(torch.randn(50, 2))
    torch.testing.assert_close(answer.prediction.entropy, torch.full((50,), float(np.log(2.0))))
    assert not answer.again.any()
    assert answer.share == pytest.approx(FEW / 100)


def test_what_cannot_be_gated_is_refused(ensemble):
    with pytest.raises(ValueError, match="found 8 draws, expected more than the 8"):
        ComputeGate.of(taken(ensemble, slice(8)), TAU)
    pair = Mlp((2, 2))
    with pytest.raises(ValueError, match="found a network of 2 outputs, expected one logit"):
        ComputeGate.of(Ensemble.of(pair, Categorical(2), torch.zeros(100, pair.parameters)), TAU)
    gate = ComputeGate.of(ensemble, TAU)
    with pytest.raises(ValueError, match="not finite"):
        gate.predict(torch.tensor([[0.0, float("nan")]]))
    with pytest.raises(ValueError, match=r"expected \(n, 2\)"):
        gate.predict(torch.zeros(1, 3))
