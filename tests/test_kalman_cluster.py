"""The measurement model of the Kalman banks against what perception makes of simulated sweeps."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import digamma, polygamma

from filters.models.cluster import (
    RANGE,
    SEEN_BULGE,
    SEEN_REFLECTANCE,
    SEEN_WIDTH,
    difference,
    expected,
    log_chi,
    measured,
    noise,
    wrap,
)
from filters.models.detection import agreed, expected_echoes, fog_peak, heard, level
from filters.models.fog import even_power, fog_at
from filters.models.optics import echo_table, extinction
from filters.models.outline import CORNER_BULGE, CORNER_ROUGHNESS, CORNER_SHARE, STATE, ball, log_cosine
from filters.models.outline import Surface as Heard
from filters.spec import BAG, BARRIER
from fogsim.followers import model_of
from tests.encounters import LIDAR, box, encounter, percepts_of, sweep
from tests.encounters import ball as smooth_ball
from tests.test_kalman import features

MODEL = model_of(encounter())
FRONT = np.array([10.0, 0.0, 0, 0, 1.2, 0.6, np.log(0.3), np.log(0.02), 1.0, 0.0, 0.0, 0.02])
BALL = np.array([10.0, 0.0, 0, 0, 0.6, 0.6, np.log(0.4), np.log(0.06), 0.7, 0.0, 0.0, 0.0])


def bag(fill):
    """A bag as the world makes them: rough and textured."""
    surface = dict(roughness=np.array([MODEL.bag.roughness]), texture=np.array([MODEL.bag.texture]))
    return smooth_ball(10.0, 0.0, 0.3, fill, 0.4)._replace(**surface)


def looks_of(things, place, visibility, n=12):
    """Features of n sweeps, those that saw a cluster."""
    seen = [percepts_of(sweep(things, visibility, s), place, visibility=visibility)[0].features for s in range(n)]
    return [f for f in seen if f.detected]


@pytest.mark.parametrize("visibility", [25.0, 60.0])
@pytest.mark.parametrize(
    ("klass", "x", "things"),
    [(BARRIER, FRONT, box(10.0, 0.0, 1.2, 0.6, 0.3)), (BAG, BALL, bag(0.7))],
)
def test_what_a_look_measures_is_expected(klass, x, things, visibility):
    """The mean of z - h(x) at the truth, in deviations of one look: less than R allows for an unknown object's bias."""
    off = []
    for f in looks_of(things, (10.0, 0.0), visibility):
        y = difference(measured(f, MODEL), expected(MODEL, klass, f, x[None])[0])
        off.append(y / np.sqrt(np.diag(noise(MODEL, klass, f, x))))
    assert len(off) >= 8
    assert np.abs(np.mean(off, axis=0)).max() < 2.5, np.round(np.mean(off, axis=0), 2)


def test_a_fainter_ball_looks_smaller_flatter_and_brighter_than_it_is():
    h = [expected(MODEL, BAG, features(log_visibility=np.log(v)), BALL[None])[0] for v in (40.0, 22.0, 16.0)]
    assert h[0][SEEN_WIDTH] > h[1][SEEN_WIDTH] > h[2][SEEN_WIDTH]
    assert h[0][SEEN_BULGE] >= h[1][SEEN_BULGE] > h[2][SEEN_BULGE]
    assert h[0][SEEN_REFLECTANCE] < h[1][SEEN_REFLECTANCE] < h[2][SEEN_REFLECTANCE]
    assert h[0][RANGE] < 10.0


def test_cosines_over_a_ball_against_draws():
    u = np.sqrt(np.random.default_rng(0).random(400_000))
    for edge in (0.05, 0.4, 0.8):
        mean, variance = log_cosine(np.array([edge]))
        assert mean[0] == pytest.approx(np.log(u[u > edge]).mean(), abs=3e-3)
        assert variance[0] == pytest.approx(np.log(u[u > edge]).var(), rel=0.03)


def test_roughness_of_few_echoes_against_draws():
    for n in (1, 4, 30):
        drawn = 0.5 * np.log(np.random.default_rng(n).chisquare(n, 200_000) / n)
        np.testing.assert_allclose(log_chi(n), (drawn.mean(), drawn.std()), rtol=0.02, atol=2e-3)
    assert log_chi(4)[1] == pytest.approx(0.5 * np.sqrt(polygamma(1, 2.0)))
    assert log_chi(4)[0] == pytest.approx(0.5 * (digamma(2.0) - np.log(2.0)))


