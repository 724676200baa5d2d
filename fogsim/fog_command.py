"""``fogsim fog``: fog over one real scan or over a folder of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fogsim.errors import UserError, did_you_mean
from fogsim.fog_files import (
    RECORD,
    Settings,
    Tally,
    find_scans,
    fog_file,
    fog_folder,
    is_done,
    label_path,
    open_folder,
)
from fogsim.fogging import MODELS, check
from fogsim.folders import alone
from fogsim.interrupt import until_interrupted
from fogsim.layouts import NAMES

NAN = ("refuse", "drop")
PICTURES = (".png", ".pdf", ".svg")
SHOWN = 10  # names of failed scans in one line


def fog(scan: Path, out: Path, settings: Settings, jobs: int = 1, picture: Path | None = None) -> None:
    """Lay fog over a scan, or over each one in a folder and those below it; a folder that is partly done is finished.

    Raises
    ------
    UserError
        If a setting is wrong, the scan cannot be read, an output exists, or some scans of a folder could not be done,
        after all others are.
    """
    check_settings(settings)
    if scan.is_dir():
        if picture is not None:
            raise UserError("found --picture with a folder, expected one scan: name one of its scans")
        return fog_all(scan, out, settings, jobs)
    if picture is not None:
        check_picture(picture)
    console = Console(stderr=True)
    with console.status("laying fog (the first time kernels are compiled, about a minute)"):
        sweep, fogged, tally = fog_file(scan, out, scan.name, settings)
        if picture is not None:
            from fogsim.fog_picture import draw

            draw(sweep.points, fogged, settings.visibility, picture)
    Console().print(f"{out}: {words(tally)}; labels in {label_path(out).name}", markup=False, soft_wrap=True)


def check_settings(settings: Settings) -> None:
    """Refuse what is wrong before anything is read."""
    for value, option, known in (
        (settings.layout, "--layout", ("auto", *NAMES)),
        (settings.nan, "--nan", NAN),
        (settings.model, "--model", MODELS),
    ):
        if value not in known:
            raise UserError(f"{option} is {value!r}: {did_you_mean(value, list(known))}")
    check(settings.visibility, settings.model)
    if math.isinf(settings.visibility):
        raise UserError("visibility is infinite, expected metres: clear air needs no fog")


def check_picture(picture: Path) -> None:
    """Refuse a picture that exists, has no place or no known kind, before the scan is fogged."""
    if picture.exists():
        raise UserError(f"{picture} exists already and is never overwritten: choose another name")
    if picture.suffix not in PICTURES or not picture.parent.is_dir():
        raise UserError(f"cannot draw {picture}, expected a name in {', '.join(PICTURES)} in a folder that exists")


def fog_all(folder: Path, out: Path, settings: Settings, jobs: int) -> None:
    """A folder, in which no other run writes."""
    names = find_scans(folder)
    open_folder(folder, out, settings)
    with alone(out / RECORD):
        fog_rest(folder, out, settings, jobs, names)


def fog_rest(folder: Path, out: Path, settings: Settings, jobs: int, names: Sequence[str]) -> None:
    """Those scans that are not done: a progress bar, a line for each bad one, and a summary."""
    todo = [name for name in names if not is_done(out, name)]
    if not todo:
        Console().print(f"{out}: all {len(names)} scans are there already", markup=False, soft_wrap=True)
        return
    console, total, bad = Console(stderr=True), Counter[str](), list[str]()
    columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("laying fog", total=len(names), completed=len(names) - len(todo))
        results = fog_folder(folder, out, todo, settings, min(jobs, len(todo)))
        try:
            with closing(results), closing(until_interrupted(results)) as finished:
                for name, result in finished:
                    bar.advance(task)
                    if isinstance(result, str):
                        bad.append(name)
                        console.print(f"fogsim: {result}", markup=False, highlight=False, soft_wrap=True)
                    else:
                        total.update(result._asdict())
        except KeyboardInterrupt:
            console.print("fogsim: interrupted: the same command goes on from here", markup=False, soft_wrap=True)
            raise
    there = f", {len(names) - len(todo)} were there" if len(todo) < len(names) else ""
    done = f"{out}: {len(todo) - len(bad)} of {len(names)} scans fogged{there}: {words(Tally(**total))}"
    Console().print(done, markup=False, highlight=False, soft_wrap=True)
    if bad:
        raise UserError(failed(bad, len(names)))


def failed(bad: Sequence[str], count: int) -> str:
    """The one line at the end that names the bad scans."""
    more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    return (
        f"{len(bad)} of {count} scans could not be fogged: {', '.join(sorted(bad)[:SHOWN])}{more}:"
        " mend or remove them, and give the same command again"
    )


def words(tally: Tally) -> str:
    """What became of the points."""
    text = f"of {tally.points:,} points {tally.kept:,} kept, {tally.fog:,} drawn into fog, {tally.noise:,} noise"
    text += f", {tally.lost:,} lost"
    text += f"; {tally.not_finite:,} not finite dropped" if tally.not_finite else ""
    return text + (f"; {tally.without_return:,} without return dropped" if tally.without_return else "")
