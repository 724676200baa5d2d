"""Frame time, from a scan to the decision: the default encounter over several seeds, on one core.

python tests/bench/frame_time.py [SEEDS]
"""

from __future__ import annotations

import os
import sys
from time import perf_counter, process_time

import numpy as np

from fogsim.driving import belief_names
from fogsim.runner import run
from fogsim.scenario import Scenario

LIMIT = 50.0  # ms, the house limit on the 95th percentile of a frame
SEEDS = 6


def stay_on_one_core() -> str:
    """Pin this process to one core where the system can, and say so."""
    if not hasattr(os, "sched_setaffinity"):
        return "not pinned to a core: this system cannot"
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return "one core"


def times(scenario: Scenario, seeds: int) -> np.ndarray:
    """Wall times (frames, stages) in ms of seeds 1..; seed 0 is driven before, to warm up, and not counted."""
    for _ in run(scenario, 0):
        pass
    return np.array([f.filter_ms for seed in range(1, seeds + 1) for f in run(scenario, seed)], float)


def main(seeds: int) -> None:
    """Print a line per stage and one for the whole frame."""
    scenario = Scenario()
    where, wall, cpu = stay_on_one_core(), perf_counter(), process_time()
    ms = times(scenario, seeds)
    share = (process_time() - cpu) / (perf_counter() - wall)
    lidar = scenario.lidar
    print(f"frame time, ms: {lidar.rings} x {lidar.columns} beams, {len(ms)} frames of {seeds} seeds, {where}")
    print(f"this process had {share:.0%} of a core; well below 100 % another program's time is in the figures")
    print(f"{'':36}{'p50':>8}{'p95':>8}{'p99':>8}")
    stages = [*belief_names(scenario)[:-1], "perception, fusion, decision"]
    for stage, column in zip(stages, ms.T, strict=True):
        print(line(stage, column))
    frame = ms.sum(axis=1)
    verdict = "kept" if np.quantile(frame, 0.95) < LIMIT else "BROKEN"
    print(f"{line('frame', frame)}   house limit p95 < {LIMIT:.0f} ms: {verdict}")


def line(stage: str, ms: np.ndarray) -> str:
    """Name and percentiles of one stage."""
    return f"{stage:36}" + "".join(f"{q:8.2f}" for q in np.quantile(ms, (0.5, 0.95, 0.99)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else SEEDS)
