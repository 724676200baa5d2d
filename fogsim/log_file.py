"""What a log looks like on disk, and how it is found, opened and checked.

A finished log:

- one dataset per `Frame` field, first axis the frame, compressed; wall times in the group ``/timing``;
- ``committed`` (1,): frames that may be trusted; ``complete``, ``ended_because``, ``content_hash`` (1,);
- root attributes: schema, software, git revision, seed, scenario as JSON with its sha256, names along the axes;
- every dataset has the attributes units, dims and description. Nothing is pickled.

The ``.part`` of a run differs in one thing: instead of all fields but scans it has ``records`` (frames,), a frame each
packed into bytes as the attribute ``fields`` says (JSON of NumPy's dtype). To commit a frame is then to write one row.
It is flushed before ``committed`` is, so that a reader at any moment, or after ``kill -9``, finds every committed row
whole; and nothing else changes, as HDF5 freezes the rest while it lets a second process read (single writer, multiple
readers: SWMR). Runs of earlier versions have datasets per field here too.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from filters.policy import REASONS
from filters.spec import CLASSES, FEATURES
from fogsim.errors import UserError, one_line
from fogsim.frame import ACTIONS, KINDS, POLICIES, SCAN_FIELDS, SENSORS, SINCE, TIMING_FIELDS, Column, Dims, schema

SCHEMA = "fogsim"
SCHEMA_VERSION = 5
LEVELS = ("scans", "beliefs")
ROWS = 32  # frames per read, and per chunk of `RECORDS`
RECORDS = "records"  # in a run's log: all fields but scans
JSON_ATTRIBUTES = ("software", "dims")
# In byte 11 of an HDF5 superblock (version 3): bit 0 is open for writing, bit 2 open for SWMR writing.
WRITING_FLAGS = 0b101
UNREADABLE = (OSError, RuntimeError, KeyError)  # what h5py raises on a damaged file


def columns(level: str, version: int = SCHEMA_VERSION) -> list[Column]:
    """The fields that a log of this level and schema holds."""
    held = [c for c in schema() if SINCE.get(c.name, 0) <= version]
    return [c for c in held if level == "scans" or c.name not in SCAN_FIELDS]


def dataset_path(name: str) -> str:
    """Where a field lies in the file."""
    return f"timing/{name}" if name in TIMING_FIELDS else name


def part_of(path: Path) -> Path:
    """The name a log bears until its run has ended well."""
    return path.with_name(path.name + ".part")


@cache
def git_revision() -> str:
    """The commit of the source tree that fogsim runs from; "" when it is installed elsewhere."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "rev-parse", "--verify", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


