"""Does a decision transformer that learns in closed form keep up when the world shifts?

    python scenarios/studies/transformer_shift.py [--seeds 12] [--learn 800] [--before 15] [--after 80]
        [--out replays/transformer] [--tune]

A careful car in thin fog (3 to 6 m/s, 40 m, the hazard announced at 24 m, else the default scenario, in whose fog
next to nothing is known yet where its car must decide) logs `--learn` encounters up to their decision points. Every
seed trains a decision transformer on four fifths of them, and meets encounters of its own: `--before` like these, then
`--after` of a world in which bags are big white film sacks and the fog echoes twice as brightly, as in
scenarios/regime_shift.py. Each is first judged, then learnt. All begin at the same weights:

    Kalman          this house's (`filters.posterior.kalman_transformer`)
    frozen          as it was trained
    SGD             one gradient step on each encounter
    Adam, replay    steps on each and 15 that are kept, of as many as fit into the Kalman transformer's memory
    last layer      Laplace's approximation of the head

Settings were chosen by `--tune`, which prints the loss of each on seeds of its own (from 900 on). The table is of the
encounters after the shift, means over seeds ± half of the 95 % interval (Student's), differences paired by seed:

    nats            lost on an encounter's answers, mean
    less frozen, less SGD   that, summed over the encounters
    cost            hindsight cost of the action of least expected cost, mean; its sum less frozen's and SGD's
    p95             ms of one core that learning an encounter takes
    floats          numbers that it keeps

`shift.png` shows how much less than the frozen one each has lost so far. Encounters are kept in the folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import thread_time
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from study import parser_of, students
from transformer_rivals import Adam, Frozen, Kalman, LastLayer, Learner, Sgd

from filters.losses import Loss
from filters.posterior.decision_transformer import (
    DecisionTransformer,
    Encounter,
    Pretrained,
    answers,
    asked,
    expected_costs,
)
from filters.posterior.kalman_transformer import KalmanTransformer
from filters.posterior.pretraining import pretrain
from filters.posterior.spec import generator
from filters.streams import stream
from fogsim.scenario import Assumed, BagPrior, Ego, Fog, Hazard, Optics, Scenario
from fogsim.transformer_driver import LOOKS, WIDTH, simulated

BEFORE = Scenario(filters=(), ego=Ego(speed=(3.0, 6.0)), fog=Fog(visibility=40.0), hazards=(Hazard(x=24.0),))
SACK = BagPrior(radius=(0.3, 0.5), fill=(0.9, 1.0), reflectance=(0.6, 0.9), roughness=0.02)
BRIGHT = Optics(lidar_ratio=0.5 * Optics.lidar_ratio)
AFTER = replace(
    BEFORE, bag=SACK, lidar=replace(BEFORE.lidar, optics=BRIGHT), assumed=Assumed(lidar_ratio=2.0)
)  # filters and perception go on assuming the old fog
WORLDS = {"learn": BEFORE, "before": BEFORE, "after": AFTER}
NETWORK, LOSSES, LEAST = DecisionTransformer(WIDTH, LOOKS), Loss().table(None), 1e-6
TUNING, TUNED, SHARE = 900, 3, 0.8

# Chosen by --tune
SPREAD, KEEP = 0.4, 0.99  # to forget nothing is .001 nats better there, but lets no world move for long
SGD_RATE, ADAM_RATE, ADAM_STEPS = 0.002, 1e-4, 4
HEAD_SPREAD, HEAD_KEEP = 10.0, 1.0
GRIDS = {
    "Kalman": [(s, k) for s in (0.2, 0.3, 0.4, 0.5, 0.6, 0.8) for k in (0.97, 0.99, 1.0)],
    "SGD": [(r,) for r in (0.0003, 0.001, 0.002, 0.003, 0.01, 0.03, 0.1, 0.3)],
    "Adam, replay": [(r, n) for r in (1e-4, 3e-4, 1e-3, 3e-3) for n in (1, 4, 8)],
    "last layer": [(s, k) for s in (0.3, 1.0, 3.0, 10.0, 30.0) for k in (0.97, 0.99, 1.0)],
}


class Course(NamedTuple):
    """Of a learner on one seed's encounters (N,): nats and hindsight costs before each was learnt, and ms to learn."""

    nats: np.ndarray
    cost: np.ndarray
    ms: np.ndarray
    floats: int


