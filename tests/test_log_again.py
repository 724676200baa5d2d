"""A log's encounter driven again: the same comes of it, or what differs is told; golden and earlier logs."""

from __future__ import annotations

import dataclasses
import json
import shutil
from importlib import import_module
from pathlib import Path

import h5py
import numpy as np
import pytest

from filters.calibration import Calibrator
from filters.card import EDGES, Card, Recalibration
from filters.conformal import Threshold
from filters.losses import PhysicalLoss
from filters.stopping import Rate
from fogsim import again, commands, log
from fogsim.cli import main
from fogsim.errors import UserError
from fogsim.log import Recorder, Replay
from fogsim.resolved import scenario_of
from fogsim.scenario import HDL_64, Hazard, Scenario, Street
from fogsim.scripts import load, resolve
from tests.golden import GOLDEN, REPLAYS

ROOT = Path(__file__).parents[1]
EARLIER = ROOT / "tests" / "logs" / "schema-5.h5"
SCRIPTS = sorted(p for p in (ROOT / "scenarios").glob("*.py") if p.stem != "real_street")
CARD = Card(
    "setting",
    ("particle",),
    "seeds",
    100,
    (8.0, 60.0),
    tuple(
        Recalibration(
            name,
            (Calibrator("temperature", (0.8,)),) * (len(EDGES) + 1),
            Threshold(float("-inf"), 0, 9, 0.05, "mean", 0.0),
            rate,
        )
        for name, rate in (("particle", Rate(2.0, 1.5)), ("fused", None))
    ),
)


def short(**changes: object) -> Scenario:
    return resolve(Scenario(**changes), "particle", ["duration=0.5"])


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    path = tmp_path_factory.mktemp("kept") / "a.h5"
    commands.record(short(), 4, path)
    return path


def changed(kept: Path, path: Path, **attributes: object) -> Path:
    """A copy whose header says something else."""
    shutil.copy(kept, path)
    with h5py.File(path, "r+") as file:
        for name, value in attributes.items():
            file.attrs[name] = value
    return path


def compared(path: Path) -> again.Again:
    with Replay(path) as replay:
        return again.compare(replay, again.drive(replay))


# The scenario of a log


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(),
        Scenario(loss=PhysicalLoss(), hazards=(Hazard(), Hazard(kind="animal", x=40)), filters=()),
        Scenario(card=CARD, filters=("particle",), lidar=HDL_64),
        *map(load, SCRIPTS),
    ],
    ids=["default", "losses", "card", *(p.stem for p in SCRIPTS)],
)
def test_a_scenario_comes_back_from_its_json(scenario):
    found = scenario_of(scenario.json)
    assert found == scenario
    assert found.json == scenario.json


def test_what_an_earlier_log_did_not_know_has_its_default():
    told = json.loads(Scenario().json)
    del told["card"], told["fog"]["wind"]
    assert scenario_of(json.dumps(told)) == Scenario()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("fog.visibilty", 3.0, "scenario.fog has an unknown field 'visibilty': did you mean 'visibility'"),
        ("fog.visibility", "3", "scenario.fog.visibility is '3', expected float"),
        ("fog.visibility", True, "scenario.fog.visibility is True, expected float"),
        ("fog.visibility", -1.0, "scenario.fog: fog.visibility is -1.0 m, expected > 0"),
        ("fog.wind", [1.0], "scenario.fog.wind has 1 values, expected 2"),
        ("fog", [1.0], "scenario.fog is .*, expected the fields of Fog"),
        ("hazards", {"x": 3.0}, "scenario.hazards is .*, expected"),
        ("lidar.rings", 16.0, "scenario.lidar.rings is 16.0, expected int"),
        ("name", 3, "scenario.name is 3, expected str"),
        ("loss", {"proceed": [0.0, 1.0], "impact": 3.0}, "scenario.loss is .*, expected"),
        ("__class__", "os.system", "scenario has an unknown field '__class__'"),
    ],
)
def test_what_is_no_scenario_is_refused_in_one_line(path, value, message):
    told = json.loads(Scenario().json)
    *parts, last = path.split(".")
    inner = told
    for part in parts:
        inner = inner[part]
    inner[last] = value
    with pytest.raises(UserError, match=message) as caught:
        scenario_of(json.dumps(told))
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no JSON"):
        scenario_of("import os")


# Driven again


