"""What is on the picture, by content; and that it needs no display."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fogsim.frame import ACTIONS, DETECTION, MAX_TRACKS, RANGE_UNIT, Frame, schema
from fogsim.log import Replay
from fogsim.scenario import HDL_64, Bank, Fog, Scenario
from fogsim.viewer import style
from fogsim.viewer.beliefs import belief_bar, whisker
from fogsim.viewer.camera import camera, corners, to_world
from fogsim.viewer.deciding import banner_area, loss_bar
from fogsim.viewer.drawing import draw, layout
from fogsim.viewer.echoes import OBJECT, STRONG, WEAK, echoes, image_area, ramp
from fogsim.viewer.metrics import numbers
from fogsim.viewer.over_time import DOTTED, plot_area
from fogsim.viewer.thresholds import thresholds
from fogsim.viewer.timeline import line_area
from fogsim.viewer.veil import hidden
from fogsim.viewer.view import ON_MAP, OVERLAYS, SHOWN, View, focus, view_of
from tests.viewed import BELIEFS, DIMS, LIDAR, Memory, beliefs_of, drive, frame, near, pixels, pygame, said, slots

VIEW = view_of(drive())
AT = layout(VIEW.size)


def showing(*names: str) -> View:
    return dataclasses.replace(VIEW, overlays=frozenset(names))


def on_map(f: Frame, points) -> np.ndarray:
    """Pixels of world points on the whole picture."""
    return np.round(camera(f, VIEW, AT.street)(np.asarray(points, float))).astype(int)


@pytest.mark.parametrize("pose", [(5.0, 0.0, 0.0), (40.0, 3.5, 0.0), (12.0, 1.0, 0.4)])
def test_ego_stands_where_it_is(pose):
    f = frame(ego_pose=pose, odometry=pose)
    image = pixels(draw(f, VIEW))
    ahead = np.array([np.cos(pose[2]), np.sin(pose[2])])
    for share in (0.2, 0.65):  # bonnet and roof
        part = on_map(f, np.array(pose[:2]) - share * VIEW.ego_length * ahead)
        np.testing.assert_array_equal(image[tuple(part)], style.EGO)
    beside = on_map(f, np.array(pose[:2]) - 2.0 * ahead + 1.3 * np.array([-ahead[1], ahead[0]]))
    assert not near(image, beside, style.EGO)


@pytest.mark.parametrize("p", [1e-6, 0.1, 0.37, 0.5, 0.83, 1 - 1e-6])
@pytest.mark.parametrize("changed", range(len(BELIEFS)))
def test_belief_bar_is_as_long_as_the_probability(changed, p):
    log_probs = beliefs_of(0.2).copy()
    log_probs[changed] = np.log([1 - p, p])
    image = pixels(draw(frame(log_probs=log_probs), VIEW))
    for row in range(len(BELIEFS)):  # one row changes, the others do not
        expected, line = p if row == changed else 0.2, belief_bar(AT.beliefs, row, len(BELIEFS))
        filled = (image[line.x : line.right, line.y + 1] == style.belief_colour(BELIEFS, row)).all(axis=1)
        filled[line.width // 2] |= filled[line.width // 2 - 1]  # the mark at one half
        assert filled.sum() == pytest.approx(expected * line.width, abs=1.01)
        assert filled[: filled.sum()].all()


def test_whisker_is_one_standard_deviation_of_a_bernoulli_whose_p_varies():
    low, high = 0.35, 0.45
    p = 0.5 * (low + high)

    def h(q):
        return -q * np.log(q) - (1 - q) * np.log(1 - q)

    mutual_information = h(p) - 0.5 * (h(low) + h(high))
    np.testing.assert_allclose(whisker(p, mutual_information), (low, high), atol=1e-3)
    assert whisker(0.9, 2.0)[1] == 1.0


def test_whisker_is_drawn_only_where_there_is_a_split():
    image = pixels(draw(frame(), VIEW))
    for row in range(len(BELIEFS)):
        line = belief_bar(AT.beliefs, row, len(BELIEFS))
        red = (image[line.x : line.right, line.y : line.bottom] == style.VERMILLION).all(axis=2).any()
        assert red == (BELIEFS[row] == "bnn")


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_changes_its_own_region_and_nothing_else(name):
    detected = np.full((2, len(DETECTION)), np.nan)
    detected[0] = [0.7, 12.0, 0.1, -5.0, -10.0]
    f = frame(radar=detected)
    with_it, without = (pixels(draw(f, showing(*shown))) for shown in (SHOWN | {name}, SHOWN - {name}))
    changed = (with_it != without).any(axis=2)
    region = AT.street if name in ON_MAP else AT.ranges if name == "ranges" else AT.metrics
    assert changed[region.left : region.right, region.top : region.bottom].any()
    for allowed in (region, AT.legend):  # whose words tell which are shown
        changed[allowed.left : allowed.right, allowed.top : allowed.bottom] = False
    assert not changed.any()


@pytest.mark.parametrize("yaw", [0.0, 0.7])
def test_truth_is_outlined_where_it_stands(yaw):
    f = frame(truth_yaw=slots([yaw], 0.0))
    shown, hidden = (pixels(draw(f, showing(*names))) for names in (("truth",), ()))
    outline = corners(f.truth_position[0], 0.6, 1.8, yaw)
    for corner in outline:
        assert near(shown, on_map(f, corner), style.TRUTH)
        assert not near(hidden, on_map(f, corner), style.TRUTH)
    assert not near(shown, on_map(f, f.truth_position[0]), style.TRUTH, reach=1)  # an outline, not a blot
    assert not near(shown, on_map(f, [0.0, 0.0]), style.TRUTH)  # nothing at the empty slot


def test_echoes_lie_along_their_beams_and_bear_the_colour_of_their_origin():
    scan, label = np.zeros((4, 60, 1), np.uint16), np.zeros((4, 60, 1), np.uint8)
    ring, column, distance = 3, 36, 12.0
    scan[ring, column], label[ring, column] = round(distance / RANGE_UNIT), OBJECT
    f = frame(range=scan, label=label, ego_pose=[5.0, 0.5, 0.1])
    bearing = 0.1 + np.radians(-60 + 120 * (column + 0.5) / 60)
    expected = [
        5 + distance * np.cos(np.radians(2)) * np.cos(bearing),
        0.5 + distance * np.cos(np.radians(2)) * np.sin(bearing),
    ]
    points, power, labels = echoes(f, VIEW)
    np.testing.assert_allclose(points, [expected])
    assert (power, labels) == (10.0, OBJECT)
    assert near(pixels(draw(f, showing("lidar"))), on_map(f, expected), style.YELLOW)


def test_echoes_of_a_mounted_lidar_lie_where_the_sensor_model_puts_them():
    """Against the sensor's own pose: turned, tilted and behind ego's front."""
    from filters.models.attitude import places
    from fogsim.sensors.lidar import grid, mounted

    lidar = dataclasses.replace(LIDAR, x=-1.5, y=0.3, height=1.6, yaw_deg=12.0, pitch_deg=6.0, roll_deg=-9.0)
    f = frame(ego_pose=[5.0, 0.5, 0.1])
    ring, column, _ = np.nonzero(f.range)
    elevation, azimuth = grid(lidar)
    distance = f.range[ring, column, 0] * RANGE_UNIT
    expected = places(mounted(lidar, *f.ego_pose), elevation[ring], azimuth[column], distance)[:, :2]
    np.testing.assert_allclose(echoes(f, view_of(Memory([f], Scenario(lidar=lidar))))[0], expected, atol=1e-9)


@pytest.mark.parametrize("lidar", [LIDAR, HDL_64])  # the latter's rings are uneven
def test_beams_point_where_the_sensor_points_them(lidar):
    from fogsim.sensors.lidar import grid

    elevation, azimuth = (np.broadcast_to(a, (lidar.rings, lidar.columns)) for a in np.ix_(*grid(lidar)))
    expected = np.stack([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth)], axis=-1)
    np.testing.assert_allclose(view_of(Memory([frame()], Scenario(lidar=lidar))).beams, expected, atol=1e-12)


def test_a_log_without_scans_draws_without_echoes():
    empty = {"range": np.empty((4, 60, 0)), "power": np.empty((4, 60, 0)), "label": np.empty((4, 60, 0))}
    bare = frame(**empty, points=np.full((5, MAX_TRACKS, DIMS.point, 2), np.nan))
    seen, street = [pixels(draw(bare, showing(*names))) for names in (SHOWN, SHOWN - {"lidar"})], AT.street
    inside = np.s_[street.left : street.right, street.top : street.bottom]
    assert (seen[0][inside] == seen[1][inside]).all()
    assert near(pixels(draw(bare, showing())), on_map(bare, [3.5, 0.0]), style.EGO)


def test_what_filters_hold_is_moved_from_the_odometry_frame_to_the_world():
    f = frame(odometry=[4.0, 1.0, 0.3], ego_pose=[5.0, 0.5, -0.2])
    ahead = np.array([10 * np.cos(0.3), 10 * np.sin(0.3)])
    moved = to_world(f, np.array([[4.0, 1.0], np.array([4.0, 1.0]) + ahead]))
    np.testing.assert_allclose(moved, [[5.0, 0.5], [5.0 + 10 * np.cos(-0.2), 0.5 + 10 * np.sin(-0.2)]])


def test_ellipse_follows_its_covariance():
    one = np.tile(np.diag([4.0, 0.25]), (5, MAX_TRACKS, 1, 1))
    f = frame(position_covariance=one, odometry=[5.0, 0.0, 0.0])
    image = pixels(draw(f, showing("ellipses")))
    # An odometry frame that lies across the street: what is long along its x is long across the street.
    across = {"odometry": [5.0, 0.0, -np.pi / 2], "position_mean": np.tile([5.0, -20.0], (5, MAX_TRACKS, 1))}
    turned = frame(position_covariance=one, **across)
    seen = pixels(draw(turned, showing("ellipses")))
    for point in ([25 + 2.4477 * 0.5, 0.0], [25 - 2.4477 * 0.5, 0.0], [25.0, 2.4477 * 2]):
        assert near(seen, on_map(turned, point), style.FUSED, reach=3)
    for point in ([25 + 2.4477 * 2, -0.6], [25 - 2.4477 * 2, -0.6], [25.0, -0.6 + 2.4477 * 0.5]):
        assert near(image, on_map(f, point), style.FUSED, reach=3)
    assert not near(image, on_map(f, [25, -0.6]), style.FUSED, reach=3)


def test_fog_hides_what_is_far_and_thick_fog_hides_more():
    bright = []
    for visibility, distance in ((1e4, 30.0), (40.0, 10.0), (40.0, 30.0), (15.0, 30.0)):
        f = frame(visibility=visibility)
        bright.append(pixels(draw(f, showing("fog")))[tuple(on_map(f, [5 + distance, 1.0]))].sum())
    assert bright == sorted(bright)
    assert len(set(bright)) == 4


def test_the_veil_is_the_worlds_fog_integrated_from_ego():
    """A drifting bank, against the extinction that the world gives, in small steps along each line of sight."""
    from fogsim.world.fog import draw_field, extinction_at

    fog = Fog(visibility=50.0, bank=Bank((20.0, 32.0), 9.0, 5.0), wind=(-2.0, 0.0))
    f = frame(visibility=60.0, time=1.5)
    field = draw_field(fog, 60.0, np.random.default_rng(0))
    x, y = np.array([-4.0, 5.0, 12.0, 24.0, 45.0]), np.array([-6.0, 0.0, 3.0])
    found = hidden(f, view_of(Memory([f], Scenario(fog=fog))), x, y)
    for i, j in np.ndindex(found.shape):
        off = np.array([x[i], y[j]]) - f.ego_pose[:2]
        line = f.ego_pose[:2] + (np.arange(500)[:, None] + 0.5) / 500 * off
        depth = np.mean([extinction_at(field, *p, 1.0, 1.5) for p in line]) * np.hypot(*off)
        assert found[i, j] == pytest.approx(1.0 - np.exp(-depth), abs=0.01)


def test_panels_show_the_nearest_candidate_that_is_not_passed():
    numbers = {"track_id": slots([0, 1, 2], -1)}
    for left, expected in (([20.0, 9.0, 12.0], 1), ([-2.0, 9.0, 12.0], 1), ([-4.0, -2.0, 5.0], 2), ([-9.0, -8, -1], 2)):
        assert focus(frame(distance_left=slots(left, np.nan), **numbers)) == expected
    assert focus(frame()) == 0
    beliefs = np.full((5, MAX_TRACKS, 2), np.log(0.5))
    beliefs[:, 1] = np.log([0.1, 0.9])
    bars = [belief_bar(AT.beliefs, 4, 5)]
    for left, filled in (([9.0, 20.0], False), ([20.0, 9.0], True)):
        image = pixels(
            draw(frame(track_id=slots([0, 1], -1), distance_left=slots(left, np.nan), log_probs=beliefs), VIEW)
        )
        at = (bars[0].x + round(0.8 * bars[0].width), bars[0].centery)
        assert (tuple(image[at]) == style.FUSED) is filled


def test_over_time_shows_nothing_of_the_future():
    past = view_of(drive(10))
    barrier = past.course.barrier.copy()
    barrier[6:] = 0.95
    changed = dataclasses.replace(past, course=past.course._replace(barrier=barrier))
    assert (pixels(draw(frame(time=0.5), past)) == pixels(draw(frame(time=0.5), changed))).all()
    assert (pixels(draw(frame(time=0.9), past)) != pixels(draw(frame(time=0.9), changed))).any()


def on_plot(image: np.ndarray, p: float) -> np.ndarray:
    """The pixels of the plot over time about a probability."""
    plot = plot_area(AT.over_time)
    y = round(plot.y + (1 - p) * (plot.height - 1))
    return image[plot.x : plot.right, y - 1 : y + 2]


def dashes(image: np.ndarray, q: float, colour) -> float:
    """The share of the plot's width at which a colour is found."""
    return float((on_plot(image, q) == colour).all(axis=2).any(axis=1).mean())


