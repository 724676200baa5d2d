"""How logs are written: files that have a name once they are whole, room that is kept, datasets as the schema says."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import h5py
import numpy as np

from fogsim.errors import UserError
from fogsim.frame import Column, Dims
from fogsim.log_file import dataset_path, part_of, superblock

COMPRESSED = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
ROOM = 1 << 18  # bytes that are reserved at a time
REASON_BYTES = 400


def check_free(path: Path) -> None:
    """Refuse a log that is there already, finished or not, or has no folder.

    Raises
    ------
    UserError
    """
    part = part_of(path)
    if path.exists():
        raise UserError(f"{path} exists already and is never overwritten: choose another name or remove it")
    if part.exists():
        raise UserError(f"{part} is of a running or killed run: choose another name, or `fogsim log recover {path}`")
    if not path.parent.is_dir():
        raise UserError(f"folder {path.parent} does not exist: create it first (mkdir -p {path.parent})")


def passing_name(path: Path) -> Path:
    """A hidden name of its own beside `path`, for as long as it is not whole."""
    return path.with_name(f".{path.name}.{uuid4().hex}.tmp")


def create(path: Path) -> h5py.File:
    """A new file, once there is room for what every log holds.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    with path.open("xb") as stream:
        allocate(stream.fileno(), 0, ROOM)
    file = h5py.File(path, "w", libver="latest")
    reserve(file, ROOM)
    return file


def reserve(file: h5py.File, size: int) -> int:
    """Have the disk keep `size` bytes for what HDF5 writes next: where a file cannot grow it crashes; their end.

    Raises
    ------
    OSError
        If there is no room.
    """
    end = file.id.get_filesize()
    allocate(file.id.get_vfd_handle(), end, size)
    return end + size


def discard(passing: Path) -> None:
    """Remove what did not come to bear its name, if it is there."""
    with suppress(OSError):  # some say of a drive that only reads that it is, whether or not the file is there
        passing.unlink()


def release(path: Path) -> None:
    """Give back what was reserved of a closed file and not needed, and see that the rest is on disk."""
    with path.open("rb+") as stream:
        stream.truncate(superblock(path)[1])
        os.fsync(stream.fileno())


def allocate(descriptor: int, start: int, size: int) -> None:
    """Bytes of a file that will not find the disk full, where the system can promise it."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, start, size)


def christen(made: Path, path: Path) -> None:
    """Give a file its name, unless another has it.

    Raises
    ------
    FileExistsError
    """
    try:
        os.link(made, path)
    except FileExistsError:
        raise
    except OSError:  # a drive without links
        if path.exists():
            raise FileExistsError(path) from None
        made.rename(path)
    made.unlink(missing_ok=True)


def describe(dataset: h5py.Dataset, column: Column) -> None:
    """Units, dims and description of a field."""
    _describe(dataset, column.unit, ["frame", *column.dims], column.description)


def declare_scan(file: h5py.File, column: Column, dims: Dims) -> h5py.Dataset:
    """A field of scans: a chunk a frame."""
    shape = column.shape(dims)
    dataset = file.create_dataset(
        dataset_path(column.name),
        shape=(0, *shape),
        maxshape=(None, *(n or None for n in shape)),  # without beliefs there are no points of any
        chunks=(1, *(n or 1 for n in shape)),
        dtype=column.dtype.newbyteorder("<"),
        **COMPRESSED,
    )
    describe(dataset, column)
    return dataset


def declare_cells(file: h5py.File) -> None:
    """What is said of a log as a whole, and changes while it is written."""
    _declare_cell(file, "committed", np.dtype(np.int64), "frames that may be trusted")
    _declare_cell(file, "complete", np.dtype(np.uint8), "1 when the run went to its end")
    _declare_cell(file, "ended_because", h5py.string_dtype("utf-8", REASON_BYTES), "why the run ended")
    _declare_cell(file, "content_hash", h5py.string_dtype("ascii", 64), "sha256 of all but /timing")


def _declare_cell(file: h5py.File, name: str, dtype: np.dtype, description: str) -> None:
    # With a value, so that it has its place in the file now: a reader that came before the place was there errs.
    _describe(file.create_dataset(name, data=np.zeros(1, dtype)), "", ["run"], description)


def _describe(dataset: h5py.Dataset, unit: str, dims: list[str], description: str) -> None:
    dataset.attrs["units"], dataset.attrs["dims"], dataset.attrs["description"] = unit, dims, description


def as_row(column: Column, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A field's value in the log's dtype: lossless, or refused."""
    given = np.asarray(value)
    if given.shape != shape:
        raise ValueError(f"Frame.{column.name} has shape {given.shape}, expected {shape}")
    if given.dtype == column.dtype:
        return given
    with np.errstate(invalid="ignore", over="ignore"):
        row = given.astype(column.dtype)
    if not np.array_equal(row, given, equal_nan=given.dtype.kind == "f"):
        raise ValueError(f"Frame.{column.name} is {given.dtype} and does not fit {column.dtype}: convert it first")
    return row


def fit(reason: str) -> str:
    """As much of a text as the log has bytes for."""
    return reason.encode()[:REASON_BYTES].decode(errors="ignore")
