"""What the commands do; `fogsim.cli` declares them. Bad input is refused before anything is simulated or written."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from math import inf
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from fogsim import log, log_file, summary
from fogsim.background import background_of
from fogsim.driving import belief_names
from fogsim.errors import UserError
from fogsim.frame import Frame
from fogsim.interrupt import until_interrupted
from fogsim.runner import check, dims_of, run
from fogsim.scenario import Scenario

if TYPE_CHECKING:
    from fogsim.viewer.show import Show

REPLAYS = Path("replays")
TABLES = 112  # columns that a score needs: narrower, its numbers would be cut
COMPILING = 3.0  # s without a frame: then numba is compiling


class Doing(ProgressColumn):
    """The task's name, or why its first frame is late."""

    def render(self, task: Task) -> Text:
        late = not task.completed and (task.elapsed or 0.0) > COMPILING
        return Text("compiling kernels (first time only, about a minute)" if late else task.description)


def progress() -> Progress:
    """A progress bar on stderr that leaves nothing behind, and shows nothing where stderr is a file."""
    console, time = Console(stderr=True), TextColumn("{task.completed:.1f} s")
    columns = (Doing(table_column=Column(no_wrap=True)), BarColumn(12), time, TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def track() -> Progress:
    """A progress bar on stderr for work whose share that is done is known."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)


def record(
    scenario: Scenario, seed: int, path: Path, level: str = "scans", watched: bool = False
) -> BaseProcess | None:
    """Drive one encounter into a log, with a progress bar and, if watched, a window in a second process.

    Returns
    -------
    the window's process, if there is one

    Raises
    ------
    UserError
        Before the run, if it cannot run, the log exists or cannot be written, or there is no display to watch on.
    """
    check(scenario)
    background_of(scenario)
    if watched:
        from fogsim.viewer.app import check_display

        check_display()
    header = {"seed": seed, "scenario": scenario.json, "beliefs": list(belief_names(scenario))}
    with log.Recorder(path, dims_of(scenario), header, level) as recorder:
        return _drive(scenario, seed, recorder, watched)


def _drive(scenario: Scenario, seed: int, recorder: log.Recorder, watched: bool) -> BaseProcess | None:
    window, frames = None, 0
    try:
        with progress() as bar, closing(until_interrupted(run(scenario, seed))) as driven:
            task = bar.add_task(f"{scenario.name}, seed {seed}", total=scenario.duration)
            for frame in driven:
                recorder.append(frame)
                frames += 1
                bar.update(task, completed=float(frame.time) + scenario.dt)
                if watched and window is None:
                    window = _open_window(recorder.part)
    except BaseException as error:
        _leave(recorder, frames, error)
        raise
    return window


def _leave(recorder: log.Recorder, frames: int, error: BaseException) -> None:
    """Say where the frames of a run that broke off are; a log without any is removed, or it would bar the next run."""
    if not frames:
        recorder.part.unlink()
        return
    why = "interrupted" if isinstance(error, KeyboardInterrupt) else "broke off"
    remedy = f"`fogsim log recover {recorder.path}` makes them a log"
    Console(stderr=True).print(
        f"fogsim: {why} after {frames} frame{'s' * (frames != 1)}, kept in {recorder.part}: {remedy}",
        markup=False,
        soft_wrap=True,
    )


def _open_window(part: Path) -> BaseProcess:
    process = get_context("spawn").Process(target=_watch, args=(part,), daemon=True)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which it inherits: Ctrl-C is for the run, Q for the window
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    return process


def _watch(part: Path) -> None:
    from fogsim.viewer.app import watch

    try:
        watch([part], follow=True)
    except UserError as error:
        Console(stderr=True).print(f"fogsim: {error}", markup=False, soft_wrap=True)


def run_script(
    scenario: Scenario, seed: int, level: str, out: Path | None, watched: bool, as_json: bool = False
) -> None:
    """``fogsim run``: one encounter into one log, and a table of what came of it, or what the log says as JSON."""
    path = out or REPLAYS / f"{scenario.name}-{seed}.h5"
    if out is None:
        make_folder(REPLAYS)
    window = record(scenario, seed, path, level, watched)
    if as_json:
        info(path, as_json)
    else:
        show_run(scenario, path)
    if window is not None:
        with suppress(KeyboardInterrupt):
            window.join()


def show_run(scenario: Scenario, path: Path) -> None:
    """Print what a log tells of its run."""
    console = Console(markup=False, highlight=False)
    with log.Replay(path) as replay:
        if replay.beliefs:
            console.print(summary.table_of(replay, f"{scenario.name}, seed {replay.seed}"))
        console.print(f"outcome: {summary.outcome(replay)}")
        console.print(summary.thresholds(scenario), soft_wrap=True)
        console.print(f"{path}: {len(replay)} frames, content hash {replay.stored_hash}", soft_wrap=True)


def make_folder(folder: Path) -> None:
    """Create a folder and those above it, unless they are there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create folder {folder} ({error.strerror}): choose another place") from error


def drive_again(path: Path) -> None:
    """``fogsim replay --verify``: whether the log's scenario and seed, driven again, give its frames; 2 if not."""
    from fogsim import again

    with log.Replay(path) as kept:
        if problems := log.verify(kept.path):
            raise UserError(f"{kept.path}: {'; '.join(problems)}")
        with progress() as bar, closing(until_interrupted(again.drive(kept))) as driven:
            task = bar.add_task(f"{kept.scenario['name']}, seed {kept.seed}", total=kept.scenario["duration"])
            found = again.compare(kept, advancing(bar, task, driven))
    if not found.same:
        fail(f"{kept.path}: {found.text}")
    print(f"{kept.path}: {found.text}")


def advancing(bar: Progress, task: TaskID, driven: Iterable[Frame]) -> Iterator[Frame]:
    """The frames, as the bar moves with their time."""
    for frame in driven:
        bar.update(task, completed=float(frame.time))
        yield frame


def replay(
    paths: Sequence[Path], at: float | None, speed: float, beliefs: tuple[str, str] | None, export: Path | None
) -> None:
    """``fogsim replay``: one log or two side by side in a window, or a picture or a film of them.

    A picture is by default of the first log's decision point, else of its end.
    """
    film = export is not None and export.suffix.lower() != ".png"
    if at is not None and (export is None or film):
        raise UserError("found --at without a picture: add --export FILE.png, or step in the window with the arrows")
    if not 0.0 < speed < inf:
        raise UserError(f"found --speed {speed:g}, expected a number above 0: 1 is real time")
    if export is None:
        from fogsim.viewer.app import watch

        return watch(paths, speed=speed, beliefs=beliefs)
    if not film and speed != 1.0:
        raise UserError("found --speed with a picture: leave it out, or export a film, FILE.mp4 or FILE.gif")
    from fogsim.viewer.export import check_target
    from fogsim.viewer.show import show_of, stem

    check_target(export)
    with ExitStack() as opened:
        logs = [opened.enter_context(log.Replay(path)) for path in paths]
        show = show_of(logs, [stem(path) for path in paths], beliefs)
        export_show(show, decision_time(logs[0]) if at is None else at, speed, export)
    Console().print(f"{export}", markup=False, soft_wrap=True)


def two(filters: str) -> tuple[str, str]:
    """The names of two beliefs, "A,B"."""
    names = [name.strip() for name in filters.split(",")]
    if len(names) != 2:
        raise UserError(f"found --filters {filters}, expected two names: --filters kalman,particle")
    return names[0], names[1]


def export_show(show: Show, at: float, speed: float, path: Path) -> None:
    """A picture of the instant `at`, or a film, with a progress bar."""
    from fogsim.viewer.export import export_film, export_png

    if path.suffix.lower() == ".png":
        return export_png(show, at, path)
    with track() as bar:
        task = bar.add_task(f"drawing {path.name}", total=1.0)
        for done in export_film(show, path, speed):
            bar.update(task, completed=done)


def decision_time(recorded: log.Replay) -> float:
    """Of the decision point, or of the last frame where it was not reached, s."""
    times, decided = recorded.column("time"), recorded.column("at_decision_point")
    if not len(times):
        return 0.0
    return float(times[decided.argmax() if decided.any() else -1])


def score(paths: Sequence[Path], out: Path | None, html: Path | None) -> None:
    """``fogsim score``: tables, and if asked a new JSON file and a new page."""
    from fogsim.scoring.report import print_score, to_dict
    from fogsim.scoring.scores import score as score_logs

    check_new(out, html)
    with Console(stderr=True).status(f"scoring {', '.join(map(str, paths))}"):
        scored = score_logs(paths)
    print_score(scored, Console(width=max(TABLES, Console().width)))
    if out is not None:
        write_new(json.dumps(to_dict(scored), indent=1) + "\n", out)
    if html is not None:
        from fogsim.scoring.page.document import page

        command = shlex.join(("fogsim", "score", *map(str, paths), "--html", str(html)))
        write_new(page(scored, command), html)


def check_new(*files: Path | None) -> None:
    """Refuse, before any work, files that are there already, that have no folder, or of which two are one."""
    named = [file for file in files if file is not None]
    for file in named:
        if file.exists():
            raise UserError(f"{file} exists already and is never overwritten: choose another name")
        if not file.parent.is_dir():
            raise UserError(f"cannot write {file}: there is no folder {file.parent}; create it, or choose another")
    if len({file.resolve() for file in named}) < len(named):
        raise UserError(f"{named[0]} is named twice: choose a file for each")


def write_new(text: str, path: Path) -> None:
    """Write a new file."""
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): choose another name or folder") from error


