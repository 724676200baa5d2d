"""``fogsim campaign``: a folder of encounters, with progress, until all are done or failed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from filters.jit import compiled_before
from filters.spec import CLASSES
from fogsim import engines, results
from fogsim.campaigns import (
    FAILURES,
    RESULTS,
    Campaign,
    Job,
    Outcome,
    applied,
    begin,
    check_plan,
    drive,
    environment,
    open_folder,
)
from fogsim.errors import UserError, one_line
from fogsim.folders import alone, replace_file
from fogsim.interrupt import until_interrupted
from fogsim.monitor import Monitor
from fogsim.runner import belief_names, run

PARTIAL = 3  # exit code where some encounters failed


class Running:
    """Mean log loss of every belief at the decision point, so far, the watch on its calibration where truths are drawn
    from the prior that it has, and logs whose object beliefs have no class for.
    """

    def __init__(self, plan: Campaign, console: Console) -> None:
        self.sums: dict[str, tuple[int, float]] = {}
        self.unclassed: set[str] = set()
        self.sweep, self.console = tuple(plan.sweep), console
        cells = [applied(plan.scenario, settings) for settings in plan.settings]
        streams = sum(len(belief_names(cell)) for cell in cells)
        drawn = all(cell.hazards[0].kind == "draw" for cell in cells)
        self.monitor = Monitor(streams) if streams and drawn else None

    def add(self, rows: Iterable[results.Row]) -> None:
        """Count encounters' rows."""
        for row in rows:
            if row["truth"] not in CLASSES:
                self.unclassed.add(row["log"])
            if self.monitor and row.get("belief"):
                name = (*(row[field] for field in self.sweep), row["belief"])
                self.tell(self.monitor.add(name, int(row["number"]), row))
            loss = float(row.get("log_loss") or "nan")
            if np.isfinite(loss):
                n, total = self.sums.get(row["belief"], (0, 0.0))
                self.sums[row["belief"]] = n + 1, total + loss

    def lost(self, job: Job) -> None:
        """Let the watch go on without an encounter that failed."""
        if self.monitor:
            for name in belief_names(job.scenario):
                self.tell(self.monitor.add((*job.settings.values(), name), job.number, None))

    def tell(self, line: str) -> None:
        """Print a line, if there is one."""
        if line:
            self.console.print(f"fogsim: {line}", markup=False, highlight=False, soft_wrap=True)

    def __str__(self) -> str:
        return ", ".join(f"{name} {total / n:.3f}" for name, (n, total) in self.sums.items())