@cache
def software_versions() -> dict[str, str]:
    """Versions of what a run depends on, read without importing it."""
    versions = {"python": platform.python_version(), "hdf5": h5py.version.hdf5_version}
    for package in ("fogsim", "numpy", "scipy", "numba", "torch", "h5py"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "unknown"
    return versions


def provenance() -> dict[str, Any]:
    """By what, where and when a log is recorded; no part of its content."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    system = {"platform": platform.platform(), "recorded": now}
    return {"software": software_versions(), "git_revision": git_revision(), **system}


class ContentHash:
    """sha256 over scenario, seed and every field but wall times, whatever the chunks and the compression."""

    def __init__(self, scenario_sha256: str, seed: int) -> None:
        self._head = f"{scenario_sha256} {seed}"
        self._fields: dict[str, Any] = {}

    def update(self, name: str, rows: np.ndarray) -> None:
        """Take further rows (n, ...) of one field, in order."""
        if name in TIMING_FIELDS:
            return
        little = np.ascontiguousarray(rows, rows.dtype.newbyteorder("<"))
        start = f"{name} {little.dtype.str} {little.shape[1:]} "
        self._fields.setdefault(name, hashlib.sha256(start.encode())).update(little.tobytes())

    def hexdigest(self) -> str:
        lines = [self._head, *(f"{name} {digest.hexdigest()}" for name, digest in sorted(self._fields.items()))]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def root_attributes(dims: Dims, header: dict[str, Any], level: str) -> dict[str, Any]:
    """Root attributes; what `header` says goes before our own, so that a recovered log keeps its provenance."""
    if level not in LEVELS:
        raise UserError(f"log level is {level!r}, expected one of {', '.join(LEVELS)}")
    if len(header["beliefs"]) != dims.belief:
        raise ValueError(f"found {len(header['beliefs'])} names of beliefs, expected {dims.belief}")
    names = {"classes": CLASSES, "kinds": KINDS, "features": FEATURES, "actions": ACTIONS}
    names |= {"policies": POLICIES, "sensors": SENSORS, "reasons": REASONS}
    own = provenance() if "software" not in header else {}
    given = {k: v for k, v in header.items() if k not in ("complete", "ended_because", "content_hash")}
    fixed = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, "level": level, "dims": dims._asdict()}
    merged = names | own | given | fixed
    for name in (*JSON_ATTRIBUTES, "scenario"):
        merged[name] = merged[name] if isinstance(merged[name], str) else json.dumps(merged[name], sort_keys=True)
    merged["scenario_sha256"] = sha256(merged["scenario"])
    return {k: list(v) if isinstance(v, tuple) else v for k, v in merged.items()}


def sha256(text: str) -> str:
    """Of UTF-8 text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def record_dtype(fields: list[Column], dims: Dims) -> np.dtype:
    """One frame but its scans, as a record of packed bytes."""
    kept = [c for c in fields if c.name not in SCAN_FIELDS]
    return np.dtype([(c.name, c.dtype.newbyteorder("<"), c.shape(dims)) for c in kept])


def records(path: Path, file: h5py.File, fields: list[Column], dims: Dims) -> np.ndarray | None:
    """Room for the records of a run's log, none in a finished one.

    Raises
    ------
    UserError
        If they are not as the schema says.
    """
    if RECORDS not in file:
        return None
    dtype = record_dtype(fields, dims)
    if file[RECORDS].dtype.itemsize != dtype.itemsize:
        raise UserError(f"{path} has records of another version of fogsim: record it again")
    return np.zeros(ROWS, dtype)


def dims_of(text: str) -> Dims:
    """The axes, of the root attribute."""
    return Dims(**{k: v for k, v in json.loads(text).items() if k in Dims._fields})


def find(path: Path) -> Path:
    """The log at `path`, or else the ``.part`` beside it; of a ``.part`` whose run has ended, the log.

    Raises
    ------
    UserError
        If there is neither, with the nearest names in that folder.
    """
    if path.is_file():
        return path
    if part_of(path).is_file():
        return part_of(path)
    if path.suffix == ".part" and path.with_suffix("").is_file():
        return path.with_suffix("")  # its run has ended since
    folder = path if path.is_dir() else path.parent
    if not folder.is_dir():
        raise UserError(f"no log {path}: folder {folder} does not exist; check the path")
    logs = sorted(p.name for pattern in ("*.h5", "*.h5.part") for p in folder.glob(pattern))
    if path.is_dir():
        raise UserError(f"{path} is a folder, expected one log in it" + _some(logs))
    raise UserError(f"no log {path}" + _some(difflib.get_close_matches(path.name, logs, 3, 0.4) or logs))


def _some(names: list[str]) -> str:
    if not names:
        return ": there is none in that folder; `fogsim run` writes one"
    return ": did you mean " + ", ".join(names[:3]) + "?"


def in_writing(path: Path) -> bool:
    """Whether an HDF5 file is open for writing, or was when its writer was killed."""
    return bool(superblock(path)[0] & WRITING_FLAGS)


def superblock(path: Path) -> tuple[int, int]:
    """Flags, and the size in bytes that the file has at least; both 0 for older kinds of HDF5 and other files."""
    with path.open("rb") as stream:
        start = stream.read(36)
    known = len(start) == 36 and start[8] >= 3
    return (start[11], int.from_bytes(start[28:36], "little")) if known else (0, 0)


def open_log(path: Path) -> h5py.File:
    """Open for reading; what a writer holds or left behind is opened as SWMR reader.

    Raises
    ------
    UserError
        If the file is empty, not HDF5, damaged, not ours, or of a later schema.
    """
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty, expected a fogsim log: the run ended before its first frame; run it again")
    try:
        if not h5py.is_hdf5(path):
            raise UserError(f"{path} is not HDF5, expected a fogsim log: name a file that `fogsim run` wrote")
        _, expected = superblock(path)  # asked first: the file of a running run grows
        if (found := path.stat().st_size) < expected:  # a SWMR reader does not look, and waits for the rest for hours
            raise OSError(f"{found} bytes of {expected}")
        file = h5py.File(path, "r", swmr=True) if in_writing(path) else _open_finished(path)
    except FileNotFoundError:
        raise  # a run that has ended just now
    except OSError as error:
        raise damaged(path, error) from error
    try:
        _check_schema(path, file)
    except UserError:
        file.close()
        raise
    return file


def _open_finished(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")  # a SWMR reader would retry a damaged file for hours
    except OSError as error:
        if "SWMR" not in str(error):
            raise
        return h5py.File(path, "r", swmr=True)  # someone in this process has followed it from when it was written


def _check_schema(path: Path, file: h5py.File) -> None:
    try:
        found, version = file.attrs.get("schema"), file.attrs.get("schema_version")
    except UNREADABLE as error:
        raise damaged(path, error) from error
    if found != SCHEMA or version is None:
        raise UserError(f"{path} is HDF5 but not a fogsim log: name a file that `fogsim run` wrote")
    if version > SCHEMA_VERSION:
        raise UserError(f"{path} has log schema {version}, this fogsim reads up to {SCHEMA_VERSION}: update fogsim")


def checked(path: Path, file: h5py.File, column: Column, dims: Dims) -> h5py.Dataset:
    """One field's dataset, which is as the schema says.

    Raises
    ------
    UserError
        If it is missing, or of another dtype or shape than the schema says.
    """
    dataset = file.get(dataset_path(column.name))
    if not isinstance(dataset, h5py.Dataset):
        raise UserError(f"{path} has no field {column.name!r}, it is of another version of fogsim: record it again")
    found, expected = (dataset.dtype, dataset.shape[1:]), (column.dtype, column.shape(dims))
    if found != expected:
        raise UserError(f"{path}: {column.name!r} is {found}, expected {expected}: record it again")
    return dataset


def absent(column: Column, dims: Dims) -> np.ndarray:
    """What stands for a field that a log leaves out: NaN, False; -1 of integers, or of a scan's no last axis."""
    shape = column.shape(dims)
    if column.name in SCAN_FIELDS and column.dtype.kind != "f":
        value = np.zeros((*shape[:-1], 0), column.dtype)
    else:
        value = np.full(shape, {"f": np.nan, "b": False}.get(column.dtype.kind, -1), column.dtype)
    value.flags.writeable = False
    return value


def decode(name: str, value: Any) -> Any:
    """A root attribute as plain Python."""
    if name in JSON_ATTRIBUTES:
        return json.loads(value)
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def damaged(path: Path, error: BaseException, where: str = "") -> UserError:
    """The error of a file that HDF5 cannot read."""
    return UserError(f"{path} is truncated or damaged{where} ({one_line(error)}): restore a copy or record it again")
