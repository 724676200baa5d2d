"""Scores against independent implementations: scikit-learn and SciPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import binomtest
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from fogsim.scoring import corp, metrics
from fogsim.scoring.scores import Score
from tests.scored import encounter

# Some equal, others no less than 1e-5 apart, as scikit-learn takes what differs in the last digits for equal; both
# classes, as it has no AUC of one.
probabilities = st.integers(1, 99_999).map(lambda k: k / 1e5) | st.sampled_from([0.2, 0.5])
labelled = st.lists(st.tuples(probabilities, st.booleans()), max_size=40)
both = labelled.map(lambda rows: [(0.3, False), (0.7, True), *rows])


@given(both)
def test_scikit_learn_agrees(data):
    p, y = (np.array(column, float) for column in zip(*data, strict=True))
    assert metrics.brier(p, y).mean() == pytest.approx(brier_score_loss(y, p), abs=1e-8)
    assert metrics.log_loss(p, y).mean() == pytest.approx(log_loss(y, p), abs=1e-8)
    assert metrics.auc(p, y) == pytest.approx(roc_auc_score(y, p), abs=1e-8)
    best = IsotonicRegression().fit_transform(p, y)
    assert_allclose(corp.recalibrated(p, y), best, atol=1e-8)
    mcb, dsc, unc = corp.decompose(p, y)
    parts = [brier_score_loss(y, q) for q in (p, np.clip(best, 0.0, 1.0), np.full(len(y), y.mean()))]
    assert_allclose((mcb, dsc, unc), (parts[0] - parts[1], parts[2] - parts[1], parts[2]), atol=1e-8)
    assert abs(metrics.brier(p, y).mean() - (mcb - dsc + unc)) < 1e-12


@given(both)
def test_a_table_holds_the_same(data):
    p, y = (np.array(column, float) for column in zip(*data, strict=True))
    score = Score(tuple(encounter(k, int(t), fused=float(q)) for k, (q, t) in enumerate(data)))
    row = score.beliefs[0]
    found = (row.brier, row.log_loss, row.auc, row.mcb.mean - row.dsc.mean + row.unc)
    wanted = (brier_score_loss(y, p), log_loss(y, p), roc_auc_score(y, p), brier_score_loss(y, p))
    assert_allclose(found, wanted, atol=1e-8)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(0, 10, 0.0, 0.30850), (10, 10, 0.69150, 1.0), (5, 10, 0.18709, 0.81291), (1, 20, 0.00127, 0.24873)],
)
def test_exact_intervals_of_the_tables(k, n, low, high):
    assert_allclose(metrics.exact_interval(k, n), (k / n, low, high), atol=5e-6)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_exact_intervals_are_scipys(counts):
    k, n = counts
    wanted = binomtest(k, n).proportion_ci(0.95, "exact")
    assert_allclose(metrics.exact_interval(k, n)[1:], (wanted.low, wanted.high), atol=1e-8)


def test_a_share_of_none_has_no_interval():
    assert np.isnan(metrics.exact_interval(0, 0)).all()


@given(st.integers(1, 30), st.integers(0, 99))
def test_many_resamples_at_once_are_as_each_by_itself(n, seed):
    rng = np.random.default_rng(seed)
    p, y = np.round(rng.random(n), 1), rng.integers(2, size=n).astype(float)
    times = rng.multinomial(n, np.full(n, 1.0 / n), size=6).astype(float)
    for counts, found in zip(times.astype(int), corp.parts(p, y, times).T, strict=True):
        each = corp.decompose(np.repeat(p, counts), np.repeat(y, counts))
        assert_allclose(found, (each.mcb, each.dsc), atol=1e-12)


def test_columns_are_bootstrapped_as_each_by_itself():
    values = np.random.default_rng(3).normal(size=(40, 3))
    values[:7, 1] = np.nan
    found = metrics.bootstrap_columns(values)
    for column, interval in zip(values.T, found, strict=True):
        assert_allclose(interval, metrics.paired_bootstrap(column))
    assert np.isnan(metrics.bootstrap_columns(np.empty((0, 2)))).all()


def test_a_calibration_counts_a_seed_once():
    rng = np.random.default_rng(4)
    p = rng.random(60)
    y = (rng.random(60) < p).astype(int)
    one, twice = (
        corp.calibration(p, y, n=300),
        corp.calibration(np.tile(p, 2), np.tile(y, 2), np.tile(np.arange(60), 2), n=300),
    )
    assert_allclose(one.mcb, twice.mcb)
    assert_allclose(one.calibrated, twice.calibrated)
    assert one.p_value == twice.p_value
