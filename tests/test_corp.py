"""CORP against hand numbers and a slow twin of isotonic regression; what chance shows beside it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogsim.scoring import corp
from fogsim.scoring.metrics import brier

labelled = st.lists(st.tuples(st.integers(0, 8).map(lambda k: k / 8), st.integers(0, 1)), min_size=1, max_size=14)


def slow_isotonic(p, y):
    """x̂_i = max over j with p_j <= p_i of min over k with p_k >= p_i of the mean of y over p_j <= p <= p_k."""

    def mean(low, high):
        return np.mean(y[(low <= p) & (p <= high)])

    return np.array([max(min(mean(low, high) for high in p[p >= q]) for low in p[p <= q]) for q in p])


def calibrated(n, seed, sharpness=1.0):
    """Truths drawn from probabilities whose log-odds are then stretched."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0.0, 1.5, n)
    truth = rng.random(n) < 1.0 / (1.0 + np.exp(-odds))
    return 1.0 / (1.0 + np.exp(-sharpness * odds)), truth.astype(int)


def test_five_encounters_by_hand():
    p, y = [0.1, 0.2, 0.3, 0.4, 0.5], [0, 1, 0, 1, 1]
    np.testing.assert_allclose(corp.recalibrated(p, y), [0.0, 0.5, 0.5, 1.0, 1.0])
    np.testing.assert_allclose(corp.decompose(p, y), [0.27 - 0.10, 0.24 - 0.10, 0.24])


def test_equal_probabilities_are_recalibrated_to_the_same():
    np.testing.assert_allclose(corp.recalibrated([0.4, 0.4, 0.9, 0.1], [0, 1, 1, 0]), [0.5, 0.5, 1.0, 0.0])
    np.testing.assert_allclose(corp.recalibrated([0.3, 0.7, 0.3], [1, 0, 0]), 1 / 3)  # weighed by how many there are
    np.testing.assert_allclose(corp.decompose([0.5, 0.5], [0, 1]), [0.0, 0.0, 0.25])


@given(labelled)
def test_it_is_the_isotonic_regression(data):
    p, y = (np.array(column) for column in zip(*data, strict=True))
    np.testing.assert_allclose(corp.recalibrated(p, y), slow_isotonic(p, y), atol=1e-12)


@given(labelled)
def test_the_parts_are_the_score(data):
    p, y = (np.array(column) for column in zip(*data, strict=True))
    mcb, dsc, unc = corp.decompose(p, y)
    assert abs(brier(p, y).mean() - (mcb - dsc + unc)) < 1e-12
    assert min(mcb, dsc) > -1e-12
    assert unc == pytest.approx(y.mean() * (1 - y.mean()))


def test_no_encounter_has_no_parts():
    assert all(math.isnan(v) for v in corp.decompose([], []))


def test_a_calibrated_belief_looks_like_chance_and_an_overconfident_one_does_not():
    honest = [corp.calibration(*calibrated(200, seed), n=60) for seed in range(60)]
    assert sum(c.p_value <= 0.05 for c in honest) <= 8  # 3 expected, 8 has a chance of .4 %
    assert np.mean([c.mcb.mean for c in honest]) == pytest.approx(np.mean([c.calibrated.mean for c in honest]), rel=0.2)
    assert all(c.dsc.mean > corp.useless(*calibrated(200, k), n=60).high for k, c in enumerate(honest))
    brash = corp.calibration(*calibrated(200, 1, 4.0), n=60)
    assert brash.p_value < 0.02
    assert brash.mcb.mean > brash.calibrated.high


def test_probabilities_that_tell_nothing_discriminate_as_chance_does():
    rng = np.random.default_rng(2)
    found = [(p := rng.random(100), y := np.arange(100) % 2, corp.useless(p, y, n=60)) for _ in range(40)]
    assert sum(corp.decompose(p, y).dsc > chance.high for p, y, chance in found) <= 7  # 2 expected


@pytest.mark.parametrize("sharpness", [1.0, 2.0])
def test_the_bounds_hold_what_very_many_encounters_show(sharpness):
    """A bootstrap of parts that are never negative lies above them: only its upper end bounds anything."""
    truth = corp.decompose(*calibrated(200_000, 0, sharpness))
    found = [corp.calibration(*calibrated(100, seed, sharpness), n=100) for seed in range(1, 61)]
    for name in ("mcb", "dsc"):
        parts = [getattr(c, name) for c in found]
        assert np.mean([getattr(truth, name) <= part.high for part in parts]) >= 0.95
        assert all(part.mean <= part.high for part in parts)
        assert np.mean([part.high for part in parts]) < getattr(truth, name) + 0.12  # and it says something


def test_bounds_lie_above_the_parts_and_repeat_themselves():
    p, y = calibrated(300, 5)
    c = corp.calibration(p, y, n=200)
    assert c == corp.calibration(p, y, n=200)
    assert c != corp.calibration(p, y, seed=1, n=200)
    assert (c.mcb.mean, c.dsc.mean, c.unc) == corp.decompose(p, y)
    assert c.n == 300
    assert c.brier == pytest.approx(c.mcb.mean - c.dsc.mean + c.unc, abs=1e-12)
    for value, bound in (c.mcb, c.dsc, c.calibrated):
        assert 0.0 < value < bound


def test_the_diagram_by_hand():
    p, y = [0.2, 0.2, 0.7, 0.9], [0, 1, 0, 1]
    found = corp.reliability(p, y, range(4), n=400)
    np.testing.assert_allclose(found.p, [0.2, 0.7, 0.9])
    np.testing.assert_allclose(found.found, [1 / 3, 1 / 3, 1.0])
    assert (found.low <= found.high).all()
    assert corp.calibration([0.9] * 50, [0] * 50, n=99).p_value == 1 / 100
    assert corp.calibration([0.5] * 50, [0, 1] * 25, n=99).p_value == 1.0


def test_a_calibrated_belief_lies_in_its_band():
    inside = []
    for seed in range(150):
        p, y = calibrated(120, seed)
        found = corp.reliability(p, y, range(120), n=200)
        inside.append(((found.low <= found.found) & (found.found <= found.high)).mean())
    assert 0.93 < np.mean(inside) < 0.98
    brash = corp.reliability(*calibrated(400, 0, sharpness=3.0), range(400))
    assert ((brash.found < brash.low) | (brash.found > brash.high)).mean() > 0.3


def test_the_same_encounter_twice_is_no_more_evidence():
    p, y = calibrated(40, 1)
    once = corp.reliability(p, y, range(40), n=100)
    twice = corp.reliability(np.repeat(p, 2), np.repeat(y, 2), np.repeat(range(40), 2), n=100)
    for a, b in zip(once, twice, strict=True):
        np.testing.assert_allclose(a, b)