def test_the_same_comes_of_it(kept, capsys):
    found = compared(kept)
    assert (found.same, found.by) == (True, 0.0)
    with Replay(kept) as replay:
        assert found.text == f"same (content hash {replay.stored_hash[:12]}…)"
    with pytest.raises(SystemExit) as left:
        main(["replay", str(kept), "--verify"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"{kept}: {found.text}\n"


def test_a_card_and_losses_are_in_the_log(tmp_path):
    commands.record(short(card=CARD, loss=PhysicalLoss()), 4, tmp_path / "a.h5", "beliefs")
    assert compared(tmp_path / "a.h5").same


def test_of_a_killed_run_what_there_is(kept, tmp_path):
    with Replay(kept) as replay:
        recorder = Recorder(tmp_path / "b.h5", replay.dims, replay.header)
        for k in range(3):
            recorder.append(replay[k])
        recorder._file.close()
    found = compared(tmp_path / "b.h5")
    assert found.same
    assert found.text.startswith("same (the 3 frames there are, content hash ")


def test_another_seed_differs_and_is_told(kept, tmp_path, capsys):
    with Replay(kept) as replay, Recorder(tmp_path / "b.h5", replay.dims, replay.header | {"seed": 5}) as recorder:
        for frame in replay:
            recorder.append(frame)
    with pytest.raises(SystemExit) as left:
        main(["replay", str(tmp_path / "b.h5"), "--verify"])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "b.h5: different: ego_speed differs first, in frame 0 at 0.0 s, by" in said
    assert "with the same versions: another machine, or a change in the code" in said


def test_a_number_that_rounds_otherwise_is_told_with_how_much_and_what_has_changed(kept, tmp_path):
    with Replay(kept) as replay:
        rows = list(replay)
        software = replay.header["software"] | {"numpy": "1.0"}
        rows[2] = dataclasses.replace(rows[2], visibility_estimate=np.nextafter(rows[2].visibility_estimate, 1e9))
        with Recorder(tmp_path / "b.h5", replay.dims, replay.header | {"software": software}) as recorder:
            for row in rows:
                recorder.append(row)
    found = compared(tmp_path / "b.h5")
    assert not found.same
    assert 0.0 < found.by < 1e-13
    assert "visibility_estimate differs first, in frame 2 at 0.2 s, by" in found.text
    assert found.text.endswith(f"numpy 1.0 is now {np.__version__}")


@pytest.mark.parametrize(("frames", "message"), [(3, "it goes on after frame 2, the last"), (7, "it ends after")])
def test_another_length_is_told(kept, tmp_path, frames, message):
    with Replay(kept) as replay, Recorder(tmp_path / "b.h5", replay.dims, replay.header) as recorder:
        rows = [*replay, *replay]
        for k in range(frames):
            recorder.append(rows[k])
    found = compared(tmp_path / "b.h5")
    assert not found.same
    assert message in found.text


def test_how_far_apart():
    nan, inf = np.nan, np.inf
    assert again.apart(np.array([1.0, nan, inf]), np.array([1.5, nan, inf])) == 0.5
    assert again.apart(np.array(nan), np.array(1.0)) == inf
    assert again.apart(np.array([True, False]), np.array([True, True])) == 1.0
    assert again.apart(np.array([0], np.uint16), np.array([65535], np.uint16)) == 65535.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"filters": ("mine",)}, "unknown filter 'mine': known: "),
        ({"street": Street(scan="gone.pcd")}, "gone.pcd"),
    ],
)
def test_what_cannot_be_driven_here_is_told(kept, tmp_path, capsys, changes, message):
    scenario = dataclasses.replace(Scenario(), duration=0.5, **changes).json
    with Replay(kept) as replay:
        header = replay.header | {"scenario": scenario}
        with Recorder(tmp_path / "b.h5", replay.dims, header) as recorder:
            recorder.append(replay[0])
    with pytest.raises(SystemExit) as left:
        main(["replay", str(tmp_path / "b.h5"), "--verify"])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "(of fogsim 0.1.0) cannot be driven again: " in said
    assert message in said


def test_a_log_that_was_changed_is_not_driven(kept, tmp_path, capsys):
    path = changed(kept, tmp_path / "b.h5", scenario="{}", scenario_sha256="0")
    with pytest.raises(SystemExit):
        main(["replay", str(path), "--verify"])
    assert "scenario is not the one that was recorded" in capsys.readouterr().err


