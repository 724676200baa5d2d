"""Policies: what each decides, at which threshold it would have decided otherwise, and what it remembers."""

import numpy as np
import pytest

from filters.decision import BRAKE, CHANGE_LANE, PROCEED, SLOW, outlook
from filters.losses import Loss, PhysicalLoss
from filters.policies import POLICIES, Hysteresis
from filters.policies.bayes import Bayes
from filters.policies.conformal import Conformal
from filters.policies.most_likely_label import MostLikelyLabel
from filters.policies.optimal_stopping import CUTS, KEEP, SPACING, Waited, stopping_policy
from filters.policies.sprt import Sprt
from filters.policy import REASONS
from fogsim.driving import decision_point
from fogsim.scenario import Scenario
from tests.deciding import EARLY, OPEN, TABLE, belief, made


def named(policy):
    inner = getattr(policy, "policy", policy)
    return type(inner).__name__ + ("" if inner is policy else " held")


EVERY = pytest.mark.parametrize(
    "policy", [*map(made, POLICIES), *(Hysteresis(made(p), 2.0) for p in POLICIES)], ids=named
)


def decide(policy, q, situation=OPEN, losses=TABLE):
    return policy.decide(policy.init(), [belief(q)], losses, situation)[1]


def course(policy, qs, situation=OPEN):
    """Its decisions on one belief after the other."""
    state, made = policy.init(), []
    for q in qs:
        state, decision = policy.decide(state, [belief(q)], TABLE, situation)
        made.append(decision)
    return made


@EVERY
def test_before_the_decision_point_no_policy_does_more_than_slow(policy):
    for q in np.linspace(1e-6, 1.0 - 1e-6, 101):
        assert decide(policy, q, EARLY).action in (PROCEED, SLOW)


@EVERY
def test_every_decision_says_what_it_expects_and_why(policy):
    for situation in (EARLY, OPEN, OPEN._replace(gap=10.0)):
        for q in (1e-5, 0.02, 0.3, 0.999):
            decision = decide(policy, q, situation)
            np.testing.assert_array_equal(decision.expected, outlook([belief(q)], TABLE, situation).expected)
            assert decision.reason in REASONS


@EVERY
@pytest.mark.parametrize("situation", [EARLY, OPEN], ids=["early", "open"])
@pytest.mark.parametrize("losses", [TABLE, PhysicalLoss().table(OPEN)], ids=["constant", "physical"])
def test_beyond_its_threshold_a_policy_does_the_next_stronger_action_and_short_of_it_the_same(
    policy, situation, losses
):
    """Just below the threshold that a decision tells its action stands, just above another does."""
    told = 0
    for q in (1e-5, 1e-3, 0.01, 0.03, 0.1, 0.3, 0.45, 0.6, 0.9, 0.999):
        decision = decide(policy, q, situation, losses)
        assert np.isnan(decision.threshold) or q <= decision.threshold + 1e-12
        if np.isfinite(decision.threshold):
            told += 1
            below, above = (decide(policy, decision.threshold + d, situation, losses).action for d in (-1e-7, 1e-7))
            assert below == decision.action < above
        else:
            assert decide(policy, 1.0 - 1e-9, situation, losses).action <= decision.action
    name = named(policy)
    assert (told > 0) == (not ("OpenLoop" in name or (situation is EARLY and ("Label" in name or "Conf" in name))))


def test_nobody_ahead_is_no_reason_to_brake():
    for name in POLICIES:
        policy = made(name)
        assert policy.decide(policy.init(), [], TABLE, OPEN)[1].action == PROCEED, name


# Wald's test


@pytest.mark.parametrize(
    ("q", "early", "opened", "reason"),
    [
        (0.9905, SLOW, BRAKE, "sure of a barrier"),
        (0.9895, SLOW, BRAKE, "last moment"),
        (0.2, SLOW, CHANGE_LANE, "last moment"),
        (0.00105, SLOW, PROCEED, "last moment"),
        (0.00095, PROCEED, PROCEED, "sure of a clear path"),
    ],
)
def test_the_test_brakes_and_proceeds_beyond_walds_bounds_and_slows_between(q, early, opened, reason):
    assert decide(Sprt(), q, EARLY).action == early
    assert decide(Sprt(), q).action == opened
    assert decide(Sprt(), q).reason == reason
    assert decide(Sprt(), q, EARLY).reason == reason.replace("last moment", "undecided")