def show(value: dict[str, Any], as_json: bool) -> None:
    """Print a record: a line per entry, or JSON."""
    if as_json:
        print(json.dumps(value, indent=1))
        return
    width = max(map(len, value))
    for key, entry in value.items():
        print(f"{key.replace('_', ' '):{width}}  {flat(entry)}")


def flat(entry: Any) -> str:
    """A value in one line; of nested ones the inner in brackets."""
    if isinstance(entry, dict):
        return ", ".join(f"{k} ({flat(v)})" if isinstance(v, dict) else f"{k} {flat(v)}" for k, v in entry.items())
    if isinstance(entry, list):
        return ", ".join(map(flat, entry))
    return f"{entry:g}" if isinstance(entry, float) else str(entry)


def info(path: Path, as_json: bool) -> None:
    """``fogsim log info``: what a log says of itself, and what came of its run."""
    told = log.info(path)
    with log.Replay(path) as recorded:
        if len(recorded) and "driver" in recorded.scenario:
            told["outcome"] = summary.outcome(recorded)
    show(told, as_json)


def verify(path: Path, as_json: bool) -> None:
    """``fogsim log verify``: what is wrong with a log; exit code 2 if anything is."""
    problems = log.verify(path)
    found = log_file.find(path)
    if as_json:
        print(json.dumps({"path": str(found), "problems": problems}, indent=1))
    elif not problems:
        print(f"{found}: nothing wrong")
    if problems:
        fail("" if as_json else f"{found}: {'; '.join(problems).removeprefix(f'{found} ')}")


def fail(line: str) -> NoReturn:
    """Leave with exit code 2 and a line, if there is one."""
    if line:
        raise UserError(line)
    raise SystemExit(2)
