from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from filters.belief import mix
from filters.decision import (
    BRAKE,
    CHANGE_LANE,
    PROCEED,
    SLOW,
    half_lengths,
    in_path,
    lower_envelope,
    next_threshold,
    outlook,
)
from filters.policies import POLICIES
from filters.spec import Belief, Gaussian
from tests.deciding import OPEN, TABLE, belief


def expected_losses(beliefs, losses, situation):
    return outlook(beliefs, losses, situation).expected


def act(policy, beliefs, losses, situation):
    made = POLICIES[policy]()
    return made.decide(made.init(), beliefs, losses, situation)[1].action


bayes, most_likely_label, open_loop = (partial(act, p) for p in ("bayes", "most_likely_label", "open_loop"))


def test_the_house_table_switches_where_the_lines_cross():
    envelope = lower_envelope(TABLE)
    assert envelope.actions == (PROCEED, SLOW, CHANGE_LANE, BRAKE)
    assert envelope.thresholds == pytest.approx((1.0 / 61.0, 2.0 / 37.0, 3.0 / 7.0))
    assert envelope.dominated == ()
    unused = 3.0 / 98.0  # where proceed and change of lane cross: above the line of slow
    assert unused == pytest.approx(0.0306, abs=1e-4)
    assert np.abs(np.array(envelope.thresholds) - unused).min() > 0.01


def test_a_dominated_action_is_reported():
    assert lower_envelope(np.array([[0.0, 10.0], [6.0, 6.0], [10.0, 0.0]])).dominated == (1,)
    assert lower_envelope(np.array([[0.0, 0.0], [1.0, 1.0]])).dominated == (1,)


tables = st.integers(1, 7).flatmap(lambda n: arrays(float, (n, 2), elements=st.integers(0, 100).map(float)))


@given(tables)
@settings(max_examples=300, deadline=None)
def test_the_envelope_is_the_least_line_everywhere(losses):
    envelope = lower_envelope(losses)
    q = np.linspace(0.0, 1.0, 1001)
    lines = (1.0 - q)[:, None] * losses[:, 0] + q[:, None] * losses[:, 1]
    chosen = np.array(envelope.actions)[np.searchsorted(envelope.thresholds, q)]
    assert lines[np.arange(q.size), chosen] == pytest.approx(lines.min(axis=1), abs=1e-9)
    assert sorted(envelope.actions + envelope.dominated) == list(range(len(losses)))
    assert len(envelope.thresholds) == len(envelope.actions) - 1
    assert list(envelope.thresholds) == sorted(envelope.thresholds)


def test_the_next_threshold_is_the_first_above():
    found = [next_threshold(TABLE, q) for q in (0.0, 1.0 / 61.0, 0.03, 0.4, 3.0 / 7.0, 1.0)]
    expected = [1.0 / 61.0, 2.0 / 37.0, 2.0 / 37.0, 3.0 / 7.0, np.nan, np.nan]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("q", [1e-6, 0.1, 0.9])
def test_the_outlook_is_of_its_losses(q):
    """What a change of lane is charged with stands in the table too, so that thresholds and expected losses agree."""
    seen = outlook([belief(q), belief(0.2, 3.5)], TABLE, OPEN)
    assert seen.expected == pytest.approx((1.0 - seen.q) * seen.losses[:, 0] + seen.q * seen.losses[:, 1], abs=1e-12)
    assert seen.losses - TABLE == pytest.approx(np.outer(np.arange(4) == CHANGE_LANE, [20.0, 20.0]), abs=1e-9)


@pytest.mark.parametrize(
    ("y", "action"), [(0.0, BRAKE), (-4.0, PROCEED), (4.0, PROCEED), (3.5, PROCEED), (-1.0, BRAKE)]
)
def test_only_a_barrier_in_the_path_brakes(y, action):
    assert bayes([belief(0.999999, y)], TABLE, OPEN) == action


def test_a_bag_stops_nobody():
    assert bayes([belief(1e-6)], TABLE, OPEN) == PROCEED


@pytest.mark.parametrize(("q", "action"), [(0.01, PROCEED), (0.03, SLOW), (0.2, CHANGE_LANE), (0.6, BRAKE)])
def test_bayes_takes_the_envelope(q, action):
    assert bayes([belief(q)], TABLE, OPEN) == action


