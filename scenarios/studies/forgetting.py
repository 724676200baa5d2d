"""Does a classifier that forgets follow the world, and does the monitor tell when the world has moved?

    python scenarios/studies/forgetting.py [--seeds 5] [--out replays/forgetting] [--jobs 2]

It prints two tables, means over the seeds ± half of the 95 % interval (Student's).
Everything was settled on other seeds and encounters.

1. A regression of five weights, drawn anew after 400 and 800 of 1,200 steps, or never, or walking by .05 a step. Regret
   is what predictions cost beyond the truth's, in nats: after the first switch, and over the whole stream where there
   is none. Change-point detection is exact where there are switches, and knows how often; others do not.
2. Encounters of the simulator, 1,200 in clear air (visibility 90 to 2,000 m) and 120 in fog of 15 to 25 m. For each
   seed a network over sixteen features learns from 400 of the clear ones, streams the others, one a batch, and then
   meets 60 of those in fog. The monitor bets on what labels cost and, before them, on how strange a batch is: it tells
   of false alarms in calm, of alarms within 5 batches of the jump, how many batches until the alarm and from there
   until the prior is back, and what a metre costs: by the stream, and by the network as it was deployed.

Frames are kept in the folder, and not simulated again.
"""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from study import parser_of, students

from filters.streams import stream

FIRST = 500  # seed
CLEAR_SEEDS, EACH = (500, 501, 502, 503), 300  # encounters in clear air, of each of these seeds
LEARN, FOGGED, MET = 400, 120, 60  # encounters to learn from, in fog, and of these met by each network
CLEAR, FOG = (90.0, 2000.0), (15.0, 25.0)  # m
POOLS = (*((seed, "learn", EACH, CLEAR) for seed in CLEAR_SEEDS), (FIRST, "fog", FOGGED, FOG))
NEVER, EXACT = "no forgetting", "change-point detection"
COLUMNS = {
    "batches until the alarm": "found",
    "from there until the prior is back": "back",
    "nats a metre in calm": "loss_calm",
    "nats a metre in fog": "loss_fog",
    "nats a metre in fog, as deployed": "loss_frozen",
}
STEPS, SWITCHES, WEIGHTS, NOISE = 1200, (400, 800), 5, 0.25
WALK = 0.05  # deviation by which a weight that walks does so in a step


class Frames(NamedTuple):
    """Of some encounters: which (n,), features (n, F), label (n,), metres driven (n,)."""

    encounter: np.ndarray
    features: np.ndarray
    label: np.ndarray
    weight: np.ndarray


def frames_of(out: Path, seed: int, name: str, count: int, visibility: tuple[float, float]) -> Frames:
    """Frames that are there, or are simulated."""
    from fogsim.dataset import usable, vary
    from fogsim.runner import run
    from fogsim.scenario import Scenario

    path = out / f"{name}-{count}-{seed}.npz"
    if not path.exists():
        parts = []
        for encounter in range(count):
            rng = stream(seed, "forgetting", name, encounter)
            drawn = vary(Scenario(), int(rng.integers(2**31)), encounter)
            report = float(np.exp(rng.uniform(*np.log(visibility))))
            drawn = dataclasses.replace(drawn, fog=dataclasses.replace(drawn.fog, visibility=report))
            frames = [frame for frame in run(drawn, int(rng.integers(2**31))) if usable(frame)]
            if len(frames) > 1:
                driven = np.ptp([frame.distance_left[0] for frame in frames]) / len(frames)
                parts += [(encounter, frame.features[0], frame.truth_class[0], driven) for frame in frames]
        made = Frames(*(np.array(column) for column in zip(*parts, strict=True)))
        part = path.with_suffix(".tmp.npz")
        np.savez_compressed(part, **made._asdict())
        part.replace(path)
    with np.load(path) as kept:
        return Frames(*(kept[name] for name in Frames._fields))


class Encounters(NamedTuple):
    """Frames of each, to learn from, in calm, and after the jump."""

    learnt: list[Frames]
    calm: list[Frames]
    fog: list[Frames]


