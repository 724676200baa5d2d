"""Every filter of the table keeps the protocol's promises, and the class it believes in follows what it is told."""

import dataclasses
from functools import partial

import numpy as np
import pytest

from filters import FILTERS, known_filters, make_filter
from filters.spec import BARRIER, EgoMotion, Gaussian, Prior
from filters.streams import stream
from fogsim.followers import measurements, model_of
from fogsim.frame import JUDGE
from fogsim.testing import check_filter
from tests.encounters import NOTHING_THERE, REST, drive, encounter, percepts_of, sweep

SCENARIO = encounter("barrier")
PLACE = Gaussian(np.array([34.0, -0.6]), np.diag([2.25, 0.36]))
PRIOR = Prior(np.log([0.2, 0.8]), PLACE, 40.0, 0.3)
STILL = EgoMotion(np.zeros(3), np.diag([9e-6, 9e-6, 4e-8]), REST)

# The judge takes seconds a frame, and has tests of its own.
pytestmark = pytest.mark.parametrize("name", [name for name in FILTERS if name != JUDGE])


def made(name):
    return make_filter(name, model_of(SCENARIO))


def updated(filter_, state, percept, rng, time=0.0):
    """The state after all that a filter reads of a percept, in the order of a run."""
    for measurement in measurements(percept, time):
        if measurement.sensor in filter_.sensors:
            state, _ = filter_.update(state, measurement, rng)
    return state


def test_the_table_is_what_users_can_name(name):
    assert known_filters()[name] == FILTERS[name]


def test_it_keeps_the_promises_of_the_protocol(name):
    check_filter(partial(make_filter, name))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_it_keeps_them_over_ten_thousand_updates_without_an_echo(name):
    check_filter(partial(make_filter, name), updates=10_000)


def test_the_belief_of_the_prior_is_the_prior(name):
    filter_ = made(name)
    belief = filter_.belief(filter_.init(PRIOR, stream(1, name)))
    np.testing.assert_allclose(np.exp(belief.log_probs), [0.2, 0.8], atol=1e-9)
    np.testing.assert_allclose(belief.position.mean, PLACE.mean, atol=0.15)  # 4 standard errors of 1200 particles
    np.testing.assert_allclose(np.diag(belief.position.covariance), np.diag(PLACE.covariance), rtol=0.2)


def nearby():
    """A candidate announced 8 m ahead, in a scan of an empty road."""
    place = Gaussian(np.array([8.0, 0.0]), 0.09 * np.eye(2))
    percept = percepts_of(sweep(NOTHING_THERE, 60.0), (8.0, 0.0), visibility=60.0)[0]
    assert not percept.features.detected
    return Prior(PRIOR.log_probs, place, 60.0, 0.1), percept


def difference(one, other):
    """How far two beliefs lie apart in P(barrier) or in m, whichever is more."""
    return max(abs(one.barrier - other.barrier), float(np.hypot(*(one.position.mean - other.position.mean))))


def test_seeing_nothing_where_something_should_be_is_evidence(name):
    prior, percept = nearby()
    filter_, rng = made(name), stream(4, name)
    state = filter_.init(prior, rng)
    first = filter_.belief(state)
    once = updated(filter_, state, percept, rng)
    assert difference(filter_.belief(once), first) > 1e-6
    for _ in range(20):
        state = updated(filter_, state, percept, rng)
    # Here a Kalman bank expects to find either class alike: to it a miss tells of perception, hardly of the class.
    assert difference(filter_.belief(state), first) > {"kalman": 1e-4}.get(name, 0.005)


def test_fog_that_hides_everything_leaves_the_class_open(name):
    filter_, rng = made(name), stream(7, name)
    state = filter_.init(dataclasses.replace(nearby()[0], visibility=5.0), rng)
    for seed in range(3):
        percept = percepts_of(sweep(NOTHING_THERE, 5.0, seed), (8.0, 0.0), visibility=5.0)[0]
        state = filter_.predict(state, STILL, 0.1, rng)
        state = updated(filter_, state, percept, rng)
    assert 0.05 < filter_.belief(state).barrier < 0.99


def test_a_wide_block_and_a_porous_ball_are_told_apart(name):
    means = {}
    for kind in ("barrier", "bag"):
        scenario, filter_ = encounter(kind), made(name)
        odds = []
        for seed in (3, 4, 5):
            rng = stream(seed, name)
            state = filter_.init(dataclasses.replace(PRIOR, log_probs=np.log([0.5, 0.5])), rng)
            for look in drive(scenario, seed)[1]:
                if look.motion is not None:
                    state = filter_.predict(state, look.motion, scenario.dt, rng)
                if look.percepts[0].features is None:
                    break  # passed
                state = updated(filter_, state, look.percepts[0], rng, look.time)
            odds.append(float(np.diff(filter_.belief(state).log_probs)[BARRIER - 1]))
        means[kind] = np.mean(odds)
    assert means["barrier"] > means["bag"] + 0.5
