"""What other processes do to logs in tests: write, follow, race for one name."""

from __future__ import annotations

import dataclasses
import multiprocessing
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np

from fogsim.errors import UserError
from fogsim.frame import Dims, Frame, schema
from fogsim.log import Recorder, Replay
from tests.frames import HEADER, random_frame

REAL = Dims(ring=16, column=600, echo=1, belief=5)  # of the default scenario
REAL_HEADER = HEADER | {"beliefs": ("kalman", "particle", "kernel_bayes", "bnn", "fused")}
FRAMES = 60

processes = multiprocessing.get_context("forkserver")  # a new process at no cost, and without what this one has open
processes.set_forkserver_preload(["tests.log_processes"])


class Pool:
    """Frames as large as real ones, of which no two have the same time."""

    def __init__(self) -> None:
        rng = np.random.default_rng(8)
        self._some = [random_frame(REAL, rng, 0.0) for _ in range(7)]

    def __getitem__(self, index: int) -> Frame:
        if index >= FRAMES:
            raise IndexError(index)
        return dataclasses.replace(self._some[index % len(self._some)], time=np.array(0.1 * index))


def same(a: Frame, b: Frame) -> bool:
    return all(np.asarray(getattr(a, c.name)).tobytes() == np.asarray(getattr(b, c.name)).tobytes() for c in schema())


def write(path: Path, committed: Any) -> None:
    """Record the pool, and say after each frame how many there must be."""
    with Recorder(path, REAL, REAL_HEADER) as recorder:
        for n, frame in enumerate(Pool(), 1):
            recorder.append(frame)
            committed.value = n


def follow(path: Path, seen: Any, wrong: Any) -> None:
    """Watch a log from before it is there, and say how many frames were seen; `wrong` counts those that differ."""
    pool = Pool()
    while True:
        try:
            with Replay(path, follow=True) as replay:
                ended = False
                while not ended:
                    ended = replay.complete
                    for n in range(seen.value, len(replay)):
                        wrong.value += not same(replay[n], pool[n])
                        seen.value = n + 1
                return
        except UserError:  # not there yet
            sleep(0.001)


def race(path: Path, start: Any, answers: Any) -> None:
    """Try to record at the very moment at which others do."""
    start.wait()
    try:
        with Recorder(path, REAL, REAL_HEADER) as recorder:
            recorder.append(Pool()[0])
            start.wait()  # until the others have tried
        answers.put("")
    except UserError as error:
        answers.put(str(error))
        start.wait()
