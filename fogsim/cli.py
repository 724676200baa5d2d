"""The command line: what each command takes. What it does is loaded only when it is called."""

from __future__ import annotations

import dataclasses
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from fogsim.errors import UserError, did_you_mean

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
logs = typer.Typer(no_args_is_help=True, help="Look at a log, check it, or rescue what a killed run left behind.")
app.add_typer(logs, name="log")

Seed = Annotated[int, typer.Option(min=0, help="With the scenario it determines everything but the wall times.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
Card = Annotated[
    str | None, typer.Option(metavar="FILE.json|default", help="Recalibrate by a card, on seeds it has not seen.")
]
Script = Annotated[Path, typer.Argument(metavar="SCENARIO.py", show_default=False)]
Filters = Annotated[str | None, typer.Option(metavar="A,B", help="Which filters follow.", show_default=False)]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="E.g. fog.visibility=40; may be repeated.")
]
Level = Annotated[str, typer.Option("--log", metavar="scans|beliefs", help="beliefs leaves the scans out.")]
OneLog = Annotated[Path, typer.Argument(metavar="LOG.h5", show_default=False)]

ENGINE = "Of a network: pyro, low_rank, ivon or anchored, of the classifier also reparameterised or dropout."


@app.callback()
def fogsim(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """A car creeps through fog; filters believe, a driver decides, and all of it is logged, replayed and scored."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for two logs, a picture and a film; numbered on if taken.")] = Path(
        "replays/demo"
    ),
    seed: Annotated[int | None, typer.Option(min=0, help="Another encounter.", show_default=False)] = None,
) -> None:
    """Drive the default encounter twice: trusting the likeliest label, and holding a belief."""
    from fogsim import demo as demonstration

    demonstration.demonstrate(out, demonstration.DEMO_SEED if seed is None else seed)


@app.command()
def run(
    scenario: Script,
    seed: Seed = 0,
    filters: Filters = None,
    settings: Settings = None,
    level: Level = "scans",
    out: Annotated[
        Path | None,
        typer.Option(metavar="LOG.h5", help="The log; replays/SCENARIO-SEED.h5 if none.", show_default=False),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Open a window on the run.")] = False,
    card: Card = None,
    as_json: Json = False,
    then: Annotated[bool, typer.Option("--then", help="Drive what the script's campaigns go on with.")] = False,
) -> None:
    """Drive one encounter of a scenario script into a log."""
    from fogsim import cards, commands, scripts

    base = scripts.resolve(scripts.load_then(scenario) if then else scripts.load(scenario), filters, settings or [])
    base = cards.carded(base, card, [seed])
    cards.warn(base)
    commands.run_script(base, seed, level, out, watch, as_json)


@app.command()
def campaign(
    scenario: Script,
    encounters: Annotated[int, typer.Option(help="Of each setting of a sweep.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="DIR", help="One log each; gone on with if there.", show_default=False)],
    seed: Seed = 0,
    filters: Filters = None,
    settings: Settings = None,
    sweep: Annotated[
        list[str] | None, typer.Option(metavar="FIELD=A,B,...", help="Every value in turn; may be repeated.")
    ] = None,
    level: Level = "beliefs",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes; one per core if none.", show_default=False)
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="tcp://HOST:PORT", help="A Dask scheduler.", show_default=False)
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what failed.")] = False,
    card: Card = None,
) -> None:
    """Drive thousands of encounters of a scenario script, each into a log; an interrupted campaign is gone on with."""
    from fogsim import campaign_command, campaigns, cards, scripts

    first, then = scripts.load_both(scenario)
    seeds = [campaigns.seed_of(seed, i) for i in range(encounters)]
    base = cards.carded(scripts.resolve(first, filters, settings or []), card, seeds)
    if then:
        later = cards.carded(scripts.resolve(then.scenario, filters, settings or []), card, seeds)
        then = dataclasses.replace(then, scenario=later)
    plan = campaigns.Campaign(base, encounters, out, seed, level, campaigns.parse_sweep(sweep or []), then)
    for cell in plan.settings:
        cards.warn(campaigns.applied(base, cell))
    raise typer.Exit(campaign_command.campaign(plan, jobs, cluster, retry_failed))


@app.command()
def replay(
    path: OneLog,
    other: Annotated[
        Path | None, typer.Argument(metavar="OTHER.h5", help="Beside it, on one cursor.", show_default=False)
    ] = None,
    at: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Of the picture; else the decision point.")
    ] = None,
    speed: Annotated[float, typer.Option(metavar="X", help="Times real time, of the window or a film.")] = 1.0,
    filters: Annotated[
        str | None, typer.Option(metavar="A,B", help="Two beliefs side by side.", show_default=False)
    ] = None,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE.mp4|.gif|.png", help="Into a file instead.", show_default=False)
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Drive it again from what it holds: is every frame the same?")
    ] = False,
) -> None:
    """Play a log in a window, or two side by side; make a film or a picture; or drive it again and compare."""
    from fogsim import commands

    if verify:
        if (other, at, filters, export, speed) != (None, None, None, None, 1.0):
            raise UserError("found --verify beside other things, expected one log: fogsim replay LOG.h5 --verify")
        return commands.drive_again(path)
    beliefs = None if filters is None else commands.two(filters)
    commands.replay([path] if other is None else [path, other], at, speed, beliefs, export)


@app.command()
def calibrate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="CARD.json", help="New.", show_default=False)],
    maps: Annotated[str, typer.Option(metavar="temperature|platt|beta|isotonic", help="Of log-odds.")] = "temperature",
    guarantee: Annotated[str, typer.Option(metavar="mean|pac", help="Of the share of barriers missed.")] = "mean",
    alpha: Annotated[float, typer.Option(help="That share.")] = 0.05,
) -> None:
    """Learn from an open-loop campaign how far beliefs can be trusted: maps and thresholds, for --card."""
    from fogsim import calibrate_command

    calibrate_command.calibrate(folder, out, maps, guarantee, alpha)


@app.command()
def score(
    paths: Annotated[list[Path], typer.Argument(metavar="LOG.h5|DIR...", show_default=False)],
    out: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the tables as JSON too.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write a page of charts too.")] = None,
) -> None:
    """Score logs: beliefs at the decision point and at fixed ranges, actions, costs."""
    from fogsim import commands

    commands.score(paths, out, html)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="LOG.h5|DIR", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="LOG.h5|DIR", show_default=False)],
    filters: Annotated[
        str | None, typer.Option(metavar="A,B", help="A of the first against B of the second.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the tables as JSON too.")] = None,
) -> None:
    """Compare two campaigns, or two filters, on the seeds that both drove: beliefs, costs, with intervals."""
    from fogsim import compare_command

    compare_command.compare(first, second, filters, out)


@app.command()
def debt(
    folder: Annotated[Path, typer.Argument(metavar="DIR", show_default=False)],
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE.safetensors", help="Deployed; else the one that ships as bnn.")
    ] = None,
    cost: Annotated[float, typer.Option(help="Of retraining, in the unit of the losses.")] = 50.0,
    horizon: Annotated[float, typer.Option(help="Encounters that what is newly deployed will serve.")] = 1000.0,
    staleness: Annotated[float, typer.Option(help="Prior probability that the checkpoint grows stale.")] = 0.5,
    alpha: Annotated[float, typer.Option(help="Most that false alarms may have as their probability.")] = 0.05,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw it too.", show_default=False)] = None,
) -> None:
    """Learning debt of a deployed classifier over a campaign's logs, and when to have retrained."""
    from filters.adaptation.debt import RetrainPolicy
    from fogsim import debt_command

    try:
        policy = RetrainPolicy(cost, horizon, staleness, alpha)
    except ValueError as error:
        raise UserError(str(error)) from error
    debt_command.debt(folder, checkpoint, policy, plot)


@app.command()
def fog(
    scan: Annotated[Path, typer.Argument(metavar="SCAN|DIR", show_default=False)],
    visibility: Annotated[float, typer.Option(metavar="METRES", help="Of the fog.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="SCAN2|DIR2", help="New, in SCAN's layout.", show_default=False)],
    layout: Annotated[str, typer.Option(metavar="kitti|nuscenes|stf|pcd", help="Of SCAN; auto tells.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="With SCAN's name it determines the fog.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Processes, for a folder.")] = 1,
    model: Annotated[
        str, typer.Option(metavar="fogsim|hahner", help="hahner: as published in 2021; no point is lost.")
    ] = "fogsim",
    nan: Annotated[str, typer.Option(metavar="refuse|drop", help="Points that are not finite.")] = "refuse",
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw one scan before and after.", show_default=False)
    ] = None,
) -> None:
    """Lay fog over a real scan, or over a folder of them; an interrupted folder is gone on with."""
    from fogsim import fog_command, fog_files

    settings = fog_files.Settings(visibility, seed, layout, nan, model)
    fog_command.fog(scan, out, settings, jobs, picture)


@app.command()
def data(
    scenario: Script,
    encounters: Annotated[int, typer.Option(help="To simulate.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="FILE.h5", help="New.", show_default=False)],
    seed: Seed = 0,
    scans: Annotated[bool, typer.Option("--scans", help="Keep the scans too, some 60 kB a frame.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Write labelled frames for learners: features, and if wanted scans."""
    from fogsim import dataset, scripts

    dataset.write(out, scripts.resolve(scripts.load(scenario), None, []), encounters, seed, scans, jobs)


@app.command()
def train(
    what: Annotated[str, typer.Argument(metavar="classifier|patch|kernel", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="FILE.safetensors", help="The checkpoint.", show_default=False)],
    encounters: Annotated[int, typer.Option(help="To simulate.")] = 600,
    seed: Seed = 0,
    engine: Annotated[str, typer.Option(metavar="NAME", help=ENGINE, show_default="of the shipped one")] = "",
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Where a network is trained.")] = "auto",
) -> None:
    """Train what a filter learns from the simulator, and its tempering; broken off, the same command goes on."""
    from fogsim import training

    training.train(what, encounters, out, seed, engine=engine, device=device)  # type: ignore[arg-type]  # it refuses


@app.command()
def serve(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT.safetensors", show_default=False)],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    host: Annotated[str, typer.Option(help="0.0.0.0: other machines too, whoever they are.")] = "127.0.0.1",
    draws: Annotated[int, typer.Option(min=1, max=10000, help="Of the weights; a classifier has 32.")] = 100,
    compact: Annotated[bool, typer.Option("--compact", help="Weights in 8 bits, 3.5 times smaller.")] = False,
) -> None:
    """Answer over HTTP by a Bayesian network, as Triton would: the Open Inference Protocol."""
    from fogsim import serve_command

    serve_command.serve(checkpoint, host, port, draws, compact)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check versions, GPU, display, numba's cache, checkpoints, and whether the golden run is still the same."""
    from fogsim import doctor as examination

    raise typer.Exit(examination.examine(as_json))


@logs.command()
def info(path: OneLog, as_json: Json = False) -> None:
    """What a log says of itself."""
    from fogsim import commands

    commands.info(path, as_json)


@logs.command()
def verify(path: OneLog, as_json: Json = False) -> None:
    """Whether a log is whole and unchanged."""
    from fogsim import commands

    commands.verify(path, as_json)


@logs.command()
def recover(
    path: OneLog,
    out: Annotated[Path | None, typer.Option(metavar="NEW.h5", help="LOG.h5 if none.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Make a log of what a killed run left in LOG.h5.part."""
    from fogsim import commands, log

    commands.show({"path": str(log.recover(path, out))}, as_json)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and leave with its exit code: 2 and one line on stderr for what the user can mend."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        code = app([a for a in given if a != "--debug"], prog_name="fogsim", standalone_mode=False)
    except UserError as error:
        leave(str(error), 2, debug)
    except typer.Abort:  # an interrupt, after what was there to say of it
        sys.exit(130)
    except Exception as error:
        if hasattr(error, "format_message"):  # of typer, whichever click it rests on
            leave(usage(error), 2, debug)
        text = " ".join(f"{type(error).__name__}: {error}".split())
        leave(f"{text}; this is a fault of fogsim: add --debug to see where", 1, debug)
    sys.exit(code if isinstance(code, int) else 0)


def usage(error: Exception) -> str:
    """A wrong use of the command line in one line."""
    text = " ".join(error.format_message().split())  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    if text.startswith("No such command") and context is not None:
        return f"{text} {did_you_mean(text.split(chr(39))[1], list(context.command.commands))}"
    return f"{text}; see {context.command_path if context is not None else 'fogsim'} --help" if text else ""


def leave(line: str, code: int, debug: bool) -> NoReturn:
    """Print the line, after the traceback if wanted, and leave."""
    if debug:
        traceback.print_exc()
    if line:
        print(f"fogsim: {line}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
