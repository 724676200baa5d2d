"""What breaks filters: underflow, long silence, contradictions, garbage. A status, a finite belief, no exception."""

import numpy as np
import pytest

from filters.imm import bank_of
from filters.kalman import FALSE_CLUSTER
from filters.spec import FEATURES, Features, Gaussian, Status
from tests.test_kalman import FILTER, MOTION, PRIOR, RNG, features, update


def assert_finite(state):
    belief = FILTER.belief(state)
    assert np.isfinite(belief.log_probs).all()
    assert np.exp(belief.log_probs).sum() == pytest.approx(1.0)
    assert np.isfinite(belief.position.mean).all()
    assert np.linalg.eigvalsh(belief.position.covariance).min() > 0.0
    for bank in state.banks:
        assert np.isfinite(bank.mean).all()
        assert np.linalg.eigvalsh(bank.covariance).min() > -1e-9


@pytest.mark.parametrize("visibility", [20.0, 1000.0])
@pytest.mark.parametrize("looks", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_ten_thousand_looks_without_an_echo(visibility, looks):
    """Within reach in clear air, and out of it in fog; predicted too, so that its prior spreads."""
    state = FILTER.init(PRIOR, RNG)
    unseen = features(detected=0.0, distance=14.0, log_visibility=np.log(visibility))
    for k in range(looks):
        state, info = update(state, unseen)
        assert info.status == Status.OK
        if k % 100 == 0:
            state = FILTER.predict(state, MOTION, 0.1, RNG)
    assert_finite(state)


def test_misses_that_say_nothing_change_nothing():
    """Far away in thick fog no cluster is expected of either class: the look's Gaussians stay as they were."""
    state = FILTER.init(PRIOR, RNG)
    unseen = features(detected=0.0, distance=40.0, log_visibility=np.log(20.0), pose=features().pose._replace(x=-40.0))
    first = state
    for _ in range(200):
        state, _ = update(state, unseen)
    for before, after in zip(first.banks, state.banks, strict=True):
        np.testing.assert_allclose(after.mean, before.mean, atol=1e-3)
        np.testing.assert_allclose(after.covariance, before.covariance, atol=1e-3)
    np.testing.assert_allclose(state.log_probs, first.log_probs, atol=1e-3)


def test_contradictory_looks():
    """Wide and flat, then narrow and round, again and again, here and there."""
    state, rng = FILTER.init(PRIOR, RNG), np.random.default_rng(0)
    for k in range(300):
        look = dict(width=1.9, power_spread=0.1) if k % 2 else dict(width=0.3, bulge=0.2, power_spread=0.6, fill=0.6)
        state, info = update(state, features(position=(10.0 + rng.normal(), rng.normal()), **look))
        assert np.isfinite(info.log_evidence).all()
        assert (info.log_evidence >= FALSE_CLUSTER - 1e-9).all()
    assert_finite(state)


def test_a_cluster_beyond_all_belief_underflows_nothing():
    state = FILTER.init(PRIOR, RNG)
    far, info = update(state, features(position=(1e6, -1e6), distance=1.4e6))
    assert info.status == Status.OK
    np.testing.assert_array_equal(far.log_probs, state.log_probs)
    assert_finite(far)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["distance", "width", "log_visibility", "power_spread"])
def test_features_that_are_no_numbers_are_refused(name, bad):
    state = FILTER.init(PRIOR, RNG)
    same, info = update(state, features(**{name: bad}))
    assert same is state
    assert info.status == Status.DEPLETED


def test_a_cluster_without_a_place_is_refused():
    seen = features()
    nowhere = Features(seen.values, np.full(2, np.nan), seen.covariance, seen.pose)
    assert update(FILTER.init(PRIOR, RNG), nowhere)[1].status == Status.DEPLETED
    assert len(seen.values) == len(FEATURES)


def test_a_covariance_that_is_not_positive_is_mended():
    state = FILTER.init(PRIOR, RNG)
    broken = [Gaussian(g.mean, g.covariance - 0.7 * np.eye(len(g.mean))) for g in state.banks[0].modes]
    state = state._replace(banks=(bank_of(state.banks[0].log_probs, broken), state.banks[1]))
    mended, info = update(state, features())
    assert info.status == Status.NOT_POSITIVE
    assert_finite(mended)
    assert update(mended, features())[1].status == Status.OK