def test_over_time_draws_the_course_and_the_drivers_q():
    view = view_of(drive(10))
    barrier, in_path = view.course.barrier.copy(), view.course.in_path.copy()
    barrier[:], in_path[:] = 0.5, 0.65
    barrier[:, 1] = 0.8
    view = dataclasses.replace(view, course=view.course._replace(barrier=barrier, in_path=in_path))
    image = pixels(draw(frame(time=0.9), view))
    line = (np.abs(on_plot(image, 0.8) - style.belief_colour(BELIEFS, 1)).sum(axis=2) < 60).any(axis=1)
    assert line.mean() > 0.95
    assert (np.abs(on_plot(image, 0.65) - DOTTED).sum(axis=2) < 120).any(axis=1).sum() >= 8


def test_thresholds_are_of_the_open_actions_and_of_what_the_next_lane_is_charged():
    table = np.array([[0.0, 100.0], [1.0, 40.0], [3.0, 5.0], [6.0, 1.0]])

    def made(opened: bool, charge: float) -> Frame:
        expected = 0.7 * table[:, 0] + 0.3 * table[:, 1] + charge * (np.arange(4) == 2)
        return frame(at_decision_point=opened, in_path=np.full(5, 0.3), expected_loss=np.tile(expected, (5, 1)))

    found = [
        [(round(t.q, 4), t.name) for t in thresholds(made(*of), VIEW)]
        for of in ((True, 0.0), (False, 0.0), (True, 50.0))
    ]
    assert found[0] == [(round(1 / 61, 4), "slow"), (round(2 / 37, 4), "change lane"), (round(3 / 7, 4), "brake")]
    assert found[1] == [(round(1 / 61, 4), "slow")]
    assert found[2] == [(round(1 / 61, 4), "slow"), (round(5 / 44, 4), "brake")]  # 6 - 5q = 1 + 39q
    image = pixels(draw(made(True, 0.0), VIEW))
    for q, action in ((1 / 61, 1), (2 / 37, 2), (3 / 7, 3)):
        assert 0.3 < dashes(image, q, style.ACTION_COLOURS[action]) < 0.7
        assert dashes(image, q + 0.1, style.ACTION_COLOURS[action]) == 0.0


