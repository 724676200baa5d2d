"""What goes wrong around a log: a full disk, a folder that cannot be written, two runs of a name, a watcher gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fogsim.errors import UserError
from fogsim.log import Recorder, Replay, recover, verify
from tests.frames import HEADER, SMALL, frames
from tests.log_processes import FRAMES, REAL, REAL_HEADER, Pool, follow, processes, race, same

ROOT = Path(__file__).parents[1]
WRITE = """
import os, resource, sys
from pathlib import Path
from fogsim.errors import UserError
from fogsim.log import Recorder, recover
from fogsim.log_file import provenance
from tests.log_processes import REAL, REAL_HEADER, Pool
path, largest, user = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
if user:
    provenance()  # is kept: this user may not even read where Python is installed
    os.setuid(user)
if largest:
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))  # files grow as on a disk that then is full
try:
    if path.exists() or Path(f"{path}.part").exists():
        recover(path)
    else:
        with Recorder(path, REAL, REAL_HEADER) as recorder:
            for frame in Pool():
                recorder.append(frame)
except UserError as error:
    print(error)
    sys.exit(2)
"""


def other(path: Path, largest: int = 0, user: int = 0) -> tuple[int, str]:
    """Record or recover in another process: its exit code and what it said."""
    command = [sys.executable, "-B", "-c", WRITE, str(path), str(largest), str(user)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize("largest", [1_500_000, 2_500_003, 4_456_789])
def test_a_disk_that_fills_up_costs_no_frame_that_was_committed(tmp_path, largest):
    path, pool = tmp_path / "a.h5", Pool()
    code, said = other(path, largest)
    assert (code, said.count("\n")) == (2, 1)
    assert "no room for frame" in said
    assert "File too large" in said
    with Replay(path) as replay:
        n = len(replay)
        assert 0 < n < FRAMES
        assert f"no room for frame {n} of" in said
        assert all(same(frame, pool[k]) for k, frame in enumerate(replay))
        assert not replay.complete
    assert verify(path) == []
    with Replay(recover(path)) as replay:
        assert len(replay) == n
    assert verify(path) == []


def test_a_log_that_has_no_room_to_be_copied_keeps_its_frames(tmp_path):
    path = tmp_path / "a.h5"
    code, said = other(path, 1_200_000)
    assert code == 2
    size = (tmp_path / "a.h5.part").stat().st_size
    code, said = other(path, size)
    assert (code, said.count("\n")) == (2, 1)
    assert f"its frames stay in {path}.part: make room" in said
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5.part"]
    assert other(path) == (0, "")
    assert verify(path) == []


def test_a_disk_that_is_full_is_told_before_the_run(tmp_path):
    code, said = other(tmp_path / "a.h5", 1000)
    assert (code, said.count("\n")) == (2, 1)
    assert "a.h5.part (File too large): make room, or choose another folder" in said
    assert list(tmp_path.iterdir()) == []


def test_recovering_elsewhere(tmp_path):
    (tmp_path / "a").mkdir()
    other(tmp_path / "a" / "a.h5", 1_200_000)
    moved = recover(tmp_path / "a" / "a.h5", tmp_path / "b.h5")
    assert moved == tmp_path / "b.h5"
    assert verify(moved) == []
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["a.h5.part"]
    with pytest.raises(UserError, match=r"folder .*nowhere does not exist"):
        recover(tmp_path / "a" / "a.h5", tmp_path / "nowhere" / "b.h5")


def test_a_folder_that_cannot_be_written(tmp_path):
    folder = tmp_path / "kept"
    folder.mkdir(mode=0o555)
    if os.geteuid():
        code, said = other(folder / "a.h5")
    else:  # root may write anywhere
        for parent in (tmp_path, *(p for p in tmp_path.parents if p.name.startswith(("pytest-", "popen-")))):
            parent.chmod(0o755)
        code, said = other(folder / "a.h5", user=65534)
    assert (code, said.count("\n")) == (2, 1)
    assert "a.h5.part (Permission denied): make room, or choose another folder" in said
    assert list(folder.iterdir()) == []


def test_of_runs_that_race_for_a_name_one_wins(tmp_path):
    for n in range(8):
        start, answers = processes.Barrier(3), processes.SimpleQueue()
        racers = [processes.Process(target=race, args=(tmp_path / f"{n}.h5", start, answers)) for _ in range(3)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
            assert racer.exitcode == 0
        lost = [said for said in (answers.get() for _ in racers) if said]
        assert len(lost) == 2
        assert all("of a running or killed run: choose another name" in said for said in lost), lost
        assert verify(tmp_path / f"{n}.h5") == []
    assert len(list(tmp_path.iterdir())) == 8


def test_a_watcher_that_is_killed_leaves_the_run_alone(tmp_path):
    pool, path = Pool(), tmp_path / "a.h5"
    with Recorder(path, REAL, REAL_HEADER) as recorder:
        for n, frame in enumerate(pool):
            recorder.append(frame)
            if n % 20 == 0:
                seen, wrong = (processes.Value("q", 0, lock=False) for _ in range(2))
                watcher = processes.Process(target=follow, args=(path, seen, wrong))
                watcher.start()
                while seen.value == 0:
                    assert watcher.is_alive()
                watcher.kill()
                watcher.join()
                assert wrong.value == 0
    assert verify(path) == []
    with Replay(path) as replay:
        assert all(same(frame, pool[k]) for k, frame in enumerate(replay))


def test_a_log_that_appears_while_a_run_begins_is_kept(tmp_path, monkeypatch):
    from fogsim import log_writing

    christen = log_writing.christen

    def late(made: Path, path: Path) -> None:
        christen(made, path)
        (tmp_path / "a.h5").write_text("mine")

    monkeypatch.setattr(log_writing, "christen", late)
    with pytest.raises(UserError, match=r"a\.h5 exists already"):
        Recorder(tmp_path / "a.h5", SMALL, HEADER)
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
    assert (tmp_path / "a.h5").read_text() == "mine"


def test_a_drive_without_links(tmp_path, monkeypatch):
    def unable(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", unable)
    with Recorder(tmp_path / "a.h5", SMALL, HEADER) as recorder:
        recorder.append(frames(1)[0])
        with pytest.raises(UserError, match="of a running or killed run"):
            Recorder(tmp_path / "a.h5", SMALL, HEADER)
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
    assert verify(tmp_path / "a.h5") == []
