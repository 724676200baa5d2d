"""Looks at the installation: versions, GPU, display, numba's cache, checkpoints, and the golden run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

import filters
from fogsim import log_file
from fogsim.errors import UserError, one_line
from fogsim.log import Replay, verify

GOLDEN = Path(__file__).parents[1] / "replays" / "golden-creeping_fog.h5"


class Finding(NamedTuple):
    """What was found, and whether that is well; None where it is only told."""

    text: str
    well: bool | None = None


def examine(as_json: bool = False) -> int:
    """Print a row per examination, or JSON; 1 if any found a fault, else 0."""
    with Console(stderr=True).status("examining (the golden run is driven again)"):
        findings = {name: look() for name, look in EXAMINATIONS.items()}
    if as_json:
        print(json.dumps({name: finding._asdict() for name, finding in findings.items()}, indent=1))
    else:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for name, (text, well) in findings.items():
            table.add_row(name, {True: "ok", False: "[red]fault[/]", None: ""}[well], text)
        Console().print(table)
    return 1 if any(finding.well is False for finding in findings.values()) else 0


def versions() -> Finding:
    """Of what a run depends on."""
    return Finding(", ".join(f"{name} {version}" for name, version in log_file.software_versions().items()))


def gpu() -> Finding:
    """What torch sees; training can use it, runs do not."""
    try:
        cuda = import_module("torch").cuda
    except Exception as error:
        return Finding(f"not looked at: torch cannot be imported ({one_line(error)}); reinstall it", False)
    return Finding(cuda.get_device_name(0) if cuda.is_available() else "none, and none is needed")


def display() -> Finding:
    """Whether a window could be opened."""
    from fogsim.viewer.app import check_display

    try:
        check_display()
    except UserError as error:
        return Finding(str(error))
    return Finding("there is one", True)


def numba_cache() -> Finding:
    """Whether compiled kernels can be kept, so that only the first run compiles."""
    from filters.jit import cache_folder

    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or cache_folder())
    folder = next(f for f in (folder, *folder.parents) if f.exists())
    if os.access(folder, os.W_OK):
        return Finding(f"kept in {folder}", True)
    remedy = "set NUMBA_CACHE_DIR to a folder that is"
    return Finding(f"{folder} is not writable, kernels may be compiled in every run: {remedy}")


def checkpoints() -> Finding:
    """Whether every filter can be made and started, what it was trained to be included."""
    from fogsim.followers import model_of, start
    from fogsim.runner import prior_of
    from fogsim.scenario import Scenario

    scenario = Scenario()
    for name in filters.FILTERS:
        try:
            start(name, 0, prior_of(scenario, scenario.hazards[0]), model_of(scenario), 0)
        except Exception as error:
            return Finding(f"{name}: {one_line(error)}", False)
    return Finding(f"{', '.join(filters.FILTERS)} start", True)


def golden() -> Finding:
    """Whether the golden run's log is unchanged, and driving it again gives the same."""
    from fogsim import again

    if not GOLDEN.is_file():
        return Finding(f"not looked at: no {GOLDEN.name}, it comes with the source tree")
    if problems := verify(GOLDEN):
        return Finding(f"different: {problems[0]}", False)
    try:
        with Replay(GOLDEN) as kept:
            found = again.compare(kept, again.drive(kept))
    except UserError as error:
        return Finding(str(error), False)
    return Finding(found.text, True if found.same else None)


EXAMINATIONS: dict[str, Callable[[], Finding]] = {
    "versions": versions,
    "GPU": gpu,
    "display": display,
    "numba cache": numba_cache,
    "checkpoints": checkpoints,
    "golden run": golden,
}