def test_a_corner_bulges_and_a_flat_front_does_not():
    assert CORNER_BULGE[0] == pytest.approx(0.0, abs=1e-9)
    assert CORNER_ROUGHNESS[0] == pytest.approx(0.0, abs=1e-9)
    at = np.searchsorted(CORNER_SHARE, 0.2)
    t = np.linspace(-1.0, 1.0, 2001)
    ramp = np.maximum(t - (1.0 - 2.0 * CORNER_SHARE[at]), 0.0) / (2.0 * CORNER_SHARE[at])
    fit = np.polyfit(t, ramp, 2)
    assert CORNER_BULGE[at] == pytest.approx(fit[0], rel=0.02)
    assert CORNER_ROUGHNESS[at] == pytest.approx(np.std(ramp - np.polyval(fit, t)), rel=0.02)


def test_a_ball_seen_whole_is_as_wide_as_a_ring_cuts_it():
    """A ring at height z cuts a chord 2 sqrt(r² - (z - r)²)."""
    loud = Heard(np.array([400.0]), np.array([4.0]), np.zeros(1), np.ones(1))
    outline = ball(MODEL, 0.9, np.array([10.0]), BALL[None], loud)
    z = 0.9 + 10.0 * np.tan(np.array(MODEL.elevation))
    off = np.abs(z[z > 0.08] - 0.3).min()
    assert outline.width[0] == pytest.approx(2.0 * np.sqrt(0.3**2 * (1 - 0.05**2) - off**2))
    assert outline.roughness.shape == (1,)
    assert len(STATE) == len(BALL)


@pytest.mark.parametrize(
    ("angle", "turned"),
    [(0.3, 0.3), (np.pi + 0.1, -np.pi + 0.1), (-np.pi - 0.1, np.pi - 0.1), (7.0, 7.0 - 2 * np.pi)],
)
def test_angles_wrap(angle, turned):
    assert wrap(np.array(angle)) == pytest.approx(turned)


@pytest.mark.parametrize("klass", [BAG, BARRIER])
@pytest.mark.parametrize("count", [3.0, 4.0, 40.0])
def test_a_cluster_has_a_covariance_that_more_echoes_shrink(klass, count):
    x = FRONT if klass == BARRIER else BALL
    few, many = (np.diag(noise(MODEL, klass, features(log_count=np.log1p(n)), x)) for n in (count, 200.0))
    assert few.min() > 0.0
    assert (many <= few).all()


# What is heard


def test_the_fogs_peak_is_the_worlds():
    table = echo_table(LIDAR.optics)
    for visibility in (12.0, 25.0, 80.0):
        fog = fog_at(table, extinction(visibility))
        for r in (3.0, 9.0, 30.0):
            found = fog_peak(MODEL, np.array(r), np.log(visibility))
            assert found == pytest.approx(even_power(table, fog, r), rel=0.02)


def test_only_the_strongest_echo_has_to_drown_the_fog():
    least, variance = level(MODEL, np.array([15.0]), np.log(20.0))
    assert least[0] > 1.5 * LIDAR.optics.threshold
    assert variance[0] == 1.0
    last = replace(MODEL, optics=replace(MODEL.optics, mode="last"))
    least, variance = level(last, np.array([15.0]), np.log(20.0))
    assert (least[0], variance[0]) == (LIDAR.optics.threshold, 0.0)


def test_the_chance_to_be_heard_against_draws():
    rng = np.random.default_rng(1)
    p, b = rng.normal(9.0, np.hypot(1.0, 0.2 * 9.0), 200_000), rng.normal(8.0, 1.0, 200_000)
    assert heard(np.array(9.0), 0.2, np.array(8.0), np.array(1.0)) == pytest.approx((p > b).mean(), abs=5e-3)
    beside = rng.random((200_000, 6)) < 0.3
    assert agreed(np.array(0.3)) == pytest.approx((beside.sum(axis=1) >= 2).mean(), abs=5e-3)


@pytest.mark.parametrize("visibility", [20.0, 25.0, 60.0])
@pytest.mark.parametrize(
    ("klass", "x", "things"),
    [(BARRIER, FRONT, box(10.0, 0.0, 1.2, 0.6, 0.3)), (BAG, BALL, bag(0.79))],
)
def test_as_many_echoes_as_are_expected(klass, x, things, visibility):
    """Within a half: rings are few, and one that crosses the middle of a ball meets more of it than its share."""
    seen = [
        percepts_of(sweep(things, visibility, s), (10.0, 0.0), visibility=visibility)[0].features for s in range(12)
    ]
    found = np.mean([np.expm1(f.log_count) for f in seen])
    told = expected_echoes(MODEL, klass, 0.9, np.array([9.8]), x[4], x[[5]], x[[6]], np.log(visibility))[0]
    assert found == pytest.approx(told, rel=0.45, abs=2.0)
