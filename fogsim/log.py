"""Logs: `Recorder` writes Frames to HDF5 while a run goes on, `Replay` reads them back, killed runs included.

A run in progress is ``RUN.h5.part``, which a second process may follow; when it ends well it becomes ``RUN.h5``.
How a log lies on disk is told in `fogsim.log_file`.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fogsim import log_file
from fogsim.errors import UserError
from fogsim.frame import SCAN_FIELDS, TIMING_FIELDS, Frame, schema
from fogsim.log_file import RECORDS, ROWS, ContentHash
from fogsim.log_finish import finish
from fogsim.recorder import Recorder

__all__ = ["Recorder", "Replay", "content_hash", "info", "recover", "verify"]


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
        self._follow = follow
        self._kept: dict[str, h5py.Dataset] = {}
        self._read_until = 0  # of the records
        try:
            self._open(Path(path))
        except FileNotFoundError:  # its run has ended since it was found
            self._open(Path(path))
        try:
            self._read_header()
        except UserError:
            self._file.close()
            raise
        except (*log_file.UNREADABLE, ValueError, TypeError) as error:
            self._file.close()
            raise log_file.damaged(self.path, error) from error

    def _open(self, path: Path) -> None:
        self.path = log_file.find(path)
        self._growing = log_file.in_writing(self.path)
        self._file = log_file.open_log(self.path)

    def _read_header(self) -> None:
        self.header = {name: log_file.decode(name, value) for name, value in self._file.attrs.items()}
        self.scenario: dict[str, Any] = json.loads(self.header["scenario"])
        self.seed: int = self.header["seed"]
        self.beliefs: tuple[str, ...] = tuple(self.header["beliefs"])
        self.level: str = self.header["level"]
        self.dims = log_file.dims_of(self._file.attrs["dims"])
        held = log_file.columns(self.level, self.header["schema_version"])
        self._records = log_file.records(self.path, self._file, held, self.dims)
        for column in held:
            if self._records is None or column.name in SCAN_FIELDS:
                self._keep(column.name, log_file.checked(self.path, self._file, column, self.dims))
        self._names = [c.name for c in held]
        self._absent = {c.name: log_file.absent(c, self.dims) for c in schema() if c.name not in self._names}
        self._length = self._committed()
        shortest = min(map(len, self._datasets()))
        if not 0 <= self._length <= shortest:
            raise UserError(f"{self.path} is damaged: {self._length} frames committed, {shortest} found; record again")

    def stored_sizes(self) -> Iterator[tuple[str, int]]:
        """Bytes that each dataset of frames takes in the file, compressed, the largest first."""
        sizes = {dataset.name[1:]: dataset.id.get_storage_size() for dataset in self._datasets()}
        yield from sorted(sizes.items(), key=lambda item: -item[1])

    def _committed(self) -> int:
        """How many frames to trust; datasets that this process remembers as shorter are looked at anew."""
        committed = int(self._cell("committed"))
        for dataset in self._datasets():
            if len(dataset) < committed:
                dataset.refresh()
        return committed

    def _datasets(self) -> Iterator[h5py.Dataset]:
        packed = [] if self._records is None else [RECORDS]
        return map(self._dataset, [*packed, *(n for n in self._names if not packed or n in SCAN_FIELDS)])

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
            rows = self._rows(name, start, stop)
        except log_file.UNREADABLE as error:
            raise log_file.damaged(self.path, error, f" in {name!r}, frames {start} to {stop}") from error
        rows.flags.writeable = False
        return rows

    def _rows(self, name: str, start: int, stop: int) -> np.ndarray:
        if self._records is None or name in SCAN_FIELDS:
            return self._dataset(name)[start:stop]
        self._read_records(stop)
        return self._records[name][start:stop]

    def _read_records(self, stop: int) -> None:
        """Read each record once: what is committed stays as it is."""
        assert self._records is not None
        if stop > self._read_until:
            if stop > len(self._records):
                self._records = np.resize(self._records, max(stop, 2 * len(self._records)))
            new = self._dataset(RECORDS)[self._read_until : stop]
            self._records[self._read_until : stop] = new.view(self._records.dtype)
            self._read_until = stop

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


def recover(path: str | os.PathLike[str], out: Path | None = None) -> Path:
    """Copy the committed frames of a killed run's ``X.h5.part`` to a clean ``X.h5``, or `out`; the ``.part`` stays.

    The copy keeps the header of the run, is not complete unless the run was, and says "recovered".

    Returns
    -------
    path of the clean log

    Raises
    ------
    UserError
        If there is no ``.part``, the copy exists or cannot be written, or the ``.part`` cannot be read.
    """
    found = log_file.find(Path(path))
    if found.suffix != ".part":
        raise UserError(f"{found} has its final name, there is nothing to recover: recover is for a killed run's .part")
    target = out or found.with_suffix("")
    if not target.parent.is_dir():
        raise UserError(f"folder {target.parent} does not exist: create it first (mkdir -p {target.parent})")
    if target.exists():
        raise UserError(f"{target} exists already and is never overwritten: move it away to recover {found}")
    finish(found, target, content_hash(found), "recovered")
    return target


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
        for dataset in replay._datasets():
            if len(dataset) != len(replay):
                yield f"{dataset.name[1:]} has {len(dataset)} frames, expected {len(replay)}"


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
    """What a log says of itself, ready for JSON: `duration` in s, visibilities in m, sizes in bytes.

    `content_hash` is computed from the frames; `as_recorded` is whether the recorder stored the same, null where it
    stored none.
    """
    with Replay(path) as replay:
        time, dims, found, stored = replay.column("time"), replay.dims, _hash_of(replay), replay.stored_hash
        return {
            "path": str(replay.path),
            "scenario": replay.scenario.get("name", ""),
            "seed": replay.seed,
            "level": replay.level,
            "frames": len(replay),
            "duration": float(time[-1] - time[0]) if len(time) else 0.0,
            "complete": replay.complete,
            "ended_because": replay.ended_because,
            "fog": _fog(replay),
            "beams": [dims.ring, dims.column],
            "beliefs": list(replay.beliefs),
            "driver": replay.scenario.get("driver", {}),
            "card": replay.scenario.get("card", {}).get("encounters", 0),
            "decision_at": [float(t) for t in time[replay.column("at_decision_point")]],
            "collided": bool(replay.column("collided").any()),
            "size": replay.path.stat().st_size,
            "stored": dict(replay.stored_sizes()),
            "content_hash": found,
            "as_recorded": found == stored if stored else None,
            "scenario_sha256": replay.header["scenario_sha256"],
            "schema_version": replay.header["schema_version"],
            "recorded": replay.header.get("recorded", ""),
            "platform": replay.header.get("platform", ""),
            "software": replay.header["software"],
            "git_revision": replay.header["git_revision"],
        }


def _fog(replay: Replay) -> dict[str, Any]:
    """As reported to the filters, and as it truly was at the start."""
    true = replay.column("visibility")
    return {**replay.scenario.get("fog", {}), "true_visibility": float(true[0]) if len(true) else None}