@pytest.mark.parametrize("name", ["golden-belief-holder.h5", "golden-creeping_fog.h5"])
def test_in_every_frame_of_a_real_run_the_thresholds_tell_what_the_driver_did(name):
    with Replay(Path(__file__).parents[1] / "replays" / name) as log:
        view = view_of(log)
        for f in log:
            q, told = float(f.in_path[view.beliefs.index(view.driver)]), thresholds(f, view)
            reached = [t.name for t in told if q >= t.q]
            assert (reached or ["proceed"])[-1] == ACTIONS[int(f.action)].replace("_", " ")
            ahead = next((t.q for t in told if t.q > q), np.nan)
            assert ahead == pytest.approx(float(f.threshold), abs=1e-9, nan_ok=True)


def test_other_policies_draw_what_they_logged_and_the_likeliest_label_its_half():
    conformal, label = (dataclasses.replace(VIEW, policy=name) for name in ("conformal", "most_likely_label"))
    without, with_it = (pixels(draw(frame(threshold=t), conformal)) for t in (np.nan, 0.3))
    assert dashes(without, 0.3, style.VERMILLION) == 0.0
    assert dashes(with_it, 0.3, style.VERMILLION) > 0.3
    assert dashes(pixels(draw(frame(), label)), 0.5, style.VERMILLION) > 0.3


