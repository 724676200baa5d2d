"""Fog over scans in files: one, or a folder of any number, which resumes where it was interrupted.

Beside each fogged scan lies SCAN.fog.npz: `label` and `source`, one entry per point, as in `fogging.FoggedScan`;
`source` counts all points of the clear file. The scan gets its name last, so a scan that is there is complete. What a
scan's fog is depends on the seed and on its name within the folder, on nothing else. One run at a time writes to a
folder, and its processes end with it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Generator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from filters.models.lidar_echo import FOG, NOISE, STRUCTURE
from filters.streams import stream
from fogsim.engines import local
from fogsim.errors import UserError
from fogsim.fogging import FoggedScan, fog_over
from fogsim.scans import Sweep, read_sweep, with_points, write_bytes, write_sweep

RECORD = "fogsim-fog.json"
SUFFIXES = (".bin", ".pcd")


class Settings(NamedTuple):
    """What a fogged scan depends on, besides the scan and its name."""

    visibility: float
    seed: int
    layout: str
    nan: str
    model: str


class Tally(NamedTuple):
    """How many points there were, what became of them, and how many rows were no points."""

    points: int = 0
    kept: int = 0
    fog: int = 0
    noise: int = 0
    lost: int = 0
    not_finite: int = 0
    without_return: int = 0


def label_path(out: Path) -> Path:
    """Of the labels beside a fogged scan."""
    return out.with_name(out.name + ".fog.npz")


def fog_file(scan: Path, out: Path, name: str, settings: Settings) -> tuple[Sweep, FoggedScan, Tally]:
    """Lay fog over one file into another of the same layout, and its labels beside it.

    Raises
    ------
    UserError
        If the scan cannot be read, or one of the two files exists or cannot be written.
    """
    if out.exists():  # also . and /, which have no name for the labels to take
        raise UserError(f"{out} exists already and is never overwritten: choose another name")
    if label_path(out).exists():
        raise UserError(
            f"{label_path(out)} exists without its scan {out.name}, perhaps of a run that was killed, and is never"
            " overwritten: remove it, or choose another name"
        )
    sweep = read_sweep(scan, settings.layout, drop=settings.nan == "drop")
    if scan.suffix != out.suffix and (out.suffix == ".pcd") != (sweep.layout == "pcd"):
        ending = ".pcd" if sweep.layout == "pcd" else ".bin"
        raise UserError(f"found --out {out}, expected the scan's own layout, {sweep.layout}: end the name in {ending}")
    rng = stream(settings.seed, "fog", name)
    fogged = fog_over(sweep.points, sweep.intensity, sweep.full_scale, settings.visibility, rng, settings.model)
    source = fogged.source if sweep.places is None else sweep.places[fogged.source]
    labels = io.BytesIO()
    np.savez(labels, label=fogged.label, source=source)
    write_bytes(labels.getvalue(), label_path(out))
    try:
        write_sweep(with_points(sweep, fogged.source, fogged.points, fogged.intensity), out)
    except UserError:
        label_path(out).unlink()  # else it would bar the next attempt
        raise
    return sweep, fogged, tally(sweep, fogged)


def tally(sweep: Sweep, fogged: FoggedScan) -> Tally:
    """Count what became of a sweep's points."""
    kept, fog, noise = (int((fogged.label == label).sum()) for label in (STRUCTURE, FOG, NOISE))
    lost = len(sweep.rows) - len(fogged.label)
    return Tally(len(sweep.rows), kept, fog, noise, lost, sweep.not_finite, sweep.without_return)


def find_scans(folder: Path) -> list[str]:
    """Names of the scans in a folder and those below it, relative to it, in order.

    Raises
    ------
    UserError
        If there is none.
    """
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    names = sorted(path.as_posix() for path in found if not path.name.startswith("."))
    if not names:
        raise UserError(f"{folder} holds no {' or '.join(SUFFIXES)} file, expected scans: name a folder of scans")
    return names


def open_folder(folder: Path, out: Path, settings: Settings) -> None:
    """Make the folder of fogged scans with a record of its settings, or check that it is one of the same.

    Raises
    ------
    UserError
        If it lies within the scans' folder, cannot be made, is not empty without a record, or has other settings.
    """
    if out.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"--out {out} lies within {folder}, expected a folder beside it: choose another")
    wanted = {"fogsim": version("fogsim"), **settings._asdict()}
    record = out / RECORD
    try:
        out.mkdir(parents=True, exist_ok=True)
        taken = not record.exists() and any(path.name != f".{RECORD}.part" for path in out.iterdir())
    except OSError as error:
        raise UserError(f"cannot use {out} ({error.strerror}): choose another folder") from error
    if taken:
        raise UserError(f"{out} is not empty and holds no {RECORD}, expected a new folder: choose another")
    if not record.exists():
        write_bytes(json.dumps(wanted, indent=1).encode() + b"\n", record)
    compare(read_record(record), wanted, out)


def read_record(record: Path) -> dict[str, Any]:
    """The settings a folder was begun with."""
    try:
        found = json.loads(record.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{record} cannot be read or is damaged: choose another folder") from error
    return found if isinstance(found, dict) else {}


def compare(found: dict[str, Any], wanted: dict[str, Any], out: Path) -> None:
    """Refuse to go on with other settings than those the folder was begun with."""
    names = [name for name in wanted if found.get(name) != wanted[name]]
    if names:
        had, asked = (", ".join(f"{name} {said.get(name)}" for name in names) for said in (found, wanted))
        raise UserError(f"{out} was begun with {had}, found {asked}: go on with the former, or choose another folder")


def is_done(out: Path, name: str) -> bool:
    """Whether a scan and its labels are there."""
    return (out / name).exists() and label_path(out / name).exists()


def fog_one(folder: Path, out: Path, name: str, settings: Settings) -> tuple[str, Tally | str]:
    """One scan of a folder: what became of it, or the line that says why not. Runs in a worker process."""
    target = out / name
    if target.exists():
        return name, f"{target} lacks its labels {label_path(target).name}: remove it, and give the same command again"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        label_path(target).unlink(missing_ok=True)  # of a run that was interrupted between the two files
        return name, fog_file(folder / name, target, name, settings)[2]
    except UserError as error:
        return name, str(error)
    except Exception as error:  # the other scans shall be done nevertheless
        return name, " ".join(f"{folder / name}: {type(error).__name__}: {error}".split())


def fog_folder(
    folder: Path, out: Path, names: Sequence[str], settings: Settings, jobs: int
) -> Generator[tuple[str, Tally | str]]:
    """Each scan's name, and what became of it or why it could not be done, in the order in which they are finished."""
    yield from local(partial(fog_one, folder, out, settings=settings), names, jobs)
