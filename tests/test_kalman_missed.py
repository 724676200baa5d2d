"""What a look without a cluster says: the quadrature against draws, and its limits."""

import numpy as np
import pytest

from filters import missed_look
from filters.belief import moments
from filters.imm import Bank
from filters.kalman_bank import look
from filters.missed_look import MISSED, SURE, bounds, look_for
from filters.models.detection import detection_probability, expected_echoes
from filters.models.outline import REFLECTANCE, TOP, WIDTH, X, Y, setback
from filters.spec import BAG, BARRIER, FEATURES, Features, Pose
from fogsim.followers import model_of
from tests.encounters import encounter

POSE = Pose(0.0, 0.0, 0.9, 0.0)


def mode(klass, x, deviation):
    """A mode whose place ahead is uncertain and correlated with its top, seen in visibility 60 m."""
    model = model_of(encounter())
    own = look(model, klass)
    mean = np.array([x, 0.1, 0.0, 0.0, *[m for m, _ in own]])
    covariance = np.diag([deviation**2, 0.05**2, 0.01, 0.01, *[d**2 for _, d in own]])
    covariance[X, Y] = covariance[Y, X] = 0.5 * deviation * 0.05
    covariance[X, TOP] = covariance[TOP, X] = 0.3 * deviation * own[1][1]
    covariance[WIDTH, TOP] = covariance[TOP, WIDTH] = 0.2 * own[0][1] * own[1][1]
    return model, mean, covariance


def unseen(log_visibility):
    values = np.zeros(len(FEATURES))
    values[FEATURES.index("log_visibility")] = log_visibility
    return Features(values, np.full(2, np.nan), np.full((2, 2), np.nan), POSE)


def look_for_one(model, klass, mean, covariance, seen):
    """The same of one mode, among others that say nothing of it."""
    others = np.stack([mean, mean + 0.1, mean]), np.stack([covariance, 2.0 * covariance, covariance])
    chance, after = look_for(model, klass, Bank(np.zeros(3), *others), seen)
    return float(chance[2]), after.modes[2]


def sampled_miss(model, klass, mean, covariance, seen, n=400_000):
    """P(cluster), and mean and covariance given there was none, by drawing the whole state.

    A draw beyond the class's bounds is as likely seen as one at them.
    """
    draws = np.random.default_rng(0).multivariate_normal(mean, covariance, n)
    top, bright = draws[:, [TOP, REFLECTANCE]].clip(*bounds(model, klass)).T
    distance = np.hypot(draws[:, X] - POSE.x, mean[Y] - POSE.y) - setback(model, klass, mean[WIDTH])
    distance = np.maximum(distance, 3.0)
    echoes = expected_echoes(model, klass, POSE.z, distance, mean[WIDTH], top, bright, seen.log_visibility)
    chance = MISSED + (SURE - MISSED) * detection_probability(echoes)
    return chance.mean(), moments(draws, (1.0 - chance) / (1.0 - chance).sum())


@pytest.fixture
def fine(monkeypatch):
    """Many nodes: what is found differs along steps, as rings rise above the top, which few nodes cannot follow."""
    monkeypatch.setattr(missed_look, "NODES", missed_look.lattice(150_000))
    monkeypatch.setattr(missed_look, "NODE_WEIGHTS", np.full(300_000, 1.0 / 300_000))


AT_STAKE = [(k, *place) for k in (BAG, BARRIER) for place in ((14.0, 2.0), (18.0, 1.0), (22.0, 2.0))]


def assert_integral(klass, x, deviation, relative, off):
    """The chance of a cluster, and the moments after a miss in standard deviations, against draws."""
    model, mean, covariance = mode(klass, x, deviation)
    seen = unseen(np.log(60.0))
    chance, after = look_for_one(model, klass, mean, covariance, seen)
    sampled, exact = sampled_miss(model, klass, mean, covariance, seen)
    scale = np.sqrt(np.diag(covariance))
    assert np.abs((exact.mean - mean) / scale).max() > 0.1, "found a miss that says nothing"
    assert chance == pytest.approx(sampled, rel=relative)
    np.testing.assert_allclose(after.mean / scale, exact.mean / scale, atol=off)
    unit = np.outer(scale, scale)
    np.testing.assert_allclose(after.covariance / unit, exact.covariance / unit, atol=off)


