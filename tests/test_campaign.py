"""Campaigns on one machine: the same logs however they are driven, whatever ends them."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from filters import jit
from fogsim import campaign_command, campaigns, cli, results
from fogsim.campaign_command import campaign
from fogsim.campaigns import FAILURES, MANIFEST, RESULTS, Campaign, parse_sweep
from fogsim.errors import UserError
from fogsim.folders import alone
from fogsim.log import Replay, verify
from fogsim.scenario import Scenario
from tests.processes import children, runs, until

SHORT = Scenario(filters=("kalman", "bnn"), duration=0.3)
LONG = "from fogsim.scenario import Scenario\nSCENARIO = Scenario(filters=('kalman', 'bnn'))\n"
MANY = 12  # encounters; long enough to be broken off amid them
PROC = pytest.mark.skipif(not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="needs Linux's /proc")


def table(folder):
    """Rows of the table."""
    with (folder / RESULTS).open(newline="") as stream:
        return list(csv.DictReader(stream))


def hashes(folder):
    """Name and content hash of every log, which the table tells too."""
    found = {}
    for path in sorted(folder.glob("*.h5")):
        assert verify(path) == []
        with Replay(path) as log:
            found[path.name] = log.stored_hash
    assert found == {row["log"]: row["content_hash"] for row in table(folder)}
    return found


def run(*words):
    """Exit code of the command line."""
    with pytest.raises(SystemExit) as left:
        cli.main(["campaign", *map(str, words)])
    return left.value.code


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A campaign of eight short encounters, driven by this process."""
    plan = Campaign(SHORT, 8, tmp_path_factory.mktemp("whole") / "out")
    assert campaign(plan, 1) == 0
    return plan


# What comes of it


def test_an_encounter_is_the_run_of_its_seed(whole):
    job = list(whole.jobs())[3]
    again = whole.folder.parent / "again.h5"
    campaigns.record(SHORT, job.seed, again, "beliefs")
    with Replay(again) as one, Replay(job.log) as other:
        assert one.stored_hash == other.stored_hash
    assert len({j.seed for j in whole.jobs()}) == 8
    assert {j.seed for j in whole.jobs()}.isdisjoint(j.seed for j in whole._replace(seed=1).jobs())


def test_two_processes_drive_the_same_encounters(whole, tmp_path):
    assert campaign(whole._replace(folder=tmp_path / "two"), 2) == 0
    assert hashes(tmp_path / "two") == hashes(whole.folder)
    assert (tmp_path / "two" / RESULTS).read_bytes() == (whole.folder / RESULTS).read_bytes()


def test_the_table_tells_what_the_logs_do(whole):
    from fogsim.scoring.scores import score

    rows = table(whole.folder)
    assert [row["belief"] for row in rows] == ["kalman", "bnn", "fused"] * 8
    assert [int(row["number"]) for row in rows[::3]] == list(range(8))
    for e in score(whole.folder).encounters:
        for b, row in enumerate(row for row in rows if row["log"] == e.name):
            assert int(row["seed"]) == e.seed
            assert row["truth"] == ("bag", "barrier")[e.truth]
            for m, moment in enumerate(results.MOMENTS):
                told = float(row[f"p_barrier at {moment}"])
                assert told == e.p_barrier[m, b] or (told != told and e.p_barrier[m, b] != e.p_barrier[m, b])


def test_a_longer_campaign_adds_to_a_shorter_one(whole, tmp_path, monkeypatch):
    plan = whole._replace(folder=tmp_path / "out", encounters=5)
    assert campaign(plan, 1) == 0
    driven, drive = [], campaigns.drive
    monkeypatch.setattr(campaign_command, "drive", lambda job: driven.append(job.number) or drive(job))
    assert campaign(plan, 1) == 0
    assert driven == []
    assert campaign(plan._replace(encounters=8), 1) == 0
    assert driven == [5, 6, 7]
    assert hashes(plan.folder) == hashes(whole.folder)
    assert json.loads((plan.folder / MANIFEST).read_text())["encounters"] == 8
    before = (plan.folder / RESULTS).read_bytes()
    assert campaign(plan, 1) == 0  # fewer than are there
    assert json.loads((plan.folder / MANIFEST).read_text())["encounters"] == 8
    assert (plan.folder / RESULTS).read_bytes() == before


def test_what_is_done_is_neither_driven_nor_read_again(tmp_path, monkeypatch, capsys):
    plan, told = Campaign(Scenario(filters=("kalman",)), 2, tmp_path / "out"), []
    for _ in range(2):
        assert campaign(plan, 1) == 0
        told.append(capsys.readouterr().out)
        monkeypatch.setattr(results, "rows_of", lambda *_: pytest.fail("a log was read"))
    assert "log loss at the decision point: kalman" in told[0]
    assert told[1] == told[0]


