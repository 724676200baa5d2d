"""What learning debt is worth where the world changes midway: never retraining, by the calendar, and by the debt.

    python scenarios/studies/learning_debt.py [--scenario regime_shift] [--seeds 8] [--others 3]
                                              [--out replays/learning_debt] [--jobs 2]

It gives, and prints, the commands that a user would: campaigns of 650 encounters of scenarios/regime_shift.py or
sensor_swap.py, root seeds 23, 24, ... to report on, and 19, 20, ..., on which the calendar, and some settings of
`filters.adaptation.deployed`, were chosen; others on 6 to 8. What is there is not driven again, and a folder that an
earlier fogsim has finished is taken as it is.

A deployment begins at an encounter of the first 130, drawn at random, so that the change comes 20 to 150 encounters
after it, which nobody knows, and is followed by 500. To retrain is to deploy the posterior that goes on learning, for
each of four costs: from a fifth to twice of what a missed barrier costs. Costs are the losses of braking or not at the
decision points, and that of each retraining. A calendar counts from the deployment. The plot shows the costs as they
come up, and the debt and evidence of every seed, where retraining costs as much as a missed barrier.
"""

import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from study import parser_of, students

from filters.adaptation import deployed
from filters.adaptation.debt import RetrainPolicy
from filters.posterior.served import use_one_thread
from filters.streams import stream
from filters.trained import shipped
from fogsim.campaigns import RESULTS
from fogsim.indebted import SEED, Entry, follow, lessons
from fogsim.labelled import encounters, logs_of

SCENARIOS = ("regime_shift", "sensor_swap")
FIRST, OTHERS = 23, 19  # root seeds
ENCOUNTERS, SHIFT, LATEST = 650, 150, 130  # in all, before the change, and to begin in
COSTS, PLOTTED = (20.0, 50.0, 100.0, 200.0), 100.0
HORIZON = 500.0
PERIODS = (20, 30, 40, 50, 60, 80, 100, 120, 150, 200, 250, 300, 400)
STEP = 10  # encounters: all periods are multiples of it


class Course(NamedTuple):
    """One deployment: encounters until the world changes, losses (n,) of never retraining and of what goes on learning,
    and by the cost of retraining costs (n,) of each period and of the policy, its debt and evidence (n, 2), and after
    how many encounters it retrained.
    """

    shift: int
    never: np.ndarray
    learning: np.ndarray
    calendars: dict[float, dict[int, np.ndarray]]
    policy: dict[float, np.ndarray]
    account: dict[float, np.ndarray]
    fired: dict[float, list[int]]


def drive(scenario: str, folder: Path, seed: int, jobs: int) -> None:
    """The campaign, unless it is whole."""
    if (folder / RESULTS).exists() and len(logs_of(folder)) >= ENCOUNTERS:
        return
    script = Path(__file__).parents[1] / f"{scenario}.py"
    words = ["campaign", script, "--encounters", ENCOUNTERS, "--seed", seed, "--jobs", jobs, "--out", folder]
    print("fogsim", *words, flush=True)
    subprocess.run([sys.executable, "-m", "fogsim.cli", *map(str, words)], check=True)


def course(folder: Path, seed: int) -> Course:
    """What became of a deployment in a campaign."""
    use_one_thread()
    start = int(stream(seed, "deployment").integers(LATEST))
    first, known = deployed.load(shipped("bnn")), [e for e in encounters(folder) if e and e.number >= start]
    learnt = list(lessons(known, first))
    entries = {cost: list(follow(learnt, first, RetrainPolicy(cost, HORIZON))) for cost in COSTS}
    some = entries[COSTS[0]]
    table = losses(some, first)
    calendars = {cost: {period: calendar(table, period, cost) for period in PERIODS} for cost in COSTS}
    policy = {cost: np.array([e.losses[0] + cost * bool(e.firing) for e in entries[cost]]) for cost in COSTS}
    account = {cost: np.array([(e.account.debt, e.account.evidence) for e in entries[cost]]) for cost in COSTS}
    fired = {cost: [k + 1 for k, e in enumerate(entries[cost]) if e.firing] for cost in COSTS}
    shift = sum(e.number < SHIFT for e in known)
    return Course(shift, table[0], np.array([e.losses[1] for e in some]), calendars, policy, account, fired)


def losses(entries: list[Entry], first: deployed.Deployed) -> np.ndarray:
    """Loss (models, n) in every encounter of the model as it was after 0, `STEP`, ... of them; NaN before."""
    models = [first.model, *(e.model for e in entries[STEP - 1 :: STEP])]
    table = np.full((len(models), len(entries)), np.nan)
    for m, model in enumerate(models):
        for k in range(m * STEP, len(entries)):
            found = entries[k].encounter
            table[m, k] = found.stakes.loss(first.probability(model, found.asked, SEED), found.label)
    return table