@pytest.mark.parametrize(("klass", "x", "deviation"), AT_STAKE)
def test_the_quadrature_of_a_miss_closes_in_on_the_integral(klass, x, deviation, fine):
    assert_integral(klass, x, deviation, 0.05, 0.08)


@pytest.mark.parametrize(("klass", "x", "deviation"), AT_STAKE)
def test_its_few_nodes_are_near(klass, x, deviation):
    assert_integral(klass, x, deviation, 0.12, 0.2)


@pytest.mark.parametrize(("klass", "least"), [(BAG, 8.003), (BARRIER, 8.01)])
def test_a_miss_nearby_in_clear_air_moves_the_place_away(klass, least):
    model, mean, covariance = mode(klass, 8.0, 2.0)
    covariance = np.diag(np.diag(covariance))  # a correlated top could come down instead
    after = look_for_one(model, klass, mean, covariance, unseen(np.log(1e4)))[1]
    assert after.mean[X] > least
    assert sampled_miss(model, klass, mean, covariance, unseen(np.log(1e4)))[1].mean[X] > least


def pinned(klass, x, width=None):
    """A mode that knows its object all but exactly."""
    model, mean, _ = mode(klass, x, 1.0)
    mean[WIDTH] = mean[WIDTH] if width is None else width
    return model, mean, 1e-8 * np.eye(len(mean))


@pytest.mark.parametrize(("klass", "x"), [(BAG, 12.5), (BAG, 13.3), (BARRIER, 13.5), (BARRIER, 13.7)])
def test_echoes_come_from_the_near_side(klass, x):
    model, mean, covariance = pinned(klass, x)
    near = 0.5 * model.barrier.depth if klass == BARRIER else 0.35 * mean[WIDTH]
    front = np.array([np.hypot(x, 0.1) - near])
    top, bright = np.clip(mean[[TOP, REFLECTANCE]], *bounds(model, klass))
    echoes = expected_echoes(model, klass, 0.9, front, mean[WIDTH], top[None], bright[None], np.log(25.0))[0]
    told = MISSED + (SURE - MISSED) * detection_probability(echoes)
    assert 0.05 < told < 0.95
    assert look_for_one(model, klass, mean, covariance, unseen(np.log(25.0)))[0] == pytest.approx(told, abs=2e-3)


@pytest.mark.parametrize("klass", [BAG, BARRIER])
@pytest.mark.parametrize("visibility", [12.0, 60.0])
def test_a_chance_is_a_chance_whatever_the_width(klass, visibility):
    """A Gaussian's width may have gone below 0, by looks that contradict each other."""
    for width in (-3.0, 0.0, 5.0):
        model, mean, covariance = pinned(klass, 10.0, width)
        chance, after = look_for_one(model, klass, mean, covariance, unseen(np.log(visibility)))
        assert MISSED - 1e-12 <= chance <= SURE + 1e-12
        assert np.isfinite(after.mean).all()


def test_fog_hides_and_a_barrier_is_seen_before_a_bag():
    """The chance of a cluster falls with distance and fog, and differs by class."""
    chances = {}
    for klass in (BAG, BARRIER):
        model, mean, covariance = mode(klass, 14.0, 0.5)
        chances[klass] = [
            look_for_one(model, klass, mean, covariance, unseen(np.log(v)))[0] for v in (15.0, 25.0, 60.0)
        ]
        assert chances[klass][0] < 0.05 < chances[klass][2]
        assert np.all(np.diff(chances[klass]) > 0.0)
    assert (np.array(chances[BARRIER]) >= chances[BAG]).all()
    assert chances[BARRIER][1] > 1.5 * chances[BAG][1]
