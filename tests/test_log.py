"""Logs: what is written comes back, what is killed can be read, what is damaged is noticed."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from fogsim.errors import UserError
from fogsim.frame import SCAN_FIELDS, TIMING_FIELDS, schema
from fogsim.log import Recorder, Replay, content_hash, info, recover, verify
from fogsim.log_file import ROWS, columns, dataset_path, in_writing, superblock
from tests.frames import HEADER, SMALL, assert_same, frames, record

ROOT = Path(__file__).parents[1]

# Appends as many frames as each line of its input says, and answers with their number; ends well at "end".
CHILD = f"""
import sys
import numpy as np
from fogsim.log import Recorder
from tests.frames import SMALL, random_frame
rng, n = np.random.default_rng(5), 0
with Recorder(sys.argv[1], SMALL, {HEADER!r}) as recorder:
    for line in sys.stdin:
        if line.strip() == "end":
            break
        for _ in range(int(line)):
            recorder.append(random_frame(SMALL, rng, 0.1 * n))
            n += 1
            if len(sys.argv) > 2:
                print(n, flush=True)
        print(n, flush=True)
"""


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def child() -> Iterator[Start]:
    """Starts recorders in processes of their own, and leaves none behind."""
    started: list[subprocess.Popen[str]] = []

    def start(path: Path, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CHILD, str(path), *arguments]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        with process:
            pass


def tell(process: subprocess.Popen[str], line: str) -> str:
    assert process.stdin
    assert process.stdout
    process.stdin.write(line + "\n")
    process.stdin.flush()
    return process.stdout.readline()


# What is written comes back


@pytest.mark.parametrize("n", [0, 1, ROWS, 2 * ROWS + 3])
def test_round_trip_of_every_field(tmp_path, n):
    rows = frames(n)
    with Replay(record(tmp_path / "a.h5", rows)) as replay:
        assert len(replay) == n
        for i, (row, back) in enumerate(zip(rows, replay, strict=True)):
            assert_same(row, back)
            assert_same(row, replay[i])
        for column in schema():
            expected = np.array([getattr(row, column.name) for row in rows], column.dtype)
            assert replay.column(column.name).tobytes() == expected.tobytes()
        assert not (tmp_path / "a.h5.part").exists()
        assert (replay.complete, replay.ended_because) == (True, "end of run")


def test_level_beliefs_leaves_scans_out_and_nothing_else(tmp_path):
    rows = frames(ROWS + 2)
    with Replay(record(tmp_path / "a.h5", rows, "beliefs")) as replay:
        kept = [c.name for c in columns("beliefs")]
        assert {c.name for c in schema()} - set(kept) == set(SCAN_FIELDS)
        for row, back in zip(rows, replay, strict=True):
            assert_same(row, back, kept)
        frame = replay[-1]
        assert frame.range.shape == (SMALL.ring, SMALL.column, 0)
        assert frame.points.shape == (SMALL.belief, SMALL.track, SMALL.point, SMALL.xy)
        assert np.isnan(frame.points).all()
        with pytest.raises(UserError, match="beliefs only, no 'range': record with --log scans"):
            replay.column("range")
        assert (tmp_path / "a.h5").stat().st_size < record(tmp_path / "b.h5", rows).stat().st_size


def test_header(tmp_path):
    with Replay(record(tmp_path / "a.h5", frames(2), card="none", sizes=[1, 2])) as replay:
        assert (replay.seed, replay.beliefs, replay.dims, replay.level) == (7, ("kalman", "fused"), SMALL, "scans")
        assert replay.scenario == HEADER["scenario"]
        assert (replay.header["card"], replay.header["sizes"]) == ("none", [1, 2])
        assert replay.header["actions"][0] == "proceed"
        assert replay.header["software"]["numpy"] == np.__version__
        assert replay.header["software"]["h5py"] == h5py.__version__


def test_a_dataset_explains_itself(tmp_path):
    with h5py.File(record(tmp_path / "a.h5", frames(2))) as file:
        assert dict(file.attrs)["schema"] == "fogsim"
        for column in schema():
            dataset = file[dataset_path(column.name)]
            assert (dataset.attrs["units"], dataset.attrs["description"]) == (column.unit, column.description)
            assert tuple(dataset.attrs["dims"]) == ("frame", *column.dims)
            assert (dataset.compression, dataset.shuffle) == ("gzip", True)
            assert (dataset.chunks[0] == 1) == (column.name in SCAN_FIELDS)
            assert dataset.name.startswith("/timing/") == (column.name in TIMING_FIELDS)


def test_two_replays_of_one_log_at_a_time(tmp_path):
    path = record(tmp_path / "a.h5", frames(ROWS + 5))
    with Replay(path) as one, Replay(path, follow=True) as other:
        assert_same(one[-1], other[-1])
        assert verify(path) == []
        assert_same(one[0], other[0])


def test_indices_and_names(tmp_path):
    rows = frames(5)
    with Replay(record(tmp_path / "a.h5", rows)) as replay:
        assert_same(replay[-5], rows[0])
        for index in (5, -6):
            with pytest.raises(IndexError, match="of a log of 5"):
                replay[index]
        with pytest.raises(UserError, match="no field 'log_prob' in a log, did you mean 'log_probs'"):
            replay.column("log_prob")
        with pytest.raises(ValueError, match="read-only"):
            replay.column("time")[0] = 0.0


def test_info_is_json(tmp_path):
    path = record(tmp_path / "a.h5", frames(11))
    told = json.loads(json.dumps(info(path)))
    expected = {"scenario": "test_fog", "seed": 7, "frames": 11, "level": "scans", "complete": True}
    assert {k: told[k] for k in expected} == expected
    assert told["duration"] == pytest.approx(1.0)
    assert told["size"] == path.stat().st_size
    assert told["content_hash"] == content_hash(path)


# The recorder refuses


def test_a_log_is_never_overwritten(tmp_path):
    path = record(tmp_path / "a.h5", frames(2))
    before = path.read_bytes()
    with pytest.raises(UserError, match="exists already"):
        record(path, frames(1))
    (tmp_path / "b.h5.part").write_text("of another run")
    with pytest.raises(UserError, match=r"b.h5.part is of a running or killed run.*recover"):
        record(tmp_path / "b.h5", frames(1))
    assert path.read_bytes() == before
    assert (tmp_path / "b.h5.part").read_text() == "of another run"


def test_a_log_that_appears_during_the_run_is_kept(tmp_path):
    path = tmp_path / "a.h5"
    recorder = Recorder(path, SMALL, HEADER)
    recorder.append(frames(1)[0])
    path.write_text("mine")
    with pytest.raises(UserError, match="appeared during the run"):
        recorder.__exit__(None, None, None)
    assert path.read_text() == "mine"
    with Replay(tmp_path / "a.h5.part") as replay:
        assert len(replay) == 1


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist: create it"):
        record(tmp_path / "nowhere" / "a.h5", [])


def test_frames_that_do_not_fit_are_refused(tmp_path):
    good = frames(1)[0]
    with Recorder(tmp_path / "a.h5", SMALL, HEADER) as recorder:
        with pytest.raises(ValueError, match=r"Frame.ego_pose has shape \(2,\), expected \(3,\)"):
            recorder.append(dataclasses.replace(good, ego_pose=np.zeros(2)))
        with pytest.raises(ValueError, match=r"Frame.action is int64 and does not fit int8"):
            recorder.append(dataclasses.replace(good, action=np.array(300)))
        with pytest.raises(ValueError, match=r"Frame.features is float64 and does not fit float32"):
            recorder.append(dataclasses.replace(good, features=np.full((SMALL.track, SMALL.feature), 0.1)))
        recorder.append(
            dataclasses.replace(good, action=np.array(3), epistemic=np.full((SMALL.belief, SMALL.track), np.nan))
        )
    with Replay(tmp_path / "a.h5") as replay:
        assert len(replay) == 1
        assert replay[0].action == 3
    with pytest.raises(ValueError, match="1 names of beliefs, expected 2"):
        Recorder(tmp_path / "b.h5", SMALL, HEADER | {"beliefs": ("fused",)})
    with pytest.raises(UserError, match="level is 'all', expected one of scans, beliefs"):
        Recorder(tmp_path / "b.h5", SMALL, HEADER, "all")
    assert not list(tmp_path.glob("b.*"))


def test_an_exception_leaves_a_readable_part_that_says_why(tmp_path):
    rows = frames(ROWS + 5)

    def fail() -> None:
        with Recorder(tmp_path / "a.h5", SMALL, HEADER) as recorder:
            for row in rows:
                recorder.append(row)
            raise RuntimeError("a wheel\nfell off")

    with pytest.raises(RuntimeError, match="a wheel"):
        fail()
    assert not (tmp_path / "a.h5").exists()
    with Replay(tmp_path / "a.h5") as replay:
        assert len(replay) == len(rows)
        assert (replay.complete, replay.ended_because) == (False, "RuntimeError: a wheel fell off")
    assert verify(tmp_path / "a.h5") == []
    with Replay(recover(tmp_path / "a.h5")) as replay:
        assert (replay.complete, replay.ended_because) == (False, "recovered; RuntimeError: a wheel fell off")


# The content hash


def test_same_content_same_hash_whatever_the_wall_time(tmp_path):
    rows = frames(ROWS + 3)
    slower = [dataclasses.replace(r, **{n: getattr(r, n) + np.float32(1) for n in TIMING_FIELDS}) for r in rows]
    assert content_hash(record(tmp_path / "a.h5", rows)) == content_hash(record(tmp_path / "b.h5", slower))


def test_any_other_content_another_hash(tmp_path):
    rows = frames(3)
    hashes = [content_hash(record(tmp_path / "a.h5", rows)), content_hash(record(tmp_path / "b.h5", rows[:2]))]
    hashes.append(content_hash(record(tmp_path / "seed.h5", rows, seed=8)))
    hashes.append(content_hash(record(tmp_path / "fog.h5", rows, scenario={"name": "other_fog"})))
    for name in [c.name for c in schema() if c.name not in TIMING_FIELDS]:
        other = dataclasses.replace(rows[1], **{name: getattr(frames(1, seed=6)[0], name)})
        if np.asarray(getattr(other, name)).tobytes() != np.asarray(getattr(rows[1], name)).tobytes():
            hashes.append(content_hash(record(tmp_path / f"{name}.h5", [rows[0], other, rows[2]])))
    assert len(hashes) > len(schema()) - 2  # a random bool or two may agree
    assert len(set(hashes)) == len(hashes)


def test_the_hash_ignores_chunks_and_compression(tmp_path):
    path, other = record(tmp_path / "a.h5", frames(9)), tmp_path / "b.h5"
    with h5py.File(path) as a, h5py.File(other, "x") as b:
        b.attrs.update(a.attrs)
        b.create_group("timing")
        for name in [*map(dataset_path, (c.name for c in schema())), "committed", "complete", "content_hash"]:
            b.create_dataset(name, data=a[name][...], chunks=True, compression="lzf")
        b.create_dataset("ended_because", data=a["ended_because"])
    assert content_hash(other) == content_hash(path)
    assert verify(other) == []


# Kill, follow, recover


@pytest.mark.parametrize("after", [1, 2, ROWS, ROWS + 1, 75, 140])
def test_a_killed_run_opens_up_to_the_last_committed_frame(tmp_path, child, after):
    path, process = tmp_path / "a.h5", child(tmp_path / "a.h5", "loud")
    tell(process, "100000")
    assert process.stdout
    for _ in range(after - 1):
        process.stdout.readline()
    process.kill()
    process.wait()
    assert not path.exists()
    assert in_writing(tmp_path / "a.h5.part")
    with Replay(path) as replay:
        committed = len(replay)
        assert committed >= after
        for row, back in zip(frames(committed), replay, strict=True):
            assert_same(row, back)
        assert (replay.complete, replay.ended_because) == (False, "")
    assert verify(path) == []
    killed_hash = content_hash(path)
    assert recover(path) == path
    assert verify(path) == []
    assert content_hash(path) == killed_hash
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5", "a.h5.part"]
    with Replay(path) as replay:
        assert replay.path == path
        assert (len(replay), replay.complete, replay.ended_because) == (committed, False, "recovered")
    with pytest.raises(UserError, match="exists already and is never overwritten"):
        recover(tmp_path / "a.h5.part")
    with pytest.raises(UserError, match="nothing to recover"):
        recover(path)


def test_following_a_run_in_another_process(tmp_path, child):
    process = child(tmp_path / "a.h5")
    assert tell(process, "1") == "1\n"  # the first frame is committed at once
    with Replay(tmp_path / "a.h5", follow=True) as replay, Replay(tmp_path / "a.h5") as still:
        seen = [len(replay)]
        for appended in (1 + ROWS, 1 + 2 * ROWS, 1 + 3 * ROWS):
            tell(process, str(ROWS))
            seen.append(len(replay))
            assert_same(replay[-1], frames(appended)[seen[-1] - 1])
            assert not replay.complete
        assert seen == [1, 1 + ROWS, 1 + 2 * ROWS, 1 + 3 * ROWS]
        process.communicate("end\n")
        assert process.returncode == 0
        assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
        assert replay.complete
        for row, back in zip(frames(1 + 3 * ROWS), replay, strict=True):
            assert_same(row, back)
        assert len(still) == 1
        assert_same(still[0], replay[0])
        assert verify(tmp_path / "a.h5") == []  # in a process that has the file open since it was short


def test_a_frame_can_be_read_elsewhere_as_soon_as_append_is_back(tmp_path, child):
    process = child(tmp_path / "a.h5")
    tell(process, "1")
    with Replay(tmp_path / "a.h5", follow=True) as replay:
        for n in range(2, ROWS + 4):
            tell(process, "1")
            assert len(replay) == n
            assert_same(replay[-1], frames(n)[-1])


def test_a_run_that_has_ended_is_found_by_the_name_it_had(tmp_path):
    path = record(tmp_path / "a.h5", frames(2))
    with Replay(tmp_path / "a.h5.part", follow=True) as replay:
        assert (replay.path, len(replay)) == (path, 2)


def test_the_records_of_a_run_explain_themselves(tmp_path):
    with Recorder(tmp_path / "a.h5", SMALL, HEADER) as recorder:
        recorder.append(frames(1)[0])
        with h5py.File(recorder.part, swmr=True) as file:
            told = json.loads(file["records"].attrs["fields"])
            fields = np.dtype([(name, kind, *(map(tuple, shape))) for name, kind, *shape in told])
            record_ = file["records"][:].view(fields)[0]
            assert record_["time"] == 0.0
            assert set(fields.names) == {c.name for c in schema()} - set(SCAN_FIELDS)


def test_a_truncated_log_of_a_killed_run_is_refused_at_once(tmp_path, child):
    process = child(tmp_path / "a.h5")
    tell(process, "70")
    process.kill()
    process.wait()
    data = (tmp_path / "a.h5.part").read_bytes()
    needed = superblock(tmp_path / "a.h5.part")[1]
    assert needed <= len(data)  # the rest is room that the run had reserved
    for keep in (100, needed // 5, needed - 1):
        (tmp_path / "cut.h5.part").write_bytes(data[:keep])
        with pytest.raises(UserError, match=f"truncated or damaged .{keep} bytes of {needed}"):
            Replay(tmp_path / "cut.h5")


def test_importing_loads_none_of_the_heavy_packages():
    check = "import sys, fogsim.log; print([m for m in ('torch', 'pygame', 'numba', 'scipy') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
