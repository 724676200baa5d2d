"""The window: driven by posted events without a display, and by real keys on a virtual screen."""

import dataclasses
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from fogsim.errors import UserError
from fogsim.log import Replay
from fogsim.viewer import app
from fogsim.viewer.drawing import layout
from fogsim.viewer.help import help_area
from fogsim.viewer.pair import layout_pair
from fogsim.viewer.show import show_of
from fogsim.viewer.timeline import line_area
from fogsim.viewer.view import SHOWN, SIZE
from tests.viewed import Memory, drive, frame, pixels, pygame

ROOT = Path(__file__).parents[1]
TOOLS = [tool for tool in ("Xvfb", "xdotool") if shutil.which(tool) is None]


@pytest.fixture
def driven(monkeypatch, tmp_path):
    """Watch logs made in memory, with events posted beforehand; what was drawn last is returned, and the folder."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.chdir(tmp_path)
    pictures = []
    drawn = app.Window.draw
    monkeypatch.setattr(app.Window, "draw", lambda *a: pictures.append(drawn(*a)) or pictures[-1])

    def drive_by(logs: list[Memory], *events, **given) -> np.ndarray:
        made = iter(logs)
        monkeypatch.setattr(app, "Replay", lambda path, follow: next(made))
        pygame.display.init()
        for event in (*events, key(pygame.K_q)):
            pygame.event.post(event)
        app.watch([f"{k}.h5" for k in range(len(logs))], **given)
        assert not pygame.display.get_init()
        return pixels(pictures[-1]) if pictures else np.empty(0)

    return drive_by


def key(code: int, mod: int = 0) -> pygame.event.Event:
    return pygame.event.Event(pygame.KEYDOWN, key=code, mod=mod)


def mouse(kind: int, at: tuple[int, int]) -> pygame.event.Event:
    return pygame.event.Event(kind, pos=at, button=1, buttons=(1, 0, 0), rel=(0, 0))


def shots(folder: Path) -> list[np.ndarray]:
    """The pictures that S saved, in the order of their times."""
    return [pixels(pygame.image.load(path)) for path in sorted(folder.glob("*.png"))]


def still(picture_of, seconds: float, **seen) -> np.ndarray:
    """What a paused window shows."""
    return pixels(picture_of(0, seconds, **{"note": "paused   1x"} | seen))


def test_posted_keys_drive_the_window(driven, tmp_path):
    log = drive()
    keys = [pygame.K_HOME, pygame.K_SPACE, *[pygame.K_RIGHT] * 3, pygame.K_4, pygame.K_s, pygame.K_s]
    driven([log], *map(key, keys))
    found = shots(tmp_path)
    assert len(found) == 2  # the second has a name of its own
    expected = still(show_of([log], ["0"]).picture, 0.3, overlays=SHOWN - {"particles"})
    assert (found[0] == expected).all()


def test_dragging_the_time_line_shows_the_frame_asked_for(driven, tmp_path):
    log, line = drive(), line_area(layout(SIZE).timeline)
    x = line.x + round(1.7 / 2.9 * (line.width - 1))
    drag = [
        mouse(pygame.MOUSEBUTTONDOWN, (line.x + 400, line.centery)),
        mouse(pygame.MOUSEMOTION, (x, line.centery - 300)),
    ]
    after = [mouse(pygame.MOUSEBUTTONUP, (x, 100)), mouse(pygame.MOUSEMOTION, (line.x, 100)), key(pygame.K_s)]
    driven([log], *drag, *after)
    (found,) = shots(tmp_path)
    show = show_of([log], ["0"])
    ours, others = still(show.picture, 1.7), [still(show.picture, t) for t in (1.5, 1.6, 1.8)]
    street = layout(SIZE).street  # the head of the time line stands where the mouse was
    inside = np.s_[street.left : street.right, street.top : street.bottom]
    assert (found[inside] == ours[inside]).all()
    assert all((found[inside] != other[inside]).any() for other in others)


def test_a_click_elsewhere_moves_nothing(driven, tmp_path):
    driven([drive()], key(pygame.K_SPACE), mouse(pygame.MOUSEBUTTONDOWN, (300, 200)), key(pygame.K_s))
    assert len(list(tmp_path.glob("0-0.0s.png"))) == 1


def test_zoom_follow_events_and_help(driven, tmp_path):
    log = drive()
    log.frames[12] = dataclasses.replace(log.frames[12], at_decision_point=np.bool_(True))
    wheel = pygame.event.Event(pygame.MOUSEWHEEL, y=1, x=0)
    keys = [key(pygame.K_HOME), key(pygame.K_f), wheel, key(pygame.K_n), key(pygame.K_x), key(pygame.K_s)]
    driven([log], *keys)
    (found,) = shots(tmp_path)
    show = show_of([log], ["0"])
    left = -48.0 * 6.5 / 48.0  # where the map stood when it was told to stand
    assert (found == still(show.picture, 1.2, span=48.0 / 1.25, left=left)).all()
    assert (found != still(show.picture, 1.2, span=48.0 / 1.25)).any()


def test_c_shows_both_and_then_each(driven, tmp_path):
    logs = [drive(), Memory([frame(time=0.1 * k, ego_speed=3.0) for k in range(30)])]
    keys = [pygame.K_SPACE, pygame.K_END, pygame.K_s, pygame.K_c, pygame.K_LEFT, pygame.K_s, pygame.K_c, pygame.K_LEFT]
    driven(logs, *map(key, [*keys, pygame.K_s]))
    found = {path.name: pixels(pygame.image.load(path)) for path in tmp_path.glob("*.png")}
    assert sorted(found) == ["0-1-2.7s.png", "0-1-2.8s.png", "0-1-2.9s.png"]
    show = show_of(logs, ["0", "1"])
    for name, scene, seconds in (("0-1-2.9s.png", 0, 2.9), ("0-1-2.8s.png", 1, 2.8), ("0-1-2.7s.png", 2, 2.7)):
        expected = pixels(show.picture(scene, seconds, note="paused   1x"))
        area = layout_pair(SIZE).headline if scene == 0 else layout(SIZE).street
        inside = np.s_[area.left : area.right, area.top : area.bottom]
        assert (found[name][inside] == expected[inside]).all()


def test_a_window_that_follows_shows_what_is_new_at_once(driven, monkeypatch):
    log, events, passes = drive(10), pygame.event.get, []
    later = drive(30).frames[10:]

    def get():
        passes.append(len(log))
        if later:
            log.frames.extend([later.pop(0) for _ in range(4)])  # .4 s of the run in each pass: faster than its clock
            return []
        return events() if len(passes) > 8 else []

    monkeypatch.setattr(pygame.event, "get", get)
    picture = driven([log], follow=True)
    assert (picture == pixels(show_of([log], ["0"]).picture(0, 2.9, note="1x"))).all()


def test_who_looks_back_while_a_run_goes_on_is_left_there(driven, tmp_path):
    driven([drive()], key(pygame.K_LEFT), key(pygame.K_LEFT), key(pygame.K_s), follow=True)
    assert [path.name for path in tmp_path.glob("*.png")] == ["0-2.7s.png"]


def test_v_records_what_is_shown_until_v(driven, tmp_path, monkeypatch):
    ticks = iter([*[0.1] * 20])
    clock = type("Clock", (), {"tick": lambda self, rate: 1000 * next(ticks, 0.1)})
    monkeypatch.setattr(pygame.time, "Clock", clock)
    passes = []
    events = pygame.event.get

    def get():
        passes.append(0)
        posted = {1: [key(pygame.K_v)], 11: [key(pygame.K_v)], 12: [key(pygame.K_q)]}
        return [*events(), *posted.get(len(passes), [])]

    monkeypatch.setattr(pygame.event, "get", get)
    made = iter([drive()])
    monkeypatch.setattr(app, "Replay", lambda path, follow: next(made))
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    app.watch(["0.h5"])
    video = cv2.VideoCapture(str(tmp_path / "0.mp4"))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(30.0)
    count = 0
    while video.read()[0]:
        count += 1
    assert count == 30  # ten passes of .1 s


def test_a_film_that_finds_the_disk_full_ends_and_the_window_goes_on(driven, tmp_path, monkeypatch):
    class Full(app.Film):
        def add(self, picture):
            raise UserError("cannot write: make room")

    monkeypatch.setattr(app, "Film", Full)
    seen, passes, events, drawn = [], [], pygame.event.get, app.Window.picture

    def get():
        passes.append(0)
        return [key(pygame.K_v)] if len(passes) == 2 else events() if len(passes) > 12 else []

    def noted(self, show, player):
        seen.append(player.said)
        return drawn(self, show, player)

    monkeypatch.setattr(pygame.event, "get", get)
    monkeypatch.setattr(app.Window, "picture", noted)
    driven([drive()])
    assert "cannot write: make room" in seen
    assert len(passes) > 12
    assert not list(tmp_path.iterdir())


def test_help_and_the_recording_mark_are_on_the_screen_and_on_no_picture(monkeypatch, tmp_path):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame.display.init()
    try:
        window, show = app.Window(pygame.display.set_mode(SIZE), "x"), show_of([drive()], ["x"])
        plain = pixels(window.draw(show, app.Player(time=1.0)))
        assert (pixels(window.screen) == plain).all()
        assert (pixels(window.draw(show, app.Player(time=1.0, helping=True))) == plain).all()
        area, changed = help_area(SIZE), (pixels(window.screen) != plain).any(axis=2)
        assert changed[area.left : area.right, area.top : area.bottom].mean() > 0.5
        window.film = app.Film(tmp_path / "x.mp4", SIZE, 30)
        assert (pixels(window.draw(show, app.Player(time=1.0))) == plain).all()
        assert tuple(pixels(window.screen)[SIZE[0] // 2, 24]) == app.RECORDING
        window.film.close()
    finally:
        pygame.display.quit()


def test_a_folder_that_cannot_be_written_is_told_in_the_window(driven, tmp_path, monkeypatch):
    def refuse(*_):
        raise UserError("cannot write here: choose another folder")

    monkeypatch.setattr(app, "save", refuse)
    seen = []
    drawn = app.Window.picture
    monkeypatch.setattr(
        app.Window, "picture", lambda self, show, player: seen.append(player.said) or drawn(self, show, player)
    )
    quiet = pygame.event.Event(pygame.USEREVENT)
    ends = iter([False] * 3)
    handle = app.Window.handle

    def late(self, player, event, show):
        """Q only after a picture has been drawn."""
        if event.type == pygame.KEYDOWN and event.key == pygame.K_q and next(ends, None) is not None:
            pygame.event.post(event)
            return player
        return handle(self, player, event, show)

    monkeypatch.setattr(app.Window, "handle", late)
    driven([drive()], key(pygame.K_s), quiet)
    assert "cannot write here: choose another folder" in seen


@pytest.mark.parametrize("size", [(1600, 900), (1000, 640), (1500, 300)])
def test_a_window_of_another_size_is_filled(size, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame.display.init()
    try:
        window = app.Window(pygame.display.set_mode(size, pygame.RESIZABLE), "x")
        show, player = show_of([drive()], ["x"]), app.Player(time=1.0)
        picture = window.draw(show, player)
        assert picture.get_size() == (max(size[0], 1280), max(size[1], 720))
        seen = pixels(window.screen)
        assert seen.shape[:2] == size
        expected = picture if picture.get_size() == size else pygame.transform.smoothscale(picture, size)
        assert (seen == pixels(expected)).all()
        width = window.size[0]
        event = mouse(pygame.MOUSEMOTION, (size[0] // 2, size[1] // 2))
        assert window.at(event)[0] == pytest.approx(width // 2, abs=1)
    finally:
        pygame.display.quit()


def test_no_display_is_one_line_that_names_the_way_out(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(UserError, match=r"no display.*--export FILE\.png"):
        app.watch(["drive.h5"])


@pytest.mark.skipif(bool(TOOLS), reason=f"no {', '.join(TOOLS)}: apt install xvfb xdotool")
def test_a_real_window_obeys_real_keys(tmp_path):
    with screen(tmp_path) as environment:
        golden = ROOT / "replays" / "golden-creeping_fog.h5"
        command = [sys.executable, "-m", "fogsim.cli", "replay", str(golden)]
        process = subprocess.Popen(
            command, cwd=tmp_path, env={**environment, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
        )

        def tool(*arguments: str) -> str:
            done = subprocess.run(["xdotool", *arguments], env=environment, capture_output=True, text=True, timeout=60)
            return done.stdout.strip()

        window = tool("search", "--sync", "--onlyvisible", "--class", "cli.py").split()[-1]
        tool("windowfocus", "--sync", window)
        for pressed in ("space", "Home", "Right", "Right", "Right", "7", "s", "q"):
            tool("key", pressed)
            time.sleep(0.2)
        _, complaints = process.communicate(timeout=60)
        assert (process.returncode, complaints) == (0, "")
    (shot,) = tmp_path.glob("*.png")
    assert shot.name == "golden-creeping_fog-0.3s.png"
    with Replay(golden) as log:
        expected = still(show_of([log], [golden.stem]).picture, 0.3, overlays=SHOWN | {"power"})
    assert (pixels(pygame.image.load(shot)) == expected).all()


class screen:  # noqa: N801  # a context manager
    """A virtual screen; entering gives the environment in which its windows open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> dict[str, str]:
        reading, writing = os.pipe()
        command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1400x900x24", "-nolisten", "tcp"]
        self.server = subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL)
        os.close(writing)
        with os.fdopen(reading) as told:
            display = told.readline().strip()
        kept = {k: v for k, v in os.environ.items() if k not in ("SDL_VIDEODRIVER", "WAYLAND_DISPLAY")}
        return {**kept, "DISPLAY": f":{display}", "SDL_AUDIODRIVER": "dummy"}

    def __exit__(self, *_) -> None:
        self.server.terminate()
        self.server.wait(30)
