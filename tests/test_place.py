"""A belief's place against numbers by hand, quadrature, and another library; χ² bands over encounters."""

import math
from itertools import pairwise

import numpy as np
import pytest
import scoringrules
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.stats import chi2, norm

from fogsim.scoring import place
from fogsim.scoring.consistency import band, chi2_below, consistency
from fogsim.scoring.encounters import MOMENTS, encounter
from fogsim.scoring.scores import Score
from tests.approaches import Memory, approach
from tests.scored import encounter as made

metres, spreads, angles = st.floats(-5.0, 5.0), st.floats(0.01, 4.0), st.floats(-3.0, 3.0)


def turned(angle):
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


# One belief


@given(angles, angles, metres, metres)
def test_a_place_right_in_the_odometry_frame_has_no_error(yaw, estimated, x, y):
    """The object 20 m ahead and 1 m to the right of ego, whose odometry has drifted and turned."""
    pose, odometry, ahead = np.array([10.0, 2.0, yaw]), np.array([9.0 + x, 1.0 + y, estimated]), np.array([20.0, -1.0])
    truth, seen = pose[:2] + turned(yaw) @ ahead, odometry[:2] + turned(estimated) @ ahead
    assert_allclose(place.errors(seen, truth, pose, odometry), 0.0, atol=1e-12)
    off = place.errors(seen + np.array([[0.3, -0.2], [0.0, 1.0]]), truth, pose, odometry)
    assert_allclose(off, [[0.3, -0.2], [0.0, 1.0]], atol=1e-12)


def test_nees_by_hand():
    assert place.nees(np.array([3.0, 1.0]), np.diag([4.0, 1.0])) == pytest.approx(9.0 / 4.0 + 1.0)
    correlated = np.array([[2.0, 1.0], [1.0, 2.0]])  # its inverse is [[2, -1], [-1, 2]] / 3
    assert place.nees(np.array([1.0, 2.0]), correlated) == pytest.approx((2.0 - 4.0 + 8.0) / 3.0)


@given(metres, metres, spreads, spreads, st.floats(-0.9, 0.9), angles)
def test_nees_is_that_of_a_solver_and_keeps_in_a_turned_frame(x, y, sx, sy, correlation, angle):
    e, P = np.array([x, y]), np.array([[sx * sx, correlation * sx * sy], [correlation * sx * sy, sy * sy]])
    R = turned(angle)
    wanted = e @ np.linalg.solve(P, e)
    assert_allclose(place.nees(e, P), wanted, rtol=1e-6, atol=1e-12)
    assert_allclose(place.nees(R @ e, R @ P @ R.T), wanted, rtol=1e-5, atol=1e-9)


def test_a_singular_covariance_is_infinitely_wrong():
    assert place.nees(np.array([0.1, 0.0]), np.zeros((2, 2))) == np.inf
    assert place.nees(np.zeros(2), np.ones((2, 2))) == np.inf
    assert np.isnan(place.nees(np.full(2, np.nan), np.eye(2)))


@given(metres, spreads)
def test_crps_is_the_integral_and_that_of_another_library(e, s):
    def squared(x):
        return (norm.cdf(x, scale=s) - (x >= e)) ** 2

    edges = sorted([-12.0 * s - 6.0, 12.0 * s + 6.0, e])
    integral = sum(quad(squared, a, b, limit=200)[0] for a, b in pairwise(edges))
    assert_allclose(place.crps(np.array(e), np.array(s)), integral, atol=1e-6)
    assert_allclose(place.crps(np.array(e), np.array(s)), scoringrules.crps_normal(e, 0.0, s), atol=1e-8)


def test_crps_without_spread_is_the_absolute_error():
    assert_allclose(place.crps(np.array([0.7, -0.7, 0.0]), np.zeros(3)), [0.7, 0.7, 0.0])


def test_an_encounter_tells_both_at_each_moment():
    """The approach's barrier lies at (32, -.6); ego's poses are 0."""
    given = {
        "position_mean": np.broadcast_to([33.0, -0.6], (2, 2, 2)),
        "position_covariance": np.broadcast_to(np.diag([4.0, 0.25]), (2, 2, 2, 2)),
    }
    e = encounter(Memory(approach(**given)))
    assert_allclose(e.nees, 0.25)
    assert_allclose(e.crps[..., 0], place.crps(np.array(1.0), np.array(2.0)))
    assert_allclose(e.crps[..., 1], place.crps(np.array(0.0), np.array(0.5)))
    assert np.isnan(encounter(Memory(approach(**given)[:10])).nees[0]).all()


# Many encounters


@pytest.mark.parametrize(("d", "low", "high"), [(2, 1.4844, 2.5912), (4, 3.2546, 4.8212)])
def test_the_bands_of_fifty(d, low, high):
    assert_allclose(band(50 * d, 50), (low, high), atol=5e-5)
    found = consistency(np.full(50, float(d)), np.full(50, float(d)), np.arange(50))
    assert_allclose((found.low, found.high), chi2.ppf((0.025, 0.975), 50 * d) / 50, rtol=1e-9)
    assert (found.n, found.mean, found.dof, found.inside) == (50, d, d, 1.0)


def test_right_covariances_are_in_the_band_and_small_ones_beyond():
    rng = np.random.default_rng(1)
    dof = np.tile([2.0, 9.0], 500)
    means = [consistency(rng.chisquare(dof), dof, np.arange(1000)) for _ in range(100)]
    assert 88 <= sum(m.low < m.mean < m.high for m in means) <= 100  # 95 expected
    assert np.mean([m.inside for m in means]) == pytest.approx(0.95, abs=0.003)
    small = consistency(2.0 * rng.chisquare(dof), dof, np.arange(1000))
    assert small.mean > small.high
    assert small.inside < 0.8


def test_what_is_unknown_is_left_out_and_what_is_infinite_is_not():
    values, dof = np.array([np.nan, 2.0, 1.0, np.inf]), np.array([2.0, 2.0, -1.0, 2.0])
    found = consistency(values, dof, np.arange(4))
    assert (found.n, found.mean, found.inside) == (2, np.inf, 0.5)
    assert consistency(values[:1], dof[:1], np.arange(1)).n == 0
    assert_allclose(chi2_below(np.array([-1.0, 2.0]), np.array([2.0, 2.0])), [0.0, 1.0 - math.exp(-1.0)])


def test_logs_that_share_a_seed_count_once_in_the_band():
    values = np.random.default_rng(0).chisquare(2, 30)
    one = consistency(values, np.full(30, 2.0), np.arange(30))
    twice = consistency(np.tile(values, 2), np.full(60, 2.0), np.tile(np.arange(30), 2))
    assert_allclose(one[1:], twice[1:])
    assert (one.n, twice.n) == (30, 60)


def test_the_table_of_places():
    nees = np.full((len(MOMENTS), 2), 1.5)
    nis = np.array([[8.0, np.nan]] * len(MOMENTS))
    given = {"nees": nees, "crps": np.full((*nees.shape, 2), 0.25), "nis": nis, "nis_dof": np.where(nis > 0, 9, 2)}
    one, other = Score(tuple(made(k, k % 2, given=given, kalman=0.6, fused=0.5) for k in range(6))).places[
        :: len(MOMENTS)
    ]
    assert (one.belief, one.moment, one.n, one.crps_along.mean) == ("kalman", "decision", 6, 0.25)
    assert (one.nees.mean, one.nees.dof, one.nis.n, one.nis.mean, one.nis.dof) == (1.5, 2.0, 6, 8.0, 9.0)
    assert (other.nees.n, other.nis.n) == (6, 0)
