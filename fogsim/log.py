"""Logs: `Recorder` writes Frames to HDF5 while a run goes on, `Replay` reads them back, killed runs included.

A run in progress is ``RUN.h5.part``; it is renamed to ``RUN.h5`` when it ends well. A second process may follow it.
How a log lies on disk is told in `fogsim.log_file`.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from fogsim import log_file
from fogsim.errors import UserError, one_line
from fogsim.frame import SCAN_FIELDS, TIMING_FIELDS, Dims, Frame, schema
from fogsim.log_file import ROWS, ContentHash

FLUSH_SECONDS = 0.5  # of wall clock between flushes: what a watcher lags and a kill may cost


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
        self._dims, self._columns = dims, log_file.columns(level)
        attributes = log_file.root_attributes(dims, header, level)
        self._hash = ContentHash(attributes["scenario_sha256"], attributes["seed"])
        self._rows: list[dict[str, np.ndarray]] = []
        self._committed, self._flushed_at = 0, -np.inf  # the first frame is committed at once
        self._file = log_file.create(self.path, self.part)
        self._datasets = log_file.declare(self._file, self._columns, dims, attributes)

    def append(self, frame: Frame) -> None:
        """Take one frame; it is on disk within `ROWS` frames, or with the first frame after `FLUSH_SECONDS`.

        Raises
        ------
        ValueError
            If a field has another shape than the dims say, or would lose something in the log's dtype.
        """
        self._rows.append({c.name: log_file.as_row(c, getattr(frame, c.name), self._dims) for c in self._columns})
        if len(self._rows) >= ROWS or monotonic() - self._flushed_at >= FLUSH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        n = self._committed + len(self._rows)
        if self._rows:
            for name, dataset in self._datasets.items():
                block = np.stack([row[name] for row in self._rows])
                dataset.resize(n, axis=0)
                dataset[self._committed :] = block
                self._hash.update(name, block)
            self._file.flush()  # rows first, and only then the word that they are there
            self._file["committed"][0] = n
            self._file.flush()
        self._rows, self._committed, self._flushed_at = [], n, monotonic()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        because = self.ended_because if kind is None else f"{kind.__name__}: {one_line(error)}"
        try:
            self._flush()
            self._file["content_hash"][0] = self._hash.hexdigest()
            self._file["ended_because"][0] = log_file.fit(because)
            self._file["complete"][0] = self.complete and kind is None
        finally:
            self._file.close()
        if kind is None:
            log_file.publish(self.part, self.path)


class Replay:
    """Reads a log as a sequence of Frames; a context manager.

    Opens finished logs, and the ``.part`` of a running or killed run (also when asked for ``RUN.h5`` and only
    ``RUN.h5.part`` is there). Only committed frames are seen.

    A log of level "beliefs" has no `SCAN_FIELDS`: in its Frames those of floats (points) are NaN, which is what
    they are where a belief has none, and those of integers (range, power, label) have no echo, a last axis of
    length 0. A field that the log's schema did not have yet is NaN too, or -1.

    Parameters
    ----------
    path : path
    follow : bool
        Look again at every ``len`` and index, so that a run in another process is seen growing.

    Attributes
    ----------
    path, dims, header, scenario, seed, beliefs, level
        Where it was found, and what it says of itself; `header` is the root attributes, `scenario` a dict of its
        text there.

    Raises
    ------
    UserError
        If there is no log at `path`, or it is empty, damaged, not ours, or of a later schema.
    """

    def __init__(self, path: str | os.PathLike[str], follow: bool = False) -> None:
        self.path = log_file.find(Path(path))
        self._follow, self._growing = follow, log_file.in_writing(self.path)
        self._kept: dict[str, h5py.Dataset] = {}
        self._file = log_file.open_log(self.path)
        try:
            self._read_header()
        except UserError:
            self._file.close()
            raise
        except (*log_file.UNREADABLE, ValueError, TypeError) as error:
            self._file.close()
            raise log_file.damaged(self.path, error) from error

    def _read_header(self) -> None:
        self.header = {name: log_file.decode(name, value) for name, value in self._file.attrs.items()}
        self.scenario: dict[str, Any] = json.loads(self.header["scenario"])
        self.seed: int = self.header["seed"]
        self.beliefs: tuple[str, ...] = tuple(self.header["beliefs"])
        self.level: str = self.header["level"]
        self.dims = Dims(**{k: v for k, v in self.header["dims"].items() if k in Dims._fields})
        held = log_file.columns(self.level, self.header["schema_version"])
        for column in held:
            self._keep(column.name, log_file.checked(self.path, self._file, column, self.dims))
        self._names = [c.name for c in held]
        self._absent = {c.name: log_file.absent(c, self.dims) for c in schema() if c.name not in self._names}
        self._length = self._committed()
        shortest = min(map(len, self._datasets()))
        if not 0 <= self._length <= shortest:
            raise UserError(f"{self.path} is damaged: {self._length} frames committed, {shortest} found; record again")

    def _committed(self) -> int:
        """How many frames to trust; datasets that this process remembers as shorter are looked at anew."""
        committed = int(self._cell("committed"))
        for dataset in self._datasets():
            if len(dataset) < committed:
                dataset.refresh()
        return committed

    def _datasets(self) -> Iterator[h5py.Dataset]:
        return map(self._dataset, self._names)

    def _dataset(self, name: str) -> h5py.Dataset:
        return self._kept[name] if name in self._kept else self._file[log_file.dataset_path(name)]

    def _keep(self, name: str, dataset: h5py.Dataset) -> None:
        # Only when nothing more is written: HDF5 cannot refresh a dataset that any other Replay in this process holds,
        # and would read zeros.
        if not self._growing:
            self._kept[name] = dataset

    def _cell(self, name: str) -> Any:
        try:
            cell = self._file[name]
            cell.refresh()
            return cell[0]
        except log_file.UNREADABLE as error:
            raise log_file.damaged(self.path, error, f" in {name!r}") from error

    @property
    def complete(self) -> bool:
        """Whether the run went to its end."""
        return bool(self._cell("complete"))

    @property
    def ended_because(self) -> str:
        """Why the run ended; "" for one that was killed or still runs."""
        return self._cell("ended_because").decode()

    @property
    def stored_hash(self) -> str:
        """The content hash that the recorder stored at the end, "" without an end."""
        return self._cell("content_hash").decode()

    def __len__(self) -> int:
        if self._follow and self._cell("committed") > self._length:
            self._length = self._committed()
        return self._length

    def __getitem__(self, index: int) -> Frame:
        length = len(self)
        if not -length <= index < length:
            raise IndexError(f"frame {index} of a log of {length}")
        return next(self._frames(index % length, index % length + 1))

    def __iter__(self) -> Iterator[Frame]:
        length = len(self)
        for start in range(0, length, ROWS):
            yield from self._frames(start, min(start + ROWS, length))

    def column(self, name: str, or_absent: bool = False, start: int = 0) -> np.ndarray:
        """The committed rows of one field, from `start` on; if it may be absent, what stands for it in earlier schemas.

        Raises
        ------
        UserError
            If the log has no such field.
        """
        if or_absent and name in self._absent:
            return np.broadcast_to(self._absent[name], (len(self) - start, *self._absent[name].shape))
        if name in self._absent:
            why, remedy = (
                ("beliefs only", "with --log scans") if name in SCAN_FIELDS else ("an earlier schema", "it again")
            )
            raise UserError(f"{self.path} holds {why}, no {name!r}: record {remedy}")
        if name not in self._names:
            close = difflib.get_close_matches(name, self._names, 1)
            raise UserError(f"no field {name!r} in a log" + (f", did you mean {close[0]!r}?" if close else ""))
        return self._read(name, start, len(self))

    def blocks(self, name: str) -> Iterator[np.ndarray]:
        """The rows of `column`, some at a time."""
        for start in range(0, len(self), ROWS):
            yield self._read(name, start, min(start + ROWS, self._length))

    def _frames(self, start: int, stop: int) -> Iterator[Frame]:
        rows = {name: self._read(name, start, stop) for name in self._names}
        for i in range(stop - start):
            yield Frame(**{name: block[i] for name, block in rows.items()}, **self._absent)

    def _read(self, name: str, start: int, stop: int) -> np.ndarray:
        try:
            rows = self._dataset(name)[start:stop]
        except log_file.UNREADABLE as error:
            raise log_file.damaged(self.path, error, f" in {name!r}, frames {start} to {stop}") from error
        rows.flags.writeable = False
        return rows

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def content_hash(path: str | os.PathLike[str]) -> str:
    """sha256 over the scenario, the seed and all committed frames but their wall times, computed from the file.

    Two runs with the same hash are the same run, however the files were chunked or compressed.
    """
    with Replay(path) as replay:
        return _hash_of(replay)


def _hash_of(replay: Replay) -> str:
    digest = ContentHash(replay.header["scenario_sha256"], replay.seed)
    for column in log_file.columns(replay.level, replay.header["schema_version"]):
        for block in replay.blocks(column.name) if column.name not in TIMING_FIELDS else ():
            digest.update(column.name, block)
    return digest.hexdigest()


def recover(path: str | os.PathLike[str]) -> Path:
    """Copy the committed frames of a killed run's ``X.h5.part`` to a clean ``X.h5``; the ``.part`` stays.

    The copy keeps the header of the run, is not complete, and says "recovered".

    Returns
    -------
    path of the clean log

    Raises
    ------
    UserError
        If there is no ``.part``, ``X.h5`` exists, or the ``.part`` cannot be read.
    """
    found = log_file.find(Path(path))
    if found.suffix != ".part":
        raise UserError(f"{found} has its final name, there is nothing to recover: recover is for a killed run's .part")
    target = found.with_suffix("")
    if target.exists():
        raise UserError(f"{target} exists already and is never overwritten: move it away to recover {found}")
    copy = target.with_name(target.name + ".recovered")
    try:
        _copy_committed(found, copy)
        copy.rename(target)
    finally:
        log_file.part_of(copy).unlink(missing_ok=True)
    return target


def _copy_committed(found: Path, copy: Path) -> None:
    with Replay(found) as replay, Recorder(copy, replay.dims, replay.header, replay.level) as recorder:
        for frame in replay:
            recorder.append(frame)
        recorder.complete = replay.complete
        recorder.ended_because = "; ".join(filter(None, ("recovered", replay.ended_because)))


def verify(path: str | os.PathLike[str]) -> list[str]:
    """What is wrong with a log, a line each; empty when nothing is.

    Checked: schema and header, lengths against the committed frames, the scenario's sha256, readability and content
    hash of every frame, time going up. A log without its end (killed, or still running) has no stored hash.

    Raises
    ------
    UserError
        If there is no file at `path`.
    """
    found = log_file.find(Path(path))
    try:
        with Replay(found) as replay:
            return [*_header_problems(replay), *_content_problems(replay)]
    except UserError as error:
        return [str(error)]


def _header_problems(replay: Replay) -> Iterator[str]:
    if log_file.sha256(replay.header["scenario"]) != replay.header["scenario_sha256"]:
        yield "the scenario is not the one that was recorded: its sha256 differs"
    if len(replay.beliefs) != replay.dims.belief:
        yield f"{len(replay.beliefs)} names of beliefs, expected {replay.dims.belief}"
    if not log_file.in_writing(replay.path):
        for name, dataset in zip(replay._names, replay._datasets(), strict=True):
            if len(dataset) != len(replay):
                yield f"{name} has {len(dataset)} frames, expected {len(replay)}"


def _content_problems(replay: Replay) -> Iterator[str]:
    time = replay.column("time")
    if not np.isfinite(time).all() or (np.diff(time) <= 0.0).any():
        yield "time does not go up from frame to frame"
    for name in replay._names:
        if name in TIMING_FIELDS:
            replay.column(name)  # no part of the hash, but it must be readable
    found, stored = _hash_of(replay), replay.stored_hash
    if stored and stored != found:
        yield f"content hash is {found}, expected {stored}: the data were changed after recording"
    if not stored and not log_file.in_writing(replay.path):
        yield "no content hash was stored"


def info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a log says of itself, ready for JSON: scenario, seed, frames, duration (s), size (bytes), versions..."""
    with Replay(path) as replay:
        time = replay.column("time")
        return {
            "path": str(replay.path),
            "scenario": replay.scenario.get("name", ""),
            "seed": replay.seed,
            "level": replay.level,
            "frames": len(replay),
            "duration": float(time[-1] - time[0]) if len(time) else 0.0,
            "complete": replay.complete,
            "ended_because": replay.ended_because,
            "beliefs": list(replay.beliefs),
            "size": replay.path.stat().st_size,
            "content_hash": _hash_of(replay),
            "schema_version": replay.header["schema_version"],
            "software": replay.header["software"],
            "git_revision": replay.header["git_revision"],
        }