class Rate(ProgressColumn):
    """Encounters a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.2f}/s" if task.speed else "")


def campaign(
    plan: Campaign, processes: int | None = None, cluster: str | None = None, retry_failed: bool = False
) -> int:
    """Drive what is not there yet; what failed before is left out unless it is to be tried again.

    Parameters
    ----------
    plan : Campaign
        What to drive, and the folder.
    processes : int, optional
        Of this machine; as many as it has cores if none.
    cluster : str, optional
        Address of a Dask scheduler whose workers are to drive instead; they must see the same folder.
    retry_failed : bool
        Whether what failed before is tried again.

    Returns
    -------
    the exit code: 0, or `PARTIAL` if encounters have failed

    Raises
    ------
    UserError
        If the campaign cannot begin or go on; what is done is kept.
    """
    check_plan(plan)
    with told(plan), alone(open_folder(plan.folder)):
        whole = begin(plan)
        for left in plan.folder.glob(".*.tmp"):  # of processes that were killed
            left.unlink()
        running = Running(plan, Console(stderr=True))
        mend(whole, running, retry_failed)
        try:
            todo = partial(left_to_do, plan, retry_failed)
            drive_all(plan, todo, partial(engine, plan, processes, cluster), running)
        finally:
            order(whole)
        return summary(plan, running)


def mend(plan: Campaign, running: Running, retry_failed: bool) -> None:
    """Put the table in order, add what a campaign that was killed did not tell of a log, and count as lost what failed
    and is not tried again.
    """
    known = order(plan)
    running.add(results.read(plan.folder / RESULTS, names_of(plan)))
    for job in plan.jobs():
        if job.log.exists() and job.log.name not in known:
            rows = results.rows_of(job.log, job.number, job.settings)
            results.append(plan.folder / RESULTS, rows, names_of(plan))
            running.add(rows)
        if job.log.exists():
            job.failure.unlink(missing_ok=True)
        elif job.failure.exists() and not retry_failed:
            running.lost(job)


@contextmanager
def told(plan: Campaign) -> Iterator[None]:
    """Tell an error of the file system in a line."""
    try:
        yield
    except OSError as error:
        what = error.strerror or one_line(error)
        raise UserError(
            f"cannot write to {plan.folder} ({what}): what is done is kept; make room, and give the same command again"
        ) from error


def names_of(plan: Campaign) -> list[str]:
    """Columns of its table."""
    return results.columns(plan.sweep)


def order(plan: Campaign) -> set[str]:
    """Put the table in order; the names of the logs it tells of."""
    rows = {job.log.name: max(len(belief_names(job.scenario)), 1) for job in plan.jobs() if job.log.exists()}
    return results.put_in_order(plan.folder / RESULTS, names_of(plan), rows)


def left_to_do(plan: Campaign, retry_failed: bool) -> Iterator[Job]:
    """Encounters without a log; those that failed only if they are to be tried again."""
    return (j for j in plan.jobs() if not j.log.exists() and (retry_failed or not j.failure.exists()))


def drive_all(
    plan: Campaign,
    todo: Callable[[], Iterator[Job]],
    start: Callable[[Iterator[Job]], Generator[Outcome]],
    running: Running,
) -> None:
    """Give what is left to an engine, and keep what comes back."""
    count = sum(1 for _ in todo())
    if not count:
        return
    console = Console(stderr=True)
    warm(plan, console)
    outcomes = start(todo())
    total = plan.encounters * len(plan.settings)
    columns = (BarColumn(24), MofNCompleteColumn(), Rate(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total, completed=total - count)
        try:
            with closing(outcomes), closing(until_interrupted(outcomes)) as finished:
                for outcome in finished:
                    keep(plan, outcome, console)
                    running.add(outcome.rows)
                    if outcome.cause:
                        running.lost(outcome.job)
                    bar.update(task, advance=1, description=f"log loss: {running}")
        except KeyboardInterrupt:
            console.print("fogsim: interrupted: the same command goes on from here", markup=False, soft_wrap=True)
            raise


def engine(plan: Campaign, processes: int | None, cluster: str | None, jobs: Iterator[Job]) -> Generator[Outcome]:
    """Outcomes in the order in which encounters end."""
    if cluster is not None:
        return engines.cluster(drive, jobs, cluster, partial(environment, plan.scenario.filters))
    return engines.local(drive, jobs, processes or engines.cores())


def warm(plan: Campaign, console: Console) -> None:
    """Compile the kernels once, before every process would; if the encounter fails it will be told when its turn is."""
    if not compiled_before(Path(__file__).parent):
        job = next(plan.jobs())
        with console.status("compiling kernels (first time only, about a minute)"), suppress(Exception):
            for _ in run(job.scenario, job.seed):
                pass


def keep(plan: Campaign, outcome: Outcome, console: Console) -> None:
    """Write what is to be told of an encounter."""
    job = outcome.job
    if outcome.full:
        raise OSError(outcome.full, outcome.cause)
    if not outcome.cause:
        results.append(plan.folder / RESULTS, outcome.rows, names_of(plan))
        return job.failure.unlink(missing_ok=True)
    what = {"number": job.number, "seed": job.seed, "settings": job.settings, "cause": outcome.cause}
    replace_file(json.dumps(what | {"traceback": outcome.trace}, indent=1).encode() + b"\n", job.failure)
    line = f"fogsim: encounter {job.number}, seed {job.seed}, failed: {outcome.cause}"
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def summary(plan: Campaign, running: Running) -> int:
    """Print what is there; the exit code."""
    total = plan.encounters * len(plan.settings)
    failed = sum(1 for job in plan.jobs() if job.failure.exists())
    done = sum(1 for job in plan.jobs() if job.log.exists())
    scored = f"; log loss at the decision point: {running}" if str(running) else ""
    print(f"{plan.folder}: {done} of {total} encounters{scored}")
    if running.monitor and str(running.monitor):
        print(f"evidence against calibration there (an alarm at {1 / running.monitor.alpha:.0f}): {running.monitor}")
    if running.unclassed:
        print(f"{len(running.unclassed)} of {done} left out of log loss: no belief has a class for what stood there")
    print(f"table: {plan.folder / RESULTS}; scores: fogsim score {plan.folder}")
    if failed:
        remedy = f"causes in {plan.folder / FAILURES}; try them again with --retry-failed"
        print(f"fogsim: {failed} of {total} encounters failed: {remedy}", file=sys.stderr)
    if done + failed < total:
        lost = f"{total - done - failed} of {total} logs are not in {plan.folder}"
        print(f"fogsim: {lost}, though driven: do all workers see that folder?", file=sys.stderr)
    return PARTIAL if done < total else 0