def test_a_closed_gap_forbids_a_change_of_lane():
    assert bayes([belief(0.2)], TABLE, OPEN._replace(gap=10.0)) in (SLOW, BRAKE)
    for q in np.linspace(0.001, 0.999, 50):
        assert bayes([belief(q)], TABLE, OPEN._replace(gap=10.0)) != CHANGE_LANE


def test_a_barrier_in_the_next_lane_forbids_a_change_of_lane():
    alone, both = [belief(0.2)], [belief(0.2), belief(0.9, 3.5)]
    assert (bayes(alone, TABLE, OPEN), bayes(both, TABLE, OPEN)) == (CHANGE_LANE, BRAKE)


@pytest.mark.parametrize("q", [0.001, 0.03, 0.2, 0.6, 0.999])
def test_before_the_decision_point_only_proceed_and_slow_are_open(q):
    early = OPEN._replace(open=False)
    expected = expected_losses([belief(q)], TABLE, OPEN)
    assert bayes([belief(q)], TABLE, early) == (SLOW if expected[SLOW] < expected[PROCEED] else PROCEED)
    assert most_likely_label([belief(q)], TABLE, early) == PROCEED


@pytest.mark.parametrize(("y", "deviation"), [(0.0, 0.3), (-1.4, 0.8), (1.8, 1.0), (3.0, 0.5)])
def test_expected_losses_are_the_mean_over_class_and_place(y, deviation):
    """Two candidates drawn a hundred thousand times; hitting one in the next lane costs a collision."""
    beliefs, n, rng = [belief(0.4, y, deviation), belief(0.1, 3.0, 0.6)], 100_000, np.random.default_rng(0)
    own, beside = np.zeros(n, bool), np.zeros(n, bool)
    for b in beliefs:
        barrier = rng.random(n) < b.barrier
        reach = OPEN.half_width + rng.choice(OPEN.half_lengths, n)
        place = rng.normal(b.position.mean[1], np.sqrt(b.position.covariance[1, 1]), n)
        own |= barrier & (np.abs(place - OPEN.lateral) < reach)
        beside |= barrier & (np.abs(place - OPEN.next_lane) < reach)
    cost = np.where(own[:, None], TABLE[:, 1], TABLE[:, 0])
    cost[:, CHANGE_LANE] += TABLE[PROCEED, 1] * beside
    error = cost.std(axis=0) / np.sqrt(n)
    assert (np.abs(expected_losses(beliefs, TABLE, OPEN) - cost.mean(axis=0)) <= 4.5 * error + 1e-9).all()


def test_the_table_is_not_changed():
    table = TABLE.copy()
    expected_losses([belief(0.5)], table, OPEN._replace(gap=1.0))
    assert (table == TABLE).all()


def test_in_path_reaches_half_a_barrier_beyond_ego_whatever_its_length():
    for k, half in enumerate(OPEN.half_lengths):
        share = 1.0 - (k + 1) / len(OPEN.half_lengths)  # of the barriers that are longer than this one
        assert in_path(belief(0.5, 0.95 + half + 0.01, 1e-3), OPEN, 0.0) == pytest.approx(share)
    assert in_path(belief(0.5, 0.0, 1e-3), OPEN, 0.0) == pytest.approx(1.0)
    assert half_lengths(0.4, 2.0) == pytest.approx((0.28, 0.44, 0.6, 0.76, 0.92))


def test_a_barrier_is_in_the_path_where_barriers_would_be_not_where_bags_would():
    places = tuple(Gaussian(np.array([20.0, y]), 0.01 * np.eye(2)) for y in (-3.0, 0.0))  # a bag aside, a barrier ahead
    told = Belief(np.log([0.5, 0.5]), mix(np.array([0.5, 0.5]), list(places)), places)
    q = (expected_losses([told], TABLE, OPEN)[PROCEED] - TABLE[PROCEED, 0]) / np.ptp(TABLE[PROCEED])
    assert q == pytest.approx(0.5, abs=1e-6)


def test_most_likely_label_ignores_how_sure_it_is():
    for q in (0.501, 0.7, 0.999):
        assert most_likely_label([belief(q)], TABLE, OPEN) == BRAKE
    for q in (0.001, 0.2, 0.499):
        assert most_likely_label([belief(q)], TABLE, OPEN) == PROCEED
    assert most_likely_label([belief(0.999, -4.0)], TABLE, OPEN) == PROCEED
    assert most_likely_label([belief(0.1), belief(0.9)], TABLE, OPEN) == BRAKE


def test_open_loop_only_proceeds():
    assert open_loop([belief(0.999)], TABLE, OPEN) == PROCEED