def test_the_image_of_ranges_is_the_scan_left_to_the_left_and_up_above():
    scan, area = np.zeros((4, 60, 1), np.uint16), image_area(AT.ranges)
    ring, column, distance = 3, 50, 12.0
    scan[ring, column] = round(distance / RANGE_UNIT)
    image = pixels(draw(frame(range=scan), VIEW))[area.left : area.right, area.top : area.bottom]
    lit = (image != style.mix(style.STRIP, (0, 0, 0), 0.5)).any(axis=2)
    x, y = np.nonzero(lit)
    assert x.min() == pytest.approx((59 - column) / 60 * area.width, abs=1)  # azimuth grows to the left
    assert x.max() == pytest.approx((60 - column) / 60 * area.width, abs=1)
    assert y.max() < area.height / 4 + 1  # the uppermost ring
    level = np.log(distance / 1.0) / np.log(60.0)
    np.testing.assert_allclose(image[x[0], y[0]], ramp()[round(63 * level)], atol=1)


def test_of_several_echoes_the_image_shows_the_strongest():
    scan, power = np.full((4, 60, 2), round(30.0 / RANGE_UNIT), np.uint16), np.ones((4, 60, 2))
    scan[..., 1] = round(3.0 / RANGE_UNIT)
    seen = []
    for strong in (0, 1):
        power[..., strong], power[..., 1 - strong] = 90, 10
        seen.append(pixels(draw(frame(range=scan, power=power, label=power), VIEW))[image_area(AT.ranges).center].sum())
    assert seen[1] > seen[0]  # near is bright


