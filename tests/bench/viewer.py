"""How long the viewer takes: a frame at 1280 x 720 with 30,000 echoes and 2,048 particles, a pair, opening, seeking.

    python tests/bench/viewer.py [LOG.h5]

Last a run is watched that another process writes at 10 Hz: from when a frame's append begins until it is on the screen.

Ten minutes are the log's frames again and again. Beside it: what filling and copying a picture of that size takes.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter, sleep

import numpy as np
import pygame

from fogsim.errors import UserError
from fogsim.frame import MAX_TRACKS, POINTS, Dims, Frame
from fogsim.log import Recorder, Replay
from fogsim.viewer import style
from fogsim.viewer.app import Window, opened_screen
from fogsim.viewer.player import Player
from fogsim.viewer.show import Show, show_of
from fogsim.viewer.view import SIZE

GOLDEN = Path(__file__).parents[2] / "replays" / "golden-creeping_fog.h5"
ECHOES, MINUTES, LIVE = 30_000, 10, 150


def main(path: Path) -> None:
    with Replay(path) as log, TemporaryDirectory() as folder:
        frames = list(log)
        shown = show_of([log], [path.stem])
        full = Crowded(log, [crowded(frame) for frame in frames])
        show = dataclasses.replace(shown, logs=(full,))
        times = show.times()
        blank = style.canvas(SIZE)
        row("fill and copy a picture", milliseconds(lambda k: (blank.fill(style.GROUND), blank.copy())))
        row("draw a frame", milliseconds(lambda k: shown.picture(0, float(times[k % len(times)]))))
        row(f"draw a frame, {ECHOES} echoes", milliseconds(lambda k: show.picture(0, float(times[k % len(times)]))))
        both = Show((full, full), shown.views * 2, ((*shown.scenes[0], shown.scenes[0][0]._replace(log=1)),))
        row("draw two side by side", milliseconds(lambda k: both.picture(0, float(times[k % len(times)]))))
        long = Path(folder) / "long.h5"
        repeat(log, frames, long)
        start = perf_counter()
        with Replay(long) as opened:
            long_show = show_of([opened], ["long"])
            print(f"open {MINUTES} minutes ({long.stat().st_size / 1e6:.0f} MB): {perf_counter() - start:.3f} s")
            at = np.random.default_rng(0).uniform(0.0, long_show.times()[-1], 400)
            row("seek anywhere", milliseconds(lambda k: opened[long_show.views[0].course.at(at[k])]))
            row("seek and draw", milliseconds(lambda k: long_show.picture(0, float(at[k]))))
        row("from append to screen, live", live(log, frames, Path(folder)))


def live(log: Replay, frames: list[Frame], folder: Path) -> np.ndarray:
    """Milliseconds from append to screen, of each frame that a window without a display shows."""
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    path, appended = folder / "live.h5", folder / "appended.json"
    writer = get_context("spawn").Process(target=write_live, args=(path, appended, log.dims, log.header, frames))
    writer.start()
    part = path.with_name(path.name + ".part")
    while not (part.exists() and frames_in(part)):
        sleep(0.01)
    seen: dict[int, float] = {}

    class Timed(Window):
        def draw(self, show: Show, player: Player) -> pygame.Surface:
            picture = super().draw(show, player)
            seen.setdefault(len(show.views[0].course.time), monotonic())
            if len(show.views[0].course.time) == LIVE:
                pygame.event.post(pygame.event.Event(pygame.QUIT))
            return picture

    with Replay(part, follow=True) as followed:
        show = show_of([followed], ["live"])
        Timed(opened_screen("live"), "live").play(show, Player(time=float(show.times()[-1])), True)
    writer.join()
    begun = json.loads(appended.read_text())
    return np.array([1e3 * (at - begun[n - 1]) for n, at in sorted(seen.items())][1:])


def write_live(path: Path, appended: Path, dims: Dims, header: dict, frames: list[Frame]) -> None:
    """`LIVE` frames, ten a second, and when each append began."""
    begun = []
    with Recorder(path, dims, header) as recorder:
        for k in range(LIVE):
            begun.append(monotonic())
            recorder.append(dataclasses.replace(frames[k % len(frames)], time=np.array(0.1 * k)))
            sleep(max(0.1 - (monotonic() - begun[-1]), 0.0))
        sleep(1.0)
    appended.write_text(json.dumps(begun))


def frames_in(part: Path) -> int:
    """How many frames a log that is being made holds; 0 while it cannot be opened yet."""
    try:
        with Replay(part) as replay:
            return len(replay)
    except UserError:
        return 0


class Crowded:
    """A log whose frames are others."""

    def __init__(self, log: Replay, frames: list[Frame]) -> None:
        self.scenario, self.seed, self.beliefs, self.column = log.scenario, log.seed, log.beliefs, log.column
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Frame:
        return self._frames[index]


def crowded(frame: Frame) -> Frame:
    """With `ECHOES` echoes, which are its own several times over, and all particles that a log can keep."""
    rng = np.random.default_rng(0)
    times = -(-ECHOES // max(int((frame.range > 0).sum()), 1)) + 1
    range_, power, label = (np.repeat(getattr(frame, n), times, axis=2) for n in ("range", "power", "label"))
    jitter = rng.integers(0, 200, range_.shape)
    range_ = np.where(range_ > 0, np.minimum(range_ + jitter, 2**16 - 1), 0).astype(np.uint16)
    there = np.flatnonzero(range_)
    range_.ravel()[rng.permutation(there)[ECHOES:]] = 0
    assert np.count_nonzero(range_) == ECHOES
    points = rng.normal(frame.truth_position[0], 2.0, (len(frame.points), MAX_TRACKS, POINTS, 2)).astype(np.float32)
    points[4:] = np.nan
    return dataclasses.replace(frame, range=range_, power=power, label=label, points=points)


def repeat(log: Replay, frames: list[Frame], path: Path) -> None:
    """A log of `MINUTES`."""
    with Recorder(path, log.dims, log.header) as recorder:
        for k in range(MINUTES * 600):
            recorder.append(dataclasses.replace(frames[k % len(frames)], time=np.array(0.1 * k)))


def milliseconds(work: Callable[[int], object], n: int = 400) -> np.ndarray:
    """Of each of n calls, the first ten apart."""
    taken = []
    for k in range(n):
        start = perf_counter()
        work(k)
        taken.append(1e3 * (perf_counter() - start))
    return np.array(taken[10:])


def row(what: str, taken: np.ndarray) -> None:
    p50, p95, p99 = np.percentile(taken, [50, 95, 99])
    print(f"{what:32} p50 {p50:6.2f}  p95 {p95:6.2f}  p99 {p99:6.2f} ms")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN)