def test_the_bounds_are_of_the_log_odds_since_the_prior():
    """At a prior of .1 log-odds of -2.2 are no evidence, and ln 99.9 more are enough."""
    rare = Sprt(prior=0.1)
    ends = [1.0 / (1.0 + 9.0 * np.exp(-w)) for w in (np.log(99.9), np.log(0.001 / 0.99))]
    assert decide(rare, ends[0] + 1e-6, EARLY).reason == "sure of a barrier"
    assert decide(rare, ends[0] - 1e-4, EARLY).reason == "undecided"
    assert decide(rare, ends[1] + 1e-6, EARLY).reason == "undecided"
    assert decide(rare, ends[1] - 1e-6, EARLY).reason == "sure of a clear path"
    assert decide(rare, 0.1, EARLY).reason == "undecided"


@pytest.mark.parametrize("step", [0.3, 1.0])
def test_the_bounds_hold_for_ever_on_independent_frames(step):
    """Log-odds that drift by the law of Gaussian log-likelihood ratios, 20,000 approaches of 300 frames."""
    rng, limits = np.random.default_rng(0), Sprt().bounds
    walk = np.cumsum(step * step / 2.0 + step * rng.standard_normal((20_000, 300)), axis=1)
    missed, alarmed = (walk <= limits.lower).any(axis=1).mean(), (-walk >= limits.upper).any(axis=1).mean()
    assert missed <= 0.001 / 0.99 + 3.0 * np.sqrt(0.001 / 20_000)
    assert 0.002 < alarmed <= 0.01 / 0.999 + 3.0 * np.sqrt(0.01 / 20_000)


def test_a_barrier_that_surely_stands_aside_brakes_nobody():
    for policy in (Sprt(), Conformal(), Bayes(), MostLikelyLabel()):
        aside = policy.decide(policy.init(), [belief(0.999999, -4.0)], TABLE, OPEN)[1]
        assert aside.action == PROCEED


# Conformal


def test_conformal_brakes_from_its_threshold_on():
    assert [decide(Conformal(0.3), q).action for q in (0.2999, 0.3001)] == [PROCEED, BRAKE]
    assert decide(Conformal(0.3), 0.1).threshold == 0.3
    assert decide(Conformal(-np.inf), 1e-6).action == BRAKE  # k = 0: always act


def test_conformal_takes_no_braking_back_and_looks_again():
    made = course(Conformal(0.3), (0.1, 0.4, 0.01, 0.4))
    assert [d.action for d in made] == [PROCEED, BRAKE, BRAKE, BRAKE]
    assert [d.reason for d in made] == ["below the threshold", "above the threshold", "held", "above the threshold"]


def test_conformal_drives_to_the_decision_point_as_its_calibration_did():
    policy = Conformal(0.3)
    state, decision = policy.decide(policy.init(), [belief(0.99)], TABLE, EARLY)
    assert (decision.action, state, decision.reason) == (PROCEED, False, "not open yet")


# Hysteresis


def flickering(n=400):
    """Beliefs about Bayes' threshold between change of lane and brake."""
    return 3.0 / 7.0 + np.random.default_rng(3).normal(0.0, 0.03, n)


def flips(made):
    return int(np.count_nonzero(np.diff([d.action for d in made])))


def test_without_a_margin_bayes_rule_is_itself():
    plain, wrapped = course(Bayes(), flickering()), course(Hysteresis(Bayes(), 0.0), flickering())
    assert [d.action for d in plain] == [d.action for d in wrapped]
    assert flips(plain) > 100


def test_a_margin_ends_flicker_and_a_clear_change_still_passes():
    made = course(Hysteresis(Bayes(), 1.0), flickering())
    assert flips(made) <= 1 + flips(course(Bayes(), flickering())) // 20
    assert made[-1].action == BRAKE
    assert "held" in [d.reason for d in made]
    assert course(Hysteresis(Bayes(), 1.0), (0.9, 0.001))[-1].action == PROCEED


def test_a_weaker_action_waits_for_exactly_the_margin():
    """Brake less change of lane is 3 - 7 q: from .45 back to q it is left at q = 2 / 7 with a margin of 1."""
    policy = Hysteresis(Bayes(), 1.0)
    assert [course(policy, (0.45, 2.0 / 7.0 + d))[-1].action for d in (1e-6, -1e-6)] == [BRAKE, CHANGE_LANE]


def test_a_stronger_action_never_waits():
    assert course(Hysteresis(Bayes(), 50.0), (0.001, 0.6))[-1].action == BRAKE


@pytest.mark.parametrize("margin", [-1.0, np.inf, np.nan])
def test_a_margin_that_is_none_is_refused(margin):
    with pytest.raises(ValueError, match="expected >= 0 and finite"):
        Hysteresis(Bayes(), margin)


