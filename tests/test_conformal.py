"""The two guarantees on misses: as exact laws, by drawing, and against MAPIE."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapie.risk_control import methods
from scipy.special import betainc, betaln, comb

from filters.conformal import exceedance, mean_threshold, misses_interval, pac_threshold


@pytest.mark.parametrize(
    ("n", "alpha", "k"),
    [
        *[(18, 0.05, 0), (19, 0.05, 1), (99, 0.05, 5), (100, 0.05, 5), (1000, 0.05, 50)],
        *[(19, 0.01, 0), (98, 0.01, 0), (99, 0.01, 1), (100, 0.01, 1), (1000, 0.01, 10)],
        *[(99, 0.29, 29), (99, 0.57, 57), (9, 1 - 0.9, 1), (0, 0.5, 0), (2, 1 - 1e-12, 2)],
    ],
)
def test_k_and_the_value_at_it(n, alpha, k):
    found = mean_threshold(np.arange(n)[::-1] / 7.0, alpha)
    assert (found.k, found.n, found.alpha, found.guarantee, found.delta) == (k, n, alpha, "mean", None)
    assert found.value == ((k - 1) / 7.0 if k else -np.inf)


def test_expected_misses_of_the_reference():
    found = [mean_threshold(np.arange(n), a).expected_miss for a in (0.05, 0.01) for n in (19, 99, 100, 1000)]
    assert found == pytest.approx([0.05, 0.05, 5 / 101, 50 / 1001, 0.0, 0.01, 1 / 101, 10 / 1001], abs=1e-15)


def slow_threshold(scores, percent):
    """The greatest λ with (misses + 1) / (n + 1) <= α: Angelopoulos et al.'s own words, in whole numbers."""
    fit = [v for v in scores if 100 * (sum(s < v for s in scores) + 1) <= percent * (len(scores) + 1)]
    return max(fit, default=-np.inf)


@given(st.lists(st.integers(-6, 6).map(float), max_size=40), st.integers(1, 99))
def test_it_is_conformal_risk_control_of_equal_scores_too(scores, percent):
    assert mean_threshold(scores, percent / 100).value == slow_threshold(scores, percent)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.33])
@pytest.mark.parametrize("n", [19, 60, 101])
def test_mapie_controls_the_risk_at_the_same_score(alpha, n):
    scores = np.sort(np.random.default_rng(n).normal(size=n))
    missed = (scores[:, None] < scores).astype(float)  # each barrier at each λ
    _, bound = methods.get_r_hat_plus(missed, scores, "crc", None, None, None)
    theirs = methods.find_best_predict_param(scores, bound, np.array([alpha + 1e-9]))  # it asks for less, not up to
    assert mean_threshold(scores, alpha).value == theirs[0]


@pytest.mark.parametrize(("alpha", "least"), [(0.05, 59), (0.01, 299)])
def test_a_pac_threshold_takes_enough_barriers(alpha, least):
    short, enough = (pac_threshold(np.arange(n) / 3.0, alpha, 0.05) for n in (least - 1, least))
    assert (short.k, short.value, short.expected_miss) == (0, -np.inf, 0.0)
    assert (enough.k, enough.value, enough.guarantee, enough.delta) == (1, 0.0, "pac", 0.05)
    assert least == np.ceil(np.log(0.05) / np.log(1 - alpha))


@pytest.mark.parametrize("delta", [0.01, 0.05, 0.5, 0.999])
@pytest.mark.parametrize(("n", "alpha"), [(40, 0.2), (300, 0.05), (1000, 0.01), (5, 0.9)])
def test_k_of_pac_is_the_largest_that_beta_allows(n, alpha, delta):
    found = pac_threshold(np.arange(n), alpha, delta)
    allowed = [k for k in range(1, n + 1) if 1.0 - betainc(k, n + 1 - k, alpha) <= delta]
    assert found.k == max(allowed, default=0)
    assert found.value == (found.k - 1 if allowed else -np.inf)
    assert found.expected_miss == found.k / (n + 1)


SIZES = {
    (19, 0.05): 0.377,
    (99, 0.05): 0.445,
    (100, 0.05): 0.436,
    (1000, 0.05): 0.480,
    (99, 0.01): 0.370,
    (100, 0.01): 0.366,
    (1000, 0.01): 0.457,
}


