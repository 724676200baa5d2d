"""Pictures and films out of logs, read back by another library (OpenCV, pygame)."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from fogsim.errors import UserError
from fogsim.viewer.export import export_film, export_png, rate
from fogsim.viewer.film import Film
from fogsim.viewer.show import show_of
from tests.viewed import Memory, drive, frame, pixels, pygame

ROOT = Path(__file__).parents[1]


def show(n: int = 30):
    return show_of([drive(n)], ["drive"])


def film(path, n: int = 24, speed: float = 1.0):
    """A film of a short drive, and the shares that were told on the way."""
    made = show(n)
    return made, list(export_film(made, path, speed))


def read(path) -> tuple[list[np.ndarray], float]:
    """Pictures (width, height, 3) and how many a second."""
    video, found = cv2.VideoCapture(str(path)), []
    pace = video.get(cv2.CAP_PROP_FPS)
    while True:
        there, picture = video.read()
        if not there:
            return found, pace
        found.append(picture[..., ::-1].swapaxes(0, 1).astype(int))


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
@pytest.mark.parametrize("speed", [1.0, 2.0])
def test_a_film_has_every_frame_at_the_logs_pace(tmp_path, suffix, speed):
    made, told = film(tmp_path / f"a{suffix}", 24, speed)
    pictures, pace = read(tmp_path / f"a{suffix}")
    assert len(pictures) == 24
    assert pace == pytest.approx(10.0 * speed, rel=1e-3)
    assert len(pictures) / pace == pytest.approx(2.4 / speed, rel=1e-3)
    assert told == pytest.approx(np.arange(1, 25) / 24)
    for k in (0, 9, 23):  # the right pictures in the right places: each is nearest to its own frame
        off = [np.abs(pictures[k] - pixels(made.picture(0, 0.1 * j))).mean() for j in (0, 9, 23)]
        assert off.index(min(off)) == (0, 9, 23).index(k)
        assert min(off) < 4.0
    assert [p.name for p in tmp_path.iterdir()] == [f"a{suffix}"]


def test_a_film_never_overwrites_and_a_broken_one_leaves_nothing(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_text("mine")
    with pytest.raises(UserError, match=r"a\.mp4 exists already"):
        film(path)
    assert path.read_text() == "mine"
    taken = Film(tmp_path / "taken.mp4", (64, 64), 10)
    with pytest.raises(UserError, match=r"taken\.mp4 exists already"):  # by the film that is being made
        Film(tmp_path / "taken.mp4", (64, 64), 10)
    taken.close()
    making = export_film(show(), tmp_path / "b.mp4")
    next(making)
    making.close()  # as Ctrl-C would
    with pytest.raises(AttributeError), Film(tmp_path / "c.mp4", (64, 64), 10) as broken:
        broken.add("no picture")
    with Film(tmp_path / "d.mp4", (64, 64), 10):
        pass  # not one picture
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_a_disk_without_room_is_one_line_and_leaves_nothing(tmp_path):
    code = (
        "import resource, sys; from pathlib import Path; from fogsim.errors import UserError;"
        "from fogsim.viewer.picture import save; from fogsim.viewer.show import show_of;"
        "from fogsim.viewer.export import export_film; from tests.viewed import drive;"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "show = show_of([drive(20)], ['drive']); path = Path(sys.argv[1]);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000));\n"
        "try:\n"
        "    save(show.picture(0, 1.0), path) if path.suffix == '.png' else list(export_film(show, path))\n"
        "except UserError as error:\n"
        "    print(error)\n"
    )
    for name in ("a.png", "a.mp4", "a.gif"):
        command = [sys.executable, "-c", code, str(tmp_path / name)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"cannot write {tmp_path / name} ("), done.stdout + done.stderr
        assert "make room, or choose another folder" in done.stdout
        assert not list(tmp_path.iterdir())


def test_odd_sizes_lose_a_line(tmp_path):
    with Film(tmp_path / "a.mp4", (65, 47), 10) as odd:
        odd.add(pygame.Surface((65, 47)))
    pictures, _ = read(tmp_path / "a.mp4")
    assert pictures[0].shape == (64, 46, 3)


def test_bad_targets_are_refused_before_any_work(tmp_path):
    for target, message in (
        ("a.avi", r"cannot export .*a\.avi: found \.avi, expected one of \.png, \.mp4, \.gif"),
        ("a", "found no suffix"),
        ("no/a.mp4", r"folder .*no does not exist"),
    ):
        with pytest.raises(UserError, match=message):
            next(export_film(show(), tmp_path / target))
    with pytest.raises(UserError, match="80 pictures a second, a gif shows 50 at most: lower --speed"):
        next(export_film(show(), tmp_path / "a.gif", 8.0))
    assert not list(tmp_path.iterdir())


def test_the_pace_is_the_logs_own():
    with pytest.raises(UserError, match=r"--speed 1e-05, 0\.0001 pictures a second"):
        rate(np.arange(50) * 0.1, 1e-5)
    assert rate(np.arange(50) * 0.1, 1.0) == 10
    assert rate(np.arange(50) * 0.04, 2.0) == 50
    assert rate(np.array([0.0, 0.1, 0.2, 0.9]), 1.0) == 10  # a gap changes nothing
    assert rate(np.array([3.0]), 1.0) == Fraction(1)


def test_a_picture_is_the_frame_at_its_time_and_never_overwrites(tmp_path):
    made, path = show(), tmp_path / "shot.png"
    export_png(made, 1.52, path)
    assert (pixels(pygame.image.load(path)) == pixels(made.picture(0, 1.5))).all()
    assert (pixels(pygame.image.load(path)) != pixels(made.picture(0, 1.6))).any()
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"shot\.png exists already"):
        export_png(made, 0.0, path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(("seconds", "found"), [(-0.5, "-0.5 s"), (99.0, "99 s"), (float("nan"), "nan s")])
def test_a_picture_outside_the_log_is_refused(tmp_path, seconds, found):
    with pytest.raises(UserError, match=rf"{found}.*0 to 2.9 s"):
        export_png(show(), seconds, tmp_path / "shot.png")
    assert not list(tmp_path.iterdir())


def test_a_film_of_a_single_frame(tmp_path):
    one = show_of([Memory([frame()])], ["one"])
    list(export_film(one, tmp_path / "a.gif"))
    assert len(read(tmp_path / "a.gif")[0]) == 1
