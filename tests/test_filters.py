"""Every filter of the table keeps the protocol's promises."""

import dataclasses
from copy import deepcopy

import numpy as np
import pytest

from filters import FILTERS, known_filters, make_filter
from filters.spec import (
    BARRIER,
    CLASSES,
    FEATURES,
    EgoMotion,
    Features,
    Gaussian,
    Info,
    Measurement,
    Pose,
    Prior,
    Status,
)
from filters.streams import stream
from fogsim.followers import model_of
from tests.encounters import NOTHING_THERE, REST, drive, encounter, percepts_of, sweep

SCENARIO = encounter("barrier")
PLACE = Gaussian(np.array([34.0, -0.6]), np.diag([2.25, 0.36]))
PRIOR = Prior(np.log([0.2, 0.8]), PLACE, 40.0, 0.3)
STILL = EgoMotion(np.zeros(3), np.diag([9e-6, 9e-6, 4e-8]), REST)

pytestmark = pytest.mark.parametrize("name", FILTERS)


def made(name):
    return make_filter(name, model_of(SCENARIO))


def measurement(filter_, percept, time=0.0):
    """What a filter reads of a percept of the lidar."""
    sensor = filter_.sensors[0]
    return Measurement(time, sensor, percept.scan if sensor == "scan" else percept.features)


def leaves(value):
    """The arrays and numbers of nested tuples, in order."""
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in leaves(part)]
    if dataclasses.is_dataclass(value):
        return leaves([getattr(value, f.name) for f in dataclasses.fields(value)])
    return [np.asarray(value)]


def assert_same(a, b):
    """Equal to the bit, NaN included."""
    x, y = leaves(a), leaves(b)
    assert len(x) == len(y)
    assert all(
        p.dtype == q.dtype and p.shape == q.shape and p.tobytes() == q.tobytes() for p, q in zip(x, y, strict=True)
    )


def assert_sound(belief, info=None):
    """Normalised, finite, positive definite."""
    assert belief.log_probs.shape == (len(CLASSES),)
    assert np.isfinite(belief.log_probs).all()
    assert np.exp(belief.log_probs).sum() == pytest.approx(1.0, abs=1e-9)
    mean, P = belief.position
    assert mean.shape == (2,)
    assert np.isfinite(mean).all()
    np.testing.assert_allclose(P, P.T, atol=1e-12)
    assert np.linalg.eigvalsh(P).min() > 0.0
    if belief.points is not None:
        assert np.isfinite(belief.points.points).all()
        assert np.exp(belief.points.log_weights).sum() == pytest.approx(1.0, abs=1e-6)
    if info is not None:
        assert isinstance(info, Info)
        assert info.log_evidence.shape == (len(CLASSES),)
        assert np.isfinite(info.log_evidence).all()
        assert info.status in list(Status)


def approach(name, seed=0, every=3):
    """Belief and info after each of an encounter's looks."""
    filter_, rng = made(name), stream(seed, name)
    state = filter_.init(PRIOR, rng)
    for look in drive(SCENARIO, 3)[1][::every]:
        if look.motion is not None:
            state = filter_.predict(state, look.motion, every * SCENARIO.dt, rng)
        state, info = filter_.update(state, measurement(filter_, look.percepts[0], look.time), rng)
        yield filter_.belief(state), info


def test_the_table_is_what_users_can_name(name):
    assert known_filters()[name] == FILTERS[name]


