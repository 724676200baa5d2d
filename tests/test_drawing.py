"""What is on the picture, by content; and that it needs no display."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fogsim.errors import UserError
from fogsim.frame import MAX_TRACKS, RANGE_UNIT, Dims, Frame, schema
from fogsim.scenario import HDL_64, Bank, Fog, Lidar, Scenario
from fogsim.viewer import app, style, video
from fogsim.viewer.drawing import draw, layout
from fogsim.viewer.panels import belief_bar, whisker
from fogsim.viewer.street import OBJECT, STRIP, camera, corners, echoes, to_world
from fogsim.viewer.veil import hidden
from fogsim.viewer.view import OVERLAYS, SHOWN, View, focus, view_of

pygame = style.pygame
BELIEFS = ("kalman", "particle", "kernel_bayes", "bnn", "fused")
DIMS = Dims(ring=4, column=60, echo=1, belief=len(BELIEFS))
LIDAR = Lidar(rings=4, columns=60, lowest_deg=-6.0, highest_deg=2.0)
SCENARIO = Scenario(lidar=LIDAR)


def slots(values, empty) -> np.ndarray:
    """Values of the candidates in an array of all slots."""
    values = np.asarray(values, float)
    return np.concatenate([values, np.full((MAX_TRACKS - len(values), *values.shape[1:]), empty)])


def frame(**given) -> Frame:
    """A plausible frame: ego 5 m down the road, one barrier 20 m ahead, even beliefs; `given` replaces fields."""
    values = {c.name: np.zeros(c.shape(DIMS), c.dtype) for c in schema()}
    rng = np.random.default_rng(0)
    barrier = np.array([25.0, -0.6])
    values |= {
        "time": 0.7,
        "ego_pose": np.array([5.0, 0.0, 0.0]),
        "ego_speed": 7.2,
        "odometry": np.array([5.0, 0.0, 0.0]),
        "visibility": 25.0,
        "track_id": slots([0], -1),
        "truth_class": slots([1], -1),
        "truth_position": slots([barrier], 0.0),
        "truth_size": slots([[0.6, 1.8, 0.9]], 0.0),
        "distance_left": slots([20.0], np.nan),
        "log_probs": beliefs_of(0.5),
        "position_mean": np.tile(barrier, (5, MAX_TRACKS, 1)),
        "position_covariance": np.tile(np.diag([0.8, 0.3]), (5, MAX_TRACKS, 1, 1)),
        "epistemic": np.repeat([np.nan, np.nan, np.nan, 0.05, np.nan], MAX_TRACKS).reshape(5, -1),
        "expected_loss": np.tile([50.0, 20.5, 4.0, 3.5], (5, 1)),
        "points": rng.normal([25.0, -0.6], [0.8, 0.3], (5, MAX_TRACKS, DIMS.point, 2)).astype(np.float32),
    }
    scan = rng.integers(600, 3000, (4, 60, 1)).astype(np.uint16)  # 3 to 15 m
    values |= {"range": scan, "power": np.full_like(scan, 640), "label": np.full(scan.shape, 2, np.uint8)}
    values |= given
    dtypes = {c.name: c.dtype for c in schema()}
    return Frame(**{name: np.asarray(value, dtypes[name]) for name, value in values.items()})


def beliefs_of(p: float) -> np.ndarray:
    """log_probs of all beliefs saying P(barrier) = p."""
    return np.broadcast_to(np.log([1.0 - p, p]), (5, MAX_TRACKS, 2))


class Memory:
    """A log in memory: as much of `Replay` as a viewer reads."""

    def __init__(self, frames: list[Frame], scenario: Scenario = SCENARIO) -> None:
        self.frames, self.seed, self.beliefs = frames, 7, BELIEFS
        self.scenario = json.loads(scenario.json)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        return self.frames[index]

    def __enter__(self) -> "Memory":
        return self

    def __exit__(self, *_) -> None: ...

    def column(self, name: str) -> np.ndarray:
        return np.array([getattr(f, name) for f in self.frames])


def drive(n: int = 30) -> Memory:
    """A log of n frames, 0.1 s apart, at 7 m/s."""
    return Memory([frame(time=0.1 * k, ego_pose=[0.7 * k, 0, 0], odometry=[0.7 * k, 0, 0]) for k in range(n)])


VIEW = view_of(drive())
AT = layout(VIEW.size)


def showing(*names: str) -> View:
    return dataclasses.replace(VIEW, overlays=frozenset(names))


def pixels(surface) -> np.ndarray:
    return pygame.surfarray.array3d(surface).astype(int)


def on_map(f: Frame, points) -> np.ndarray:
    """Pixels of world points on the whole picture."""
    return np.round(camera(f, AT.street.size)(np.asarray(points, float))).astype(int) + AT.street.topleft


def near(image: np.ndarray, at, colour, reach: int = 2, tolerance: int = 90) -> bool:
    """Whether a colour is found within `reach` pixels of a place."""
    x, y = at
    patch = image[x - reach : x + reach + 1, y - reach : y + reach + 1]
    return bool((np.abs(patch - colour).sum(axis=2) < tolerance).any())


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
def test_belief_bar_is_as_long_as_the_probability(p):
    log_probs = beliefs_of(0.2).copy()
    log_probs[1] = np.log([1 - p, p])
    image = pixels(draw(frame(log_probs=log_probs), VIEW))
    for row, name in ((1, p), (2, 0.2)):  # one row changes, the others do not
        line = belief_bar(AT.beliefs, row, len(BELIEFS))
        filled = (image[line.x : line.right, line.y + 1] == style.belief_colour(BELIEFS, row)).all(axis=1)
        filled[line.width // 2] |= filled[line.width // 2 - 1]  # the mark at one half
        assert filled.sum() == pytest.approx(name * line.width, abs=1.01)
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
def test_an_overlay_changes_the_map_and_nothing_else(name):
    with_it, without = SHOWN | {name}, SHOWN - {name}
    changed = (pixels(draw(frame(), showing(*with_it))) != pixels(draw(frame(), showing(*without)))).any(axis=2)
    _, y = np.nonzero(changed)
    # More than the words in the legend change, and all of it on the map.
    assert (y > AT.street.y + STRIP).any()
    assert y.min() >= AT.street.top
    assert y.max() < AT.street.bottom


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
    ring, column, distance = 3, 42, 12.0
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


def test_uneven_rings_are_drawn_where_they_are():
    from fogsim.sensors.lidar import grid

    np.testing.assert_allclose(view_of(Memory([frame()], Scenario(lidar=HDL_64))).elevation, grid(HDL_64)[0])


def test_beams_point_where_the_sensor_points_them():
    from fogsim.sensors.lidar import grid

    elevation, azimuth = grid(LIDAR)
    np.testing.assert_allclose(VIEW.elevation, elevation)
    np.testing.assert_allclose(VIEW.azimuth, azimuth)


def test_a_log_without_scans_draws_without_echoes():
    empty = {"range": np.empty((4, 60, 0)), "power": np.empty((4, 60, 0)), "label": np.empty((4, 60, 0))}
    bare = frame(**empty, points=np.full((5, MAX_TRACKS, DIMS.point, 2), np.nan))
    assert (pixels(draw(bare, VIEW)) == pixels(draw(bare, showing(*SHOWN, "lidar")))).all()
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


def test_course_shows_nothing_of_the_future():
    times = np.arange(10) * 0.1
    past = dataclasses.replace(VIEW, times=times, end_time=0.9, history=np.full((10, 5, MAX_TRACKS), 0.5))
    future = past.history.copy()
    future[6:] = 0.95
    changed = dataclasses.replace(past, history=future)
    assert (pixels(draw(frame(time=0.5), past)) == pixels(draw(frame(time=0.5), changed))).all()
    assert (pixels(draw(frame(time=0.9), past)) != pixels(draw(frame(time=0.9), changed))).any()


def test_the_banner_tells_the_action_and_a_collision():
    banner = (AT.decision.x + 18, AT.decision.y + 60)
    for action, colour in enumerate(style.ACTION_COLOURS):
        assert tuple(pixels(draw(frame(action=action), VIEW))[banner]) == colour
    assert tuple(pixels(draw(frame(action=0, collided=True), VIEW))[banner]) == style.VERMILLION


def test_drawing_changes_neither_frame_nor_view():
    f = frame()
    before = {c.name: getattr(f, c.name).copy() for c in schema()}
    first, second = draw(f, VIEW), draw(f, VIEW)
    assert pygame.image.tobytes(first, "RGB") == pygame.image.tobytes(second, "RGB")
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(f, name), value)


def test_other_sizes_fill_their_picture():
    small = dataclasses.replace(VIEW, size=(960, 600))
    surface = draw(frame(), small)
    assert surface.get_size() == (960, 600)
    assert layout((960, 600)).decision.bottom == 600 - 16


def test_no_display_is_needed():
    code = (
        "import sys; sys.path.insert(0, 'tests'); import test_drawing as t;"
        "s = t.draw(t.frame(), t.VIEW); assert s.get_size() == (1280, 720);"
        "assert not t.pygame.display.get_init()"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY")}
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_export_writes_the_frame_at_a_time_and_never_overwrites(tmp_path):
    log, path = drive(), tmp_path / "shot.png"
    video.export_png(log, 1.52, path)
    assert (pixels(pygame.image.load(path)) == pixels(draw(log[15], view_of(log)))).all()
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"shot\.png exists already"):
        video.export_png(log, 0.0, path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(("seconds", "found"), [(-0.5, "-0.5 s"), (99.0, "99 s"), (float("nan"), "nan s")])
def test_export_outside_the_log_is_refused(tmp_path, seconds, found):
    with pytest.raises(UserError, match=f"{found}.*0 to 2.9 s"):
        video.export_png(drive(), seconds, tmp_path / "shot.png")
    assert not (tmp_path / "shot.png").exists()


def test_export_refuses_an_empty_log_a_missing_folder_and_other_formats(tmp_path):
    with pytest.raises(UserError, match="no frame"):
        video.export_png(Memory([]), 0.0, tmp_path / "a.png")
    with pytest.raises(UserError, match=r"folder .* does not exist"):
        video.export_png(drive(2), 0.0, tmp_path / "b" / "a.png")
    with pytest.raises(UserError, match=r"expected \.png"):
        video.export_png(drive(2), 0.0, tmp_path / "a.xyz")


def press(state: app.Player, *keys: int, shift: bool = False) -> app.Player:
    times = np.arange(30) * 0.1
    for key in keys:
        state = app.press(state, key, shift, times)
    return state


def test_keys():
    start = app.Player()
    assert press(start, pygame.K_SPACE).playing is False
    assert press(start, pygame.K_SPACE, pygame.K_SPACE).playing is True
    stepped = press(start, pygame.K_RIGHT, pygame.K_RIGHT, pygame.K_LEFT)
    assert (stepped.time, stepped.playing) == (pytest.approx(0.1), False)
    assert press(start, pygame.K_RIGHT, shift=True).time == pytest.approx(1.0)
    assert press(start, pygame.K_LEFT).time == 0.0
    assert press(start, pygame.K_END).time == pytest.approx(2.9)
    assert press(press(start, pygame.K_END), pygame.K_RIGHT).time == pytest.approx(2.9)
    assert press(start, pygame.K_END, pygame.K_HOME).time == 0.0
    assert press(start, pygame.K_RIGHTBRACKET).speed == 2.0
    assert press(start, *[pygame.K_RIGHTBRACKET] * 9).speed == 8.0
    assert press(start, *[pygame.K_LEFTBRACKET] * 9).speed == 0.1
    assert press(start, pygame.K_3).overlays == SHOWN - {"truth"}
    assert press(start, pygame.K_3, pygame.K_3, pygame.K_6).overlays == frozenset(OVERLAYS)
    assert press(start, pygame.K_q).running is False
    assert press(start, pygame.K_ESCAPE).running is False


def test_posted_keys_drive_the_window(tmp_path, monkeypatch):
    log = drive()
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(app, "Replay", lambda path, follow: log)
    pygame.display.init()
    keys = [pygame.K_HOME, pygame.K_SPACE, *[pygame.K_RIGHT] * 3, pygame.K_4, pygame.K_s, pygame.K_s, pygame.K_q]
    for key in keys:
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key, mod=0))
    app.watch("drive.h5")
    assert not pygame.display.get_init()
    shots = sorted(tmp_path.glob("*.png"))
    assert len(shots) == 2  # the second has a name of its own
    expected = pixels(draw(log[3], view_of(log, overlays=SHOWN - {"particles"})))
    assert (pixels(pygame.image.load(shots[0])) == expected).all()


def test_no_display_is_one_line_that_names_the_way_out(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(UserError, match=r"no display.*--export FILE\.png"):
        app.watch("drive.h5")
