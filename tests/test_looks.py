"""Looks: what a scan says of a story, by hand at the place where the story was when it was taken."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from filters.looks import NO_ECHOES, FogLook, LidarLook, RadarLook
from filters.models import radar
from filters.models.model import Model
from filters.models.motion import BagMotion
from filters.models.object_echo import clutter_table, object_log_ratios, odd_echoes, window_of
from filters.models.optics import echo_table
from filters.models.radar import Radar, sources_of
from filters.models.visibility import Visibility, update_visibility, visibility_prior
from filters.spec import BAG, BARRIER, EgoMotion, Gaussian, Pose, RadarScan
from filters.stories import Cloud, Stories, Told, step_of
from filters.streams import stream
from tests.encounters import LIDAR, NOTHING_THERE, ball, sweep

ORIGIN = Gaussian(np.array([12.0, -0.3]), np.diag([0.25, 0.09]))
MODEL = Model(optics=LIDAR.optics, radar=Radar(on=True), motion=BagMotion(gust_speed=2.0, gust_rate=3.0, calm_rate=1.0))
CLASSES = pytest.mark.parametrize("klass", [BAG, BARRIER], ids=["bag", "barrier"])
UNTOLD = Told(np.zeros((1, 0, 2)), np.zeros((1, 0, 2)), np.zeros((1, 0)), NOTHING_THERE)
EVERY_STEP = pytest.mark.parametrize("steps", [0, 2, 3])


def told_of(klass: int, n: int = 40) -> tuple[Stories, Cloud, Told]:
    """Stories of three steps in which bags are blown far."""
    stories, rng = Stories(MODEL, klass, ORIGIN), stream(1, "told")
    step = step_of(EgoMotion(np.zeros(3), np.diag([0.2, 0.2, 0.01]) ** 2, Pose(0.0, 0.0, 0.9, 0.0)), 0.2)
    cloud = stories.draw(n, rng)
    for _ in range(3):
        cloud = stories.go_on(cloud, step, rng)
    told = stories.tell(cloud, (step,) * 3)
    assert (np.ptp(told.places, axis=0) > 0.01).any(axis=1).all()
    return stories, cloud, told


def lidar_look(steps: int, shift: float = 0.0) -> LidarLook:
    """A sweep past a bag, as the particle filter keeps it."""
    seen, table = sweep(ball(12.1, -0.3), 25.0, 3), echo_table(MODEL.optics)
    window = window_of(seen, ORIGIN.mean + np.array([[-3.0, -3.0], [3.0, 3.0]]), 1.1)
    fog, clutter = update_visibility(visibility_prior(25.0, 0.3), table, *window.beams())
    background = clutter_table(window, clutter)
    echoes = odd_echoes(window, background[..., 10], ORIGIN, MODEL.tallest)
    return LidarLook(steps, window, clutter.nodes, background, Visibility(fog.mean + shift, 0.05), echoes)


@CLASSES
@EVERY_STEP
def test_a_lidars_look_is_the_log_ratio_at_the_place_of_its_step(klass, steps):
    stories, cloud, told = told_of(klass)
    look, shape = lidar_look(steps), {BAG: MODEL.bag, BARRIER: MODEL.barrier}[klass]
    solids = shape.solids(told.places[steps], cloud.u[:, 2:-2])
    v = look.fog.mean + 0.05 * cloud.u[:, -1]
    by_hand = object_log_ratios(echo_table(MODEL.optics), solids, v, look.window, look.nodes, look.background)
    np.testing.assert_array_equal(look.log_likelihood(stories, cloud.u, told), by_hand)
    assert np.ptp(by_hand) > 3.0
    elsewhere = look._replace(steps=1).log_likelihood(stories, cloud.u, told)
    assert (elsewhere != by_hand).mean() > 0.5


def test_a_lidars_look_reads_the_fog_of_each_story():
    """The last latent, in the deviations of the look's own fog about its mean."""
    stories, cloud, told = told_of(BARRIER)
    look, thicker = lidar_look(3), lidar_look(3, -0.1)
    lower = cloud.u.copy()
    lower[:, -1] -= 2.0
    a, b = thicker.log_likelihood(stories, cloud.u, told), look.log_likelihood(stories, lower, told)
    np.testing.assert_allclose(a, b, atol=1e-9)
    assert np.abs(a - look.log_likelihood(stories, cloud.u, told)).max() > 0.01