def test_a_filter_is_a_frozen_value_that_says_what_it_reads(name):
    filter_ = made(name)
    assert filter_ == made(name)
    assert filter_.sensors[0] in ("scan", "features")
    assert set(filter_.sensors[1:]) <= {"radar", "visibility"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        filter_.model = None


def test_the_belief_of_the_prior_is_the_prior(name):
    filter_ = made(name)
    belief = filter_.belief(filter_.init(PRIOR, stream(1, name)))
    assert_sound(belief)
    np.testing.assert_allclose(np.exp(belief.log_probs), [0.2, 0.8], atol=1e-9)
    np.testing.assert_allclose(belief.position.mean, PLACE.mean, atol=0.15)  # 4 standard errors of 1200 particles
    np.testing.assert_allclose(np.diag(belief.position.covariance), np.diag(PLACE.covariance), rtol=0.2)


def test_beliefs_are_sound_all_the_way(name):
    beliefs = list(approach(name))
    for belief, info in beliefs:
        assert_sound(belief, info)
    assert abs(beliefs[-1][0].barrier - 0.8) > 0.02, "found no effect of an encounter on the class"


def test_one_seed_gives_one_answer(name):
    for one, other in zip(approach(name), approach(name), strict=True):
        assert_same(one, other)


def test_no_argument_is_changed(name):
    filter_, rng = made(name), stream(2, name)
    prior = deepcopy(PRIOR)
    state = filter_.init(prior, rng)
    assert_same(prior, PRIOR)
    for look in drive(SCENARIO, 3)[1][1::4]:
        z = measurement(filter_, look.percepts[0], look.time)
        before = deepcopy((state, look.motion))
        predicted = filter_.predict(state, look.motion, 0.4, rng)
        assert_same((state, look.motion), before)
        before = deepcopy((predicted, z.data))
        state, _ = filter_.update(predicted, z, rng)
        assert_same((predicted, z.data), before)
        before = deepcopy(state)
        filter_.belief(state)
        assert_same(state, before)


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
    once = filter_.update(state, measurement(filter_, percept), rng)[0]
    assert difference(filter_.belief(once), first) > 1e-6
    for _ in range(20):
        state, _ = filter_.update(state, measurement(filter_, percept), rng)
    # Here a Kalman bank expects to find either class alike: to it a miss tells of perception, hardly of the class.
    assert difference(filter_.belief(state), first) > {"kalman": 1e-4}.get(name, 0.005)


def test_seeing_nothing_for_long_stays_finite(name):
    prior, percept = nearby()
    filter_, rng = made(name), stream(5, name)
    state = filter_.init(prior, rng)
    for _ in range(300):
        state = filter_.predict(state, STILL, 0.1, rng)
        state, info = filter_.update(state, measurement(filter_, percept), rng)
    assert_sound(filter_.belief(state), info)


def garbage(scale):
    """Features that no object gives, said to be detected."""
    values = np.full(len(FEATURES), scale)
    values[FEATURES.index("detected")] = 1.0
    return Features(values, np.full(2, scale), np.eye(2), Pose(0.0, 0.0, 0.9, 0.0))


@pytest.mark.parametrize("scale", [100.0, -100.0, 300.0])
def test_garbage_leaves_the_belief_sound(name, scale):
    filter_, rng = made(name), stream(6, name)
    if filter_.sensors[0] == "features":
        data = garbage(scale)
    else:
        data = sweep(NOTHING_THERE, 40.0)
        strange = np.full_like(data.range, abs(scale) / 3.0)
        data = data._replace(range=strange, power=strange)
    state = filter_.init(PRIOR, rng)
    for _ in range(3):
        state, info = filter_.update(state, Measurement(0.0, filter_.sensors[0], data), rng)
    assert_sound(filter_.belief(state), info)


@pytest.mark.parametrize("report", [5.0, 60.0])
def test_a_scan_full_of_fog_leaves_the_belief_sound(name, report):
    filter_, rng = made(name), stream(7, name)
    state = filter_.init(dataclasses.replace(nearby()[0], visibility=report), rng)
    for seed in range(3):
        percept = percepts_of(sweep(NOTHING_THERE, 5.0, seed), (8.0, 0.0), visibility=report)[0]
        state = filter_.predict(state, STILL, 0.1, rng)
        state, info = filter_.update(state, measurement(filter_, percept), rng)
        assert_sound(filter_.belief(state), info)
    if report == 5.0:
        assert 0.05 < filter_.belief(state).barrier < 0.99, "found sure of the class in fog that hides everything"


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
                state, _ = filter_.update(state, measurement(filter_, look.percepts[0], look.time), rng)
            odds.append(float(np.diff(filter_.belief(state).log_probs)[BARRIER - 1]))
        means[kind] = np.mean(odds)
    assert means["barrier"] > means["bag"] + 0.5