# Golden and earlier logs


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_log_drives_as_it_did(name):
    """Exactly on the kind of machine that recorded it; elsewhere a matrix product may round otherwise."""
    path = REPLAYS / f"golden-{name}.h5"
    assert log.verify(path) == []
    with Replay(path) as replay:
        golden = GOLDEN[name]
        assert (replay.header["scenario"], replay.seed, replay.level) == (
            golden.scenario.json,
            golden.seed,
            golden.level,
        )
        found = again.compare(replay, again.drive(replay))
    assert found.by < 1e-9, found.text


def test_golden_logs_are_small():
    logs = sorted(REPLAYS.glob("golden-*.h5"))
    assert [p.name for p in logs] == sorted(f"golden-{name}.h5" for name in GOLDEN)
    assert sum(p.stat().st_size for p in logs) < 2_000_000


@pytest.mark.parametrize(("name", "level"), [("label-truster", "scans"), ("belief-holder", "beliefs")])
def test_bytes_per_second_of_the_run(name, level):
    """Of an encounter with 16 beams and four filters."""
    with Replay(REPLAYS / f"golden-{name}.h5") as replay:
        rate = replay.path.stat().st_size / (len(replay) * 0.1)
        assert len(replay.beliefs) == 5
        assert (replay.dims.ring, replay.dims.column) == (16, 600)
    assert rate <= {"scans": 1e6, "beliefs": 60e3}[level]


def test_a_log_of_an_earlier_fogsim(tmp_path):
    """As it was written when every field of a run had a dataset, also where its run was killed."""
    assert log.verify(EARLIER) == []
    told = log.info(EARLIER)
    assert (told["frames"], told["as_recorded"], told["recorded"]) == (86, True, "")
    shutil.copy(EARLIER, tmp_path / "b.h5.part")
    with h5py.File(tmp_path / "b.h5.part", "r+") as file:
        file["committed"][0], file["complete"][0], file["content_hash"][0] = 85, 0, ""
    with Replay(log.recover(tmp_path / "b.h5")) as replay, Replay(EARLIER) as whole:
        assert len(replay) == 85
        for name in ("time", "log_probs", "sensor_evidence"):
            assert replay.column(name).tobytes() == whole.column(name)[:85].tobytes()
    assert log.verify(tmp_path / "b.h5") == []
    assert (tmp_path / "b.h5").stat().st_size < 0.4 * EARLIER.stat().st_size


def test_what_a_kept_log_says(kept, capsys):
    for arguments in (["log", "info", str(kept), "--json"], ["log", "info", str(kept)]):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 0
    out = capsys.readouterr().out
    told, end = json.JSONDecoder().raw_decode(out)
    assert told["fog"]["visibility"] == 25.0
    assert told["fog"]["true_visibility"] > 0.0
    assert (told["beams"], told["driver"]["policy"], told["card"]) == ([16, 600], "bayes", 0)
    assert told["as_recorded"] is True
    assert set(told["stored"]) > {"range", "log_probs", "timing/filter_ms"}
    assert 0.5 * told["size"] < sum(told["stored"].values()) < told["size"]
    assert "m away when time was up" in told["outcome"]
    assert told["recorded"].endswith("+00:00")
    assert "driver           belief fused" in out[end:]


def test_json_of_a_run_and_of_the_doctor(tmp_path, capsys, monkeypatch):
    script = tmp_path / "a.py"
    script.write_text("from fogsim.scenario import Scenario\nSCENARIO = Scenario()\n")
    short_ = ["--filters", "particle", "--set", "duration=0.3", "--out", str(tmp_path / "a.h5")]
    with pytest.raises(SystemExit):
        main(["run", str(script), *short_, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert {name: told[name] for name in told if name != "outcome"} == log.info(tmp_path / "a.h5")
    doctor = import_module("fogsim.doctor")
    monkeypatch.setattr(
        doctor, "EXAMINATIONS", {"versions": doctor.versions, "fault": lambda: doctor.Finding("x", False)}
    )
    with pytest.raises(SystemExit) as left:
        main(["doctor", "--json"])
    assert left.value.code == 1
    told = json.loads(capsys.readouterr().out)
    assert told["fault"] == {"text": "x", "well": False}
    assert told["versions"]["well"] is None