def test_the_mean_guarantee_is_missed_by_a_third_to_a_half_of_calibration_sets():
    found = {(n, a): float(exceedance(mean_threshold(np.arange(n), a).k, n, a)) for n, a in SIZES}
    assert found == pytest.approx(SIZES, abs=5e-4)
    assert exceedance(5, 99, 0.05) == pytest.approx(1.0 - betainc(5, 95, 0.05), abs=1e-12)


@pytest.mark.parametrize("n", [19, 50, 200])
def test_drawn_calibration_sets_miss_as_often_as_they_should(n):
    """Scores are uniform, so that λ is the miss rate of fresh barriers; 4.5 standard errors."""
    sets = np.random.default_rng(n).random((20_000, n))
    rate = np.array([mean_threshold(s, 0.05).value for s in sets])
    k = mean_threshold(sets[0], 0.05).k
    assert abs(rate.mean() - k / (n + 1)) < 4.5 * rate.std() / 20_000**0.5
    assert abs((rate > 0.05).mean() - exceedance(k, n, 0.05)) < 4.5 * 0.5 / 20_000**0.5
    if n == 200:
        sure = np.array([pac_threshold(s, 0.05, 0.1).value for s in sets[:4000]])
        assert 0.05 < (sure > 0.05).mean() < 0.1 + 4.5 * 0.3 / 4000**0.5


def test_equal_scores_miss_less_never_more():
    sets = np.random.default_rng(1).integers(0, 5, (4000, 39))
    rate = np.array([mean_threshold(s, 0.3).value for s in sets]) / 5  # P(score < λ) of scores 0 to 4
    assert 0.0 < rate.mean() < 0.3


def tails(k, n, fresh):
    """P(misses <= x), P(misses >= x) for x = 0 ... fresh, from the law's own sum."""
    x = np.arange(fresh + 1)
    mass = comb(fresh, x) * np.exp(betaln(x + k, fresh - x + n + 1 - k) - betaln(k, n + 1 - k))
    return np.cumsum(mass), np.cumsum(mass[::-1])[::-1]


@pytest.mark.parametrize(("k", "n", "fresh", "level"), [(25, 500, 500, 0.99), (1, 19, 40, 0.9), (3, 3, 10, 0.5)])
def test_the_interval_of_misses_leaves_no_more_than_half_of_the_rest_at_either_end(k, n, fresh, level):
    low, high = misses_interval(k, n, fresh, level)
    below, above = tails(k, n, fresh)
    tail = 0.5 * (1.0 - level)
    assert below[low] >= tail > (below[low - 1] if low else 0.0)
    assert above[high] > tail >= (above[high + 1] if high < fresh else 0.0)


def test_five_hundred_barriers_foretell_the_misses_among_five_hundred_more():
    assert misses_interval(25, 500, 500) == (10, 45)
    scores = np.random.default_rng(2).normal(size=(4000, 1000))
    missed = np.array([(s[500:] < mean_threshold(s[:500], 0.05).value).sum() for s in scores])
    assert missed.mean() == pytest.approx(500 * 25 / 501, abs=4.5 * missed.std() / 4000**0.5)
    assert 0.985 < ((missed >= 10) & (missed <= 45)).mean() < 0.998
    assert misses_interval(0, 10, 50) == (0, 0)


def test_infinite_scores_are_scores_and_none_is_moved():
    scores = np.array([np.inf, 1.0, -np.inf])
    assert [mean_threshold(scores, a).value for a in (0.25, 0.5, 0.75)] == [-np.inf, 1.0, np.inf]
    assert scores.tolist() == [np.inf, 1.0, -np.inf]


@pytest.mark.parametrize(
    ("threshold", "said"),
    [
        (lambda: mean_threshold([1.0], 0.0), "found alpha = 0.0"),
        (lambda: mean_threshold([1.0], 5), "found alpha = 5"),
        (lambda: pac_threshold([1.0], 0.1, 1.0), "found delta = 1.0"),
        (lambda: mean_threshold([1.0, np.nan], 0.5), "with NaN"),
        (lambda: pac_threshold([[1.0]], 0.5), r"found scores \(1, 1\)"),
        (lambda: misses_interval(4, 3, 10), "found k = 4 of n = 3"),
    ],
)
def test_what_bounds_nothing_is_refused(threshold, said):
    with pytest.raises(ValueError, match=said):
        threshold()
