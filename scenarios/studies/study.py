"""What the studies share: encounters driven into logs by several processes, and paired tables of their losses."""

import argparse
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

from fogsim.scenario import Scenario

MOMENTS = ("20 m", "15 m", "10 m", "decision")


class Job(NamedTuple):
    """One encounter and where its log goes."""

    scenario: Scenario
    seed: int
    path: Path


def in_turns(scenario: Scenario, seed: int) -> Scenario:
    """The scenario with a bag for an even seed and a barrier for an odd one."""
    hazard = replace(scenario.hazards[0], kind=("bag", "barrier")[seed % 2])
    return replace(scenario, hazards=(hazard, *scenario.hazards[1:]))


def drive(job: Job) -> None:
    """Drive one encounter into its log, unless a finished one of the same scenario is there."""
    from fogsim.campaigns import record
    from fogsim.log import Replay

    scenario, seed, path = job
    if path.exists():
        with Replay(path) as there:
            if there.scenario != json.loads(scenario.json):
                raise SystemExit(f"{path} is of another scenario than today's: name another --out")
        return
    path.with_name(path.name + ".part").unlink(missing_ok=True)  # of a study that was interrupted
    record(scenario, seed, path, "beliefs")


def drive_all(work: Sequence[Job], processes: int) -> None:
    """Drive every encounter whose log is not there yet."""
    for folder in {job.path.parent for job in work}:
        folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for k, _ in enumerate(pool.map(drive, work, chunksize=4), 1):
            if k % 20 == 0:
                print(f"{k} of {len(work)} encounters", flush=True)


def losses(folder: Path) -> dict[tuple[str, str], dict[int, float]]:
    """Log loss less ln 2 of every seed, by belief and moment, from the logs of a folder."""
    import numpy as np

    from fogsim.scoring import encounters, metrics
    from fogsim.scoring.scores import score

    result: dict[tuple[str, str], dict[int, float]] = {}
    for e in score(folder).encounters:
        for k, name in enumerate(e.beliefs):
            for moment in MOMENTS:
                p = e.p_barrier[encounters.MOMENTS.index(moment), k]
                if np.isfinite(p):
                    loss = float(metrics.log_loss([p], [e.truth])[0]) - np.log(2.0)
                    result.setdefault((name, moment), {})[e.seed] = loss
    return result


def paired_rows(a: Path, b: Path) -> list[list[str]]:
    """For each belief and moment: common seeds, losses of both folders, and b less a with its bootstrap interval."""
    from fogsim.scoring.cells import interval
    from fogsim.scoring.metrics import paired_bootstrap

    rows, one, other = [], losses(a), losses(b)
    for key in one.keys() & other.keys():
        both = sorted(one[key].keys() & other[key].keys())
        columns = [[one[key][s] for s in both], [other[key][s] for s in both]]
        columns.append([y - x for x, y in zip(*columns, strict=True)])
        rows.append([*key, str(len(both)), *(interval(paired_bootstrap(c)) for c in columns)])
    order = list(one)
    return sorted(rows, key=lambda row: order.index((row[0], row[1])))


def students(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half of its 95 % interval by Student's t; NaN of one value."""
    import numpy as np
    from scipy.stats import t

    spread = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return float(np.mean(values)), float(t.ppf(0.975, len(values) - 1)) * spread / len(values) ** 0.5


def parser_of(doc: str | None, seeds: int, out: str) -> argparse.ArgumentParser:
    """--seeds, --out and --jobs of a study; it may add its own."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    return parser


def arguments_of(doc: str | None, seeds: int, out: str) -> argparse.Namespace:
    """What was given of `parser_of`."""
    return parser_of(doc, seeds, out).parse_args()
