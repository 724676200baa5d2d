"""Change-point detection against the sum over all ways to cut a stream."""

from itertools import pairwise, product
from math import log

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from filters.adaptation.changepoint import ChangePoints

MEAN, COVARIANCE = (0.5, -0.2), ((1.0, 0.3), (0.3, 0.7))


def enumerated(x: np.ndarray, y: np.ndarray, noise: float, hazard: float) -> tuple[float, np.ndarray]:
    """ln p(y) and P(run length after the last of them), by every set of changes; a change may follow the last too."""
    n, total = len(y), np.zeros(len(y) + 1)
    for cuts in product((False, True), repeat=n):
        edges = [0, *(k + 1 for k in range(n) if cuts[k] and k + 1 < n), n]
        p = np.prod([hazard if cut else 1.0 - hazard for cut in cuts])
        for a, b in pairwise(edges):
            part = x[a:b]
            spread = part @ np.array(COVARIANCE) @ part.T + noise * np.eye(b - a)
            p *= multivariate_normal.pdf(y[a:b], part @ np.array(MEAN), spread)
        total[0 if cuts[-1] else n - edges[-2]] += p
    return float(np.log(total.sum())), total / total.sum()


@pytest.mark.parametrize("hazard", [0.02, 0.4])
def test_it_is_the_sum_over_all_changes(hazard):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 2)), rng.normal(size=7) + np.array([0, 0, 0, 4, 4, 4, 4])
    detector = ChangePoints(MEAN, COVARIANCE, 0.3, hazard)
    state, log_p = detector.init(), 0.0
    for a, b in zip(x, y, strict=True):
        state, evidence = detector.update(state, a, b)
        log_p += evidence
    expected, runs = enumerated(x, y, 0.3, hazard)
    assert log_p == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(np.exp(state.log_probs)[::-1], runs, atol=1e-12)


def test_a_change_of_mean_is_found_when_it_comes():
    rng = np.random.default_rng(1)
    y = rng.normal(size=80) + np.where(np.arange(80) < 50, 0.0, 4.0)
    detector = ChangePoints((0.0,), ((10.0,),), 1.0, 0.01)
    state = detector.init()
    for value in y:
        state, _ = detector.update(state, np.ones(1), value)
    runs = np.arange(len(state.log_probs))[::-1]
    assert runs[np.argmax(state.log_probs)] == 30
    assert np.exp(state.log_probs).sum() == pytest.approx(1.0)


@pytest.mark.parametrize(("noise", "hazard"), [(0.0, 0.1), (1.0, 0.0), (1.0, 1.0), (float("nan"), 0.1)])
def test_what_it_cannot_be_is_refused(noise, hazard):
    with pytest.raises(ValueError, match="expected"):
        ChangePoints((0.0,), ((1.0,),), noise, hazard)
    with pytest.raises(ValueError, match="expected"):
        ChangePoints((0.0,), ((1.0, 0.0), (0.0, 1.0)), 1.0, 0.5)


def test_hazard_is_what_the_shortest_run_has():
    detector = ChangePoints((0.0,), ((1.0,),), 1.0, 0.2)
    state, _ = detector.update(detector.init(), np.ones(1), 0.3)
    assert state.log_probs[-1] == pytest.approx(log(0.2))