def encounters_of(world: str, seed: int, count: int, out: Path) -> list[Encounter]:
    """So many of them, that are there or are simulated; without those that are over before there are enough looks."""
    path, key = out / f"{world}-{seed}-{count}.npz", f"{WORLDS[world].hash} {world} {seed}"
    if not path.exists():
        made = [one(world, seed, k) for k in track(range(count), f"{world}, seed {seed}")]
        kept = [e for e in made if e is not None and len(e.looks) == LOOKS]
        part = path.with_suffix(".part.npz")
        columns = zip(("looks", "actions", "losses", "outcome"), zip(*kept, strict=True), strict=True)
        np.savez(part, key=key, **{name: np.array(values) for name, values in columns})
        part.replace(path)
    with np.load(path) as file:
        if file.get("key") != key:
            raise SystemExit(f"{path} is of another scenario or stream than today's: name another --out")
        rows = zip(*(file[name] for name in ("looks", "actions", "losses", "outcome")), strict=True)
        return [Encounter(*row[:3], int(row[3])) for row in rows]


def one(world: str, seed: int, number: int) -> Encounter | None:
    """One encounter; no two worlds share a stream, as learning would be judged by what was learnt from."""
    rng = stream(seed, "approach", world, number)
    return simulated(WORLDS[world], int(rng.integers(2**31)), rng)


def trained(pool: list[Encounter], seed: int) -> Pretrained:
    """On a share of the encounters logged, from a start of its own."""
    chosen = stream(seed, "logged").permutation(len(pool))[: round(SHARE * len(pool))]
    return pretrain(NETWORK, [pool[k] for k in chosen], generator(seed, "decision transformer"))


def learners(pretrained: Pretrained, seed: int) -> dict[str, Callable[..., Learner]]:
    """By name; each is given its settings, those chosen if none."""
    rng = partial(stream, seed)

    def kalman(spread: float = SPREAD, keep: float = KEEP) -> Learner:
        return Kalman(KalmanTransformer(NETWORK, pretrained, spread, keep), rng("scores"))

    def adam(rate: float = ADAM_RATE, steps: int = ADAM_STEPS) -> Learner:
        return Adam(NETWORK, pretrained, rate, steps, kalman().floats, rng("replay"))

    def last(spread: float = HEAD_SPREAD, keep: float = HEAD_KEEP) -> Learner:
        return LastLayer(NETWORK, pretrained, spread, keep)

    return {
        "Kalman": kalman,
        "frozen": lambda: Frozen(NETWORK, pretrained),
        "SGD": lambda rate=SGD_RATE: Sgd(NETWORK, pretrained, rate),
        "Adam, replay": adam,
        "last layer": last,
    }


def course_of(learner: Learner, encounters: list[Encounter]) -> Course:
    """Judge, then learn, one after another."""
    nats, cost, ms = [], [], []
    for encounter in encounters:
        questions, p = asked(encounter.losses), learner.answers(encounter)
        right = np.where(answers(encounter) > 0.5, p, 1.0 - p)[questions.open]
        nats.append(-np.log(np.maximum(right, LEAST)).mean())
        cost.append(encounter.losses[expected_costs(p, questions).argmin(), encounter.outcome])
        clock = thread_time()
        learner.learn(encounter)
        ms.append(1e3 * (thread_time() - clock))
    return Course(np.array(nats), np.array(cost), np.array(ms), learner.floats)


def streams_of(seed: int, given: argparse.Namespace) -> list[Encounter]:
    """A seed's encounters before and after the shift."""
    parts = [encounters_of(world, seed, getattr(given, world), given.out) for world in ("before", "after")]
    return [*parts[0], *parts[1]]


