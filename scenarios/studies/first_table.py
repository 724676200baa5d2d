"""The first table: 200 seeds of creeping fog, driven by the label-truster and by the belief-holder, scored from logs.

    python scenarios/studies/first_table.py [--seeds 200] [--out replays/first_table] [--jobs 2]

Half of the seeds meet a bag and half a barrier. It prints the score of every filter at 20, 15 and 10 m and at
the decision point, both drivers' realised cost with their paired difference, the entropy of every filter at
fixed range in reported visibilities of 20, 40 and 80 m, and a histogram of what the particle filter believes
at the decision point. Logs that are there already are not driven again.
"""

from dataclasses import replace
from pathlib import Path

from study import Job, arguments_of, drive_all, in_turns

from fogsim.scenario import Driver, Scenario

POLICIES = ("most_likely_label", "bayes")
VISIBILITIES = (20.0, 40.0, 80.0)
BINS = (0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0)


def jobs_of(seeds: int, out: Path) -> list[Job]:
    """Every encounter of the study: both drivers, then an open-loop car in each visibility."""
    plain, work = Scenario(), []
    for seed in range(seeds):
        for policy in POLICIES:
            scenario = in_turns(replace(plain, driver=Driver(policy=policy)), seed)
            work.append(Job(scenario, seed, out / policy / f"{seed:04d}.h5"))
    for seed in range(seeds // 2):
        for v in VISIBILITIES:
            scenario = replace(plain, fog=replace(plain.fog, visibility=v), driver=Driver(policy="open_loop"))
            work.append(Job(in_turns(scenario, seed), seed, out / f"{v:.0f}m" / f"{seed:04d}.h5"))
    return work


def report(out: Path) -> None:
    """Print every table from the logs alone."""
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from fogsim.scoring.cells import interval
    from fogsim.scoring.encounters import MOMENTS
    from fogsim.scoring.report import print_score
    from fogsim.scoring.scores import score
    from fogsim.scoring.tables import driver_table

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


if __name__ == "__main__":
    given = arguments_of(__doc__, 200, "replays/first_table")
    drive_all(jobs_of(given.seeds, given.out), given.jobs)
    report(given.out)
