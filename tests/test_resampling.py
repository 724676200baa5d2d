import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.resampling import ess, stratified, systematic
from filters.streams import stream

weights = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40).map(np.array).filter(lambda w: w.sum() > 1e-3)
uniform = st.floats(0.0, 1.0, exclude_max=True)


def searched(w, uniforms):
    """Ancestors by a search for each point, in NumPy."""
    edges, n = np.cumsum(w), len(uniforms)
    return np.searchsorted(edges, (np.arange(n) + uniforms) / n * edges[-1], side="right").clip(max=len(w) - 1)


@given(weights, uniform, st.floats(0.1, 10.0))
@settings(max_examples=300, deadline=None)
def test_each_is_drawn_floor_or_ceil_of_its_share(w, uniform, scale):
    n = len(w)
    copies, share = np.bincount(systematic(scale * w, uniform), minlength=n), n * w / w.sum()
    assert copies.sum() == n
    assert (copies >= np.floor(share - 1e-9)).all()
    assert (copies <= np.ceil(share + 1e-9)).all()


@given(weights, st.lists(uniform, min_size=1, max_size=60).map(np.array))
@settings(max_examples=300, deadline=None)
def test_each_stratum_has_one_of_its_own(w, uniforms):
    n = len(uniforms)
    ancestors, share = stratified(w, uniforms), n * w / w.sum()
    upper = np.cumsum(share)
    assert len(ancestors) == n
    assert (np.diff(ancestors) >= 0).all()
    assert (upper[ancestors] >= np.arange(n) - 1e-9).all()
    assert ((upper - share)[ancestors] <= np.arange(n) + 1.0 + 1e-9).all()
    assert (abs(np.bincount(ancestors, minlength=len(w)) - share) < 2.0 + 1e-9).all()


@pytest.mark.parametrize("n", [1, 2, 1023, 5000])
@pytest.mark.parametrize("m", [1, 3, 1024, 4001])
def test_ancestors_are_those_of_a_search(m, n):
    rng = stream(1, "search", m, n)
    w = rng.exponential(size=m) ** 3 * (rng.random(m) < 0.7)
    w[rng.integers(m)] += 0.1
    uniforms = rng.random(n)
    assert (stratified(w, uniforms) == searched(w, uniforms)).all()
    assert (systematic(w, uniforms[0], n) == searched(w, np.full(n, uniforms[0]))).all()


def test_copies_are_unbiased_over_uniforms():
    w = np.array([0.05, 0.4, 0.0, 0.13, 0.42])
    grid = (np.arange(20_000) + 0.5) / 20_000
    columns = np.array([stream(3, "strata", j).permutation(grid) for j in range(5)]).T  # each covers [0, 1)
    for resample, uniforms in ((systematic, grid), (stratified, columns)):
        mean = np.mean([np.bincount(resample(w, u), minlength=5) for u in uniforms], axis=0)
        assert mean == pytest.approx(5 * w, abs=1e-3)
        assert mean[2] == 0.0


def test_both_precisions_of_the_same_weights_have_the_same_ancestors():
    rng = stream(2, "precision")
    w = rng.exponential(size=100_000).astype(np.float32) ** 4
    uniforms = rng.random(len(w))
    assert (systematic(w, 0.3) == systematic(w.astype(float), 0.3)).all()
    assert (stratified(w, uniforms) == stratified(w.astype(float), uniforms)).all()


def test_equal_weights_keep_everyone_and_one_weight_keeps_one():
    assert systematic(np.ones(7), 0.5).tolist() == list(range(7))
    assert systematic(np.eye(7)[3], 0.999).tolist() == [3] * 7
    assert stratified(np.eye(7)[3], np.linspace(0.0, 0.999, 7)).tolist() == [3] * 7


def test_the_last_point_does_not_pass_the_last_weight():
    w = np.array([0.1, 0.2, 0.7, 0.0, 0.0]) / 3.0
    almost = np.nextafter(1.0, 0.0)
    assert systematic(w, almost, 1000)[-1] == 2
    assert stratified(w, np.full(1000, almost))[-1] == 2
    assert systematic(np.array([49.0, 0.0]), almost, 1).tolist() == [0]  # 49 (1/49) is less than 1


@pytest.mark.parametrize("w", [np.zeros(4), np.full(4, np.nan), np.array([1.0, np.inf, 0.0, 0.0]), -np.ones(4)])
def test_weights_without_a_sum_count_as_equal(w):
    assert systematic(w, 0.5).tolist() == [0, 1, 2, 3]
    assert stratified(w, np.full(8, 0.5)).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_effective_sample_size():
    assert ess(np.full(10, -700.0)) == pytest.approx(10.0)
    assert ess(np.log([1.0, 1e-300, 1e-300])) == pytest.approx(1.0)
    w = np.array([0.1, 0.2, 0.7])
    assert ess(np.log(w) + 5.0) == pytest.approx(1.0 / np.sum(w**2))
    assert ess(np.array([-np.inf, 0.0, 0.0])) == pytest.approx(2.0)
    assert ess(np.full(3, -np.inf)) == 0.0
