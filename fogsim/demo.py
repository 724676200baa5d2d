"""The demonstration: one encounter driven twice, by a car that trusts the likeliest label and by one that believes."""

from __future__ import annotations

import dataclasses
from itertools import count
from pathlib import Path

from rich.console import Console

from fogsim import summary
from fogsim.commands import decision_time, export_show, make_folder, record
from fogsim.errors import UserError
from fogsim.log import Replay
from fogsim.scenario import Driver, Scenario

# One encounter in which the fused belief leans the wrong way when the choice opens, without being sure of it.
DEMO_SEED = 47
DRIVERS = {"label-truster": "most_likely_label", "belief-holder": "bayes"}
PICTURE, FILM = "belief-holder.png", "side-by-side.gif"


def demonstrate(out: Path, seed: int = DEMO_SEED, encounter: Scenario | None = None) -> Path:
    """Drive an encounter, by default the default one, under both policies; returns the folder of what was made.

    Nothing is overwritten: where `out` holds a demonstration already, the next free of out-2, out-3, ... is used.

    Raises
    ------
    UserError
        If the folder cannot be made.
    """
    folder = free_folder(out)
    make_folder(folder)
    for name, policy in DRIVERS.items():
        driver = Driver(policy=policy)
        record(dataclasses.replace(encounter or Scenario(), driver=driver), seed, folder / f"{name}.h5")
    show(folder)
    if folder != out:
        compare(folder, out)
    return folder


def free_folder(out: Path) -> Path:
    """`out`, or the first of out-2, out-3, ... that holds nothing of a demonstration."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file, expected a folder: name another")
    names = [PICTURE, FILM, *(f"{name}.h5{end}" for name in DRIVERS for end in ("", ".part"))]
    folders = (out if n == 1 else Path(f"{out}-{n}") for n in count(1))
    return next(f for f in folders if not any((f / name).exists() for name in names))


def show(folder: Path) -> None:
    """Print the two tables and the sentence, draw the belief-holder at its decision point, and film both."""
    from fogsim.viewer.show import show_of

    console = Console(markup=False, highlight=False)
    label_truster, belief_holder = (Replay(folder / f"{name}.h5") for name in DRIVERS)
    with label_truster, belief_holder:
        for name, recorded in zip(DRIVERS, (label_truster, belief_holder), strict=True):
            console.print(summary.table_of(recorded, f"{name}: seed {recorded.seed}, {DRIVERS[name]} drives"))
        console.print(f"\n{sentence(label_truster, belief_holder)}\n")
        one, both = show_of([belief_holder], ["belief-holder"]), show_of([label_truster, belief_holder], list(DRIVERS))
        export_show(one, decision_time(belief_holder), 1.0, folder / PICTURE)
        export_show(both, 0.0, 1.0, folder / FILM)
    made = ", ".join(str(folder / name) for name in (*(f"{name}.h5" for name in DRIVERS), PICTURE, FILM))
    console.print(f"written: {made}", soft_wrap=True)


def sentence(label_truster: Replay, belief_holder: Replay) -> str:
    """What happened, in one sentence."""
    fog, thing = float(label_truster.column("visibility")[0]), summary.things(label_truster, "a")
    drives = (
        f"{summary.distance_text(recorded)} away P(barrier) was {driving_chance(recorded)}"
        for recorded in (label_truster, belief_holder)
    )
    return (
        f"In fog of {fog:.0f} m visibility towards {thing}, the car that trusts the likeliest label had to choose when"
        f" {next(drives)}, and it {summary.outcome(label_truster)}; the one that holds a belief when"
        f" {next(drives)}, and it {summary.outcome(belief_holder)}."
    )


def driving_chance(recorded: Replay) -> str:
    """P(barrier) at the decision point, of the belief that drives."""
    return summary.chances(recorded, recorded.beliefs.index(recorded.scenario["driver"]["belief"]))[1]


def compare(folder: Path, earlier: Path) -> None:
    """Say whether a repeated demonstration gave the same logs as the first."""
    found = hashes(earlier)
    if "" in found:
        verdict = f"{earlier} holds files already, which were left alone"
    elif found == hashes(folder):
        verdict = f"{earlier} holds the same logs already (equal content hashes)"
    else:
        verdict = f"{earlier} holds other logs (another seed, scenario or version), which were left alone"
    Console(markup=False, highlight=False).print(f"{verdict}; these are in {folder}", soft_wrap=True)


def hashes(folder: Path) -> list[str]:
    """Content hashes of the logs in a demonstration's folder; "" for one that is missing or unfinished."""
    found = []
    for name in DRIVERS:
        try:
            with Replay(folder / f"{name}.h5") as recorded:
                found.append(recorded.stored_hash)
        except UserError:
            found.append("")
    return found