def encounters(out: Path, seed: int) -> Encounters:
    """Dealt out anew for each seed."""
    *air, fog = (parted(frames_of(out, *pool)) for pool in POOLS)
    clear, rng = [part for own in air for part in own], stream(seed, "dealt")
    order, met = rng.permutation(len(clear)), rng.permutation(len(fog))[:MET]
    return Encounters([clear[k] for k in order[:LEARN]], [clear[k] for k in order[LEARN:]], [fog[k] for k in met])


def parted(frames: Frames) -> list[Frames]:
    """Encounter by encounter."""
    starts = np.flatnonzero(np.diff(frames.encounter)) + 1
    return [Frames(*parts) for parts in zip(*(np.split(column, starts) for column in frames), strict=True)]


def drawn(seed: int, switches: tuple[int, ...], walk: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs (T, d), targets (T,), and ln p of them by the truth (T,)."""
    rng = stream(seed, "regression", len(switches))
    x = np.column_stack([rng.normal(size=(STEPS, WEIGHTS - 1)), np.ones(STEPS)])
    regimes = rng.normal(size=(len(switches) + 1, WEIGHTS))
    error = NOISE**0.5 * rng.normal(size=STEPS)
    weights = regimes[np.searchsorted(switches, np.arange(STEPS), side="right")]
    weights = weights + walk * rng.normal(size=(STEPS, WEIGHTS)).cumsum(axis=0)
    return x, (x * weights).sum(axis=1) + error, -0.5 * (error**2 / NOISE + np.log(2.0 * np.pi * NOISE))


def regrets(seed: int, switches: tuple[int, ...], walk: float = 0.0) -> dict[str, float]:
    """Of every way, after the first switch, or of the whole stream."""
    import torch

    from filters.adaptation.changepoint import ChangePoints
    from filters.adaptation.power_prior import Forgetting
    from filters.adaptation.rates import Rates
    from filters.adaptation.streaming import look
    from filters.posterior.kalman_network import KalmanNetwork, KnownNoise, Neurons
    from filters.posterior.mlp import Mlp
    from filters.posterior.spec import Data, generator

    torch.set_num_threads(1)
    x, y, truth = drawn(seed, switches, walk)
    engine = KalmanNetwork(Mlp((WEIGHTS - 1, 1)), KnownNoise(NOISE))
    eye = torch.eye(WEIGHTS, dtype=torch.float64)
    prior = Neurons((torch.zeros_like(eye[:1]),), (eye[None],))
    rng, result = generator(seed, "regrets"), {}
    ways = {
        NEVER: Forgetting(engine, prior, 1.0),
        "one rate, .98": Forgetting(engine, prior, 0.98),
        "fresh starts": Rates(engine, (prior,), (1.0,)),
        "rates and fresh starts": Rates(engine, (prior,)),
    }
    rows = [Data.of(a[None, :-1], [b]) for a, b in zip(x, y, strict=True)]
    for name, way in ways.items():
        state, said = way.init(rng), []
        for data in rows:
            said.append(float(look(way, state, data, rng).log_predictive))
            state = way.update(state, data, rng)
        result[name] = said
    detector = ChangePoints((0.0,) * WEIGHTS, tuple(map(tuple, np.eye(WEIGHTS))), NOISE, 1.0 / SWITCHES[0])
    runs, said = detector.init(), []
    for a, b in zip(x, y, strict=True):
        runs, evidence = detector.update(runs, a, b)
        said.append(evidence)
    result[EXACT] = said
    start = switches[0] if switches else 0
    return {name: float((truth - said)[start:].sum()) for name, said in result.items()}


def regression(seed: int) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """With switches, without, and drifting."""
    return regrets(seed, SWITCHES), regrets(seed, ()), regrets(seed, (), WALK)


class Jump(NamedTuple):
    """Of one stream of encounters: false alarms, batches to the alarm and back (NaN: never), losses a metre, nats."""

    false_alarms: float
    calm: float
    found: float
    back: float
    loss_calm: float
    loss_fog: float
    loss_frozen: float


def jump(seed: int, out: Path) -> Jump:
    """Learn in clear air, stream, and meet fog."""
    import torch

    from filters import bnn
    from filters.adaptation.monitor import Monitored
    from filters.adaptation.streaming import Streaming, encounter, look, online
    from filters.posterior.descent import Schedule
    from filters.posterior.likelihoods import Bernoulli
    from filters.posterior.mlp import Mlp
    from filters.posterior.reparameterised import Reparameterised
    from filters.posterior.spec import Data, generator
    from filters.spec import FEATURES

    torch.set_num_threads(1)
    met = encounters(out, seed)
    learnt = Frames(*map(np.concatenate, zip(*met.learnt, strict=True)))
    scores = learnt.features.mean(axis=0), learnt.features.std(axis=0) + 1e-3
    network = Mlp((len(FEATURES), bnn.HIDDEN, bnn.HIDDEN, 1))
    engine, rng = Reparameterised(network, Bernoulli(), Schedule(60, 1024, 0.01)), generator(seed, "jump")
    prior = engine.init(rng)
    known = engine.update(prior, Data.of(bnn.normalised(learnt.features, *scores), learnt.label, learnt.weight), rng)
    watched = Monitored(online(engine), prior)
    streaming = Streaming(watched)
    state, told, frozen = streaming.init(watched.start(known)), [[], []], []
    for part, batches in enumerate((met.calm, met.fog)):
        for frames in batches:
            data = encounter(bnn.normalised(frames.features, *scores), frames.label, frames.weight)
            worth = float(data.weight.sum())
            if part:
                frozen.append(-float(data.weight @ look(engine, known, data, rng).log_predictive) / worth)
            state, info = streaming.update(state, data, rng)
            told[part].append((state.posterior.watch.alarm, -info.log_predictive / worth))
    (calm_alarm, calm_loss), (alarm, loss) = (np.array(part).T for part in told)
    false_alarms = np.sum(np.diff(calm_alarm, prepend=0.0) > 0.0)
    found = np.flatnonzero(alarm)
    ended = np.flatnonzero(alarm[found[0] :] == 0.0) if len(found) else found
    return Jump(
        float(false_alarms),
        len(calm_loss),
        found[0] + 1.0 if len(found) else np.nan,
        float(ended[0]) if len(ended) else np.nan,
        *(float(np.mean(each)) for each in (calm_loss, loss, frozen)),
    )


def interval(values: Any) -> str:
    """Mean ± half of the 95 % interval."""
    return "{:.3g} ± {:.2g}".format(*students(list(values)))


def main() -> None:
    from rich.console import Console

    args = parser_of(__doc__, 5, "replays/forgetting").parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    console, seeds = Console(width=150), range(FIRST, FIRST + args.seeds)
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        console.print(regret_table(*zip(*pool.map(regression, seeds), strict=True)))
        list(pool.map(partial(frames_of, args.out), *zip(*POOLS, strict=True)))
        console.print(jumps(list(pool.map(partial(jump, out=args.out), seeds))))


def regret_table(*streams: Sequence[dict[str, float]]) -> Any:
    """Regrets, with switches, without, and drifting, and their ratios to others', seed by seed."""
    from rich.table import Table

    switched, still, drifting = streams
    heads = "after switches", "/ never", "/ change points", "without any", "/ never", "drifting", "/ never"
    table = Table("regret, nats", *heads)
    parts = (switched, None), (switched, NEVER), (switched, EXACT), (still, None), (still, NEVER), (drifting, None)
    for name in switched[0]:
        cells = [
            interval(run[name] / (run[other] if other else 1.0) for run in part)
            for part, other in (*parts, (drifting, NEVER))
        ]
        table.add_row(name, *cells)
    return table


def jumps(runs: list[Jump]) -> Any:
    """The table of all streams."""
    from rich.table import Table

    per_thousand = [1000.0 * run.false_alarms / run.calm for run in runs]
    table = Table("fog jump", "", title=f"{sum(run.calm for run in runs):.0f} calm batches in all")
    table.add_row("false alarms in 1,000 calm batches", interval(per_thousand))
    table.add_row("streams that found the jump within 5", f"{sum(run.found <= 5.0 for run in runs)} of {len(runs)}")
    for name, field in COLUMNS.items():
        table.add_row(name, interval(getattr(run, field) for run in runs))
    return table


if __name__ == "__main__":
    main()