def radar_look(steps: int, age: float) -> RadarLook:
    """Three detections, two of them about a place 12 m ahead of a radar that drives."""
    z = np.array([[11.9, -0.02, -8.0, -12.0], [12.3, -0.05, -6.9, -20.0], [30.0, 0.4, -7.4, 0.0]])
    pose, moving = Pose(0.1, -0.1, 0.0, 0.02), np.array([8.0, 0.3])
    return RadarLook(steps, RadarScan(pose, moving, z, np.array([2e-3, 1e-3, 1e-3])), age)


@CLASSES
@EVERY_STEP
@pytest.mark.parametrize("age", [0.0, 0.3])
def test_a_radars_look_is_the_log_ratio_where_the_story_was_when_it_was_taken(klass, steps, age):
    """Put back by age times the velocity of its step; the material is the latent before the fog's."""
    stories, cloud, told = told_of(klass)
    look, shape = radar_look(steps, age), {BAG: MODEL.bag, BARRIER: MODEL.barrier}[klass]
    velocity = told.velocities[steps]
    solids = shape.solids(told.places[steps] - age * velocity, cloud.u[:, 2:-2])
    mean, spread = {BAG: (-23.0, 7.0), BARRIER: (-12.0, 6.0)}[klass]
    material = mean + spread * cloud.u[:, -2]
    seen = sources_of(MODEL.radar, solids, material, velocity, look.scan.pose, look.scan.velocity)
    by_hand = radar.object_log_ratios(MODEL.radar, look.scan, seen)
    np.testing.assert_allclose(look.log_likelihood(stories, cloud.u, told), by_hand, rtol=1e-12)
    assert velocity.any() == (klass == BAG)
    assert np.ptp(by_hand) > 0.5


def test_a_radars_look_has_no_echoes_to_jump_to():
    assert radar_look(0, 0.0).echoes is NO_ECHOES
    assert NO_ECHOES.places.shape == (0, 2)
    assert NO_ECHOES.oddness.shape == (0,)


def test_a_fogs_look_makes_of_the_gaussian_the_density():
    """N(v; fog) exp(look) is p(v, scans), here of two modes, up to a constant; at nodes and between them."""
    fog, nodes = Visibility(3.1, 0.2), np.linspace(2.3, 3.9, 41)
    density = np.exp(-0.5 * ((nodes - 3.0) / 0.15) ** 2) + 0.5 * np.exp(-0.5 * ((nodes - 3.4) / 0.1) ** 2)
    look, stories = FogLook(fog, fog, CubicSpline(nodes, np.log(density))), Stories(MODEL, BARRIER, ORIGIN)
    v = np.linspace(2.31, 3.89, 500)
    u = np.tile((v - fog.mean)[:, None] / fog.deviation, (1, 8))
    u[:, :-1] = 7.0  # only the last is read
    values = look.log_likelihood(stories, u, UNTOLD)
    exact = np.exp(-0.5 * ((v - 3.0) / 0.15) ** 2) + 0.5 * np.exp(-0.5 * ((v - 3.4) / 0.1) ** 2)
    constant = values - 0.5 * u[:, -1] ** 2 - np.log(exact)
    np.testing.assert_allclose(constant, constant[0], atol=2e-3)


@pytest.mark.parametrize("off", [-1e6, -0.81, -0.7999, 0.0, 0.7999, 0.81, 1e6])
def test_beyond_its_nodes_there_is_no_fog(off):
    fog, nodes = Visibility(3.1, 0.2), np.linspace(2.3, 3.9, 41)
    look = FogLook(fog, fog, CubicSpline(nodes, -0.5 * ((nodes - 3.0) / 0.15) ** 2))
    u = np.full((1, 8), off / fog.deviation)
    value = look.log_likelihood(Stories(MODEL, BAG, ORIGIN), u, UNTOLD)[0]
    assert np.isneginf(value) == (abs(off) > 0.8)
    assert np.isfinite(value) == (abs(off) < 0.8)


def test_a_fogs_look_that_is_gaussian_says_nothing():
    fog, nodes = Visibility(3.1, 0.2), np.linspace(2.3, 3.9, 41)
    look = FogLook(fog, fog, CubicSpline(nodes, -0.5 * ((nodes - fog.mean) / fog.deviation) ** 2))
    u = stream(2, "fog").standard_normal((200, 8)).clip(-3.9, 3.9)
    values = look.log_likelihood(replace(Stories(MODEL, BAG, ORIGIN), klass=BARRIER), u, UNTOLD)
    np.testing.assert_allclose(values, 0.0, atol=1e-9)
