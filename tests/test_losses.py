"""Losses: the constant table's rows, the physical one against a car driven step by step, and what it must not do."""

from dataclasses import replace

import numpy as np
import pytest

from filters.decision import BRAKE, CHANGE_LANE, PROCEED, SLOW, lower_envelope
from filters.losses import Loss, PhysicalLoss
from fogsim.driving import decision_point
from fogsim.frame import ACTIONS
from fogsim.scenario import Scenario
from tests.deciding import CAR, OPEN, TABLE

CLEAR, BLOCKED = 0, 1
PHYSICAL = PhysicalLoss()


def table(distance=18.0, speed=7.25, losses=PHYSICAL, **changes):
    return losses.table(OPEN._replace(distance=distance, speed=speed, **changes))


def test_loss_rows_are_the_logged_actions():
    assert {name: getattr(Loss(), name) for name in ACTIONS} == {
        a: tuple(row) for a, row in zip(ACTIONS, TABLE, strict=True)
    }


def test_the_constant_table_is_the_same_everywhere():
    assert (Loss().table(OPEN._replace(distance=1.0, speed=30.0, lateral=3.5)) == TABLE).all()


def test_the_physical_table_at_the_default_decision_point():
    """By hand: v = 7.25, v² = 52.5625, s = 18.01 - 7.25 = 10.76; u = 4.5675; a = 3, b = 2.5."""
    point = decision_point(Scenario())
    assert (point.distance, point.speed) == (pytest.approx(18.0104, abs=1e-4), 7.25)
    s = point.distance - 7.25
    follower = 1.0 - np.exp(-(1.25 + 3.625 * (0.4 - 1.0 / 3.0)) / 30.0)
    slow = (s * (1.0 / 4.5675 - 1.0 / 7.25) + (7.25 - 4.5675) ** 2 / 36.25) / 3.0
    stop = (7.25 / 3.0 - 52.5625 / 43.5 + 52.5625 / 36.25 + 5.0) / 3.0
    expected = [
        [0.0, 100.0],
        [slow, 100.0 * 0.63**2],  # it has slowed down before it is there
        [2.0, 4.0],
        [stop + 50.0 * follower, 50.0 * follower],  # it stops before it
    ]
    np.testing.assert_allclose(PHYSICAL.table(point), expected, rtol=1e-9)


def test_at_the_default_decision_point_it_is_the_constant_table_in_order_of_magnitude():
    physical = PHYSICAL.table(decision_point(Scenario()))
    where = TABLE > 0.0
    assert (physical[~where] == 0.0).all()
    assert (np.abs(np.log10(physical[where] / TABLE[where])) < 0.5).all()
    assert lower_envelope(physical).dominated == ()


def driven(action, distance, v):
    """Square of the speed of a car driven through `distance` in steps, and the time that it took."""
    wanted = {PROCEED: CAR.cruise, SLOW: CAR.slow_factor * CAR.cruise, BRAKE: 0.0}[action]
    rate = CAR.deceleration if action == BRAKE else CAR.comfort
    x, time, dt = 0.0, 0.0, 1e-4
    while x < distance and v > 0.0:
        gap = wanted - v if time >= CAR.reaction else 0.0
        v += np.clip(gap, -rate * dt, rate * dt)
        x, time = x + v * dt, time + dt
    return v * v, time


@pytest.mark.parametrize("action", [PROCEED, SLOW, BRAKE])
@pytest.mark.parametrize(("distance", "speed"), [(18.0, 7.25), (10.0, 7.25), (6.0, 7.25), (9.0, 4.6), (12.0, 3.0)])
def test_impacts_are_those_of_a_car_driven_into_the_barrier(action, distance, speed):
    harsh = replace(PHYSICAL, headway=1e12)  # nobody behind
    speed2, _ = driven(action, distance, speed)
    assert table(distance, speed, harsh)[action, BLOCKED] == pytest.approx(100.0 * speed2 / 7.25**2, abs=0.05)


def test_time_lost_by_slowing_is_that_of_a_car_driven():
    """At its slow speed over 20 m, then regaining its cruise, against one that drove at it all the way."""
    slow = CAR.slow_factor * CAR.cruise
    lost = 3.0 * table(20.0 + CAR.cruise * CAR.reaction)[SLOW, CLEAR]
    regaining = CAR.reaction + (CAR.cruise - slow) / CAR.comfort  # the step car reacts first
    path = slow * CAR.reaction + (CAR.cruise**2 - slow**2) / (2.0 * CAR.comfort)
    assert driven(PROCEED, path, slow)[1] == pytest.approx(regaining, abs=1e-3)
    reacting = CAR.reaction * (1.0 - slow / CAR.cruise)
    assert lost == pytest.approx(20.0 / slow + regaining - (20.0 + path) / CAR.cruise - reacting)


def test_too_near_to_stop_braking_gains_nothing_and_is_reported():
    near = table(distance=7.0)  # within the reaction
    assert near[BRAKE, BLOCKED] > near[PROCEED, BLOCKED] == 100.0
    assert BRAKE in lower_envelope(near).dominated
    assert near[CHANGE_LANE, BLOCKED] > 100.0  # nor is there room to swerve


@pytest.mark.parametrize("action", [SLOW, CHANGE_LANE, BRAKE])
def test_the_nearer_the_worse_with_a_barrier_in_the_path(action):
    losses = [table(distance=d)[action, BLOCKED] for d in np.linspace(30.0, 0.0, 61)]
    assert (np.diff(losses) >= 0.0).all()
    assert losses[-1] > losses[0]


def test_the_faster_the_worse():
    losses = np.array([table(speed=v) for v in np.linspace(4.6, 7.25, 20)])
    assert (np.diff(losses[:, BRAKE], axis=0) > 0.0).all()
    assert (np.diff(losses[:, PROCEED, BLOCKED]) >= 0.0).all()


def test_braking_that_is_in_effect_is_never_in_vain():
    """From its full speed to a stop, at every metre of the way."""
    for left in np.linspace(8.76, 0.1, 50):
        now = table(left, np.sqrt(6.0 * left), delays=(1.0, 1.0, 1.0, 0.0))
        assert int(np.argmin(now[:, BLOCKED])) == BRAKE


def test_a_follower_is_surprised_by_braking_hard_and_not_by_braking_gently():
    gentle = table(car=CAR._replace(deceleration=CAR.comfort))
    assert gentle[BRAKE, BLOCKED] == pytest.approx(0.0, abs=3.0)  # it stops late, unhit
    assert PHYSICAL.follower_too_near(7.25, CAR._replace(deceleration=2.5)) == 0.0
    busy = replace(PHYSICAL, headway=3.0)
    assert table(losses=busy)[BRAKE, CLEAR] > 3.0 * table()[BRAKE, CLEAR]


def test_followers_are_as_near_as_poisson_traffic_brings_them():
    headways = np.random.default_rng(1).exponential(30.0, 200_000)
    needed = 1.25 + 7.25 / 5.0 - 7.25 / 6.0
    error = np.sqrt(0.05 * 0.95 / 200_000)
    assert abs((headways < needed).mean() - PHYSICAL.follower_too_near(7.25, CAR)) < 4.0 * error


def test_who_drives_in_the_next_lane_has_none_to_change_to():
    beside = table(lateral=3.5)
    assert (beside[CHANGE_LANE] == beside[PROCEED]).all()


def test_the_scale_of_the_losses_moves_no_threshold():
    twice = replace(PHYSICAL, impact=200.0, second=2.0 / 3.0)
    np.testing.assert_allclose(lower_envelope(table(losses=twice)).thresholds, lower_envelope(table()).thresholds)