@pytest.mark.parametrize("yaw", [0.0, 0.15])
def test_radar_marks_where_a_detection_was_and_how_what_moves_on_its_own_goes(yaw):
    age, speed = 0.1, 7.2
    detected = np.full((3, len(DETECTION)), np.nan)
    detected[0] = [0.7 - age, 20.0, 0.05, -speed * np.cos(0.05), -10.0]  # stands: only ego's own speed
    detected[1] = [0.7 - age, 15.0, -0.1, 3.0 - speed * np.cos(0.1), -10.0]  # leaves by 3 m/s
    f = frame(radar=detected, ego_pose=[5.0, 0.0, yaw], ego_speed=speed)
    image = pixels(draw(f, showing("radar")))
    heading = np.array([np.cos(yaw), np.sin(yaw)])
    for distance, azimuth, own in ((20.0, 0.05, 0.0), (15.0, -0.1, 3.0)):
        ahead = np.array([np.cos(yaw + azimuth), np.sin(yaw + azimuth)])
        at = np.array([5.0, 0.0]) - age * speed * heading + distance * ahead
        assert near(image, on_map(f, at) + np.array([4, 0]), style.GREEN, reach=1)
        half_way = on_map(f, at + 0.6 * 3.0 * ahead)
        assert near(image, half_way, style.GREEN, reach=2) == (own > 0.0)