def tune(pool: list[Encounter], given: argparse.Namespace, console: Console) -> None:
    """Nats an encounter of every setting, over all encounters of the tuning seeds."""
    found: dict[tuple[str, tuple[float, ...]], list[float]] = {}
    for seed in range(TUNING, TUNING + TUNED):
        pretrained, encounters = trained(pool, seed), streams_of(seed, given)
        for name, make in learners(pretrained, seed).items():
            for setting in GRIDS.get(name, [()]):
                found.setdefault((name, setting), []).append(course_of(make(*setting), encounters).nats.mean())
    for (name, setting), values in found.items():
        console.print(f"{name} {setting}: {np.mean(values):.4f}")


def table_of(found: dict[str, list[Course]], start: list[int]) -> Table:
    """Of the encounters after the shift; `start` is each seed's first."""
    sums = {
        n: np.array([(c.nats[k:].sum(), c.cost[k:].sum()) for c, k in zip(cs, start, strict=True)])
        for n, cs in found.items()
    }
    counts = np.array([len(c.nats) - k for c, k in zip(found["frozen"], start, strict=True)])
    columns = ("nats", "less frozen", "less SGD", "cost", "less frozen", "less SGD", "p95, ms", "floats")
    table = Table("", *columns, title=f"{len(start)} seeds, {counts.mean():.0f} encounters after the shift")
    for name, courses in found.items():
        cells = []
        for column, digits in ((0, 3), (1, 2)):
            mine = sums[name][:, column]
            cells.append(cell(mine / counts, digits))
            cells += ["" if name == other else cell(mine - sums[other][:, column], 1) for other in ("frozen", "SGD")]
        ms = np.percentile(np.concatenate([c.ms for c in courses]), 95)
        table.add_row(name, *cells, f"{ms:.1f}", f"{courses[0].floats:,}")
    return table


def cell(values: np.ndarray, digits: int) -> str:
    """Mean ± half of the interval."""
    mean, half = students(values.tolist())
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def plot(found: dict[str, list[Course]], before: int, path: Path) -> None:
    """How much less than the frozen one each has lost so far, mean over seeds and its interval."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shortest = min(len(c.nats) for c in found["frozen"])
    frozen = np.array([c.nats[:shortest] for c in found["frozen"]])
    figure, axes = plt.subplots(figsize=(7.2, 4.0), layout="constrained")
    for name, courses in found.items():
        if name == "frozen":
            continue
        saved = np.cumsum(frozen - [c.nats[:shortest] for c in courses], axis=1)
        mean, half = np.array([students(column.tolist()) for column in saved.T]).T
        (line,) = axes.plot(mean, label=name)
        axes.fill_between(np.arange(shortest), mean - half, mean + half, alpha=0.2, color=line.get_color(), linewidth=0)
    axes.axhline(0.0, color="0.4", linewidth=0.8, label="frozen")
    axes.axvline(before, color="0.4", linestyle=":", linewidth=0.8)
    axes.annotate("film sacks, brighter fog", (before, axes.get_ylim()[0]), (4, 6), textcoords="offset points")
    axes.set(xlabel="encounter", ylabel="nats saved so far, of the frozen transformer's")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(0.18, 1.0))
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    """Tune, or judge."""
    parser = parser_of(__doc__, 12, "replays/transformer")
    for name, count in (("learn", 800), ("before", 15), ("after", 80)):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--tune", action="store_true")
    given, console = parser.parse_args(), Console(width=160)
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    pool = encounters_of("learn", 1, given.learn, given.out)
    if given.tune:
        tune(pool, given, console)
        return
    found: dict[str, list[Course]] = {}
    starts = []
    for seed in range(given.seeds):
        pretrained, encounters = trained(pool, seed), streams_of(seed, given)
        starts.append(len(encounters_of("before", seed, given.before, given.out)))
        for name, make in learners(pretrained, seed).items():
            found.setdefault(name, []).append(course_of(make(), encounters))
    console.print(table_of(found, starts))
    plot(found, min(starts), given.out / "shift.png")


if __name__ == "__main__":
    main()
