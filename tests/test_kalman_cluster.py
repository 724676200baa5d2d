"""The measurement model of the Kalman banks against what perception makes of simulated sweeps."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import digamma, polygamma

from filters.models.cluster import (
    BEARING,
    RANGE,
    SEEN_BULGE,
    SEEN_FILL,
    SEEN_REFLECTANCE,
    SEEN_ROUGHNESS,
    SEEN_SPREAD,
    SEEN_TOP,
    SEEN_WIDTH,
    edge_share,
    expected,
    log_chi,
    measured,
    noise,
    powers,
    surface_of,
    wrap,
)
from filters.models.detection import agreed, expected_echoes, fog_peak, heard, level
from filters.models.fog import even_power, fog_at
from filters.models.optics import echo_table, extinction
from filters.models.outline import (
    CORNER_BULGE,
    CORNER_ROUGHNESS,
    CORNER_SHARE,
    STATE,
    TURN,
    Outline,
    ball,
    log_cosine,
    setback,
)
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
        y = measured(f, MODEL) - expected(MODEL, klass, f, x[None])[0]
        off.append(y / np.sqrt(np.diag(noise(MODEL, klass, f, x))))
    assert len(off) >= 8
    assert np.abs(np.mean(off, axis=0)).max() < 2.5, np.round(np.mean(off, axis=0), 2)


def test_a_fainter_ball_looks_smaller_flatter_and_brighter_than_it_is():
    h = [expected(MODEL, BAG, features(log_visibility=np.log(v)), BALL[None])[0] for v in (40.0, 22.0, 16.0)]
    assert h[0][SEEN_WIDTH] > h[1][SEEN_WIDTH] > h[2][SEEN_WIDTH]
    assert h[0][SEEN_BULGE] >= h[1][SEEN_BULGE] > h[2][SEEN_BULGE]
    assert h[0][SEEN_REFLECTANCE] < h[1][SEEN_REFLECTANCE] < h[2][SEEN_REFLECTANCE]
    assert h[0][RANGE] < 10.0


@pytest.mark.parametrize(("klass", "x", "near"), [(BARRIER, FRONT, 0.2), (BAG, BALL, 0.21)])
def test_what_is_heard_is_its_near_side(klass, x, near):
    seen = features(log_visibility=np.log(17.0))
    front = surface_of(MODEL, klass, seen, np.array([10.0 - near]), x[None])
    z = expected(MODEL, klass, seen, x[None])[0]
    assert 0.2 < front.share[0] < 0.9
    assert z[RANGE] == pytest.approx(10.0 - near)
    assert z[SEEN_FILL] == pytest.approx(edge_share(MODEL, seen) + (1 - edge_share(MODEL, seen)) * front.share[0])


def test_a_ball_s_echoes_lie_two_thirds_of_its_radius_before_it():
    """And more where the rim is not heard: against draws of where the heard beams meet it, even over the disc."""
    u = np.sqrt(np.random.default_rng(0).random(100_000))
    all_of_it, some = (0.5 * u[u > rim].mean() for rim in (0.0, 0.5))
    assert all_of_it <= setback(MODEL, BAG, np.array([1.0]))[0] <= some
    assert setback(MODEL, BARRIER, np.array([1.0]))[0] == 0.5 * MODEL.barrier.depth


@pytest.mark.parametrize("yaw", [0.0, 0.45, -0.45])
def test_a_turned_barrier_shows_its_corner(yaw):
    """A front of 1.2 m and a side of .4 m: width, bulge and roughness are those of the corner."""
    turned = box(10.0, 0.0, 1.2, 0.6, 0.3)._replace(yaw=np.array([yaw]))
    x = FRONT.copy()
    x[TURN] = yaw
    seen = looks_of(turned, (10.0, 0.0), 60.0, 6)
    z = np.mean([measured(f, MODEL) for f in seen], axis=0)
    h = np.mean([expected(MODEL, BARRIER, f, x[None])[0] for f in seen], axis=0)
    assert z[SEEN_WIDTH] == pytest.approx(h[SEEN_WIDTH], abs=0.08)
    assert z[SEEN_ROUGHNESS] == pytest.approx(h[SEEN_ROUGHNESS], abs=0.35)
    assert z[SEEN_BULGE] == pytest.approx(h[SEEN_BULGE], abs=0.06)


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


def test_the_heard_echoes_are_the_stronger_ones():
    """Mean and deviation of p ~ N(P, s²) given p > b, against draws."""
    power, least = 6.0, 7.0
    p = np.random.default_rng(0).normal(power, np.hypot(1.0, MODEL.barrier.texture * power), 1_000_000)
    p = p[p > np.random.default_rng(1).normal(least, 1.0, len(p))]
    one = Heard(np.array([power]), np.array([least]), np.ones(1), np.ones(1))
    flat = Outline(*[np.zeros(1)] * 6)
    bright, spread = powers(MODEL, BARRIER, one, flat)
    assert bright[0] == pytest.approx(np.log(p.mean() / power), abs=3e-3)
    assert spread[0] == pytest.approx(p.std() / p.mean(), rel=0.02)


def test_what_is_measured_of_few_echoes():
    """The top half a ring above the highest echo; ln roughness less the mean of ln sqrt(chi²_n / n), n = 4."""
    seen = features(log_count=np.log1p(7.0), top=0.3, roughness=0.05)
    z = measured(seen, MODEL)
    assert z[SEEN_TOP] == pytest.approx(0.3 + 5.0 * (MODEL.elevation[1] - MODEL.elevation[0]))
    assert z[SEEN_ROUGHNESS] == pytest.approx(np.log(0.05) - 0.5 * (digamma(2.0) - np.log(2.0)))


def test_faint_echoes_are_rougher():
    """Their range noise, sigma sqrt(threshold / p), adds to the surface's roughness."""
    loud, faint = (expected(MODEL, BAG, features(log_power=np.log(p)), BALL[None])[0] for p in (400.0, 8.0))
    optics = MODEL.optics
    more = optics.range_noise**2 * optics.threshold * (1.0 / 8.0 - 1.0 / 400.0)
    assert np.exp(2 * faint[SEEN_ROUGHNESS]) - np.exp(2 * loud[SEEN_ROUGHNESS]) == pytest.approx(more, rel=1e-6)


