"""The gate on compute: what it asks again, that this is said as all draws say it, and what it saves."""

import numpy as np
import pytest
import torch

from filters.adaptation.compute_gate import FEW, INFORMATION, ComputeGate, taken
from filters.posterior.ensemble import Ensemble
from filters.posterior.likelihoods import Bernoulli
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


@pytest.mark.parametrize("compact", [False, True])
def test_rows_asked_again_are_said_as_by_all_draws_and_others_as_by_the_first(ensemble, rows, compact):
    ensemble = ensemble.compact() if compact else ensemble
    answer = ComputeGate.of(ensemble, TAU).predict(rows)
    everything, few = ensemble.predict(rows), taken(ensemble, slice(FEW)).predict(rows)
    assert 0 < answer.again.sum() < len(rows)
    for found, full, cheap in zip(answer.prediction, everything, few, strict=True):
        torch.testing.assert_close(found[answer.again], full[answer.again], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found[~answer.again], cheap[~answer.again], atol=1e-6, rtol=1e-5)


def test_the_share_is_counted_in_draws_of_rows(ensemble, rows):
    answer = ComputeGate.of(ensemble, TAU).predict(rows)
    n, again = len(rows), int(answer.again.sum())
    assert answer.share == pytest.approx((FEW * n + (100 - FEW) * again) / (100 * n))


def test_it_asks_again_near_the_threshold_and_where_draws_disagree_and_nowhere_else(ensemble, rows):
    p = torch.sigmoid(taken(ensemble, slice(FEW)).outputs(rows)[..., 0]).double()
    error = p.std(dim=0, unbiased=True) / FEW**0.5
    mean = p.mean(dim=0)
    entropy = torch.special.entr(p) + torch.special.entr(1.0 - p)
    told = torch.special.entr(mean) + torch.special.entr(1.0 - mean) - entropy.mean(dim=0)
    expected = ((mean - TAU).abs() <= 3.0 * error) | (told >= INFORMATION)
    assert (ComputeGate.of(ensemble, TAU).predict(rows).again == expected).all()


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
    gate = ComputeGate.of(ensemble, TAU)
    with pytest.raises(ValueError, match="not finite"):
        gate.predict(torch.tensor([[0.0, float("nan")]]))
    with pytest.raises(ValueError, match=r"expected \(n, 2\)"):
        gate.predict(torch.zeros(1, 3))
