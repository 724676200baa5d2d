"""A finished log: the committed frames of a run's ``.part``, copied so that every field is a dataset of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from fogsim import log_file, log_writing
from fogsim.errors import UserError, one_line
from fogsim.frame import SCAN_FIELDS, Column, Dims
from fogsim.log_file import RECORDS
from fogsim.log_writing import COMPRESSED

CHUNK = 128  # frames per chunk of a field


def finish(part: Path, path: Path, content_hash: str = "", because: str = "") -> None:
    """Copy what a run committed to a new log, whole or not at all; `part` stays.

    Parameters
    ----------
    part, path : Path
        From, to.
    content_hash : str
        Where the run stored none.
    because : str
        Goes before why the run ended.

    Raises
    ------
    UserError
        If `path` exists or cannot be written, or `part` cannot be read.
    """
    passing = log_writing.passing_name(path)
    try:
        with log_file.open_log(part) as source, log_writing.create(passing) as made:
            log_writing.reserve(made, part.stat().st_size + log_writing.ROOM)
            _copy(source, made)
            said = source["ended_because"][0].decode()
            made["ended_because"][0] = log_writing.fit("; ".join(filter(None, (because, said))))
            made["content_hash"][0] = source["content_hash"][0] or content_hash
        log_writing.release(passing)
        log_writing.christen(passing, path)
    except FileExistsError as error:
        raise UserError(
            f"{path} appeared during the run and is never overwritten: its frames stay in {part}"
        ) from error
    except OSError as error:
        why = error.strerror or one_line(error)
        remedy = f"its frames stay in {part}: make room, then `fogsim log recover {part}`, or --out elsewhere"
        raise UserError(f"cannot write {path} ({why}): {remedy}") from error
    finally:
        log_writing.discard(passing)


def _copy(source: h5py.File, made: h5py.File) -> None:
    for name, value in source.attrs.items():
        made.attrs[name] = value
    log_writing.declare_cells(made)
    n = int(source["committed"][0])
    dims = log_file.dims_of(source.attrs["dims"])
    fields = log_file.columns(source.attrs["level"], source.attrs["schema_version"])
    rows = _rows(source, fields, dims, n)
    for column in fields:
        if column.name in SCAN_FIELDS:
            _copy_scans(source, made, column, n)
        else:
            _keep(made, column, rows(column.name))
    made["committed"][0], made["complete"][0] = n, source["complete"][0]


def _rows(source: h5py.File, fields: list[Column], dims: Dims, n: int) -> Callable[[str], np.ndarray]:
    """The rows of a field, out of a run's records, or as logs of before those have them."""
    if RECORDS not in source:
        return lambda name: source[log_file.dataset_path(name)][:n]
    records = source[RECORDS][:n].view(log_file.record_dtype(fields, dims))
    return lambda name: records[name]


def _copy_scans(source: h5py.File, made: h5py.File, column: Column, n: int) -> None:
    """As they are, compressed; rows that were not committed fall away."""
    path = log_file.dataset_path(column.name)
    made.copy(source[path], path)
    if len(made[path]) != n:
        made[path].resize(n, axis=0)


def _keep(made: h5py.File, column: Column, rows: np.ndarray) -> None:
    chunks = (min(len(rows), CHUNK), *rows.shape[1:])
    compressed = {"chunks": chunks, **COMPRESSED} if rows.size else {}
    dtype = column.dtype.newbyteorder("<")
    dataset = made.create_dataset(log_file.dataset_path(column.name), data=rows, dtype=dtype, **compressed)
    log_writing.describe(dataset, column)
