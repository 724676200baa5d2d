"""``fogsim debt``: what a deployed checkpoint came to owe over a campaign, and when to have retrained.

Firings, and encounters that were learnt with caution, are kept in the campaign's folder, a line of JSON each in
`AUDIT`. They are no part of the logs: a log is one encounter's, whole and hashed when it is written, while a firing
rests on all encounters before it and on what is asked afterwards, which checkpoint and which policy. Each line names
its log, by name and content hash.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table

from filters.adaptation import deployed
from filters.adaptation.debt import RetrainPolicy
from filters.adaptation.streaming import Flag
from filters.posterior.served import use_one_thread
from filters.trained import shipped
from fogsim.commands import check_new
from fogsim.debt_picture import draw
from fogsim.errors import UserError, one_line
from fogsim.folders import alone, replace_file
from fogsim.indebted import Entry, follow, lessons
from fogsim.labelled import encounters, logs_of

AUDIT = "debt.jsonl"


def debt(folder: Path, checkpoint: Path | None, policy: RetrainPolicy, plot: Path | None) -> None:
    """Follow a campaign, print its accounts, keep its firings, and if asked draw them into a new PNG.

    Raises
    ------
    UserError
        If the folder is no campaign's or a log of it cannot be read, the checkpoint cannot be used, or a file not be
        written.
    """
    check_new(plot)
    if plot is not None and plot.suffix != ".png":
        raise UserError(f"cannot draw {plot}, expected a name that ends in .png")
    use_one_thread()
    path = checkpoint or Path(shipped("bnn"))
    try:
        first = deployed.load(path)
    except ValueError as error:
        raise UserError(one_line(error)) from error
    count, console = len(logs_of(folder)), Console(stderr=True)
    found = track(
        encounters(folder), f"following {folder}", total=count, console=console, disable=not console.is_terminal
    )
    entries = list(follow(lessons((e for e in found if e is not None), first), first, policy))
    if not entries:
        raise UserError(f"{folder} has nothing to learn from, expected bags or barriers that a lidar looked at")
    show(entries, count, policy, folder)
    keep(folder / AUDIT, [audit(entry, path.name) for entry in entries if entry.firing or entry.learnt.flags])
    if plot is not None:
        draw(entries, policy, plot)
        print(plot)


def audit(entry: Entry, checkpoint: str) -> dict[str, Any]:
    """What is kept of an encounter: how it was learnt, and the firing."""
    found, learnt = entry.encounter, entry.learnt
    told = {"checkpoint": checkpoint, "number": found.number, "log": found.log, "content_hash": found.content_hash}
    return told | {"learnt_at_weight": learnt.weight, "flags": names(learnt.flags)} | (entry.firing or {})


def names(flags: Flag) -> list[str]:
    """Of the flags that are set."""
    return [flag.name.lower() for flag in Flag if flag.name and flag in flags]


def keep(path: Path, told: list[dict[str, Any]]) -> None:
    """Add lines to the audit; what it holds already is not told twice.

    Raises
    ------
    UserError
        If it cannot be written, or another run does.
    """
    if not told:
        return
    try:
        path.touch()
        with alone(path):
            there = path.read_text().splitlines()
            lines = [json.dumps(line, sort_keys=True, allow_nan=False) for line in told]
            new = [line for line in lines if line not in there]
            if new:
                replace_file("".join(f"{line}\n" for line in [*there, *new]).encode(), path)
                print(path)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): make the folder writable") from error


def show(entries: list[Entry], count: int, policy: RetrainPolicy, folder: Path) -> None:
    """Print a row for each deployment, and what was left out or learnt with caution."""
    table = Table(box=SIMPLE_HEAD, title=f"{folder}: learning debt of {len(entries)} encounters", title_justify="left")
    for name in ("from", "to", "debt", "of", "evidence", "of", "pays from", "KL, nats", ""):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    begun = entries[0].encounter.number
    for k, entry in enumerate(entries):
        if entry.firing or k == len(entries) - 1:
            a, at = entry.account, entry.encounter.number
            cells = (
                f"{a.debt:.1f}",
                f"{policy.cost:g}",
                f"{a.highest:.1f}",
                f"{policy.proof:.1f}",
                f"{a.pays_from:.1f}",
            )
            end = "retrain" if entry.firing else "goes on"
            table.add_row(str(begun), str(at), *cells, f"{entry.information:.0f}", end)
            begun = at + 1
    console = Console(markup=False, highlight=False)
    console.print(table)
    served, learning = (sum(losses) for losses in zip(*(entry.losses for entry in entries), strict=True))
    print(f"decision losses: {served:.0f} as deployed, {learning:.0f} by the model that goes on learning")
    for line in remarks(entries, count):
        console.print(line, soft_wrap=True)


def remarks(entries: list[Entry], count: int) -> Iterator[str]:
    """What was left out or learnt with caution, a line each."""
    if len(entries) < count:
        yield f"{count - len(entries)} of {count} encounters left out: no class of classifiers, or no decision"
    flags = Counter(name for e in entries for name in names(e.learnt.flags))
    if flags:
        yield "learnt with caution: " + ", ".join(f"{n} {name}" for name, n in flags.items())
    uncounted = sum(not e.account.counted for e in entries)
    if uncounted:
        yield f"{uncounted} encounters did not count: a probability was no number"
