"""The first table: 200 seeds of creeping fog, driven by the label-truster and by the belief-holder, scored from logs.

    python scenarios/studies/first_table.py [--seeds 200] [--out replays/first_table] [--jobs 2]

Half of the seeds meet a bag and half a barrier. It prints the score of every filter at 20, 15 and 10 m and at
the decision point, both drivers' realised cost with their paired difference, the entropy of every filter at
fixed range in reported visibilities of 20, 40 and 80 m, and a histogram of what the particle filter believes
at the decision point. Logs that are there already are not driven again.
"""

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

POLICIES = ("most_likely_label", "bayes")
VISIBILITIES = (20.0, 40.0, 80.0)
BINS = (0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0)


def drive(job: tuple[int, str, float, Path]) -> None:
    """Drive one encounter into its log, unless a finished one is there."""
    from fogsim.log import Recorder, Replay
    from fogsim.runner import belief_names, dims_of, run
    from fogsim.scenario import Driver, Scenario

    seed, policy, visibility, path = job
    scenario = Scenario()
    hazard = replace(scenario.hazards[0], kind=("bag", "barrier")[seed % 2])
    fog = replace(scenario.fog, visibility=visibility or scenario.fog.visibility)
    scenario = replace(scenario, hazards=(hazard,), fog=fog, driver=Driver(policy=policy))
    if path.exists():
        with Replay(path) as there:
            if there.scenario != json.loads(scenario.json):
                raise SystemExit(f"{path} is of another scenario than today's: name another --out")
        return
    path.with_name(path.name + ".part").unlink(missing_ok=True)  # of a study that was interrupted
    header = {"seed": seed, "scenario": scenario.json, "beliefs": list(belief_names(scenario))}
    with Recorder(path, dims_of(scenario), header, "beliefs") as recorder:
        for frame in run(scenario, seed):
            recorder.append(frame)
        recorder.complete, recorder.ended_because = True, "the encounter ended"


def jobs_of(seeds: int, out: Path) -> list[tuple[int, str, float, Path]]:
    """Every encounter of the study: both drivers, then an open-loop car in each visibility."""
    both = [(s, p, 0.0, out / p / f"{s:04d}.h5") for s in range(seeds) for p in POLICIES]
    fogs = [(s, "open_loop", v, out / f"{v:.0f}m" / f"{s:04d}.h5") for s in range(seeds // 2) for v in VISIBILITIES]
    return both + fogs


def report(out: Path) -> None:
    """Print every table from the logs alone."""
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from fogsim.scoring.encounters import MOMENTS
    from fogsim.scoring.report import driver_table, interval, print_score
    from fogsim.scoring.scores import score

    console = Console(width=120)
    holder = score([out / "bayes"])
    print_score(holder, console)
    both = score([out / policy for policy in POLICIES])
    console.print(driver_table(both))
    for d in both.differences:
        console.print(f"cost of ({d.driver}) less ({d.other}), {d.n} common encounters: {interval(d.cost, '.2f')}")
    table = Table("visibility", "filter", *[f"entropy at {r} m" for r in (20, 15, 10)], title="open loop, nats")
    for v in VISIBILITIES:
        rows = {(b.belief, b.moment): b.entropy for b in score([out / f"{v:.0f}m"]).beliefs}
        for name in dict.fromkeys(name for name, _ in rows):
            table.add_row(f"{v:.0f} m", name, *[f"{rows[name, f'{r} m']:.3f}" for r in (20, 15, 10)])
    console.print(table)
    k = holder.belief_names.index("particle")
    p = np.array([e.p_barrier[MOMENTS.index("decision"), k] for e in holder.encounters])
    console.print("P(barrier) of the particle filter at the decision point, belief-holder driving:")
    for low, high, n in zip(BINS, BINS[1:], np.histogram(p, BINS)[0], strict=False):
        console.print(f"  {low:4.2f} to {high:4.2f}  {n:4d}  {'#' * (60 * n // len(p))}")
    console.print(f"undecided (.05 < p < .95): {np.mean((p > 0.05) & (p < 0.95)):.1%} of {len(p)}")
    console.print(before_first_echo(out / "bayes"))


def before_first_echo(folder: Path) -> str:
    """The least and greatest belief of each filter before the object's first echo, over all logs of a folder."""
    import numpy as np

    from fogsim.log import Replay

    low, high, finite = None, None, True
    for path in sorted(folder.glob("*.h5")):
        with Replay(path) as recorded:
            p = np.exp(recorded.column("log_probs")[:, :, 0, 1])
            unseen = np.cumsum(recorded.column("object_echoes")[:, 0]) == 0
            names = recorded.beliefs
        finite &= bool(np.isfinite(p).all())
        least, most = p[unseen].min(axis=0), p[unseen].max(axis=0)
        low = least if low is None else np.minimum(low, least)
        high = most if high is None else np.maximum(high, most)
    spans = ", ".join(f"{n} {a:.3f} to {b:.3f}" for n, a, b in zip(names, low, high, strict=True))
    return f"P(barrier) before the first echo from the object: {spans}; all finite: {finite}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("replays/first_table"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    work = jobs_of(arguments.seeds, arguments.out)
    for folder in {path.parent for *_, path in work}:
        folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        for k, _ in enumerate(pool.map(drive, work, chunksize=4), 1):
            if k % 20 == 0:
                print(f"{k} of {len(work)} encounters", flush=True)
    report(arguments.out)


if __name__ == "__main__":
    main()