def calendar(table: np.ndarray, period: int, cost: float) -> np.ndarray:
    """Cost by encounter (n,) where every `period` encounters the posterior that has learnt is deployed."""
    at, n = np.arange(table.shape[1]), table.shape[1]
    fires = ((at + 1) % period == 0) & (at + 1 < n)
    return table[at // period * period // STEP, at] + cost * fires


def report(mine: dict[int, Course], others: list[Course], cost: float) -> int:
    """Print what each way cost, and how much more than the policy; the calendar's period."""
    means = {period: float(np.mean([c.calendars[cost][period].sum() for c in others])) for period in PERIODS}
    best = min(means, key=lambda period: means[period])
    ways = {
        "never": [c.never for c in mine.values()],
        f"every {best} encounters": [c.calendars[cost][best] for c in mine.values()],
        "by the debt": [c.policy[cost] for c in mine.values()],
        "after each, for nothing": [c.learning for c in mine.values()],
    }
    table = Table(
        "retrain", *(f"seed {seed}" for seed in mine), "mean", "more than by the debt", title=f"cost {cost:g}"
    )
    policy = np.array([c.policy[cost].sum() for c in mine.values()])
    for name, found in ways.items():
        totals = np.array([each.sum() for each in found])
        apart = "" if name == "by the debt" else "{:.0f} ± {:.0f}".format(*students((totals - policy).tolist()))
        mean = "{:.0f} ± {:.0f}".format(*students(totals.tolist()))
        table.add_row(name, *(f"{total:.0f}" for total in totals), mean, apart)
    console = Console(width=140)
    console.print(table)
    console.print("calendars on other seeds:", {period: round(mean) for period, mean in means.items()})
    for seed, c in mine.items():
        since = [k - c.shift for k in c.fired[cost]]
        console.print(f"seed {seed}: retrained {since} encounters after the change, {c.shift} after deployment")
    return best


def draw(mine: dict[int, Course], best: int, path: Path) -> None:
    """Mean cumulative cost about the change, and every seed's debt and evidence."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 8.0), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    cost, debt, evidence = figure.subplots(3, 1, sharex=True, height_ratios=(2.0, 1.0, 1.0))
    since = np.arange(-10, ENCOUNTERS - SHIFT)
    ways = (("never", "#d55e00"), (f"every {best}", "#999999"), ("by the debt", "#0072b2"))
    parts = [lambda c: c.never, lambda c: c.calendars[PLOTTED][best], lambda c: c.policy[PLOTTED]]
    for (name, colour), part in zip(ways, parts, strict=True):
        lines = [about(np.cumsum(part(c)), c, since) for c in mine.values()]
        for line in lines:
            cost.plot(since, line, color=colour, alpha=0.25, linewidth=0.8)
        mean = np.mean(lines, axis=0)
        cost.plot(since, mean, color=colour, linewidth=2.2, label=f"retrain {name}")
    for c in mine.values():
        for axes, values in zip((debt, evidence), c.account[PLOTTED].T, strict=True):
            axes.plot(since, about(values, c, since), color="#0072b2", linewidth=0.9)
    for axes, level, name in (
        (debt, PLOTTED, "decision debt"),
        (evidence, RetrainPolicy(PLOTTED, HORIZON).proof, "evidence, nats"),
    ):
        axes.axhline(level, color="#d55e00", linestyle="--", linewidth=1.0)
        axes.set_ylabel(name)
    for axes in (cost, debt, evidence):
        axes.axvline(0, color="black", linestyle=":", linewidth=1.0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    cost.set_ylabel("cost since deployment")
    cost.legend(frameon=False)
    evidence.set_xlabel("encounters since the change")
    figure.savefig(path)


def about(values: np.ndarray, c: Course, since: np.ndarray) -> np.ndarray:
    """Values by encounter of a deployment, by encounter since the change; NaN outside."""
    at = since + c.shift
    return np.where((at >= 0) & (at < len(values)), values[np.clip(at, 0, len(values) - 1)], np.nan)


def main() -> None:
    parser = parser_of(__doc__, 8, "replays/learning_debt")
    parser.add_argument("--scenario", choices=SCENARIOS, default=SCENARIOS[0])
    parser.add_argument("--others", type=int, default=3, choices=range(1, FIRST - OTHERS + 1))
    given = parser.parse_args()
    others = [OTHERS + k for k in range(given.others)]
    seeds, out = [*range(FIRST, FIRST + given.seeds), *others], given.out / given.scenario
    for seed in seeds:
        drive(given.scenario, out / str(seed), seed, given.jobs)
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        found = dict(zip(seeds, pool.map(course, [out / str(seed) for seed in seeds], seeds), strict=True))
    mine = {seed: found[seed] for seed in seeds[: given.seeds]}
    best = {cost: report(mine, [found[seed] for seed in others], cost) for cost in COSTS}
    draw(mine, best[PLOTTED], out / f"{given.scenario}.png")


if __name__ == "__main__":
    main()
