"""Scoring many logs: seconds to read them and to make the tables, memory, and what is kept of each.

python tests/bench/score.py [FOLDER [LOGS]]

Without a FOLDER a few encounters are driven and linked to LOGS names; with one, up to LOGS of its own are scored.
"""

from __future__ import annotations

import io
import resource
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

from rich.console import Console

from fogsim.campaign_command import campaign
from fogsim.campaigns import Campaign
from fogsim.scenario import Driver, Scenario
from fogsim.scoring.report import print_score, to_dict
from fogsim.scoring.scores import score

LOGS, DRIVEN = 1000, 8


def drive(folder: Path, logs: int) -> None:
    """Logs of a few open-loop encounters under many names: seeds repeat, and the disk is read once."""
    with redirect_stdout(io.StringIO()):
        campaign(Campaign(replace(Scenario(), driver=Driver(policy="open_loop")), DRIVEN, folder), 1)
    driven = sorted(folder.glob("*.h5"))
    for k in range(logs):
        (folder / f"linked-{k}.h5").hardlink_to(driven[k % DRIVEN])


def measure(logs: list[Path]) -> None:
    """Score these in this process and print what it took."""
    before = resident()
    wall, busy = perf_counter(), process_time()
    result = score(logs)
    read = process_time() - busy
    print_score(result, Console(file=io.StringIO(), width=112))
    shown = process_time() - busy - read
    wall = perf_counter() - wall
    grown = resident() - before
    to_dict(result)
    whole = process_time() - busy - read - shown
    print(
        f"{len(logs):6d} logs: {wall:.1f} s ({read:.1f} s of core to read, {shown:.1f} s for the tables),"
        f" {whole:.1f} s more for the JSON; {resident() / 1e6:.0f} MB at most, {grown / 1e6:.0f} MB of it for the score"
    )


def resident() -> int:
    """The most this process ever had, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(folder: Path, logs: int) -> None:
    """A tenth of the logs and all of them, each in a process of its own: what a process once had it keeps."""
    for count in (logs // 10, logs):
        subprocess.run([sys.executable, __file__, "--measure", str(folder), str(count)], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sorted(Path(sys.argv[2]).glob("*.h5"))[: int(sys.argv[3])])
    elif len(sys.argv) > 1:
        main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else LOGS)
    else:
        with TemporaryDirectory() as made:
            drive(Path(made), LOGS)
            main(Path(made), LOGS)
