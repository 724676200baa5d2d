"""Campaigns on a Dask cluster of real processes on this machine."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fogsim import campaigns
from fogsim.campaign_command import campaign
from fogsim.campaigns import RESULTS, Campaign
from fogsim.errors import UserError
from fogsim.scenario import Scenario
from tests.processes import children, until
from tests.test_campaign import PROC, SHORT, hashes

ROOT = Path(__file__).parents[1]


class Cluster:
    """A scheduler and workers as a user starts them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, []
        self.address = ""

    def scheduler(self) -> None:
        file = self.folder / "scheduler.json"
        self.start("scheduler", "--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", file)
        assert until(file.exists, 30.0)
        self.address = json.loads(file.read_text())["address"]

    def worker(self, code: Path = ROOT) -> subprocess.Popen:
        """One, with fogsim's code from a folder."""
        words = ("--nthreads", 1, "--no-dashboard", "--local-directory", self.folder)
        return self.start("worker", self.address, *words, code=code)

    def start(self, *words: object, code: Path = ROOT) -> subprocess.Popen:
        """``dask ...``"""
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *map(str, words)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(code)},
        )  # fmt: skip
        self.processes.append(process)
        return process

    def end(self) -> None:
        for process in self.processes:
            for child in children(process.pid) if process.poll() is None else []:
                os.kill(child, signal.SIGKILL)
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    made.scheduler()
    yield made
    made.end()


@PROC
def test_a_cluster_drives_the_same_encounters_and_survives_a_worker(cluster, tmp_path):
    plan = Campaign(Scenario(filters=("kalman", "bnn"), duration=3.0), 14, tmp_path / "here")
    assert campaign(plan, 1) == 0
    workers = [cluster.worker() for _ in range(2)]
    there = plan._replace(folder=tmp_path / "there")
    watch = subprocess.Popen([sys.executable, "-c", KILL, str(there.folder), *(str(w.pid) for w in workers[:1])])
    assert campaign(there, cluster=cluster.address) == 0
    assert watch.wait() == 0
    assert hashes(there.folder) == hashes(plan.folder)
    assert (there.folder / RESULTS).read_bytes() == (plan.folder / RESULTS).read_bytes()


# Once some logs are there: a worker and the nanny that would start it again.
KILL = """
import os, signal, sys, time
from pathlib import Path
folder, nanny = Path(sys.argv[1]), int(sys.argv[2])
end = time.monotonic() + 100
while len(list(folder.glob("*.h5"))) < 4 and time.monotonic() < end:
    time.sleep(.01)
if len(list(folder.glob("*.h5"))) >= 11:
    sys.exit("too late")
inner = [int(w) for w in Path(f"/proc/{nanny}/task/{nanny}/children").read_text().split()]
for process in (nanny, *inner):
    os.kill(process, signal.SIGKILL)
"""


def test_a_worker_of_another_version_is_refused(cluster, tmp_path):
    for package in ("fogsim", "filters"):
        shutil.copytree(ROOT / package, tmp_path / "older" / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "older/filters/own.py").write_text("BLIND = 6.0\n")
    cluster.worker(tmp_path / "older")
    plan = Campaign(SHORT, 2, tmp_path / "out")
    with pytest.raises(UserError, match=r"worker tcp://.* has code [0-9a-f]+, expected [0-9a-f]+: install the same"):
        campaign(plan, cluster=cluster.address)
    assert not list(plan.folder.glob("*.h5"))


def test_a_job_for_another_version_ends_the_campaign(tmp_path):
    """As of a worker that joins later: no encounter is to blame."""
    job = next(Campaign(SHORT, 1, tmp_path).jobs())
    with pytest.raises(UserError, match="expected other: install the same on all"):
        campaigns.drive(job._replace(code="other"))
    assert not job.log.exists()


def test_a_scheduler_without_workers_is_told(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("fogsim.engines.ANSWER", 1.0)
    with pytest.raises(UserError, match=r"has no worker: start some \(dask worker tcp://"):
        campaign(Campaign(SHORT, 2, tmp_path / "out"), cluster=cluster.address)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://here", "127.0.0.1"])
def test_no_scheduler_is_told(address, tmp_path, monkeypatch):
    monkeypatch.setattr("fogsim.engines.ANSWER", 1.0)
    with pytest.raises(UserError, match=f"no scheduler answers at {address}"):
        campaign(Campaign(SHORT, 2, tmp_path / "out"), cluster=address)
    assert not list((tmp_path / "out").glob("*.h5"))
