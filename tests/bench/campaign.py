"""Campaigns of the default encounter: encounters a second and core, where the time goes, two processes, memory, disk.

python tests/bench/campaign.py [ENCOUNTERS [SHORT]]

ENCOUNTERS are driven a time, SHORT ones (of .3 s) to see the memory grow.
"""

from __future__ import annotations

import dataclasses
import resource
import statistics
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from fogsim import engines
from fogsim.campaign_command import campaign
from fogsim.campaigns import Campaign, Job, drive
from fogsim.driving import belief_names
from fogsim.log import Replay
from fogsim.runner import run
from fogsim.scenario import Scenario

ENCOUNTERS, SHORT, TIMES = 24, 2000, 5
STAGES = ("perception, fusion, decision", "world, sensors, frames", "log, table, folder")


def seconds(work: Callable[[], object]) -> float:
    """Wall time of a call."""
    clock = perf_counter()
    work()
    return perf_counter() - clock


def plain(jobs: list[Job]) -> np.ndarray:
    """Drive without logs; seconds of each filter and of the rest that frames tell."""
    return np.array([f.filter_ms for job in jobs for f in run(job.scenario, job.seed)]).sum(axis=0) / 1e3


def where_it_goes(count: int, folder: Path) -> None:
    """Encounters a second with beliefs and with scans logged, and the stages' shares of the former."""
    plans = {level: Campaign(Scenario(), count, folder / level, level=level) for level in ("beliefs", "scans")}
    jobs = list(plans["beliefs"].jobs())
    plain(jobs[:1])  # warms up
    stages = np.zeros(0)

    def driven() -> None:
        nonlocal stages
        stages = plain(jobs)

    bare = seconds(driven)
    for level, plan in plans.items():
        with redirect_stdout(StringIO()):
            wall = seconds(lambda plan=plan: campaign(plan, 1))
        logs = list(plan.folder.glob("*.h5"))
        size = sum(log.stat().st_size for log in logs) / len(logs)
        print(f"{level:8} logged: {count / wall:.2f} encounters a second and core, {size / 1e3:.0f} kB each")
        print(f"{'':8} engine, log and table beyond the encounter itself: {wall / bare - 1.0:+.1%}")
        if level == "beliefs":
            names = [*belief_names(Scenario())[:-1], *STAGES]
            parts = [*stages, bare - stages.sum(), wall - bare]
            for name, part in zip(names, parts, strict=True):
                print(f"{'':10}{name:30}{1e3 * part / count:8.1f} ms an encounter {part / wall:7.1%}")
    with Replay(next((folder / "beliefs").glob("*.h5"))) as log:
        print(f"a log of beliefs is {len(log)} frames long")


def pace(processes: int, jobs: list[Job]) -> float:
    """Encounters a second once all processes are warm."""
    done = engines.local(drive, jobs, processes)
    for _ in islice(done, 2 * processes):
        pass
    clock = perf_counter()
    rest = sum(1 for _ in done)
    return rest / (perf_counter() - clock)


def two_processes(count: int, folder: Path) -> None:
    """What the second brings, in turn with one alone."""
    ratios = []
    for k in range(TIMES):
        paces = []
        for processes in (1, 2):
            into = folder / f"{k} {processes}"
            into.mkdir()
            jobs = [j._replace(log=into / j.log.name) for j in Campaign(Scenario(), count, folder, seed=k).jobs()]
            paces.append(pace(processes, jobs))
        ratios.append(paces[1] / paces[0])
        print(f"two processes: {paces[1]:.2f} encounters a second, one: {paces[0]:.2f}: {ratios[-1]:.2f} x")
    print(f"median of {TIMES}: {statistics.median(ratios):.2f} x")


def resident() -> int:
    """The most this process ever had, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory(count: int, folder: Path) -> None:
    """Growth an encounter, from the first tenth of a campaign to its end."""
    scenario = dataclasses.replace(Scenario(), duration=0.3)
    with redirect_stdout(StringIO()):
        campaign(Campaign(scenario, count // 10, folder), 1)
        before = resident()
        campaign(Campaign(scenario, count, folder), 1)
    grown = resident() - before
    print(f"memory: {grown / (count - count // 10):.0f} bytes an encounter over {count - count // 10}")


def main(count: int, short: int) -> None:
    """All of it."""
    with TemporaryDirectory() as folder:
        where_it_goes(count, Path(folder))
        two_processes(count, Path(folder))
        memory(short, Path(folder) / "memory")


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:3]]
    main(*given, *(ENCOUNTERS, SHORT)[len(given) :])
