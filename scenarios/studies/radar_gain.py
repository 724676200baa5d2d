"""What a radar brings: the same encounters without and with one, in three fogs, scored from logs.

    python scenarios/studies/radar_gain.py [--seeds 60] [--out replays/radar_gain] [--jobs 2]

An open-loop car meets as many bags as barriers; a seed is the same street, object and lidar scans without and with the
radar. It prints the log loss of each belief less ln 2 (a coin scores 0) at 20, 15 and 10 m and at the decision point,
without and with the radar, and the difference on the same seeds with its bootstrap interval. The seeds start at 1000:
nothing was tuned on them. Logs that are there already are not driven again.
"""

from dataclasses import replace
from pathlib import Path

from study import Job, arguments_of, drive_all, in_turns, paired_rows

from fogsim.scenario import Driver, Radar, Scenario

VISIBILITIES = (15.0, 25.0, 40.0)
FIRST = 1000


def folder(out: Path, visibility: float, on: bool) -> Path:
    """Where the logs of one fog lie, with or without the radar."""
    return out / f"{visibility:.0f}m-{'with' if on else 'without'}"


def job(seed: int, visibility: float, on: bool, out: Path) -> Job:
    """One encounter of an open-loop car."""
    scenario = Scenario(driver=Driver(policy="open_loop"), radar=Radar(on=on))
    scenario = replace(scenario, fog=replace(scenario.fog, visibility=visibility))
    return Job(in_turns(scenario, seed), seed, folder(out, visibility, on) / f"{seed:04d}.h5")


def report(out: Path) -> None:
    """Print the table from the logs alone."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=120)
    for visibility in VISIBILITIES:
        table = Table("belief", "at", "pairs", "without", "with the radar", "difference")
        table.title = f"visibility {visibility:.0f} m: log loss - ln 2, nats"
        for row in paired_rows(folder(out, visibility, False), folder(out, visibility, True)):
            table.add_row(*row)
        console.print(table)


if __name__ == "__main__":
    given = arguments_of(__doc__, 60, "replays/radar_gain")
    seeds = range(FIRST, FIRST + given.seeds)
    drive_all([job(s, v, on, given.out) for v in VISIBILITIES for s in seeds for on in (False, True)], given.jobs)
    report(given.out)
