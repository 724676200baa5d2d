"""The command line: what it writes, what it refuses and how, and that nothing that exists is overwritten."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from fogsim import run
from fogsim.cli import main
from fogsim.frame import TIMING_FIELDS, schema
from fogsim.log import Replay, info
from fogsim.scenario import Scenario
from fogsim.scripts import load, resolve
from tests.frames import assert_same

HEAD = "from fogsim.scenario import *\n"
SHORT = ["--filters", "particle", "--set", "duration=0.6"]


@pytest.fixture
def cli(capsys):
    """Run a command line in this process: exit code, stdout, stderr."""

    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return left.value.code, captured.out, captured.err

    return call


def sweep(path, scale=1.0):
    rows = np.random.default_rng(0).uniform([-50, -50, -1.7, 0.0], [50, 50, 3.0, 0.9], (1001, 4)) * [1, 1, 1, scale]
    rows.astype("<f4").tofile(path)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a short log and everything bad that a command may meet."""
    folder = tmp_path_factory.mktemp("place")
    scripts = {
        "good": "SCENARIO = Scenario()",
        "street": "SCENARIO = Scenario(street=Street(scan='<a sweep>'))",
        "empty": "OTHER = 3",
        "number": "SCENARIO = 3",
        "broken": "SCENARIO = Scenario(",
        "raises": "\nSCENARIO = Scenari()",
        "field": "SCENARIO = Scenario(fogg=Fog())",
        "part": "SCENARIO = Scenario(fog=Fog(visibilty=3.0))",
        "type": "SCENARIO = Scenario(duration='15')",
        "deep": "SCENARIO = Scenario(hazards=(Hazard(), Hazard(x='far')))",
        "blind": "SCENARIO = Scenario(fog=Fog(visibility=-1.0))",
        "leaves": "raise SystemExit(0)",
    }
    for name, text in scripts.items():
        (folder / f"{name}.py").write_text(HEAD + text + "\n")
    (folder / "words.txt").write_text("words\n")
    (folder / "fake.h5").write_text("words\n")
    whole = sweep(folder / "sweep.bin").read_bytes()
    (folder / "cut.bin").write_bytes(whole[:-7])
    sweep(folder / "bright.bin", 255.0)
    with pytest.raises(SystemExit) as left:
        main(["run", str(folder / "good.py"), *SHORT, "--seed", "5", "--out", str(folder / "log.h5")])
    assert left.value.code == 0
    (folder / "other.h5.part").write_bytes((folder / "log.h5").read_bytes())
    return folder


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc"}