def test_the_time_line_has_the_actions_the_events_and_the_head():
    frames = [dataclasses.replace(f, action=np.int8(0 if k < 15 else 3)) for k, f in enumerate(drive(31).frames)]
    frames[12] = dataclasses.replace(frames[12], at_decision_point=np.bool_(True))
    frames[29] = dataclasses.replace(frames[29], collided=np.bool_(True))
    view, line = view_of(Memory(frames)), line_area(AT.timeline)
    assert [(e.time, e.kind) for e in view.events] == [
        (pytest.approx(1.2), "decision"),
        (pytest.approx(1.5), "action"),
        (pytest.approx(2.9), "miss"),
    ]
    image = pixels(draw(frames[20], view))

    def place(seconds: float) -> int:
        return line.x + round(seconds / 3.0 * (line.width - 1))

    for seconds, action in ((0.5, 0), (1.4, 0), (1.6, 3), (2.5, 3)):
        expected = style.mix(style.TRACK, style.ACTION_COLOURS[action], 0.75)
        assert tuple(image[place(seconds), line.centery]) == expected
    assert tuple(image[place(2.0), line.centery]) == style.TEXT
    assert near(image, (place(1.2), line.y - 6), style.YELLOW)
    assert near(image, (place(2.9), line.y - 6), style.VERMILLION)


def test_a_change_of_the_drivers_likeliest_label_is_an_event():
    there = np.arange(MAX_TRACKS)[:, None] == 0
    held = [np.where(there, beliefs_of(p), np.nan) for p in (0.4, 0.6)]
    leaning = [frame(time=0.1 * k, log_probs=held[k >= 3]) for k in range(6)]
    (event,) = view_of(Memory(leaning)).events
    assert (event.time, event.kind, event.words) == (pytest.approx(0.3), "flip", "likeliest label is now barrier")


def test_what_is_told_in_words(monkeypatch):
    status = np.zeros((5, MAX_TRACKS))
    status[1] = 1
    f = frame(threshold=0.123, in_path=np.full(5, 0.1), status=status, shadow_action=np.tile([2, 3], (5, 1)))
    words = said(monkeypatch, lambda: draw(f, dataclasses.replace(VIEW, note="paused", said="saved it")))
    assert {"creeping fog", "seed 7", "0.7 s", "7.2 m/s", "25 m", "20.0 m"} <= set(words)
    assert {"fused, bayes", "least expected loss, more from q = 0.123", "proceed or slow only"} <= set(words)
    assert {"50.00", "20.50", "4.00", "3.50"} <= set(words)
    assert words.count("change lane / brake") == len(BELIEFS)
    assert {"particle depleted", "paused", "saved it", "0.7 / 2.9 s"} <= set(words)
    opened = said(monkeypatch, lambda: draw(frame(at_decision_point=True), VIEW))
    assert "decision point" in opened
    labelled = said(monkeypatch, lambda: draw(f, dataclasses.replace(VIEW, policy="most_likely_label")))
    assert "least expected loss" in labelled  # that policy's .5 is of P(barrier), no q


def test_expected_losses_are_bars_of_their_length():
    image, losses = pixels(draw(frame(action=0), VIEW)), (50.0, 20.5, 4.0, 3.5)
    for k, loss in enumerate(losses):
        line = loss_bar(AT.decision, k)
        empty = (image[line.x : line.right, line.centery] == style.TRACK).all(axis=1).sum()
        assert empty == pytest.approx((1 - loss / 50.0) * line.width, abs=1.01)


