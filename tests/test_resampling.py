import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.resampling import ess, systematic

weights = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40).map(np.array).filter(lambda w: w.sum() > 1e-3)


@given(weights, st.floats(0.0, 1.0, exclude_max=True), st.floats(0.1, 10.0))
@settings(max_examples=300, deadline=None)
def test_each_is_drawn_floor_or_ceil_of_its_share(w, uniform, scale):
    n = len(w)
    copies, share = np.bincount(systematic(scale * w, uniform), minlength=n), n * w / w.sum()
    assert copies.sum() == n
    assert (copies >= np.floor(share - 1e-9)).all()
    assert (copies <= np.ceil(share + 1e-9)).all()


def test_copies_are_unbiased_over_uniforms():
    w = np.array([0.05, 0.4, 0.0, 0.13, 0.42])
    uniforms = (np.arange(20_000) + 0.5) / 20_000
    mean = np.mean([np.bincount(systematic(w, u), minlength=5) for u in uniforms], axis=0)
    assert mean == pytest.approx(5 * w, abs=1e-3)
    assert mean[2] == 0.0


def test_equal_weights_keep_everyone_and_one_weight_keeps_one():
    assert systematic(np.ones(7), 0.5).tolist() == list(range(7))
    assert systematic(np.eye(7)[3], 0.999).tolist() == [3] * 7


def test_effective_sample_size():
    assert ess(np.full(10, -700.0)) == pytest.approx(10.0)
    assert ess(np.log([1.0, 1e-300, 1e-300])) == pytest.approx(1.0)
    w = np.array([0.1, 0.2, 0.7])
    assert ess(np.log(w) + 5.0) == pytest.approx(1.0 / np.sum(w**2))
    assert ess(np.array([-np.inf, 0.0, 0.0])) == pytest.approx(2.0)
    assert ess(np.full(3, -np.inf)) == 0.0
