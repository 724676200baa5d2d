"""Logs that are not there, not ours, cut or changed: one line says so."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from fogsim.errors import UserError
from fogsim.frame import TIMING_FIELDS, schema
from fogsim.log import Replay, content_hash, info, verify
from fogsim.log_file import ROWS
from tests.frames import frames, record


def copy_with(path: Path, offset: int, to: Path) -> Path:
    """A copy of a file in which one byte differs."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    to.write_bytes(data)
    return to


def test_what_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"no log .*none in that folder; `fogsim run` writes one"):
        Replay(tmp_path / "a.h5")
    record(tmp_path / "creeping_fog-7.h5", frames(1))
    with pytest.raises(UserError, match=r"did you mean creeping_fog-7\.h5\?"):
        verify(tmp_path / "creeping_fog-1.h5")
    with pytest.raises(UserError, match=r"is a folder, expected one log in it: did you mean creeping_fog-7\.h5\?"):
        Replay(tmp_path)
    with pytest.raises(UserError, match=r"folder .*nowhere does not exist"):
        info(tmp_path / "nowhere" / "a.h5")


def not_a_log(path: Path) -> str:
    path.write_text("time,ego\n" * 100)
    return "is not HDF5, expected a fogsim log"


def empty(path: Path) -> str:
    path.write_bytes(b"")
    return "is empty, expected a fogsim log"


def of_others(path: Path) -> str:
    with h5py.File(path, "x") as file:
        file["image"] = np.zeros(3)
    return "is HDF5 but not a fogsim log"


def of_the_future(path: Path) -> str:
    record(path, frames(1))
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = 99
    return "has log schema 99, this fogsim reads up to 5: update fogsim"


def without_a_field(path: Path) -> str:
    record(path, frames(1))
    with h5py.File(path, "r+") as file:
        del file["log_probs"]
    return "has no field 'log_probs', it is of another version"


def without_a_header(path: Path) -> str:
    record(path, frames(1))
    with h5py.File(path, "r+") as file:
        del file.attrs["beliefs"]
    return "is truncated or damaged"


def of_other_shape(path: Path) -> str:
    record(path, frames(1))
    with h5py.File(path, "r+") as file:
        del file["ego_pose"]
        file["ego_pose"] = np.zeros((1, 2))
    return "'ego_pose' is .*expected"


def committed_beyond_its_rows(path: Path) -> str:
    record(path, frames(4))
    with h5py.File(path, "r+") as file:
        file["committed"][0] = 5
    return "5 frames committed, 4 found"


BAD = (
    not_a_log,
    empty,
    of_others,
    of_the_future,
    without_a_field,
    without_a_header,
    of_other_shape,
    committed_beyond_its_rows,
)


@pytest.mark.parametrize("spoil", BAD)
def test_bad_files_are_refused_in_one_line(tmp_path, spoil):
    path = tmp_path / "bad.h5"
    message = spoil(path)
    with pytest.raises(UserError, match=message) as caught:
        Replay(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert verify(path) == [str(caught.value)]


@pytest.mark.parametrize("keep", [4, 100, 0.3, 0.7, -1])
def test_a_truncated_log_is_refused_in_one_line(tmp_path, keep):
    data = record(tmp_path / "a.h5", frames(40)).read_bytes()
    cut = tmp_path / "cut.h5"
    cut.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(UserError, match=r"truncated or damaged|is not HDF5") as caught:
        Replay(cut)
    assert "\n" not in str(caught.value)
    assert verify(cut) == [str(caught.value)]


def test_a_flipped_byte_in_any_field_is_noticed(tmp_path):
    path = record(tmp_path / "a.h5", frames(ROWS))
    with h5py.File(path) as file:
        names = [c.name for c in schema() if c.name not in TIMING_FIELDS]
        chunks = {name: file[name].id.get_chunk_info(0) for name in names}
        offsets = {name: chunk.byte_offset + chunk.size // 2 for name, chunk in chunks.items()}
        offsets |= {name: file[name].id.get_offset() for name in ("committed", "content_hash")}
    assert verify(path) == []
    for name, offset in offsets.items():
        problems = verify(copy_with(path, offset, tmp_path / "flipped.h5"))
        assert problems, name
        assert all("\n" not in problem for problem in problems)


def test_a_flipped_byte_anywhere_is_told_or_harmless(tmp_path):
    path = record(tmp_path / "a.h5", frames(ROWS))
    rng, size, expected = np.random.default_rng(3), path.stat().st_size, content_hash(path)
    told = 0
    for offset in [*rng.integers(0, 2000, 30), *rng.integers(0, size, 30)]:  # the first hold the header
        flipped = copy_with(path, int(offset), tmp_path / "flipped.h5")
        if problems := verify(flipped):
            assert all("\n" not in problem for problem in problems)
            told += 1
        else:
            assert content_hash(flipped) == expected
    assert told > 30


def test_a_changed_scenario_and_a_time_that_stands_still_are_noticed(tmp_path):
    path = record(tmp_path / "a.h5", frames(3))
    with h5py.File(path, "r+") as file:
        file.attrs["scenario"] = json.dumps({"name": "clear_air"})
    assert verify(path) == ["the scenario is not the one that was recorded: its sha256 differs"]
    still = [dataclasses.replace(row, time=np.array(1.0)) for row in frames(2)]
    assert verify(record(tmp_path / "b.h5", still)) == ["time does not go up from frame to frame"]


def test_rows_beyond_the_committed_are_not_seen_but_told(tmp_path):
    path = record(tmp_path / "a.h5", frames(4))
    with h5py.File(path, "r+") as file:
        file["committed"][0] = 3
    with Replay(path) as replay:
        assert len(list(replay)) == len(replay.column("time")) == 3
    problems = verify(path)
    assert "time has 4 frames, expected 3" in problems
    assert any("content hash" in problem for problem in problems)