def test_metrics_are_told_against_the_truth(monkeypatch):
    log_probs = beliefs_of(0.25).copy()
    ess = np.full((5, MAX_TRACKS), 40.0)
    f = frame(log_probs=log_probs, ess=ess, nis=np.full((5, MAX_TRACKS), 3.0), nis_dof=np.full((5, MAX_TRACKS), 2))
    found = numbers(f, 1, 0)
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    np.testing.assert_allclose(found, [np.log(4.0), entropy, 40.0, 1.5, 0.0])
    assert np.isnan(numbers(frame(truth_class=slots([3], -1)), 1, 0)[0])  # an animal is of no class
    words = said(monkeypatch, lambda: draw(f, VIEW))
    for number in ("1.39", "0.56", "40.0", "1.50"):
        assert words.count(number) == len(BELIEFS)


def test_power_is_dark_where_weak_and_bright_where_strong():
    scan, power = np.zeros((4, 60, 1), np.uint16), np.zeros((4, 60, 1), np.uint16)
    scan[3, [29, 34]] = round(12.0 / RANGE_UNIT)
    power[3, 29], power[3, 34] = 64, 64 * 300
    f = frame(range=scan, power=power)
    image, places = pixels(draw(f, showing("lidar", "power"))), echoes(f, VIEW)[0]
    for place, colour in zip(places, (WEAK, STRONG), strict=True):
        assert near(image, on_map(f, place), colour, reach=1, tolerance=20)


def test_the_ruler_measures_from_egos_front_and_the_road_lies_where_it_is():
    f = frame(ego_pose=[7.3, 0.0, 0.0], odometry=[7.3, 0.0, 0.0])
    image = pixels(draw(f, showing()))
    for metres in (5, 20, 35):
        x = on_map(f, [7.3 + metres, 0.0])[0]
        assert near(image, (x, AT.street.bottom - 2), style.MUTED, reach=1, tolerance=10)
        assert not near(image, (x + 40, AT.street.bottom - 2), style.MUTED, reach=1, tolerance=10)
    kerb, lane = on_map(f, [30.0, VIEW.kerb_y - 0.09]), on_map(f, [30.0, 0.5])
    assert tuple(image[tuple(kerb)]) == style.KERB
    assert tuple(image[tuple(lane)]) == style.ASPHALT
    dash, gap = on_map(f, [31.5, VIEW.lane_width / 2]), on_map(f, [34.5, VIEW.lane_width / 2])  # 30 to 33 m, fixed
    assert tuple(image[tuple(dash)]) == style.PAINT
    assert tuple(image[tuple(gap)]) == style.ASPHALT


def test_the_banner_tells_the_action_and_a_collision():
    banner = np.array(banner_area(AT.decision).midleft) + np.array([2, 10])
    for action, colour in enumerate(style.ACTION_COLOURS):
        assert tuple(pixels(draw(frame(action=action), VIEW))[tuple(banner)]) == colour
    assert tuple(pixels(draw(frame(action=0, collided=True), VIEW))[tuple(banner)]) == style.VERMILLION


def test_drawing_changes_neither_frame_nor_view():
    f = frame()
    before = {c.name: getattr(f, c.name).copy() for c in schema()}
    first, second = draw(f, VIEW), draw(f, VIEW)
    assert pygame.image.tobytes(first, "RGB") == pygame.image.tobytes(second, "RGB")
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(f, name), value)


def test_other_sizes_fill_their_picture():
    large = dataclasses.replace(VIEW, size=(1600, 900))
    assert draw(frame(), large).get_size() == (1600, 900)
    assert layout((1600, 900)).timeline.bottom == 900 - 12
    assert layout((1600, 900)).metrics.right <= 1600 - 12


def test_no_display_is_needed():
    code = (
        "from tests.test_drawing import VIEW, draw, frame, pygame;"
        "assert draw(frame(), VIEW).get_size() == (1280, 720);"
        "assert not pygame.display.get_init()"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY")}
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
