"""Optimal stopping: Bayes' rule without information, patience with all of it, and never worse than rules of thumb."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

from filters.sprt import bounds
from filters.stopping import LEAVE, LOG_ODDS, WAIT, Problem, Rate, fit_rate, solve, worth
from tests.deciding import TABLE

Q = expit(LOG_ODDS)
LINES = (1.0 - Q)[:, None] * TABLE[:, 0] + Q[:, None] * TABLE[:, 1]
BAYES = LINES.argmin(axis=1)


def problem(steps=30, nats=0.2, cost=0.05):
    return Problem(
        np.tile(TABLE, (steps, 1, 1)),
        np.full((steps, 2), float(cost)),
        np.broadcast_to(np.asarray(nats, float), (steps,)),
    )


@pytest.mark.parametrize("cost", [0.0, 0.05])
def test_without_information_it_is_bayes_rule_at_once(cost):
    plan = solve(problem(nats=0.0, cost=cost))
    assert (plan.action == BAYES).all()
    np.testing.assert_allclose(plan.value, np.tile(LINES.min(axis=1), (30, 1)), rtol=1e-12)


def test_with_all_information_to_come_it_waits_while_waiting_is_free():
    plan = solve(problem(nats=1e4, cost=0.0))
    assert (plan.action[1:, 1:-1] == WAIT).all()  # at the ends of the grid nothing is left to learn
    assert (plan.action[0] == BAYES).all()
    ends = (1.0 - Q) * TABLE[:, 0].min() + Q * TABLE[:, 1].min()  # a 1e-6 chance of error is left
    np.testing.assert_allclose(plan.value[1], ends, atol=2e-4)


def test_what_waiting_costs_more_than_knowing_gains_is_not_waited_for():
    plan = solve(problem(nats=1e4, cost=200.0))
    assert (plan.action == BAYES).all()


def test_the_last_look_is_worth_what_integration_says():
    """Two actions of symmetric losses: a test of N(-m, 2m) against N(m, 2m) errs with Phi(-sqrt(m / 2))."""
    m, even = 1.3, len(LOG_ODDS) // 2
    losses = np.tile(np.array([[0.0, 1.0], [1.0, 0.0]]), (2, 1, 1))
    plan = solve(Problem(losses, np.zeros((2, 2)), np.full(2, m)))
    assert plan.value[1, even] == pytest.approx(norm.cdf(-np.sqrt(m / 2.0)), abs=2e-3)
    assert plan.action[1, even] == WAIT


def test_more_distance_or_more_information_never_hurts():
    free = solve(problem(cost=0.0))
    assert (np.diff(free.value, axis=0) <= 1e-9).all()
    assert (solve(problem(nats=0.4)).value <= solve(problem(nats=0.2)).value + 1e-2).all()


def simulated(task, action, start, n=200_000):
    """Mean loss and its error of a plan followed from log-odds `start`, encounter by encounter."""
    rng = np.random.default_rng(5)
    truth = (rng.random(n) < expit(start)).astype(int)
    L, loss, going = np.full(n, float(start)), np.zeros(n), np.ones(n, bool)
    for k in range(len(action) - 1, -1, -1):
        nearest = np.abs(L[going, None] - LOG_ODDS).argmin(axis=1)
        chosen, index = action[k][nearest], np.flatnonzero(going)
        acts = chosen != WAIT
        loss[index[acts]] += task.losses[k][chosen[acts], truth[index[acts]]]
        loss[index[~acts]] += task.going_on[k][truth[index[~acts]]]
        going[index[acts]] = False
        m = task.nats[k]
        L += np.where(truth == 1, m, -m) + np.sqrt(2.0 * m) * rng.standard_normal(n)
    assert not going.any()
    return loss.mean(), loss.std() / np.sqrt(n)


@pytest.mark.parametrize("start", [-3.0, 0.0, 1.5])
def test_the_value_is_what_encounters_cost_that_follow_the_plan(start):
    task = problem(steps=12, nats=np.linspace(1.0, 0.1, 12))
    plan = solve(task)
    mean, error = simulated(task, plan.action, start)
    assert np.interp(expit(start), Q, plan.value[-1]) == pytest.approx(mean, abs=4.0 * error + 0.01)


def rules(steps):
    """Fixed thresholds at once, fixed thresholds at the last point, and Wald's test, Bayes' rule at the last."""
    at_once = np.tile(BAYES, (steps, 1))
    at_last = np.full_like(at_once, WAIT)
    limits = bounds(0.01, 0.001)
    wald = np.tile(np.select([limits.upper <= LOG_ODDS, limits.lower >= LOG_ODDS], [3, 0], WAIT), (steps, 1))
    at_last[0] = wald[0] = BAYES
    return {"at once": at_once, "at last": at_last, "sprt": wald}


@pytest.mark.parametrize("rule", ["at once", "at last", "sprt"])
@pytest.mark.parametrize(("nats", "cost"), [(0.05, 0.02), (0.3, 0.05), (1.0, 0.5), (0.0, 0.1), (0.3, 0.0)])
def test_it_is_never_worse_than_a_rule_of_thumb_wherever_it_starts(rule, nats, cost):
    task = problem(nats=nats, cost=cost)
    plan = solve(task)
    assert (plan.value <= worth(task, rules(30)[rule]) + 1e-9).all()
    np.testing.assert_allclose(worth(task, plan.action), plan.value, atol=1e-9)


def test_it_is_clearly_better_than_acting_at_once_where_evidence_is_to_come():
    task, even = problem(nats=0.3, cost=0.02), len(LOG_ODDS) // 2
    gain = worth(task, rules(30)["at once"])[-1, even] - solve(task).value[-1, even]
    assert gain > 1.0  # of 3.5
    assert solve(task).value[-1, even] < worth(task, rules(30)["at last"])[-1, even] - 0.01


def test_an_action_that_is_not_open_is_not_taken():
    task = problem(steps=5, nats=0.0, cost=0.0)
    task.losses[1:, 2:] = np.inf
    assert (solve(task).action[1:] < 2).all()


def test_another_plan_is_left_for_where_it_is_worth_more_and_only_there():
    task, other = problem(steps=10, nats=0.0, cost=0.0), np.full((10, len(LOG_ODDS)), 2.0)
    plan = solve(task, other)
    least = LINES.min(axis=1)
    assert (plan.value[0] == np.minimum(least, 2.0)).all()
    assert ((plan.action[0] == LEAVE) == (least > 2.0)).all()
    shut = solve(task, np.full_like(other, np.inf))
    assert (shut.action == solve(task).action).all()


def test_losing_information_and_having_nothing_to_do_are_refused():
    with pytest.raises(ValueError, match="information is never lost"):
        solve(problem(nats=-0.1))
    shut = problem(steps=2)
    shut.losses[:] = np.inf
    with pytest.raises(ValueError, match="something must be done there"):
        solve(shut)


# The rate


def approaches(rate, n, seed=0, inflate=1.0):
    """Steps of n approaches from 35 to 5 m in half metres."""
    rng = np.random.default_rng(seed)
    r = np.tile(np.arange(35.0, 5.0, -0.5), (n, 1))
    v = np.broadcast_to(rng.lognormal(np.log(25.0), 0.3, (n, 1)), r.shape)
    truth = np.broadcast_to(rng.integers(0, 2, (n, 1)), r.shape)
    m = 0.5 * rate.scale * np.exp(-rate.decay * r / v)
    step = np.where(truth == 1, m, -m) + inflate * np.sqrt(2.0 * m) * rng.standard_normal(r.shape)
    return [a.ravel() for a in (r, v, np.full(r.shape, 0.5), step, truth)]


def test_the_rate_is_found_again():
    true = Rate(4.0, 3.0)
    found = fit_rate(*approaches(true, 2000))
    assert found.scale == pytest.approx(true.scale, rel=0.03)
    assert found.decay == pytest.approx(true.decay, rel=0.03)


def test_a_filter_that_moves_more_than_it_learns_is_not_taken_to_learn_more():
    found = fit_rate(*approaches(Rate(4.0, 3.0), 2000, inflate=2.0))
    assert found(10.0, 25.0) == pytest.approx(Rate(4.0, 3.0)(10.0, 25.0), rel=0.05)


def test_log_odds_that_drift_away_from_the_truth_are_refused():
    r, v, h, step, truth = approaches(Rate(4.0, 3.0), 20)
    with pytest.raises(ValueError, match="expected one towards the truth"):
        fit_rate(r, v, h, -step, truth)
    with pytest.raises(ValueError, match="at several distances"):
        fit_rate(np.full_like(r, 10.0), np.full_like(v, 25.0), h, step, truth)
