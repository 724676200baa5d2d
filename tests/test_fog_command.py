"""``fogsim fog``: files and folders of real scans, in and out, and what goes wrong with them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from filters.models.lidar_echo import FOG, NOISE, STRUCTURE
from filters.streams import stream
from fogsim import cli, fog_files
from fogsim.fogging import add_fog
from fogsim.folders import alone
from fogsim.scans import read_sweep
from tests.processes import children, runs, until


def run(*words):
    with pytest.raises(SystemExit) as left:
        cli.main(["fog", *map(str, words)])
    return left.value.code


def sweep(count=1001, seed=0, scale=1.0, laser=False):
    rng = np.random.default_rng(seed)
    rows = rng.uniform([-40, -40, -1.7, 0.0], [40, 40, 3.0, 1.0], (count, 4))
    rows[:, 3] = np.round(rows[:, 3] * scale, 2 if scale == 1.0 else 0)
    rows[0, 3] = scale
    return np.column_stack([rows, np.arange(count) % 32]) if laser else rows


def save(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.asarray(rows, "<f4").tofile(path)
    return path


def save_pcd(path, rows):
    lines = [
        "VERSION 0.7",
        "FIELDS x y z intensity ring time",
        "SIZE 4 4 4 1 2 8",
        "TYPE F F F U U F",
        "COUNT 1 1 1 1 1 1",
    ]
    lines += [f"WIDTH {len(rows)}", "HEIGHT 1", "VIEWPOINT 0 0 0 1 0 0 0", f"POINTS {len(rows)}", "DATA binary\n"]
    kind = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "u1"), ("ring", "<u2"), ("time", "<f8")]
    records = np.array([(*row, k / 7.0) for k, row in enumerate(rows.tolist())], kind)
    path.write_bytes("\n".join(lines).encode() + records.tobytes())
    return path


def make(layout, path):
    if layout == "pcd":
        return save_pcd(path / "a.pcd", sweep(scale=255.0, laser=True))
    if layout == "kitti":
        return save(path / "a.bin", sweep())
    return save(path / ("a.pcd.bin" if layout == "nuscenes" else "a.bin"), sweep(scale=255.0, laser=True))


@pytest.mark.parametrize("layout", ["kitti", "stf", "nuscenes", "pcd"])
def test_each_layout_comes_out_as_it_went_in(tmp_path, capsys, layout):
    scan = make(layout, tmp_path)
    out = tmp_path / f"fogged-{scan.name}"
    assert run(scan, "--visibility", 25, "--out", out) == 0
    old, new = read_sweep(scan), read_sweep(out)
    assert (old.layout, new.layout) == (layout, layout)
    assert new.rows.dtype == old.rows.dtype
    with np.load(tmp_path / f"{out.name}.fog.npz") as labels:
        label, source = labels["label"], labels["source"]
    assert len(label) == len(source) == len(new.rows) < len(old.rows)
    assert set(label) <= {STRUCTURE, FOG, NOISE}
    assert {STRUCTURE, FOG} <= set(label)
    for name in set(old.rows.dtype.names) - {"x", "y", "z", "intensity"}:
        np.testing.assert_array_equal(new.rows[name], old.rows[name][source])
    kept = label == STRUCTURE
    before, after = old.points[source[kept]], new.points[kept]
    assert np.linalg.norm(before - after, axis=1).max() < 0.2
    assert new.intensity[kept].mean() < 0.8 * old.intensity[source[kept]].mean()
    assert f"of 1,001 points {kept.sum()} kept" in capsys.readouterr().out


@pytest.mark.parametrize("model", ["fogsim", "hahner"])
def test_whole_intensities_are_rounded_not_cut(tmp_path, model):
    scan = make("pcd", tmp_path)
    assert run(scan, "--visibility", 200, "--model", model, "--out", tmp_path / "b.pcd") == 0
    old, new = read_sweep(scan), read_sweep(tmp_path / "b.pcd")
    rows = np.column_stack([old.points, old.rows["intensity"]])
    seed = stream(0, "fog", "a.pcd")
    fogged = add_fog(rows, 200.0, seed, model=model, full_scale=255.0)
    assert new.rows.dtype["intensity"] == np.uint8
    np.testing.assert_array_equal(new.rows["intensity"], np.round(fogged.intensity))
    assert model == "hahner" or (fogged.intensity % 1.0 > 0.5).any()


def test_the_fog_depends_on_seed_and_name_only(tmp_path):
    for folder in ("a", "b"):
        save(tmp_path / folder / "x.bin", sweep())
    save(tmp_path / "b" / "y.bin", sweep())
    run(tmp_path / "a", "--visibility", 20, "--out", tmp_path / "A")
    run(tmp_path / "b", "--visibility", 20, "--out", tmp_path / "B")
    run(tmp_path / "a" / "x.bin", "--visibility", 20, "--out", tmp_path / "single.bin")
    run(tmp_path / "a" / "x.bin", "--visibility", 20, "--seed", 1, "--out", tmp_path / "other.bin")
    first = (tmp_path / "A" / "x.bin").read_bytes()
    assert first == (tmp_path / "B" / "x.bin").read_bytes() == (tmp_path / "single.bin").read_bytes()
    assert first != (tmp_path / "B" / "y.bin").read_bytes()
    assert first != (tmp_path / "other.bin").read_bytes()


@pytest.fixture
def folder(tmp_path):
    for k, name in enumerate(["0.bin", "1.bin", "deep/2.bin", "deep/3.bin", "4.bin"]):
        save(tmp_path / "scans" / name, sweep(1001, k))
    (tmp_path / "scans" / "labels.txt").write_text("not a scan")
    return tmp_path / "scans"


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_in_two_processes_is_as_in_one(tmp_path, folder):
    assert run(folder, "--visibility", 20, "--out", tmp_path / "one") == 0
    assert run(folder, "--visibility", 20, "--out", tmp_path / "two", "--jobs", 2) == 0
    one = contents(tmp_path / "one")
    assert one == contents(tmp_path / "two")
    assert len(one) == 11, "five scans, their labels, and the record"


def test_an_interrupted_folder_goes_on_where_it_was(tmp_path, folder, monkeypatch, capsys):
    whole, out = tmp_path / "whole", tmp_path / "out"
    run(folder, "--visibility", 20, "--out", whole)
    done = []

    def interrupted(*given, **more):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(given)
        return fog_one(*given, **more)

    fog_one = fog_files.fog_one
    monkeypatch.setattr(fog_files, "fog_one", interrupted)
    assert run(folder, "--visibility", 20, "--out", out) == 130
    assert "the same command goes on from here" in capsys.readouterr().err
    monkeypatch.undo()
    (out / "4.bin.fog.npz").write_bytes(b"of a run that was killed between two files")
    (out / ".4.bin.part").write_bytes(b"or within one")
    before = (out / "0.bin").stat().st_mtime_ns
    assert run(folder, "--visibility", 20, "--out", out) == 0
    assert "3 of 5 scans fogged, 2 were there" in capsys.readouterr().out
    assert (out / "0.bin").stat().st_mtime_ns == before
    assert contents(out) == contents(whole)
    assert run(folder, "--visibility", 20, "--out", out) == 0
    assert "all 5 scans are there already" in capsys.readouterr().out


def test_one_run_at_a_time_writes_to_a_folder(tmp_path, folder, capsys):
    pytest.importorskip("fcntl")
    out = tmp_path / "out"
    assert run(folder, "--visibility", 20, "--out", out) == 0
    (out / "4.bin").unlink()
    before = contents(out)
    with alone(out / fog_files.RECORD):
        assert run(folder, "--visibility", 20, "--out", out) == 2
        line = one_line(capsys)
        assert f"another fogsim writes to {out}: wait for it, or name another" in line
        assert "\n" not in line
        assert contents(out) == before
    assert run(folder, "--visibility", 20, "--out", out) == 0


def spawned(*words):
    command = [sys.executable, "-m", "fogsim.cli", "fog", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="needs Linux's /proc")
def test_a_killed_runs_processes_end_and_the_next_run_finishes(tmp_path, capsys):
    folder, out = tmp_path / "scans", tmp_path / "out"
    for k in range(80):
        save(folder / f"{k:02}.bin", sweep(4001, k))
    words = (folder, "--visibility", 20, "--out", out, "--jobs", 2)
    first = spawned(*words)
    assert until(lambda: any(out.glob("*.bin")) or first.poll() is not None)
    first.send_signal(signal.SIGSTOP)
    workers = children(first.pid)
    assert len(workers) >= 2
    assert run(*words) == 2
    assert "another fogsim writes to" in one_line(capsys)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    ended = until(lambda: not any(map(runs, workers)), 10.0)
    for worker in filter(runs, workers):
        os.kill(worker, signal.SIGKILL)
    assert ended, "workers outlived their run"
    assert len(list(out.glob("*.bin"))) < 80
    assert run(*words[:-2]) == 0
    names = sorted(path.name for path in out.iterdir() if path.suffix in (".bin", ".npz"))
    assert names == sorted(name for k in range(80) for name in (f"{k:02}.bin", f"{k:02}.bin.fog.npz"))


def test_a_scan_without_its_labels_is_not_done(tmp_path, folder, capsys):
    out = tmp_path / "out"
    assert run(folder, "--visibility", 20, "--out", out) == 0
    before = contents(out)
    (out / "0.bin.fog.npz").unlink()
    assert run(folder, "--visibility", 20, "--out", out) == 2
    assert "0.bin lacks its labels 0.bin.fog.npz: remove it" in capsys.readouterr().err
    (out / "0.bin").unlink()
    assert run(folder, "--visibility", 20, "--out", out) == 0
    assert contents(out) == before


def test_labels_without_their_scan_are_kept_and_told(tmp_path, capsys):
    scan, labels = make("kitti", tmp_path), tmp_path / "b.bin.fog.npz"
    labels.write_bytes(b"of a run that was killed between two files")
    assert run(scan, "--visibility", 20, "--out", tmp_path / "b.bin") == 2
    assert "b.bin.fog.npz exists without its scan b.bin" in one_line(capsys)
    labels.unlink()
    assert run(scan, "--visibility", 20, "--out", tmp_path / "b.bin") == 0


def test_other_settings_do_not_go_on_with_a_folder(tmp_path, folder, capsys):
    out = tmp_path / "out"
    run(folder, "--visibility", 20, "--out", out)
    before = contents(out)
    assert run(folder, "--visibility", 30, "--seed", 4, "--out", out) == 2
    assert "begun with visibility 20.0, seed 0, found visibility 30.0, seed 4" in one_line(capsys)
    assert contents(out) == before
    (out / fog_files.RECORD).write_text("[]")
    assert run(folder, "--visibility", 20, "--out", out) == 2
    (out / fog_files.RECORD).write_text("{")
    assert run(folder, "--visibility", 20, "--out", out) == 2
    assert "damaged" in one_line(capsys).splitlines()[-1]


def one_line(capsys):
    return capsys.readouterr().err.strip()


@pytest.mark.parametrize("jobs", [1, 2])
def test_bad_scans_are_named_and_the_others_done(tmp_path, folder, capsys, jobs):
    (folder / "1.bin").write_bytes(b"12345")
    (folder / "deep" / "3.bin").write_bytes(b"")
    assert run(folder, "--visibility", 20, "--out", tmp_path / "out", "--jobs", jobs) == 2
    lines = one_line(capsys).splitlines()
    assert len(lines) == 3
    assert "2 of 5 scans could not be fogged: 1.bin, deep/3.bin: mend or remove them" in lines[-1]
    assert sorted(p.name for p in (tmp_path / "out").rglob("*.bin")) == ["0.bin", "2.bin", "4.bin"]
    save(folder / "1.bin", sweep())
    save(folder / "deep" / "3.bin", sweep())
    assert run(folder, "--visibility", 20, "--out", tmp_path / "out", "--jobs", jobs) == 0


def test_a_fault_in_one_scan_does_not_end_the_others(tmp_path, folder, monkeypatch, capsys):
    monkeypatch.setattr(fog_files, "tally", lambda *given: 1 / 0)
    assert run(folder, "--visibility", 20, "--out", tmp_path / "out") == 2
    assert "5 of 5 scans could not be fogged" in one_line(capsys)


def test_points_that_are_not_finite_are_refused_or_dropped_and_counted(tmp_path, capsys):
    rows = sweep()
    rows[[3, 9], [0, 3]] = np.nan, np.inf
    rows[5, :3] = 0.0
    scan = save(tmp_path / "a.bin", rows)
    assert run(scan, "--visibility", 20, "--out", tmp_path / "b.bin") == 2
    assert "not finite in 2 of 1001 points" in one_line(capsys)
    assert run(scan, "--visibility", 20, "--out", tmp_path / "b.bin", "--nan", "drop") == 0
    out = capsys.readouterr().out
    assert "of 998 points" in out
    assert "2 not finite dropped; 1 without return dropped" in out
    with np.load(tmp_path / "b.bin.fog.npz") as labels:
        kept, source = labels["label"] == STRUCTURE, labels["source"]
    assert source.max() > 997, "places in the file, not among what is left of it"
    fogged = read_sweep(tmp_path / "b.bin").points[kept]
    np.testing.assert_allclose(fogged, rows[source[kept], :3], atol=0.2)


def test_a_scan_without_points_stays_one(tmp_path, capsys):
    scan = save(tmp_path / "a.bin", np.zeros((0, 4)))
    assert run(scan, "--visibility", 20, "--out", tmp_path / "b.bin") == 2
    assert "is empty" in one_line(capsys)
    assert run(scan, "--visibility", 20, "--out", tmp_path / "b.bin", "--layout", "kitti") == 0
    assert (tmp_path / "b.bin").read_bytes() == b""
    pcd = save_pcd(tmp_path / "a.pcd", np.zeros((0, 5)))
    assert run(pcd, "--visibility", 20, "--out", tmp_path / "b.pcd") == 0
    assert len(read_sweep(tmp_path / "b.pcd").rows) == 0


@pytest.mark.parametrize("visibility", [1, 10_000])
def test_thickest_and_thinnest_fog(tmp_path, visibility):
    scan = make("kitti", tmp_path)
    assert run(scan, "--visibility", visibility, "--out", tmp_path / "b.bin") == 0


def test_the_published_model_loses_no_point(tmp_path):
    scan = make("kitti", tmp_path)
    assert run(scan, "--visibility", 50, "--model", "hahner", "--out", tmp_path / "b.bin") == 0
    assert len(read_sweep(tmp_path / "b.bin").rows) == 1001


def test_a_picture_shows_both(tmp_path, capsys):
    from matplotlib.image import imread

    scan, picture = make("kitti", tmp_path), tmp_path / "p.png"
    assert run(scan, "--visibility", 20, "--out", tmp_path / "b.bin", "--picture", picture) == 0
    pixels = imread(picture)
    half = pixels.shape[1] // 2
    orange = (np.abs(pixels[..., :3] - np.array([230, 159, 0]) / 255) < 0.1).all(axis=-1)
    assert orange[:, half:].sum() > 50
    assert not orange[:, :half].any()
    assert run(scan, "--visibility", 20, "--out", tmp_path / "c.bin", "--picture", picture) == 2
    assert "never overwritten" in one_line(capsys)
    assert not (tmp_path / "c.bin").exists()


def refusals(tmp_path):
    scan = make("kitti", tmp_path)
    save(tmp_path / "taken.bin", sweep())
    (tmp_path / "empty").mkdir()
    full = tmp_path / "full"
    save(full / "x.bin", sweep())
    ok = ("--visibility", 20, "--out", tmp_path / "new.bin")
    return {
        "visibility is 0.0 m": (scan, "--visibility", 0, "--out", tmp_path / "new.bin"),
        "visibility is -5.0 m": (scan, "--visibility", -5, "--out", tmp_path / "new.bin"),
        "visibility is nan m": (scan, "--visibility", "nan", "--out", tmp_path / "new.bin"),
        "visibility is infinite": (scan, "--visibility", "inf", "--out", tmp_path / "new.bin"),
        "'--visibility'": (scan, "--out", tmp_path / "new.bin"),
        "taken.bin exists already": (scan, "--visibility", 20, "--out", tmp_path / "taken.bin"),
        ". exists already": (scan, "--visibility", 20, "--out", "."),
        "/ exists already": (scan, "--visibility", 20, "--out", "/"),
        "a.bn not found; did you mean a.bin": (tmp_path / "a.bn", *ok),
        "did you mean 'nuscenes'": (scan, *ok, "--layout", "nuscene"),
        "did you mean 'drop'": (scan, *ok, "--nan", "drp"),
        "did you mean 'hahner'": (scan, *ok, "--model", "hahne"),
        "expected a multiple of 20": (scan, *ok, "--layout", "stf"),
        "end the name in .bin": (scan, "--visibility", 20, "--out", tmp_path / "new.pcd"),
        "No such file or directory": (scan, "--visibility", 20, "--out", tmp_path / "no" / "new.bin"),
        "holds no .bin or .pcd file": (tmp_path / "empty", *ok),
        "lies within": (full, "--visibility", 20, "--out", full / "out"),
        "is not empty and holds no fogsim-fog.json": (full, "--visibility", 20, "--out", tmp_path),
        "--picture with a folder": (full, *ok, "--picture", tmp_path / "p.png"),
        "cannot draw": (scan, *ok, "--picture", tmp_path / "p.jpg"),
    }


def test_mistakes_are_told_in_one_line_and_leave_nothing_behind(tmp_path, capsys):
    cases = refusals(tmp_path)
    before = contents(tmp_path)
    for words, given in cases.items():
        assert run(*given) == 2
        line = one_line(capsys)
        assert words in line
        assert "\n" not in line
        assert contents(tmp_path) == before


def test_the_record_says_how_a_folder_was_made(tmp_path, folder):
    run(folder, "--visibility", 20, "--out", tmp_path / "out", "--seed", 7)
    record = json.loads((tmp_path / "out" / fog_files.RECORD).read_text())
    assert (record["visibility"], record["seed"], record["model"]) == (20.0, 7, "fogsim")