def test_settings_may_differ_in_their_filters(tmp_path):
    plan = Campaign(SHORT, 2, tmp_path / "out")
    plan = plan._replace(sweep={"filters": ("bnn", "kalman"), "fog.visibility": ("20",)})
    assert campaign(plan, 1) == 0
    assert [r["belief"] for r in table(plan.folder)] == ["bnn", "fused", "kalman", "fused"] * 2
    assert hashes(plan.folder)


def test_a_sweep_drives_the_same_seeds_in_every_setting(tmp_path):
    sweep = parse_sweep(["fog.visibility=15,60", "driver.policy=bayes, most_likely_label"])
    plan = Campaign(SHORT, 2, tmp_path / "out", sweep=sweep)
    assert campaign(plan, 1) == 0
    rows = table(plan.folder)[::3]
    assert [(r["fog.visibility"], r["driver.policy"]) for r in rows[:4]] == [
        ("15", "bayes"), ("15", "most_likely_label"), ("60", "bayes"), ("60", "most_likely_label")
    ]  # fmt: skip
    seeds = [[r["seed"] for r in rows if int(r["number"]) == k] for k in (0, 1)]
    assert [len(set(s)) for s in seeds] == [1, 1]
    assert seeds[0] != seeds[1]
    for row in rows:
        with Replay(plan.folder / row["log"]) as log:
            assert log.scenario["fog"]["visibility"] == float(row["fog.visibility"])
            assert log.scenario["driver"]["policy"] == row["driver.policy"]
    assert hashes(plan.folder)


def test_logs_of_scans_hold_them(tmp_path):
    plan = Campaign(SHORT, 1, tmp_path / "out", level="scans")
    assert campaign(plan, 1) == 0
    with Replay(next(plan.folder.glob("*.h5"))) as log:
        assert (log[0].power > 0).any()


# What goes wrong


def failing(numbers):
    """What drives, but for some encounters, which raise."""

    def run_or_fail(scenario, seed):
        if seed in numbers:
            raise RuntimeError("the lidar\nburnt out")
        return real(scenario, seed)

    real = campaigns.run
    return run_or_fail


def test_failures_are_kept_with_their_cause_until_they_are_tried_again(whole, tmp_path, monkeypatch, capsys):
    plan = whole._replace(folder=tmp_path / "out")
    jobs = list(plan.jobs())
    with monkeypatch.context() as broken:
        broken.setattr(campaigns, "run", failing({jobs[2].seed, jobs[5].seed}))
        assert campaign(plan, 1) == 3
    told = capsys.readouterr()
    assert f"encounter 2, seed {jobs[2].seed}, failed: RuntimeError: the lidar burnt out" in told.err
    assert "6 of 8 encounters" in told.out
    assert "2 of 8 encounters failed" in told.err
    cause = json.loads(jobs[5].failure.read_text())
    assert (cause["number"], cause["seed"], cause["settings"]) == (5, jobs[5].seed, {})
    assert "burnt out" in cause["traceback"]
    assert campaign(plan, 1) == 3  # left out
    assert not jobs[5].log.exists()
    assert campaign(plan, 1, retry_failed=True) == 0
    assert list((plan.folder / FAILURES).iterdir()) == []
    assert (plan.folder / RESULTS).read_bytes() == (whole.folder / RESULTS).read_bytes()


def test_a_first_encounter_that_fails_is_told_of_where_kernels_are_not_compiled_yet(tmp_path, monkeypatch, capsys):
    plan = Campaign(SHORT, 2, tmp_path / "out")
    fails = failing({next(plan.jobs()).seed})
    monkeypatch.setattr(jit.config, "CACHE_DIR", str(tmp_path / "nothing"))
    (tmp_path / "nothing" / "models_0").mkdir(parents=True)  # as it is once kernels are decorated
    tried = []
    for module in (campaign_command, campaigns):
        monkeypatch.setattr(module, "run", lambda *job: tried.append(job[1]) or fails(*job))
    assert campaign(plan, 1) == 3
    assert tried.count(next(plan.jobs()).seed) == 2  # to compile, and when its turn was
    assert "encounter 0, seed" in capsys.readouterr().err
    assert len(list(plan.folder.glob("*.h5"))) == 1


