"""`Recorder` writes Frames to HDF5 while a run goes on, each so that a second process, or whoever comes after
``kill -9``, finds it whole as soon as `Recorder.append` is back.

How a log lies on disk is told in `fogsim.log_file`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from h5py import h5s

from fogsim import log_file, log_writing
from fogsim.errors import UserError, one_line
from fogsim.frame import SCAN_FIELDS, Dims, Frame
from fogsim.log_file import RECORDS, ROWS, ContentHash
from fogsim.log_finish import finish
from fogsim.log_writing import ROOM


class Recorder:
    """Writes a log; a context manager. Leaving it normally makes the log complete and gives it its name.

    After an exception, or a kill, ``PATH.part`` stays behind and can be read up to the last committed frame.

    Parameters
    ----------
    path : path
        The log to be. It and ``PATH.part`` must not exist, its folder must.
    dims : Dims
        Lengths of the axes of this run.
    header : dict
        ``seed`` (int), ``scenario`` (dict or JSON text), ``beliefs`` (names along the belief axis), and whatever
        else is worth a root attribute (text, number, list of text).
    level : {"scans", "beliefs"}
        "beliefs" leaves `SCAN_FIELDS` out.

    Attributes
    ----------
    ended_because, complete
        May be set before leaving; what is stored when the run ends well.

    Raises
    ------
    UserError
        If the log or its ``.part`` exists, or the folder does not or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], dims: Dims, header: dict[str, Any], level: str = "scans") -> None:
        self.path, self.part = Path(path), log_file.part_of(Path(path))
        self.complete, self.ended_because = True, "end of run"
        attributes = log_file.root_attributes(dims, header, level)
        self._fields = [(column, column.shape(dims)) for column in log_file.columns(level)]
        self._hash = ContentHash(attributes["scenario_sha256"], attributes["seed"])
        self._block = np.zeros(ROWS, log_file.record_dtype(log_file.columns(level), dims))
        self._views = {name: self._block[name] for name in self._block.dtype.names or ()}
        self._committed = 0
        log_writing.check_free(self.path)
        self._file = self._create(dims, attributes)

    def _create(self, dims: Dims, attributes: dict[str, Any]) -> h5py.File:
        """A file that bears its name once whatever it will hold is declared in it: every ``.part`` opens."""
        passing = log_writing.passing_name(self.part)
        try:
            file = log_writing.create(passing)
            try:
                self._declare(file, dims, attributes)
                log_writing.christen(passing, self.part)
                if self.path.exists():  # a run that ended in between
                    self.part.unlink()
                    raise FileExistsError(self.path)
            except BaseException:
                file.close()
                raise
        except FileExistsError as error:
            log_writing.check_free(self.path)
            raise UserError(f"another run is writing {self.path}: choose another name") from error
        except OSError as error:
            why = error.strerror or one_line(error)
            raise UserError(f"cannot write {self.part} ({why}): make room, or choose another folder") from error
        finally:
            log_writing.discard(passing)
        return file

    def _declare(self, file: h5py.File, dims: Dims, attributes: dict[str, Any]) -> None:
        for name, value in attributes.items():
            file.attrs[name] = value
        log_writing.declare_cells(file)
        dtype = self._block.dtype
        packed = np.dtype((np.void, dtype.itemsize))
        self._records = file.create_dataset(RECORDS, (0,), packed, maxshape=(None,), chunks=(ROWS,))
        self._records.attrs["fields"] = json.dumps(dtype.descr)
        self._scans = {
            c.name: log_writing.declare_scan(file, c, dims) for c, _ in self._fields if c.name in SCAN_FIELDS
        }
        self._one, self._packed = h5s.create_simple((1,)), self._records.id.get_type()
        self._cell = file["committed"].id
        largest = dtype.itemsize * ROWS + sum(c.dtype.itemsize * int(np.prod(s)) for c, s in self._fields)
        self._need = 2 * largest + ROOM  # what a frame may take, what HDF5 adds to it, and what the end takes
        self._reserved = log_writing.reserve(file, self._need + ROOM)
        file.swmr_mode = True  # from here on only rows and cells: HDF5 can declare nothing new

    def append(self, frame: Frame) -> None:
        """Take one frame; it is committed when this returns.

        Raises
        ------
        ValueError
            If a field has another shape than the dims say, or would lose something in the log's dtype.
        UserError
            If the disk is full.
        """
        n, scans = self._committed, {}
        for column, shape in self._fields:
            row = log_writing.as_row(column, getattr(frame, column.name), shape)
            if column.name in self._views:
                self._views[column.name][n % ROWS] = row
            else:
                scans[column.name] = row
        self._make_room()
        self._write(n, scans)
        self._commit(n + 1)
        for name, row in scans.items():
            self._hash.update(name, row[None])
        if self._committed % ROWS == 0:
            self._hash_records(ROWS)

    def _make_room(self) -> None:
        """Before HDF5 writes: it cannot live with a disk that is full."""
        if self._file.id.get_filesize() + self._need <= self._reserved:
            return
        try:
            self._reserved = log_writing.reserve(self._file, self._need + ROOM)
        except OSError as error:
            why = f"no room for frame {self._committed} of {self.part} ({error.strerror})"
            raise UserError(f"{why}: make room, then run again") from error

    def _write(self, n: int, scans: dict[str, np.ndarray]) -> None:
        for name, row in scans.items():
            self._scans[name].resize(n + 1, axis=0)
            self._scans[name][n] = row
        self._records.id.set_extent((n + 1,))
        place = self._records.id.get_space()
        place.select_hyperslab((n,), (1,))
        row = self._block[n % ROWS : n % ROWS + 1]
        self._records.id.write(self._one, place, row.view(self._records.dtype), self._packed)

    def _commit(self, n: int) -> None:
        self._file.flush()  # rows first, and only then the word that they are there
        self._cell.write(h5s.ALL, h5s.ALL, np.array([n], np.int64))
        self._file.flush()
        self._committed = n

    def _hash_records(self, n: int) -> None:
        for name, rows in self._views.items():
            self._hash.update(name, rows[:n])

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        because = self.ended_because if kind is None else f"{kind.__name__}: {one_line(error)}"
        try:
            self._hash_records(self._committed % ROWS)
            self._file["content_hash"][0] = self._hash.hexdigest()
            self._file["ended_because"][0] = log_writing.fit(because)
            self._file["complete"][0] = self.complete and kind is None
        finally:
            self._file.close()
        if kind is None:
            finish(self.part, self.path)
            self.part.unlink()
        elif self.part.exists():  # whoever drives may have removed a log without a frame
            log_writing.release(self.part)
