"""Logs: bytes per second of the run, what a frame costs to log, how late a watcher sees it, opening and seeking.

python tests/bench/log.py [MINUTES]

Frames are those of the default encounter, four filters, 16 beams; a long log repeats them.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import sys
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter, process_time, sleep
from typing import Any

import numpy as np

from fogsim.driving import belief_names
from fogsim.errors import UserError
from fogsim.frame import Frame
from fogsim.log import Recorder, Replay, recover, verify
from fogsim.log_file import LEVELS, part_of
from fogsim.runner import dims_of, run
from fogsim.scenario import Scenario

SEED, MINUTES = 3, 10.0
WATCHED = 100  # frames, at the pace of the run
LIMITS = {"scans": (1e6, 5.0), "beliefs": (60e3, 0.2)}  # bytes a second, ms a frame: the house limits
OPEN, SEEK, LAG = 1.0, 50.0, 100.0  # s, ms, ms


def recorder(path: Path, level: str) -> Recorder:
    """Of the default scenario."""
    scenario = Scenario()
    header = {"seed": SEED, "scenario": scenario.json, "beliefs": list(belief_names(scenario))}
    return Recorder(path, dims_of(scenario), header, level)


def repeated(frames: list[Frame], n: int) -> Iterator[Frame]:
    """So many frames, at the times they would have."""
    for k, frame in enumerate(islice(cycle(frames), n)):
        yield dataclasses.replace(frame, time=np.array(k * Scenario().dt))


def costs(path: Path, frames: list[Frame], level: str, n: int) -> None:
    """Append n frames, as fast as they go, and print what it took."""
    ms, busy = [], []
    with recorder(path, level) as log:
        for frame in repeated(frames, n):
            wall, cpu = perf_counter(), process_time()
            log.append(frame)
            busy.append(1e3 * (process_time() - cpu))
            ms.append(1e3 * (perf_counter() - wall))
        clock = perf_counter()
    rate, limit = LIMITS[level]
    size = path.stat().st_size / (n * Scenario().dt)
    print(
        f"{level:8} {n} frames: {size / 1e3:6.1f} kB/s {kept(size, rate)}; append {np.mean(ms):.3f} ms mean of wall,",
        end="",
    )
    print(f" {np.mean(busy):.3f} of core {kept(np.mean(busy), limit)}, {np.quantile(ms, 0.95):.3f} p95;", end="")
    print(f" the end {perf_counter() - clock:.2f} s")


def kept(found: float, limit: float) -> str:
    """Whether a house limit is."""
    return f"({'kept' if found <= limit else 'BROKEN'}: {limit:g})"


def watch(path: Path, seen: Any, watching: Any) -> None:
    """In another process: say that it watches, and note when each frame could be read."""
    while True:
        try:
            with Replay(path, follow=True) as replay:
                n, ended = 0, False
                watching.set()
                while not ended:
                    ended = replay.complete
                    for k in range(n, len(replay)):
                        _ = replay[k]
                        seen[k] = monotonic()
                    n = len(replay)
                    sleep(1 / 60)
                return
        except UserError:
            sleep(0.01)


def lags(path: Path, frames: list[Frame], level: str) -> None:
    """Log at the pace of the run, watched at 60 Hz, and print how late frames are seen and what each cost."""
    processes = multiprocessing.get_context("spawn")
    seen = processes.Array("d", WATCHED, lock=False)
    watching = processes.Event()
    watcher = processes.Process(target=watch, args=(path, seen, watching))
    watcher.start()
    given, ms = [], []
    with recorder(path, level) as log:
        watching.wait()
        for frame in repeated(frames, WATCHED):
            given.append(monotonic())
            log.append(frame)
            ms.append(1e3 * (monotonic() - given[-1]))
            sleep(max(0.0, given[0] + len(given) * Scenario().dt - monotonic()))
    watcher.join()
    late = 1e3 * (np.array(seen[:]) - given)
    print(
        f"{level:8} live: seen {np.median(late):.1f} ms after append began, {np.quantile(late, 0.95):.1f} p95", end=""
    )
    print(f" {kept(float(np.quantile(late, 0.95)), LAG)}, at a pace of 10 Hz; append {np.mean(ms):.3f} ms mean")


def reading(path: Path) -> None:
    """Print how long opening takes, and seeking."""
    clock = perf_counter()
    replay = Replay(path)
    last = replay[len(replay) - 1]
    opened = perf_counter() - clock
    rng, ms = np.random.default_rng(1), []
    with replay:
        for k in rng.integers(0, len(replay), 300):
            clock = perf_counter()
            found = replay[int(k)]
            ms.append(1e3 * (perf_counter() - clock))
            assert round(float(found.time) * 10) == k
    assert float(last.time) > 0.0
    print(f"{len(replay)} frames with scans, {path.stat().st_size / 1e6:.0f} MB: open {opened:.3f} s", end="")
    print(f" {kept(opened, OPEN)}; seek {np.median(ms):.1f} ms median, {np.quantile(ms, 0.95):.1f} p95", end="")
    print(f" {kept(float(np.quantile(ms, 0.95)), SEEK)}")


def rescue(path: Path, frames: list[Frame], n: int) -> None:
    """Print how long it takes to recover a run that broke off, and to verify it."""
    try:
        with recorder(path, "scans") as log:
            for frame in repeated(frames, n):
                log.append(frame)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    clock = perf_counter()
    recover(part_of(path))
    recovered = perf_counter() - clock
    clock = perf_counter()
    assert not verify(path)
    print(f"{n} frames with scans: recover {recovered:.2f} s, verify {perf_counter() - clock:.2f} s")


def main(minutes: float) -> None:
    """One encounter, then logs of it."""
    frames = list(run(Scenario(), SEED))
    many = round(60.0 * minutes / Scenario().dt)
    with TemporaryDirectory() as made:
        folder = Path(made)
        for level in LEVELS:
            costs(folder / f"short-{level}.h5", frames, level, len(frames))
            costs(folder / f"{level}.h5", frames, level, many)
            lags(folder / f"live-{level}.h5", frames, level)
        reading(folder / "scans.h5")
        rescue(folder / "killed.h5", frames, 600)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else MINUTES)