RUN = ["run", "good.py", *SHORT]
FILM = ["replay", "log.h5", "--export", "a.gif"]
SCAN = [*RUN, "--set"]
BAD = {
    "missing scan": ([*SCAN, "street.scan=sweeep.bin"], ["scan sweeep.bin not found", "did you mean sweep.bin?"]),
    "truncated scan": ([*SCAN, "street.scan=cut.bin"], ["found 16009 bytes", "multiple of 16", "copy it again"]),
    "layout": ([*SCAN, "street.scan=sweep.bin", "--set", "street.layout=stf"], ["multiple of 20", "use layout kitti"]),
    "unknown layout": ([*SCAN, "street.scan=sweep.bin", "--set", "street.layout=kity"], ["'kity'", "kitti"]),
    "intensities": ([*SCAN, "street.scan=bright.bin"], ["intensities up to", "expected 0-1", "divide"]),
    "scan to be given": (["run", "street.py"], ["needs street.scan", "--set street.scan=PATH"]),
    "field": ([*SCAN, "fog.visibilty=40"], ["'fog.visibilty'", "did you mean 'visibility'?"]),
    "top field": ([*SCAN, "fogg=40"], ["'fogg'", "did you mean 'fog'?"]),
    "type": ([*SCAN, "fog.visibility=thick"], ["fog.visibility='thick'", "expected float"]),
    "index": ([*SCAN, "hazards.3.x=1"], ["hazards.3.x", "expected an index below 1"]),
    "visibility": ([*SCAN, "fog.visibility=0"], ["visibility is 0.0", "expected > 0"]),
    "not a number": ([*SCAN, "fog.visibility=nan"], ["visibility is nan", "expected > 0"]),
    "no equals": ([*SCAN, "fog.visibility"], ["--set fog.visibility", "expected FIELD=VALUE"]),
    "log exists": ([*RUN, "--out", "log.h5"], ["log.h5 exists already and is never overwritten", "choose another"]),
    "part exists": ([*RUN, "--out", "other.h5"], ["other.h5.part is of a running or killed run", "recover"]),
    "no folder": ([*RUN, "--out", "no/log.h5"], ["folder no does not exist", "create it"]),
    "filter": (["run", "good.py", "--filters", "particel"], ["unknown filter 'particel'", "did you mean 'particle'?"]),
    "filter twice": (["run", "good.py", "--filters", "particle,particle"], ["name one twice", "expected each once"]),
    "driver": ([*SCAN, "driver.belief=kalmn"], ["driver.belief 'kalmn'", "particle, fused"]),
    "policy": ([*SCAN, "driver.policy=baies"], ["'baies'", "did you mean 'bayes'?"]),
    "level": ([*RUN, "--log", "all"], ["log level is 'all'", "scans, beliefs"]),
    "seed": ([*RUN, "--seed", "-1"], ["--seed"]),
    "watch": ([*RUN, "--watch"], ["no display found", "--export FILE.png"]),
    "no script": (["run", "god.py"], ["god.py not found", "did you mean 'good.py'?"]),
    "no folder of scripts": (["run", "no/good.py"], ["no/good.py not found", "nor any script in no"]),
    "not a script": (["run", "words.txt"], ["words.txt is not a Python script", "expected a .py file"]),
    "no SCENARIO": (["run", "empty.py"], ["empty.py has no SCENARIO", "add SCENARIO = Scenario(...)"]),
    "other SCENARIO": (["run", "number.py"], ["SCENARIO is of type int", "expected fogsim.scenario.Scenario"]),
    "syntax": (["run", "broken.py"], ["broken.py line 2", "correct the script"]),
    "name": (["run", "raises.py"], ["raises.py line 3: NameError", "Scenari", "correct the script"]),
    "field in script": (["run", "field.py"], ["field.py line 2", "'fogg'", "did you mean 'fog'?"]),
    "part in script": (["run", "part.py"], ["part.py line 2", "'visibilty'", "did you mean 'visibility'?"]),
    "type in script": (["run", "type.py"], ["type.py: duration is '15', expected float"]),
    "type deep in script": (["run", "deep.py"], ["deep.py: hazards.1.x is 'far', expected float"]),
    "value in script": (["run", "blind.py"], ["blind.py line 2: fog.visibility is -1.0 m, expected > 0"]),
    "script that leaves": (["run", "leaves.py"], ["leaves.py line 2: SystemExit", "correct the script"]),
    "replay: no log": (["replay", "lg.h5", "--export", "a.png"], ["no log lg.h5", "did you mean log.h5"]),
    "replay: not a log": (["replay", "fake.h5", "--export", "a.png"], ["fake.h5 is not HDF5", "`fogsim run` wrote"]),
    "replay: time": (["replay", "log.h5", "--at", "99", "--export", "a.png"], ["no frame at 99 s", "0 to 0.5 s"]),
    "replay: exists": (["replay", "log.h5", "--export", "log.h5"], ["cannot export log.h5", "one of .png, .mp4, .gif"]),
    "replay: no display": (["replay", "log.h5"], ["no display found", "--export FILE.png"]),
    "replay: time in window": (["replay", "log.h5", "--at", "1"], ["--at without a picture", "add --export FILE.png"]),
    "replay: time of a film": ([*FILM, "--at", "1"], ["--at without a picture", "add --export FILE.png"]),
    "replay: pace of a picture": (
        ["replay", "log.h5", "--export", "a.png", "--speed", "2"],
        ["--speed with a picture", "export a film"],
    ),
    "replay: pace": ([*FILM, "--speed", "0"], ["--speed 0", "above 0"]),
    "replay: pace in a window": (["replay", "log.h5", "--speed", "-1"], ["--speed -1", "above 0"]),
    "replay: too fast for a gif": ([*FILM, "--speed", "9"], ["90 pictures a second", "50 at most", "name a .mp4"]),
    "replay: belief": ([*FILM, "--filters", "kalmn,fused"], ["log has no belief 'kalmn'", "known: particle, fused"]),
    "replay: one belief": ([*FILM, "--filters", "fused"], ["--filters fused", "expected two names"]),
    "replay: no other log": (["replay", "log.h5", "lg.h5", "--export", "a.gif"], ["no log lg.h5", "did you mean"]),
    "score: not a log": (["score", "fake.h5"], ["fake.h5 is not HDF5"]),
    "score: JSON exists": (["score", "log.h5", "--json", "words.txt"], ["words.txt exists already", "choose another"]),
    "score: page exists": (["score", "log.h5", "--html", "words.txt"], ["words.txt exists already", "choose another"]),
    "info: not a log": (["log", "info", "fake.h5"], ["fake.h5 is not HDF5"]),
    "verify: not a log": (["log", "verify", "fake.h5"], ["fake.h5", "is not HDF5"]),
    "recover: whole": (["log", "recover", "log.h5"], ["log.h5 has its final name", "nothing to recover"]),
    "train: what": (["train", "x", "--out", "a.safetensors"], ["'x'", "expected classifier, patch, kernel"]),
    "train: exists": (["train", "kernel", "--out", "words.txt"], ["words.txt exists", "not overwritten"]),
    "train: no out": (["train", "kernel"], ["--out"]),
    "demo: a file": (["demo", "--out", "words.txt"], ["words.txt is a file, expected a folder"]),
    "command": (["scroe", "log.h5"], ["No such command 'scroe'", "did you mean 'score'?"]),
    "option": (["score", "log.h5", "--pdf", "x"], ["--pdf", "fogsim score --help"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_with_the_remedy_and_changes_nothing(cli, place, monkeypatch, case):
    arguments, words = BAD[case]
    monkeypatch.chdir(place)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    before = contents(place)
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("fogsim: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for word in words:
        assert word in err
    assert contents(place) == before


def test_debug_shows_the_traceback_wherever_it_stands(cli, place):
    for arguments in (["--debug", "log", "info", place / "fake.h5"], ["log", "info", place / "fake.h5", "--debug"]):
        code, _, err = cli(*arguments)
        assert code == 2
        assert err.startswith("Traceback")
        assert err.splitlines()[-1].startswith("fogsim: ")


def test_a_fault_of_ours_is_one_line_too(cli, place, monkeypatch):
    def broken(path):
        raise ValueError("first\nsecond")

    monkeypatch.setattr("fogsim.log.info", broken)
    code, out, err = cli("log", "info", place / "log.h5")
    assert (code, out) == (1, "")
    assert err == "fogsim: ValueError: first second; this is a fault of fogsim: add --debug to see where\n"


# Runs and their logs


def test_a_log_replays_to_the_frames_of_its_run(place):
    scenario = resolve(load(place / "good.py"), "particle", ["duration=0.6"])
    names = [c.name for c in schema() if c.name not in TIMING_FIELDS]
    frames = list(run(scenario, 5))
    with Replay(place / "log.h5") as replay:
        assert replay.header["scenario"] == scenario.json
        assert len(replay) == len(frames) == 6
        for recorded, driven in zip(replay, frames, strict=True):
            assert_same(recorded, driven, names)


def test_the_seed_determines_the_content_hash(cli, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in ("5", "6"):
        code, out, err = cli("run", place / "good.py", *SHORT, "--seed", seed)
        assert (code, err) == (0, "")
        path = Path("replays") / f"creeping_fog-{seed}.h5"
        assert f"{path}: 6 frames, content hash {info(path)['content_hash']}" in out
    first, same, other = (
        info(p)["content_hash"] for p in (place / "log.h5", *sorted(Path("replays").glob("creeping_fog-*.h5")))
    )
    assert first == same != other


def test_a_run_tells_its_beliefs_and_thresholds(cli, place, tmp_path):
    settings = ["--set", "hazards.0.x=9", "--set", "hazards.0.kind=barrier", "--set", "hazards.0.y_spread=0.1"]
    path = tmp_path / "a.h5"
    code, out, _ = cli("run", place / "good.py", "--filters", "particle", *settings, "--out", path, "--log", "beliefs")
    assert code == 0
    with Replay(path) as replay:
        decision = int(replay.column("at_decision_point").argmax())
        left = replay.column("distance_left")[decision, 0]
        p = np.exp(replay.column("log_probs")[decision, 0, 0, 1])
        assert replay.level == "beliefs"
    row = next(line for line in out.splitlines() if line.strip().startswith("particle"))
    assert f"{p:.3f}" in row
    assert f"{left:.1f} m" in row
    assert "hit the barrier at" in out or "stopped" in out
    assert "proceed from 0, slow from 0.016, change lane from 0.054, brake from 0.429" in out


def test_score_writes_its_tables_once(cli, place, tmp_path):
    out = tmp_path / "score.json"
    code, text, err = cli("score", place / "log.h5", "--json", out)
    assert (code, err) == (0, "")
    assert "1 encounter" in text
    assert json.loads(out.read_text())["encounters"] == 1
    before = out.read_bytes()
    assert cli("score", place / "log.h5", "--json", out)[0] == 2
    assert out.read_bytes() == before


def test_score_writes_its_page_once(cli, place, tmp_path):
    out = tmp_path / "score.html"
    code, text, err = cli("score", place / "log.h5", "--html", out)
    assert (code, err) == (0, "")
    assert "1 encounter" in text
    page = out.read_text(encoding="utf-8")
    assert "<h1>Score of 1 encounter</h1>" in page
    assert f"--html {out}</code>" in page
    assert cli("score", place / "log.h5", "--html", out)[0] == 2
    assert out.read_text(encoding="utf-8") == page


@pytest.mark.parametrize(
    ("outputs", "says"),
    [(("--html", "no/x.html"), "there is no folder no"), (("--json", "x", "--html", "./x"), "x is named twice")],
)
def test_where_a_score_cannot_be_written_is_said_before_it_is_made(cli, place, outputs, says):
    code, text, err = cli("score", place / "log.h5", *outputs)
    assert (code, text, err.count("\n")) == (2, "", 1)
    assert says in err
    assert not Path("x").exists()


def test_a_folder_that_is_not_there_is_called_one(cli, tmp_path):
    code, _, err = cli("score", tmp_path / "C0")
    assert (code, err.count("\n")) == (2, 1)
    assert "no folder or log" in err


def test_log_commands_speak_text_and_json(cli, place, tmp_path):
    code, out, _ = cli("log", "info", place / "log.h5", "--json")
    told = json.loads(out)
    outcome = told.pop("outcome")
    assert (code, told) == (0, info(place / "log.h5"))
    assert "when time was up" in outcome
    assert f"content hash     {info(place / 'log.h5')['content_hash']}" in cli("log", "info", place / "log.h5")[1]
    assert cli("log", "verify", place / "log.h5")[:2] == (0, f"{place / 'log.h5'}: nothing wrong\n")
    changed = tmp_path / "changed.h5"
    changed.write_bytes((place / "log.h5").read_bytes())
    with h5py.File(changed, "r+") as file:
        file["truth_position"][2, 0, 1] += 1e-9
    code, out, err = cli("log", "verify", changed)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "content hash is" in err
    code, out, _ = cli("log", "verify", changed, "--json")
    assert (code, len(json.loads(out)["problems"])) == (2, 1)


def test_one_picture_of_a_log(cli, place, tmp_path):
    for name, at in (("first.png", ["--at", "0"]), ("default.png", [])):
        code, out, err = cli("replay", place / "log.h5", *at, "--export", tmp_path / name)
        assert (code, out, err) == (0, f"{tmp_path / name}\n", "")
    pictures = contents(tmp_path)
    assert len(set(pictures.values())) == 2
    code, _, err = cli("replay", place / "log.h5", "--export", tmp_path / "first.png")
    assert (code, "never overwritten" in err) == (2, True)
    assert contents(tmp_path) == pictures


def start_run(place, out):
    command = [sys.executable, "-m", "fogsim.cli", "run", str(place / "good.py"), "--filters", "particle"]
    command += ["--set", "ego.speed=2,2", "--set", "lidar.rings=64", "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    part, patience = out.with_name(out.name + ".part"), time.monotonic() + 60.0
    while frames_in(part) < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < patience
        time.sleep(0.05)
    return process, part


def frames_in(part):
    if not part.exists() or not part.stat().st_size:
        return 0
    try:
        with Replay(part) as replay:
            return len(replay)
    except Exception:
        return 0


def test_a_killed_run_can_be_drawn_scored_and_recovered(cli, place, tmp_path):
    process, part = start_run(place, tmp_path / "a.h5")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = frames_in(part)
    assert kept >= 3
    assert not (tmp_path / "a.h5").exists()
    assert cli("replay", tmp_path / "a.h5", "--export", tmp_path / "a.png")[0] == 0
    code, out, _ = cli("score", part)
    assert (code, "a.h5.part has no end" in out) == (0, True)
    assert cli("log", "recover", tmp_path / "a.h5")[:2] == (0, f"path  {tmp_path / 'a.h5'}\n")
    assert info(tmp_path / "a.h5")["frames"] == kept


def test_an_interrupted_run_says_where_its_frames_are(place, tmp_path):
    process, part = start_run(place, tmp_path / "a.h5")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"kept in {part}: `fogsim log recover {tmp_path / 'a.h5'}`" in err
    assert "Traceback" not in err
    with Replay(part) as replay:
        assert replay.ended_because.startswith("KeyboardInterrupt")


def test_a_run_that_breaks_before_its_first_frame_bars_nothing(cli, place, tmp_path, monkeypatch):
    def broken(scenario, seed):
        raise ValueError("no checkpoint")
        yield

    monkeypatch.setattr("fogsim.commands.run", broken)
    code, _, err = cli(*["run", place / "good.py", *SHORT], "--out", tmp_path / "a.h5")
    assert (code, err.count("\n")) == (1, 1)
    assert not list(tmp_path.iterdir())


# The demonstration


def test_the_demo_drives_twice_and_repeats_itself_beside(tmp_path, capsys):
    from fogsim.demo import demonstrate

    near = resolve(Scenario(), "particle", ["hazards.0.x=11", "hazards.0.kind=barrier", "hazards.0.y=0"])
    out = tmp_path / "demo"
    assert demonstrate(out, 4, near) == out
    first = contents(out)
    assert sorted(map(str, first)) == [
        "belief-holder.h5",
        "belief-holder.png",
        "label-truster.h5",
        "side-by-side.gif",
    ]
    told = capsys.readouterr().out
    assert [told.count(f"{name}: seed 4") for name in ("label-truster", "belief-holder")] == [1, 1]
    with Replay(out / "label-truster.h5") as truster, Replay(out / "belief-holder.h5") as holder:
        assert (truster.scenario["driver"]["policy"], truster.seed) == ("most_likely_label", 4)
        assert (holder.scenario["driver"]["policy"], holder.seed) == ("bayes", 4)
        p = np.exp(holder.column("log_probs")[holder.column("at_decision_point").argmax(), -1, 0, 1])
        left = holder.column("distance_left")[holder.column("at_decision_point").argmax(), 0]
    assert f"holds a belief when {left:.1f} m away P(barrier) was {p:.3f}, and it" in " ".join(told.split())
    assert demonstrate(out, 4, near) == tmp_path / "demo-2"
    assert "demo holds the same logs already" in " ".join(capsys.readouterr().out.split())
    assert demonstrate(out, 5, near) == tmp_path / "demo-3"
    assert "demo holds other logs" in " ".join(capsys.readouterr().out.split())
    assert contents(out) == first


# What is loaded when


HEAVY = ("torch", "pyro", "pygame", "numba", "scipy", "matplotlib")


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import fogsim", HEAVY),
        ("from fogsim.cli import main\ntry: main(['--help'])\nexcept SystemExit as e: assert e.code == 0", HEAVY),
        ("import fogsim.commands, fogsim.demo", ("torch", "pyro", "pygame", "matplotlib")),
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code, absent):
    ask = f"{code}\nimport sys\nprint('LOADED', *[m for m in {absent} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, env={**os.environ})
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "LOADED"), done


def test_the_plain_functions():
    import fogsim
    from fogsim import replay, score, train

    assert replay is Replay
    assert all(callable(f) for f in (run, score, train))
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        fogsim.runn  # noqa: B018


def test_doctor_finds_no_fault_or_names_it(cli, tmp_path, monkeypatch):
    from fogsim import doctor

    monkeypatch.setattr(doctor, "EXAMINATIONS", {"versions": doctor.versions, "display": doctor.display})
    code, out, _ = cli("doctor")
    assert code == 0
    assert "numba" in out
    monkeypatch.setattr(doctor, "EXAMINATIONS", {"golden run": doctor.golden})
    monkeypatch.setattr(doctor, "GOLDEN", tmp_path / "golden.h5")
    assert "not looked at: no golden.h5" in cli("doctor")[1]
    (tmp_path / "golden.h5").write_text("words")
    code, out, _ = cli("doctor")
    assert code == 1
    assert "not HDF5" in out


def test_doctor_drives_the_golden_run_again(tmp_path, monkeypatch):
    from fogsim import again, commands, doctor

    golden = tmp_path / "golden.h5"
    monkeypatch.setattr(doctor, "GOLDEN", golden)
    commands.record(resolve(Scenario(), "particle", ["duration=0.4"]), 2, golden, "beliefs")
    assert doctor.golden().well
    drive = again.run
    monkeypatch.setattr(again, "run", lambda scenario, seed: drive(scenario, seed + 1))
    finding = doctor.golden()
    assert not finding.well
    assert finding.text.startswith("different: ego_speed differs first, in frame 0 at 0.0 s, by ")
    assert "with the same versions" in finding.text


def test_a_late_first_frame_is_explained(monkeypatch):
    from rich.console import Console
    from rich.progress import Progress

    from fogsim import commands

    with Progress(commands.Doing(), console=Console(file=io.StringIO(), force_terminal=True)) as bar:
        bar.add_task("creeping_fog, seed 1", total=15.0)
        task = bar.tasks[0]
        assert commands.Doing().render(task).plain == "creeping_fog, seed 1"
        monkeypatch.setattr(commands, "COMPILING", -1.0)
        assert commands.Doing().render(task).plain.startswith("compiling kernels (first time only")
        bar.update(task.id, completed=0.1)
        assert commands.Doing().render(task).plain == "creeping_fog, seed 1"