def test_a_thin_cluster_s_edges_are_uncertain():
    thick, thin = (noise(MODEL, BARRIER, features(log_visibility=np.log(v)), FRONT)[SEEN_WIDTH] for v in (60.0, 16.0))
    assert np.sqrt(thick[SEEN_WIDTH]) == pytest.approx(0.05, abs=0.01)
    assert thin[SEEN_WIDTH] > 4.0 * thick[SEEN_WIDTH]


@pytest.mark.parametrize("turned", [0.5, 2.0, np.pi - 1e-3, np.pi, -2.0])
@pytest.mark.parametrize(("klass", "x"), [(BARRIER, FRONT), (BAG, BALL)])
def test_a_look_is_the_same_wherever_the_sensor_heads(klass, x, turned):
    """A scene turned about the sensor, also across the seam at pi."""
    c, s = np.cos(turned), np.sin(turned)
    turn, there = np.array([[c, -s], [s, c]]), x.copy()
    place, seen_at = np.array([10.0, 0.3]), np.array([9.7, -0.2])
    there[:2] = turn @ place
    ahead = features(position=seen_at)
    aside = features(position=turn @ seen_at, pose=ahead.pose._replace(yaw=turned))
    x = np.concatenate([place, x[2:]])
    before = measured(ahead, MODEL) - expected(MODEL, klass, ahead, x[None])[0]
    after = measured(aside, MODEL) - expected(MODEL, klass, aside, there[None])[0]
    np.testing.assert_allclose(after, before, atol=1e-9)
    assert before[BEARING] == pytest.approx(-np.arctan2(0.3, 10.0) - np.arctan2(0.2, 9.7))


@pytest.mark.parametrize("klass", [BAG, BARRIER])
@pytest.mark.parametrize("count", [3.0, 4.0, 40.0])
def test_a_cluster_has_a_covariance_that_more_echoes_shrink(klass, count):
    x = FRONT if klass == BARRIER else BALL
    few, many = (np.diag(noise(MODEL, klass, features(log_count=np.log1p(n)), x)) for n in (count, 200.0))
    assert few.min() > 0.0
    assert (many <= few).all()
    shrunk = [SEEN_REFLECTANCE, SEEN_ROUGHNESS, SEEN_SPREAD, SEEN_BULGE]
    assert (many[shrunk] < few[shrunk]).all()


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
        percepts_of(sweep(things, visibility, s), (10.0, 0.0), visibility=visibility)[0].features for s in range(40)
    ]
    found = np.mean([np.expm1(f.log_count) for f in seen])
    told = expected_echoes(MODEL, klass, 0.9, np.array([9.8]), x[4], x[[5]], x[[6]], np.log(visibility))[0]
    assert found == pytest.approx(told, rel=0.45, abs=2.0)