# Optimal stopping

SLOW_SPEED = 0.63 * 7.25
SLOWED = Waited(slowed=True)
PATIENT = made("optimal_stopping")


def at(room, speed=SLOW_SPEED, **changes):
    """An open choice `room` m before the last point at which a car of this speed stops."""
    return OPEN._replace(distance=OPEN.car.stopping(speed) + KEEP + room, speed=speed, **changes)


@pytest.mark.parametrize("q", [0.03, 0.2, 0.6])
def test_it_waits_where_bayes_rule_acts_while_there_is_room(q):
    state, decision = PATIENT.decide(SLOWED, [belief(q)], TABLE, at(0.9))
    assert (state, decision.action, decision.reason) == (SLOWED, SLOW, "worth waiting")


@pytest.mark.parametrize("q", [1e-5, 0.01, 0.03, 0.2, 0.6, 0.999])
@pytest.mark.parametrize("changes", [{}, {"gap": 10.0}], ids=["gap", "no gap"])
@pytest.mark.parametrize("slowed", [False, True])
def test_at_the_last_point_it_does_as_bayes_rule_on_the_losses_that_are_left(q, changes, slowed):
    """Having slowed, what that cost is no reason to speed up again before one knows."""
    _, decision = PATIENT.decide(Waited(slowed), [belief(q)], TABLE, at(-0.01, **changes))
    left = np.array([[0.0, 100.0], [0.0, 40.0], [2.0, 5.0], [5.0, 1.0]]) if slowed else TABLE
    assert decision.reason == "last moment"
    assert decision.action == decide(Bayes(), q, at(-0.01, **changes), left).action
    assert decision.expected == pytest.approx(decide(Bayes(), q, at(-0.01, **changes)).expected)


def test_it_does_what_its_plan_says():
    """Of every row within reach of an open choice, at every q between two cuts."""
    grid, acted = np.sqrt(CUTS[1:] * CUTS[:-1])[::6], 0
    for k, row in enumerate(PATIENT.slowed.action[:8]):
        for q, said in zip(grid, row[np.searchsorted(CUTS, grid)], strict=True):
            state, decision = PATIENT.decide(SLOWED, [belief(q)], TABLE, at((k + 0.5) * SPACING))
            assert decision.action == (SLOW if said < 0 else said)
            assert (decision.reason == "worth waiting") == (said < 0) != state.acted
            acted += said >= 0
    assert acted > 20


def test_once_it_has_acted_it_does_not_wait_again():
    """A braking car stops in less and would find itself with room again."""
    state, decision = PATIENT.decide(SLOWED, [belief(0.6)], TABLE, at(-0.01))
    assert (state, decision.action) == (Waited(slowed=True, acted=True), BRAKE)
    state, decision = PATIENT.decide(state, [belief(0.6)], TABLE, at(0.9, speed=2.0))
    assert (state.acted, decision.action, decision.reason) == (True, BRAKE, "least expected loss")


def test_it_slows_down_in_time_and_remembers_that_it_has():
    far = EARLY._replace(distance=30.0)
    state, decision = PATIENT.decide(PATIENT.init(), [belief(0.5)], TABLE, far)
    assert (state, decision.action) == (SLOWED, SLOW)
    sure, decision = PATIENT.decide(PATIENT.init(), [belief(1e-4)], TABLE, far)
    assert (sure, decision.action) == (Waited(), PROCEED)
    state, decision = PATIENT.decide(state, [belief(1e-4)], TABLE, far._replace(speed=SLOW_SPEED))
    assert (state, decision.action) == (SLOWED, SLOW)  # paid for already: further evidence is free


def test_in_clear_air_it_need_not_slow_to_know():
    """What is known at the cruise in time is not paid for: a visibility of 80 m against one of 25 m."""
    point = decision_point(Scenario())
    found = {v: stopping_policy(Loss(), point, v, 2.0) for v in (25.0, 80.0)}
    first = {v: p.decide(p.init(), [belief(0.5)], TABLE, EARLY)[1].action for v, p in found.items()}
    assert first == {25.0: SLOW, 80.0: PROCEED}
    values = [p.cruising.value[-1, 120] for p in found.values()]
    assert values[1] < values[0] - 0.1


def test_physical_losses_make_a_plan_too():
    policy = stopping_policy(PhysicalLoss(), decision_point(Scenario()), 25.0, 2.0)
    assert np.isfinite(policy.cruising.value).all()
    assert policy.decide(SLOWED, [belief(0.3)], PhysicalLoss().table(at(0.9)), at(0.9))[1].reason == "worth waiting"
