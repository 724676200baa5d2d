"""The logarithmic pool of beliefs, its weights, and what each sensor alone said."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from filters.belief import normalise
from filters.fusion import fit_weights, pool
from filters.spec import Belief, Gaussian, Info, Measurement, Prior
from fogsim import log, log_file
from fogsim.errors import UserError
from fogsim.followers import Follower
from fogsim.frame import SENSORS
from fogsim.log_file import columns
from fogsim.perception.perceive import Percept
from fogsim.runner import run
from tests.encounters import encounter
from tests.frames import assert_same as assert_frame
from tests.frames import frames, record

RNG = np.random.default_rng(5)
EVEN = np.log([0.5, 0.5])


def gaussian(rng):
    root = rng.normal(size=(2, 2))
    return Gaussian(rng.normal(size=2), root @ root.T + 0.1 * np.eye(2))


def belief(barrier, place):
    return Belief(np.log([1.0 - barrier, barrier]), place)


BELIEFS = [belief(p, gaussian(RNG)) for p in (0.1, 0.55, 0.97)]


def assert_same(a, b):
    assert a.log_probs == pytest.approx(b.log_probs)
    assert a.position.mean == pytest.approx(b.position.mean)
    assert a.position.covariance == pytest.approx(b.position.covariance)


# The pool


def test_agreeing_beliefs_pool_to_themselves():
    """Views of the same data do not add up."""
    assert_same(pool([BELIEFS[0]] * 4), BELIEFS[0])
    assert_same(pool([BELIEFS[0]] * 4, np.array([0.1, 0.2, 0.3, 0.4])), BELIEFS[0])


def test_order_does_not_matter():
    weights = np.array([1.0, 2.0, 3.0])
    assert_same(pool(BELIEFS, weights), pool(BELIEFS[::-1], weights[::-1]))


def test_weights_are_exponents():
    weights = np.array([0.1, 0.7, 0.9])
    p = np.prod([np.exp(b.log_probs) ** w for b, w in zip(BELIEFS, weights, strict=True)], axis=0)
    assert np.exp(pool(BELIEFS, weights).log_probs) == pytest.approx(p / p.sum())
    assert_same(pool(BELIEFS, np.array([0.0, 1.0, 0.0])), BELIEFS[1])
    assert_same(pool(BELIEFS), pool(BELIEFS, np.full(3, 1.0 / 3.0)))


def test_tempering_one_belief_raises_it_to_a_power():
    half = pool(BELIEFS[:1], np.array([0.5]))
    root = np.sqrt([0.9, 0.1])
    assert np.exp(half.log_probs) == pytest.approx(root / root.sum())
    assert half.position.covariance == pytest.approx(2.0 * BELIEFS[0].position.covariance)


@pytest.mark.parametrize("weights", [[1 / 3] * 3, [0.2, 1.4, 0.7]])
def test_the_pooled_place_is_the_normalised_product_of_powers(weights):
    pooled, shift = pool(BELIEFS, np.array(weights)).position, RNG.normal(size=(30, 2))
    points = pooled.mean + shift
    product = sum(
        w * stats.multivariate_normal(*b.position).logpdf(points) for w, b in zip(weights, BELIEFS, strict=True)
    )
    assert np.ptp(product - stats.multivariate_normal(*pooled).logpdf(points)) < 1e-9


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0, 1.0], [0.0, 0.0, 0.0], [np.nan, 1.0, 1.0], [np.inf, 1.0, 1.0]])
def test_weights_that_do_not_fit_are_an_error(weights):
    with pytest.raises(ValueError, match="expected 3 non-negative ones"):
        pool(BELIEFS, np.array(weights))


def test_nothing_to_pool_is_an_error():
    with pytest.raises(ValueError, match="found no belief"):
        pool([])


# The prior, counted once


def told(prior, z, R, log_likelihood):
    """The exact posterior of one expert: it sees z ~ N(x, R) and a likelihood of the class."""
    K = np.linalg.solve(prior.position.covariance + R, prior.position.covariance).T
    mean = prior.position.mean + K @ (z - prior.position.mean)
    place = Gaussian(mean, (np.eye(2) - K) @ prior.position.covariance)
    return Belief(normalise(prior.log_probs + log_likelihood), place)


PRIOR = Prior(np.log([0.7, 0.3]), Gaussian(np.array([1.0, -2.0]), np.array([[2.0, 0.5], [0.5, 1.0]])), 25.0, 0.3)
PRIOR_REST = (PRIOR.position, PRIOR.visibility, PRIOR.visibility_spread)
SEEN = [(g.mean, g.covariance, RNG.normal(size=2)) for g in (gaussian(RNG) for _ in range(3))]


def test_independent_experts_give_the_joint_posterior():
    experts = [told(PRIOR, *seen) for seen in SEEN[:2]]
    both = told(PRIOR, *SEEN[0])
    joint = told(Prior(both.log_probs, both.position, 25.0, 0.3), *SEEN[1])
    pooled = pool(experts, np.ones(2), PRIOR)
    assert_same(pooled, joint)
    assert pooled.position_of(1).mean == pytest.approx(joint.position.mean)
    doubled = pool(experts, np.ones(2))
    assert not np.allclose(doubled.log_probs, joint.log_probs), "a flat prior counts theirs twice"


def test_of_no_evidence_the_prior_is_left():
    silent = Belief(PRIOR.log_probs, PRIOR.position)
    assert_same(pool([silent] * 3, np.array([0.3, 2.0, 0.9]), PRIOR), silent)


@given(st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3))
def test_with_weights_that_sum_to_one_the_prior_has_no_part(weights):
    w = np.array(weights) / sum(weights)
    assert_same(pool(BELIEFS, w, PRIOR), pool(BELIEFS, w))


@given(st.lists(st.floats(0.0, 3.0), min_size=3, max_size=3).filter(lambda w: sum(w) > 1e-3))
def test_the_pool_is_a_belief_whatever_the_weights(weights):
    pooled = pool(BELIEFS, np.array(weights), PRIOR)
    assert np.exp(pooled.log_probs).sum() == pytest.approx(1.0)
    for place in (pooled.position, *pooled.positions):
        assert np.isfinite(place.mean).all()
        assert np.linalg.eigvalsh(place.covariance).min() > 0.0


def test_places_that_outgrew_the_prior_are_pooled_without_it():
    loose = [Belief(EVEN, Gaussian(b.position.mean, 9.0 * PRIOR.position.covariance)) for b in BELIEFS]
    assert_same(pool(loose, np.ones(3), Prior(EVEN, *PRIOR_REST)), pool(loose))


# Weights


def log_sigmoid(odds):
    """Beliefs (..., 2) of log-odds."""
    return -np.logaddexp(0.0, np.stack([odds, -odds], axis=-1))


def independent(n, experts, rng, strength=1.0):
    """Truth, and calibrated experts whose log-odds l ~ N(±s²/2, s²) are independent given it."""
    truth = rng.integers(2, size=n)
    centre = 0.5 * strength**2 * (2.0 * truth - 1.0)
    return log_sigmoid(centre[:, None] + strength * rng.standard_normal((n, experts))), truth


def loss_of(w, log_probs, truth, log_prior=EVEN):
    return np.mean(
        [
            -pool([belief_of(p) for p in row], w, prior_of(log_prior)).log_probs[t]
            for row, t in zip(log_probs, truth, strict=True)
        ]
    )


def belief_of(log_probs):
    return Belief(log_probs, PRIOR.position)


def prior_of(log_prior):
    return Prior(log_prior, *PRIOR_REST)


@pytest.mark.parametrize("experts", [1, 2, 5])
def test_identical_experts_share_a_weight_of_one(experts):
    """In-sample calibrated: of ten told .8 eight are barriers, of five told .2 one is."""
    p = np.repeat([0.8, 0.2], [10, 5])
    truth = np.array([1] * 8 + [0] * 2 + [1] + [0] * 4)
    same = np.repeat(np.log([1.0 - p, p]).T[:, None], experts, axis=1)
    assert fit_weights(same, truth) == pytest.approx(np.full(experts, 1.0 / experts), abs=1e-6)


def test_independent_experts_count_in_full():
    found = fit_weights(*independent(40_000, 3, np.random.default_rng(0)))
    assert found == pytest.approx(np.ones(3), abs=0.06)


def test_independent_experts_count_in_full_under_an_uneven_prior():
    rng, prior = np.random.default_rng(1), np.log([0.9, 0.1])
    truth = (rng.random(60_000) < 0.1).astype(int)
    odds = (2.0 * truth - 1.0)[:, None] * 0.5 + rng.standard_normal((60_000, 2)) + np.diff(prior)
    found = fit_weights(log_sigmoid(odds), truth, prior)
    assert found == pytest.approx(np.ones(2), abs=0.07)


def test_evidence_counted_twice_is_halved():
    log_probs, truth = independent(40_000, 1, np.random.default_rng(2))
    odds = 2.0 * np.diff(log_probs)[..., 0]
    assert fit_weights(log_sigmoid(odds), truth) == pytest.approx([0.5], abs=0.03)


def test_an_expert_that_misleads_is_left_out():
    log_probs, truth = independent(2000, 2, np.random.default_rng(3))
    log_probs[:, 1] = log_probs[:, 1, ::-1]
    found = fit_weights(log_probs, truth)
    assert found[1] == 0.0
    assert found[0] > 0.8


@settings(max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 4))
def test_no_weights_near_by_are_better(seed, experts):
    """The optimum of a convex problem, its loss computed by `pool` itself."""
    rng = np.random.default_rng(seed)
    log_probs, truth = independent(30, experts, rng, 1.5)

    def objective(w):
        return loss_of(w, log_probs, truth) + 0.5 * np.sum((w - 1.0 / experts) ** 2) / len(truth)

    found = fit_weights(log_probs, truth)
    least = objective(found) if found.sum() > 0.0 else np.log(2.0)
    for _ in range(5):
        w = np.maximum(found + 0.05 * rng.standard_normal(experts), 1e-6)
        assert objective(w) > least - 1e-9


@given(st.integers(0, 1000))
def test_names_of_filters_and_classes_do_not_matter(seed):
    log_probs, truth = independent(50, 3, np.random.default_rng(seed))
    found = fit_weights(log_probs, truth)
    assert fit_weights(log_probs[:, ::-1], truth)[::-1] == pytest.approx(found, abs=1e-5)
    assert fit_weights(log_probs[..., ::-1], 1 - truth) == pytest.approx(found, abs=1e-5)


def test_filters_that_are_never_wrong_get_finite_weights():
    truth = np.array([0, 1] * 20)
    sure = log_sigmoid(9.0 * (2.0 * truth - 1.0)[:, None] * np.ones(2))
    found = fit_weights(sure, truth)
    assert np.isfinite(found).all()
    assert found.max() < 3.0


def test_fitted_weights_beat_equal_ones_on_encounters_held_out():
    """Two experts share most of their noise, one is its own, one is worth nothing and sure of it."""
    rng = np.random.default_rng(4)

    def draw(n):
        truth = rng.integers(2, size=n)
        sign, shared = (2.0 * truth - 1.0)[:, None], rng.standard_normal((n, 1))
        views = 1.0 * sign + 1.4 * (0.95 * shared + 0.3 * rng.standard_normal((n, 2)))
        own = 0.5 * sign + rng.standard_normal((n, 1))
        return log_sigmoid(np.concatenate([views, own, 3.0 * rng.standard_normal((n, 1))], axis=1)), truth

    weights = fit_weights(*draw(400))
    held, truth = draw(2000)
    fitted, equal = loss_of(weights, held, truth), loss_of(np.full(4, 0.25), held, truth)
    assert fitted < equal - 0.05
    assert weights[3] < 0.1
    assert weights.sum() > 1.0, "the third is evidence of its own"


@pytest.mark.parametrize(
    ("log_probs", "truth"),
    [
        (np.zeros((4, 2)), np.zeros(4, int)),
        (np.zeros((4, 2, 2)), np.zeros(3, int)),
        (np.zeros((0, 2, 2)), np.zeros(0, int)),
        (np.full((4, 2, 2), np.nan), np.zeros(4, int)),
        (np.zeros((4, 2, 2)), np.full(4, 2)),
        (np.zeros((4, 2, 2)), np.zeros(4)),
    ],
)
def test_a_fit_to_nonsense_is_refused_in_one_line(log_probs, truth):
    with pytest.raises(ValueError, match=r"^found [^\n]*expected [^\n]*: leave [^\n]*$"):
        fit_weights(log_probs, truth)


# What each sensor said


def test_every_sensors_own_evidence_is_logged_and_adds_up():
    scenario = encounter("barrier", filters=("kalman", "particle"), duration=2.0)
    scenario = replace(scenario, radar=replace(scenario.radar, on=True))
    scenario = replace(scenario, visibility_sensor=replace(scenario.visibility_sensor, on=True))
    frames = list(run(scenario, 3))
    told = np.array([f.sensor_evidence[:, 0] for f in frames])  # (frames, beliefs, sensors, classes)
    kalman, particle, fused = np.moveaxis(told, 1, 0)
    scan, features, radar, visibility = (SENSORS.index(s) for s in ("scan", "features", "radar", "visibility"))
    assert np.isnan(fused).all()
    assert np.isnan(kalman[:, [scan, radar, visibility]]).all()
    assert np.isfinite(kalman[:, features]).all()
    assert np.isnan(particle[:, features]).all()
    assert np.isfinite(particle[:, scan]).all()
    heard = np.isfinite(particle[:, radar, 0])
    assert 0 < heard.sum() <= len(frames)
    assert np.abs(particle[heard, radar]).max() > 0.01
    np.testing.assert_array_equal(particle[np.isfinite(particle[:, visibility, 0]), visibility], 0.0)
    total = np.array([f.log_evidence[:2, 0] for f in frames])
    np.testing.assert_allclose(np.nansum(told[:, :2], axis=2), total, atol=1e-12)
    assert np.isnan([f.sensor_evidence[:, 1:] for f in frames]).all(), "no candidate there"


def test_several_measurements_of_one_sensor_in_a_tick_add_up():
    class Counts:
        sensors = ("visibility",)

        def update(self, state, measurement, rng):
            return state, Info(np.array([measurement.data, 1.0]))

        def belief(self, state):
            return BELIEFS[0]

    follower = Follower(Counts(), RNG, None, BELIEFS[0], Info(np.zeros(2)))
    readings = tuple(Measurement(0.1 * k, "visibility", v) for k, v in enumerate((3.0, 4.0)))
    follower.step(Percept(None, None, readings), None, 0.1, 0.2)
    assert follower.evidence.keys() == {"visibility"}
    np.testing.assert_array_equal(follower.evidence["visibility"], [7.0, 2.0])
    follower.step(Percept(None, None), None, 0.1, 0.3)
    assert not follower.evidence


def as_schema_2(path, monkeypatch):
    """A log as it was before a sensor's evidence had a field."""
    with monkeypatch.context() as patch:
        patch.setattr(log_file, "SCHEMA_VERSION", 2)
        patch.setattr(log_file, "columns", lambda level, version=2: columns(level, version))
        rows = frames(5)
        return rows, record(path, rows)


def test_a_log_of_schema_2_is_read_and_verified(tmp_path, monkeypatch):
    rows, path = as_schema_2(tmp_path / "old.h5", monkeypatch)
    assert log.verify(path) == []
    names = [c.name for c in columns("scans", 2)]
    with log.Replay(path) as replay:
        for row, back in zip(rows, replay, strict=True):
            assert_frame(row, back, names)
            assert back.sensor_evidence.shape == row.sensor_evidence.shape
            assert np.isnan(back.sensor_evidence).all()
        with pytest.raises(UserError, match="holds an earlier schema, no 'sensor_evidence': record it again"):
            replay.column("sensor_evidence")


def test_a_log_of_this_schema_must_hold_the_field(tmp_path, monkeypatch):
    path = as_schema_2(tmp_path / "old.h5", monkeypatch)[1]
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = 3
    with pytest.raises(UserError, match="no field 'sensor_evidence'"):
        log.Replay(path)
