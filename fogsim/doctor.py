"""Looks at the installation: versions, GPU, display, numba's cache, checkpoints, and the golden run."""

from __future__ import annotations

import os
import tempfile
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


def examine() -> int:
    """Print a row per examination; 1 if any found a fault, else 0."""
    table, faults = Table(box=None, padding=(0, 2, 0, 0), show_header=False), 0
    with Console(stderr=True).status("examining (the golden run is driven again)"):
        for name, look in EXAMINATIONS.items():
            finding = look()
            faults += finding.well is False
            table.add_row(name, {True: "ok", False: "[red]fault[/]", None: ""}[finding.well], finding.text)
    Console().print(table)
    return 1 if faults else 0


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
    from fogsim.commands import record
    from fogsim.scenario import Scenario

    if not GOLDEN.is_file():
        return Finding(f"not looked at: no {GOLDEN.name}, it comes with the source tree")
    if problems := verify(GOLDEN):
        return Finding(f"different: {problems[0]}", False)
    with Replay(GOLDEN) as kept, tempfile.TemporaryDirectory() as folder:
        scenario = Scenario()
        if kept.header["scenario"] != scenario.json:
            return Finding("different: the default scenario is no longer the one it was recorded with", False)
        record(scenario, kept.seed, Path(folder) / "again.h5", kept.level)
        with Replay(Path(folder) / "again.h5") as again:
            if again.stored_hash == kept.stored_hash:
                return Finding(f"same (content hash {kept.stored_hash[:12]}…)", True)
            return Finding(f"different: {why_different(kept, again)}")


def why_different(kept: Replay, again: Replay) -> str:
    """Lengths, or the first versions that differ: other versions and machines may round otherwise."""
    if len(kept) != len(again):
        return f"{len(again)} frames, {len(kept)} when it was recorded"
    before, now = kept.header["software"], again.header["software"]
    changed = [f"{name} {before.get(name)} is now {now[name]}" for name in now if before.get(name) != now[name]]
    return "; ".join(changed) or "with the same versions: another machine, or a change in the code"


EXAMINATIONS: dict[str, Callable[[], Finding]] = {
    "versions": versions,
    "GPU": gpu,
    "display": display,
    "numba cache": numba_cache,
    "checkpoints": checkpoints,
    "golden run": golden,
}
