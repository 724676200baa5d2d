"""The e-process: its mean by enumeration, how often it cries wolf however often one looks, how soon it is right."""

from functools import reduce
from itertools import product

import numpy as np
import pytest
from scipy.special import expit, logit

from filters.eprocess import GRID, alarm, init, log_e, p_value, update


def streams(n, steps, slope=1.0, offset=0.0, seed=0, spread=3.0):
    """Log-odds that a filter says (n, steps), and truths drawn from σ(slope L + offset)."""
    rng = np.random.default_rng(seed)
    L = rng.normal(0.0, spread, (n, steps))
    return L, (rng.random((n, steps)) < expit(slope * L + offset)).astype(int)


def first_alarm(L, y, alpha=0.05):
    """The step, from 1, at which each stream's alarm is first up; infinity if never."""
    state, first = init(), np.full(len(L), np.inf)
    for t, (odds, truth) in enumerate(zip(L.T, y.T, strict=True), start=1):
        state = update(state, odds, truth)
        first = np.where(np.isinf(first) & alarm(state, alpha), t, first)
    return first


def slow_e(p, y):
    """E by its definition: products of ratios of probabilities, averaged over the grid."""
    products = [1.0] * len(GRID)
    for k, (a, b) in enumerate(GRID):
        for said, truth in zip(p, y, strict=True):
            q = expit(a * logit(said) + b)
            products[k] *= (q if truth else 1 - q) / (said if truth else 1 - said)
    return np.mean(products)


def run(L, y):
    return reduce(lambda state, step: update(state, *step), zip(L, y, strict=True), init())


def test_it_is_its_definition():
    rng = np.random.default_rng(1)
    p, y = rng.random(12), rng.integers(0, 2, 12)
    assert np.exp(log_e(run(logit(p), y))) == pytest.approx(slow_e(p, y), rel=1e-10)
    assert float(log_e(init())) == 0.0
    assert (1.0, 0.0) not in GRID  # what is on trial has no say in E


@pytest.mark.parametrize("steps", [1, 2, 5, 8])
def test_its_mean_is_one_if_the_probabilities_are_true(steps):
    L = np.random.default_rng(steps).normal(0.0, 3.0, steps)
    truths = np.array(list(product([0, 1], repeat=steps)))
    e = np.exp(log_e(run(L, truths.T)))
    chance = np.where(truths == 1, expit(L), expit(-L)).prod(axis=1)
    assert chance @ e == pytest.approx(1.0, abs=1e-12)
    lies = np.where(truths == 1, expit(0.5 * L), expit(-0.5 * L)).prod(axis=1)
    assert lies @ e > 1.0


def test_its_mean_is_one_where_what_is_said_depends_on_what_has_been():
    def expected(state, steps, last):
        if not steps:
            return np.exp(float(log_e(state)))
        L = 1.5 * last - 0.4 * steps
        return sum(expit(s * L) * expected(update(state, L, y), steps - 1, y) for y, s in ((0, -1), (1, 1)))

    assert expected(init(), 7, 0) == pytest.approx(1.0, abs=1e-12)


def test_looking_at_every_step_cries_wolf_in_one_of_twenty_streams_at_most_and_a_z_test_in_nearly_half():
    L, y = streams(2000, 300, seed=2)
    false = np.isfinite(first_alarm(L, y)).mean()
    assert 0.015 < false < 0.05 + 2.33 * (0.05 * 0.95 / 2000) ** 0.5
    p = expit(L)
    z = np.cumsum(y - p, axis=1) / np.sqrt(np.cumsum(p * (1.0 - p), axis=1))
    assert 0.35 < (np.abs(z) > 1.96).any(axis=1).mean() < 0.55
    assert (np.abs(z[:, -1]) > 1.96).mean() < 0.07  # looked at once it is honest


@pytest.mark.parametrize(
    ("slope", "offset", "spread", "median"), [(0.5, 0.0, 3.0, 65), (2.0, 0.0, 1.5, 100), (1.0, 1.0, 3.0, 95)]
)
def test_a_filter_that_lies_is_found_out_within_so_many_encounters(slope, offset, spread, median):
    first = first_alarm(*streams(600, 400, slope, offset, 3, spread))
    assert 0.7 * median < np.median(first) < median
    assert np.isfinite(first).mean() > 0.9


def test_streams_side_by_side_are_streams_alone():
    L, y = streams(5, 40, 0.5, seed=4)
    together = run(L.T, y.T)
    alone = [run(odds, truth) for odds, truth in zip(L, y, strict=True)]
    np.testing.assert_allclose(together.log_ratios, [s.log_ratios for s in alone], atol=1e-12)
    np.testing.assert_allclose(together.highest, [s.highest for s in alone], atol=1e-12)
    assert together.log_ratios.shape == (5, len(GRID))


def test_an_alarm_stays_and_tells_how_unlikely_it_was():
    wrong = run([2.0] * 3, [0] * 3)
    calm = run([2.0] * 43, [0] * 3 + [1] * 40)
    assert float(log_e(calm)) < float(log_e(wrong)) == float(calm.highest)
    assert float(p_value(calm)) == pytest.approx(np.exp(-float(log_e(wrong))))
    assert alarm(calm, 1.0001 * float(p_value(calm)))
    assert not alarm(calm, 0.9999 * float(p_value(calm)))
    assert float(p_value(init())) == 1.0


def test_a_wrong_certainty_is_evidence_without_end_and_a_right_one_none():
    for L, y in ((np.inf, 0), (-np.inf, 1)):
        assert np.array_equal(update(run([0.5], [1]), L, 1 - y).log_ratios, run([0.5], [1]).log_ratios)
        state = run([0.5, L, 0.5, L, -L, 800.0], [1, y, 0, 1 - y, y, 1])
        assert log_e(state) == np.inf
        assert p_value(state) == 0.0
        assert alarm(state, 1e-300)
    both = update(init(), np.array([np.inf, 0.0]), np.array([0, 0]))
    assert log_e(both)[0] == np.inf
    assert np.isfinite(log_e(both)[1])


@pytest.mark.parametrize("L", [40.0, 400.0, 1e5])
def test_log_odds_beyond_what_a_probability_can_hold_are_told_apart(L):
    mildest = sum(np.exp(-b) for a, b in GRID if a == 0.25) / len(GRID)  # of the slope that is least surprised
    assert float(log_e(update(init(), L, 0))) == pytest.approx(0.75 * L + np.log(mildest), rel=1e-5)


@pytest.mark.parametrize(("L", "y"), [(np.nan, 1), (0.0, 2), (0.0, 0.5), (np.array([0.0, np.nan]), np.array([0, 1]))])
def test_what_is_no_belief_or_no_truth_is_refused(L, y):
    with pytest.raises(ValueError, match="leave that encounter out"):
        update(init(), L, y)


def test_alpha_is_a_probability():
    for alpha in (0.0, 1.0, 5):
        with pytest.raises(ValueError, match="found alpha"):
            alarm(init(), alpha)
