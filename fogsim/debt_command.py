"""``fogsim debt``: what a deployed checkpoint came to owe over a campaign, and when to have retrained.

Firings are kept in the campaign's folder, a line of JSON each in `AUDIT`. They are no part of the logs: a log is one
encounter's, whole and hashed when it is written, while a firing rests on all encounters before it and on what is asked
afterwards, which checkpoint and which policy. Each line names the log it fired at, by name and content hash.
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
from fogsim.indebted import Entry, follow
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
    entries = list(follow((e for e in found if e is not None), first, policy))
    if not entries:
        raise UserError(f"{folder} has nothing to learn from, expected bags or barriers that a lidar looked at")
    told = {"checkpoint": path.name}
    firings = [told | entry.firing for entry in entries if entry.firing]
    keep(folder / AUDIT, firings)
    show(entries, count, policy, folder)
    if plot is not None:
        draw(entries, policy, plot)
        print(plot)


def keep(path: Path, firings: list[dict[str, Any]]) -> None:
    """Add firings to the audit; what it holds already is not told twice.

    Raises
    ------
    UserError
        If it cannot be written, or another run does.
    """
    if not firings:
        return
    try:
        path.touch()
        with alone(path):
            there = path.read_text().splitlines()
            lines = [json.dumps(firing, sort_keys=True, allow_nan=False) for firing in firings]
            new = [line for line in lines if line not in there]
            if new:
                replace_file("".join(f"{line}\n" for line in [*there, *new]).encode(), path)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): make the folder writable") from error


def show(entries: list[Entry], count: int, policy: RetrainPolicy, folder: Path) -> None:
    """Print a row for each deployment, and what was left out or learnt with caution."""
    table = Table(box=SIMPLE_HEAD, title=f"{folder}: learning debt of {len(entries)} encounters", title_justify="left")
    for name in (
        "deployed at",
        "until",
        "decision debt",
        "of",
        "highest evidence, nats",
        "of",
        "pays from",
        "information debt",
        "",
    ):
        table.add_column(name, justify="left" if not name else "right")
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
    print(f"decision losses: {served:.0f} as deployed, {learning:.0f} by the posterior that goes on learning")
    for line in remarks(entries, count):
        console.print(line, soft_wrap=True)
    if any(entry.firing for entry in entries):
        console.print(f"audit: {folder / AUDIT}", soft_wrap=True)


def remarks(entries: list[Entry], count: int) -> Iterator[str]:
    """What was left out or learnt with caution, a line each."""
    if len(entries) < count:
        yield f"{count - len(entries)} of {count} encounters left out: no class of classifiers, or nothing to decide"
    flags = Counter(flag.name.lower() for e in entries for flag in Flag if flag.name and flag in e.learnt.flags)
    if flags:
        yield "learnt with caution: " + ", ".join(f"{n} {name}" for name, n in flags.items())
    uncounted = sum(not e.account.counted for e in entries)
    if uncounted:
        yield f"{uncounted} encounters did not count: a probability was no number"
