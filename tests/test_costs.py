"""What beliefs' actions and drivers cost, missed and braked for, by hand."""

import math

import numpy as np
import pytest

from fogsim.scoring.metrics import exact_interval
from fogsim.scoring.scores import Score
from tests.scored import encounter

PROCEED, SLOW, CHANGE_LANE, BRAKE = range(4)


def doing(seed, truth, bayes, likeliest, **given):
    """An encounter at whose decision point fused would do these under the two policies."""
    return encounter(seed, truth, given={"shadow_action": np.array([[bayes, likeliest]])} | given, fused=0.5)


def policies(*encounters):
    return {row.policy: row for row in Score(encounters).policies}


def test_misses_are_of_obstacles_and_needless_brakes_of_clear_paths():
    found = policies(
        doing(1, 1, BRAKE, PROCEED),
        doing(2, 1, SLOW, PROCEED),
        doing(3, 1, CHANGE_LANE, BRAKE),
        doing(4, 0, BRAKE, PROCEED),
        doing(5, 0, SLOW, BRAKE, expected_cost=np.array([[2.0, 10.0]])),
    )
    bayes, likeliest = found["bayes"], found["most_likely_label"]
    assert (bayes.n, bayes.obstacles, bayes.collisions, bayes.needless_brakes) == (5, 3, 1, 1)
    assert bayes.miss == exact_interval(1, 3)
    assert bayes.needless == exact_interval(1, 2)
    assert (likeliest.miss, likeliest.needless) == (exact_interval(2, 3), exact_interval(1, 2))
    assert bayes.cost.mean == pytest.approx((1.0 + 40.0 + 5.0 + 6.0 + 1.0) / 5)
    assert bayes.expected.mean == pytest.approx((4 * 6.0 + 2.0) / 5)
    assert likeliest.expected.mean == pytest.approx((4 * 6.0 + 10.0) / 5)


def test_what_never_came_to_the_decision_point_counts_nowhere():
    never = doing(2, 1, -1, -1, expected_cost=np.full((1, 2), np.nan))
    bayes = policies(doing(1, 0, PROCEED, PROCEED), never)["bayes"]
    assert (bayes.n, bayes.obstacles, bayes.cost.mean) == (1, 0, 0.0)
    assert np.isnan(bayes.miss).all()  # no obstacle: no share
    assert bayes.needless == exact_interval(0, 1)
    nobody = policies(never)["bayes"]
    assert nobody.n == 0
    assert math.isnan(nobody.cost.mean)


def test_drivers_rates_are_of_known_outcomes():
    hit = {"collided": True, "impact_speed": 8.0}
    (driver,) = Score(
        (
            doing(1, 1, BRAKE, BRAKE, **hit),
            doing(2, 1, BRAKE, BRAKE, actions=(True, False, False, True)),
            doing(3, 0, BRAKE, BRAKE, actions=(True, False, False, True)),
            doing(4, 0, BRAKE, BRAKE),
            doing(5, 1, BRAKE, BRAKE, complete=False),
        )
    ).drivers
    assert (driver.n, driver.obstacles, driver.collisions, driver.needless_brakes) == (4, 2, 1, 1)
    assert driver.collided == exact_interval(1, 2)
    assert driver.needless == exact_interval(1, 2)
