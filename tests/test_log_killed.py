"""Runs that are killed at any instant while another process watches: no committed frame is lost."""

from __future__ import annotations

from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest

from fogsim.log import Replay, recover, verify
from fogsim.log_file import part_of
from tests.log_processes import FRAMES, Pool, follow, processes, same, write


def watched_run(path: Path, lifetime: float | None) -> tuple[int, int, float]:
    """Write and watch a log, killing the writer after `lifetime` s; frames committed and seen, and how long it lived.

    A writer that is not killed ends by itself, and its follower too; else the follower is killed as well.
    """
    committed, seen, wrong = (processes.Value("q", 0, lock=False) for _ in range(3))
    writer = processes.Process(target=write, args=(path, committed))
    watcher = processes.Process(target=follow, args=(path, seen, wrong))
    watcher.start()
    writer.start()
    start = monotonic()
    if lifetime is None:
        writer.join()
        lived = monotonic() - start
        watcher.join()
    else:
        sleep(lifetime)
        writer.kill()
        writer.join()
        lived = lifetime
        watcher.kill()
        watcher.join()
    assert wrong.value == 0
    return committed.value, seen.value, lived


def check_what_is_left(path: Path, promised: int) -> str:
    """Every log opens and holds what was promised; what was killed is recovered. How far the run had come."""
    if not path.exists() and not part_of(path).exists():
        assert promised == 0
        return "not begun"
    pool, finished = Pool(), path.exists()
    if not finished:
        assert verify(path) == []
        assert recover(path) == path
    with Replay(path) as replay:
        assert len(replay) >= promised
        assert all(same(frame, pool[n]) for n, frame in enumerate(replay))
        assert replay.complete == (finished or replay.ended_because == "recovered; end of run")
    assert verify(path) == []
    return "finished" if finished else "recovered"


def killed_runs(folder: Path, trials: int, seed: int) -> list[str]:
    """Instants are uniform over the life of a run, and a little longer."""
    assert watched_run(folder / "whole.h5", None)[:2] == (FRAMES, FRAMES)
    assert check_what_is_left(folder / "whole.h5", FRAMES) == "finished"
    *_, life = watched_run(folder / "timed.h5", None)
    rng, ends = np.random.default_rng(seed), []
    for k in range(trials):
        path = folder / f"{k}.h5"
        committed, seen, _ = watched_run(path, rng.uniform(0.0, 1.1 * life))
        ends.append(check_what_is_left(path, max(committed, seen)))
    return ends


def test_ten_runs_killed_while_watched(tmp_path):
    ends = killed_runs(tmp_path, 10, seed=1)
    assert "recovered" in ends, ends


@pytest.mark.slow
def test_a_hundred_runs_killed_while_watched(tmp_path):
    ends = killed_runs(tmp_path, 100, seed=2)
    print({end: ends.count(end) for end in sorted(set(ends))})
    assert ends.count("recovered") > 30, ends