@pytest.mark.parametrize("cut", [0, 50, 400, -1])
def test_a_torn_table_is_mended_from_the_logs(whole, tmp_path, cut):
    plan = whole._replace(folder=tmp_path / "out")
    assert campaign(plan, 1) == 0
    path = plan.folder / RESULTS
    before = path.read_bytes()
    path.write_bytes(before[:cut])
    (plan.folder / ".torn.h5.0.tmp").write_bytes(b"of a killed process")
    assert campaign(plan, 1) == 0
    assert path.read_bytes() == before
    assert not list(plan.folder.glob(".*.tmp"))


def test_a_table_of_something_else_is_told_and_left(whole, tmp_path):
    plan = whole._replace(folder=tmp_path / "out", encounters=1)
    assert campaign(plan, 1) == 0
    path = plan.folder / RESULTS
    path.write_text("mine,yours\n1,2\n")
    with pytest.raises(UserError, match=r"results.csv is no such table.*move it away"):
        campaign(plan, 1)
    assert path.read_text() == "mine,yours\n1,2\n"


def test_a_damaged_log_is_told_and_left(whole, tmp_path):
    plan = whole._replace(folder=tmp_path / "out", encounters=2)
    assert campaign(plan, 1) == 0
    log = next(plan.folder.glob("*.h5"))
    log.write_bytes(log.read_bytes()[:2000])
    (plan.folder / RESULTS).unlink()
    with pytest.raises(UserError, match=f"{log.name}.*damaged"):
        campaign(plan, 1)
    assert log.stat().st_size == 2000
    log.unlink()
    assert campaign(plan, 1) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--encounters", 0], "found --encounters 0, expected at least 1"),
        (["--encounters", 2, "--sweep", "fog.visiblity=1,2"], "unknown scenario field 'fog.visiblity': did you mean"),
        (["--encounters", 2, "--sweep", "fog.visibility=10,x"], "fog.visibility='x': expected float"),
        (["--encounters", 2, "--sweep", "fog.visibility=10,10"], "found --sweep fog.visibility=10,10, expected"),
        (["--encounters", 2, "--sweep", "fog.visibility"], "found --sweep fog.visibility, expected FIELD=A,B"),
        (["--encounters", 2, "--sweep", "fog.visibility=15,15.0"], "found two settings of --sweep that are the same"),
        (["--encounters", 2, "--filters", "kalmann"], "unknown filter 'kalmann': did you mean 'kalman'"),
        (["--encounters", 2, "--log", "all"], "log level is 'all', expected one of scans, beliefs"),
        (["--encounters", 2, "--set", "fog.visibility=30"], "was begun with scenario {fog: {visibility: "),
        (["--encounters", 2, "--seed", 1], "was begun with seed 0, found 1: name another --out"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(whole, tmp_path, capsys, words, told):
    script = tmp_path / "short.py"
    script.write_text(LONG.replace("'bnn')", "'bnn'), duration=0.3"))
    before = {p.name: p.stat().st_mtime_ns for p in whole.folder.iterdir()}
    assert run(script, *words, "--out", whole.folder) == 2
    line = capsys.readouterr().err
    assert told in line
    assert line.count("\n") == 1
    assert {p.name: p.stat().st_mtime_ns for p in whole.folder.iterdir()} == before
    if "begun" not in told:
        assert run(script, *words, "--out", tmp_path / "new") == 2
        assert not (tmp_path / "new").exists()


def test_one_campaign_at_a_time_writes_to_a_folder(whole, tmp_path):
    """Though a longer one renews the manifest."""
    pytest.importorskip("fcntl")
    plan = whole._replace(folder=tmp_path / "out", encounters=1)
    assert campaign(plan, 1) == 0
    with alone(plan.folder / campaigns.LOCK), pytest.raises(UserError, match="another fogsim writes to"):
        campaign(plan._replace(encounters=2), 1)
    assert campaign(plan._replace(encounters=2), 1) == 0


def test_a_failure_beside_its_log_is_none(whole):
    """As of a process that was killed between the two."""
    job = next(whole.jobs())
    job.failure.write_text("{}")
    assert campaign(whole, 1) == 0
    assert not job.failure.exists()


def test_logs_that_do_not_arrive_are_told(whole, tmp_path, monkeypatch, capsys):
    """As of workers that see another folder."""
    real = campaigns.drive
    lost = tmp_path / "elsewhere"
    lost.mkdir()
    monkeypatch.setattr(campaign_command, "drive", lambda job: real(job._replace(log=lost / job.log.name)))
    assert campaign(whole._replace(folder=tmp_path / "out"), 1) == 3
    assert "8 of 8 logs are not in" in capsys.readouterr().err
    assert table(tmp_path / "out") == []


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is not empty and holds no campaign\.json: name another --out"):
        campaign(Campaign(SHORT, 1, tmp_path), 1)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_full_disk_ends_the_campaign_and_loses_nothing(whole, tmp_path, monkeypatch):
    """A file system of its own, of one megabyte."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", small], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount")
    try:
        plan = whole._replace(folder=small / "out")
        with pytest.raises(UserError, match=r"cannot write to .*No space left on device.*make room"):
            campaign(plan._replace(encounters=30), 1)
        done = hashes(plan.folder)
        assert 0 < len(done) < 30
        assert not list(plan.folder.glob(".*.tmp"))
        subprocess.run(["mount", "-o", "remount,size=20m", small], check=True)
        assert campaign(plan._replace(encounters=30), 1) == 0
        assert hashes(plan.folder).items() >= done.items()
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_a_full_scratch_folder_is_told_before_it_is_written_to(whole, tmp_path, monkeypatch):
    plan = whole._replace(folder=tmp_path / "out")
    monkeypatch.setattr(campaigns, "disk_usage", lambda _: type("", (), {"free": campaigns.ROOM - 1}))
    with pytest.raises(UserError, match=r"less than 64 MB left in /.*what is done is kept; make room"):
        campaign(plan, 1)
    assert not list((plan.folder / FAILURES).iterdir())


# Who ends it


def spawned(script, out, *words):
    """A campaign in processes of its own."""
    command = [sys.executable, "-m", "fogsim.cli", "campaign", script, "--encounters", MANY, "--out", out, "--jobs", 2]
    return subprocess.Popen(
        list(map(str, [*command, *words])),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "long.py"
    path.write_text(LONG)
    return path


def workers_of(process):
    """Those that drive, not loky's resource tracker."""
    return [c for c in children(process.pid) if "tracker" not in Path(f"/proc/{c}/cmdline").read_text()]


@PROC
def test_ctrl_c_while_the_processes_start(script, tmp_path):
    first = spawned(script, tmp_path / "out")
    assert until(lambda: len(children(first.pid)) >= 3 or first.poll() is not None)  # with loky's tracker
    time.sleep(0.2)  # long before they have loaded what they need
    os.killpg(first.pid, signal.SIGINT)
    _, err = first.communicate(timeout=60)
    assert first.returncode == 130
    assert err.count("\n") <= 1, err


@PROC
@pytest.mark.parametrize("victim", ["worker", "campaign", "ctrl-c"])
def test_what_was_done_is_kept_and_gone_on_with(victim, script, tmp_path, capsys):
    out = tmp_path / "out"
    first = spawned(script, out)
    assert until(lambda: len(list(out.glob("*.h5"))) >= 2 or first.poll() is not None)
    workers = workers_of(first)
    assert len(workers) == 2
    if victim == "worker":
        os.kill(workers[0], signal.SIGKILL)
    else:
        signal_to = (
            first.send_signal if victim == "campaign" else lambda s: os.killpg(first.pid, s)
        )  # as a terminal does
        signal_to(signal.SIGKILL if victim == "campaign" else signal.SIGINT)
    _, err = first.communicate(timeout=60)
    assert until(lambda: not any(map(runs, workers)), 10.0)
    expected = {"worker": (2, "a process ended from outside"), "ctrl-c": (130, "interrupted: the same command")}
    code, line = expected.get(victim, (-signal.SIGKILL, ""))
    assert (first.returncode, line in err) == (code, True), err
    assert victim == "campaign" or err.count("\n") == 1  # there loky's tracker tidies up, and says so
    done = {p.name for p in out.glob("*.h5")}
    assert 2 <= len(done) < MANY
    assert run(script, "--encounters", MANY, "--out", out, "--jobs", 1) == 0  # of another process and number of jobs
    assert f"{MANY} of {MANY} encounters" in capsys.readouterr().out
    assert done < set(hashes(out))


@pytest.mark.parametrize("other_threads", [0, 3])
def test_ctrl_c_while_a_job_is_handed_on_is_heard_afterwards(other_threads):
    from fogsim.engines import deaf

    handed, over = [], threading.Event()

    def submit(job):
        os.kill(os.getpid(), signal.SIGINT)  # any thread may be the one to take it
        time.sleep(0.05)
        handed.append(job)

    threads = [threading.Thread(target=over.wait) for _ in range(other_threads)]
    for thread in threads:
        thread.start()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background would not hear it
    try:
        with pytest.raises(KeyboardInterrupt):
            deaf(submit)(1)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
        over.set()
        for thread in threads:
            thread.join()
    assert handed == [1]


def test_a_process_begun_while_a_job_is_handed_on_is_deaf_to_ctrl_c():
    from fogsim.engines import deaf

    child = deaf(lambda job: subprocess.Popen(["sleep", str(job)]))(30)
    child.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.3)
    child.kill()
    child.wait()
