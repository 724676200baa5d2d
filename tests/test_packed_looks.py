"""Looks end to end: what one call says of stories is what a call for each look says."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from filters.looks import FogLook, LidarLook, Look
from filters.models.object_echo import clutter_table, window_of
from filters.models.optics import echo_table
from filters.models.visibility import Visibility, update_visibility, visibility_prior
from filters.packed_looks import LARGE, LidarLooks, packed
from filters.scouts import past_as_told
from filters.spec import BAG, BARRIER, Pose
from filters.target import Target
from tests.encounters import LIDAR, ball, sweep
from tests.test_looks import ORIGIN, lidar_look, radar_look, told_of

CLASSES = pytest.mark.parametrize("klass", [BAG, BARRIER], ids=["bag", "barrier"])
FOG = FogLook(Visibility(3.2, 0.1), Visibility(3.2, 0.1), CubicSpline(np.linspace(2.0, 4.5, 9), np.arange(9.0)))


def look_from(pose: Pose, steps: int, reach: float, mode: str = "strongest") -> LidarLook:
    """A sweep from a pose, cut to places within reach of the origin."""
    lidar = replace(LIDAR, optics=replace(LIDAR.optics, mode=mode))
    table, seen = echo_table(lidar.optics), sweep(ball(12.1, -0.3), 25.0, steps, lidar, pose)
    window = window_of(seen, ORIGIN.mean + reach * np.array([[-1.0, -1.0], [1.0, 1.0]]), 1.1)
    fog, clutter = update_visibility(visibility_prior(25.0, 0.3), table, *window.beams())
    look = lidar_look(steps)
    return look._replace(window=window, nodes=clutter.nodes, background=clutter_table(window, clutter), fog=fog)


def one_by_one(klass: int, looks: tuple[Look | FogLook, ...]) -> tuple[np.ndarray, np.ndarray]:
    """ln L (n, looks) by a call for each look, and as a cloud's past is told."""
    stories, cloud, told = told_of(klass)
    each = [look.log_likelihood(stories, cloud.u, told) for look in looks]
    return np.column_stack(each), past_as_told(cloud.u, told, Target(stories, (), looks, looks[-1], 1))


@CLASSES
def test_one_call_says_what_a_call_for_each_says(klass):
    """Windows of other sizes, from other poses, in other fogs, after other steps."""
    poses = [Pose(0.0, 0.0, 0.9, 0.0), Pose(4.0, 0.2, 0.9, 0.03, 0.01, -0.02), Pose(7.0, -0.2, 0.9, -0.02)]
    looks = tuple(look_from(p, k, 0.4 - 0.1 * k) for k, p in enumerate(poses))
    assert len({look.window.scanned.shape for look in looks}) == 3
    (together,) = packed(looks)
    assert isinstance(together, LidarLooks)
    each, as_one = one_by_one(klass, looks)
    np.testing.assert_array_equal(as_one, each)
    assert (np.ptp(each, axis=0) > 1.0).all()


@CLASSES
def test_beams_may_report_several_echoes(klass):
    looks = tuple(look_from(Pose(0.0, 0.0, 0.9, 0.0), k, 0.5, "dual") for k in (0, 3))
    stories, cloud, told = told_of(klass)
    stories = replace(stories, model=replace(stories.model, optics=replace(LIDAR.optics, mode="dual")))
    each = [look.log_likelihood(stories, cloud.u, told) for look in looks]
    assert looks[0].window.range.shape[2] == 2
    (together,) = packed(looks)
    np.testing.assert_array_equal(together.log_likelihood(stories, cloud.u, told), np.column_stack(each))
    assert (np.ptp(each, axis=1) > 1.0).all()


@CLASSES
def test_other_looks_stay_where_they_are(klass):
    """In whatever order they come."""
    looks = FOG, lidar_look(0), lidar_look(1, 0.1), radar_look(2, 0.3), lidar_look(2), lidar_look(3), lidar_look(1)
    of = [type(look).__name__ for look in packed(looks)]
    assert of == ["FogLook", "LidarLooks", "RadarLook", "LidarLooks"]
    each, as_one = one_by_one(klass, looks)
    np.testing.assert_array_equal(as_one, each)


def test_large_looks_are_not_copied():
    small = lidar_look(0)
    large = small._replace(background=np.zeros((*small.window.scanned.shape, LARGE)))
    some = packed((small, small, large, small))
    assert some[1] is large
    assert [isinstance(look, LidarLooks) for look in some] == [True, False, True]
