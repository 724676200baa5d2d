"""What it costs, in nats, to assume another sensor or another fog than the true one.

    python scenarios/studies/misspecification.py [--seeds 60] [--out replays/misspecification] [--jobs 2]

An open-loop car meets as many bags as barriers. Where only what the filters assume differs, a seed is the same street,
object and scan; where the fog is truly uneven, the same street and object. It prints the log loss of each belief less
ln 2 (a coin scores 0) with the right and with the wrong assumption, and the difference on the same seeds with its
bootstrap interval. The seeds start at 2000: nothing was tuned on them. Logs that are there already are not driven
again.
"""

from dataclasses import replace
from pathlib import Path

from study import Job, arguments_of, drive_all, in_turns, paired_rows

from fogsim.scenario import Assumed, Driver, Scenario, Texture

FIRST = 2000
RIGHT = Scenario(driver=Driver(policy="open_loop"), filters=("kalman", "particle"))
FOG = RIGHT.fog
WRONG = {
    "range at 10 % x 0.7": replace(RIGHT, assumed=Assumed(range_10=0.7)),
    "range at 10 % x 1.4": replace(RIGHT, assumed=Assumed(range_10=1.4)),
    "range noise x 0.5": replace(RIGHT, assumed=Assumed(range_noise=0.5)),
    "range noise x 2": replace(RIGHT, assumed=Assumed(range_noise=2.0)),
    "reflectance x 0.5": replace(RIGHT, assumed=Assumed(reflectance=0.5)),
    "reflectance x 2": replace(RIGHT, assumed=Assumed(reflectance=2.0)),
    "lidar ratio x 0.3": replace(RIGHT, assumed=Assumed(lidar_ratio=0.3)),
    "fog patchy, even along a beam assumed": replace(RIGHT, fog=replace(FOG, texture=Texture(strength=0.5))),
}


def folder(out: Path, name: str) -> Path:
    """Where the logs of an assumption lie."""
    return out / "".join(c if c.isalnum() else "-" for c in name)


def report(out: Path) -> None:
    """Print the table of each assumption from the logs alone."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=120)
    for name in WRONG:
        table = Table("belief", "at", "pairs", "right", "wrong", "cost", title=f"{name}: log loss - ln 2, nats")
        for row in paired_rows(folder(out, "right"), folder(out, name)):
            table.add_row(*row)
        console.print(table)


if __name__ == "__main__":
    given = arguments_of(__doc__, 60, "replays/misspecification")
    variants = {"right": RIGHT, **WRONG}
    seeds = range(FIRST, FIRST + given.seeds)
    work = [
        Job(in_turns(scenario, s), s, folder(given.out, name) / f"{s:04d}.h5")
        for s in seeds
        for name, scenario in variants.items()
    ]
    drive_all(work, given.jobs)
    report(given.out)
