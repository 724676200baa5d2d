"""Does uncertainty widen away from the data? Bayesian networks on y = sin 3x + ε whose noise grows with |x|.

    python scenarios/studies/heteroscedastic_bnn.py --data california_housing.csv [--seeds 5] [--out replays/recipe]

The inputs are the eight numeric columns of California's housing table (1990 census; its `median_house_value` is left
out) as standard scores, 5 at most; x is the first, `median_income`, and the target is made: ε ~ N(0, (.1 + .4 |x|)²).
Networks of 8-32-32-2 units learn from four fifths of the rows with |x| < 2, so that there is an outside. Without --data
a synthetic table of such columns stands in. Each seed has its own noise, split and start. The usual example begins with
a trained network from a model hub, which cannot be had offline: small ones that are trained here stand in for it.

It prints per configuration, mean over the seeds and 95 % interval (Student's): the time to train, the log loss a row
above that of the true density, the RMSE of the mean against sin 3x, how many targets lie in the predictive 95 % band
(mean ± 1.96 deviations), half the 95 % band of the mean itself (epistemic) inside (median over held-out rows), at
x = -5 and 5 (all else at its mean), and the predictive entropy averaged over 3 < |x| < 5; then paired comparisons. "5 %
off" are targets of which one in twenty was moved by ten of its deviations while learning. Finished trainings are kept
as JSON in the folder and not made again, posteriors by local reparameterisation (`reparameterised`) as checkpoints
beside them, which `fogsim serve` takes. A picture of the bands is `bands.png` there.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from study import students

from filters.posterior import checkpoint
from filters.posterior.descent import Schedule
from filters.posterior.laplace import Laplace
from filters.posterior.likelihoods import Gaussian, StudentT
from filters.posterior.mlp import Mlp
from filters.posterior.normal import Normal
from filters.posterior.pyro_svi import PyroSvi
from filters.posterior.reparameterised import Reparameterised
from filters.posterior.spec import Data, generator, log_predictive, predict
from filters.streams import stream

NETWORK = Mlp((8, 32, 32, 2))
EDGE, HELD_OUT, OFF, DRAWS = 2.0, 0.2, 0.05, 200
LIMIT = 5.0  # some blocks are thirty deviations off the mean: one held out would be all of a seed's RMSE
GRID = np.linspace(-5.0, 5.0, 101)
LEARNT = "reparameterised"


class Rows(NamedTuple):
    """Inputs, targets, the mean and deviation that they have in truth."""

    x: np.ndarray
    y: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


class Way(NamedTuple):
    """An engine, its prior if not its own, and whether targets are off."""

    engine: Any
    prior: Callable[[], Normal] | None = None
    off: bool = False


def ways() -> dict[str, Way]:
    plain = PyroSvi(NETWORK, Gaussian())
    tanh = replace(plain, network=replace(NETWORK, activation="tanh"), schedule=Schedule(batch=10**6), scale=0.1)
    local = Reparameterised(NETWORK, Gaussian())
    robust = Reparameterised(NETWORK, StudentT())
    return {
        "naive Pyro": Way(tanh, lambda: unit(NETWORK.parameters)),
        "Pyro": Way(plain),
        "Pyro, twice the first scale": Way(replace(plain, scale=2.0 * plain.scale)),
        "Pyro, rank 8": Way(replace(plain, rank=8)),
        LEARNT: Way(local),
        "Laplace": Way(Laplace(NETWORK, Gaussian())),
        "Student-t": Way(robust),
        f"{LEARNT}, 5 % off": Way(local, off=True),
        "Student-t, 5 % off": Way(robust, off=True),
    }


def unit(parameters: int) -> Normal:
    """N(0, 1) for every weight, as a first try has it."""
    return Normal(torch.zeros(parameters), torch.ones(parameters), torch.zeros(parameters, 0))


def inputs(data: Path | None) -> np.ndarray:
    """Standard scores up to `LIMIT`, x first; without a file, what has such a table's skewness and correlations."""
    if data is None:
        rng = stream(0, "table")
        table = np.exp(0.5 * rng.standard_normal((20_000, 8)) @ (np.eye(8) + 0.3 * rng.standard_normal((8, 8))))
    else:
        with data.open() as file:
            rows = list(csv.DictReader(file))
        names = [name for name in rows[0] if name not in ("median_income", "median_house_value", "ocean_proximity")]
        table = np.array([[float(row[n] or "nan") for n in ("median_income", *names)] for row in rows])
        table = table[np.isfinite(table).all(axis=1)]
    return np.clip((table - table.mean(axis=0)) / table.std(axis=0), -LIMIT, LIMIT)


def split(table: np.ndarray, seed: int, off: bool) -> tuple[Rows, Rows]:
    """Rows to learn from and rows held out, inside the edge."""
    rng = stream(seed, "recipe", "rows")
    x = rng.permutation(table[np.abs(table[:, 0]) < EDGE])
    mean, deviation = np.sin(3.0 * x[:, 0]), 0.1 + 0.4 * np.abs(x[:, 0])
    y = mean + deviation * rng.standard_normal(len(x))
    few = int(HELD_OUT * len(x))
    moved = (rng.random(len(x)) < OFF * off) & (np.arange(len(x)) >= few)
    y = y + moved * rng.choice([-10.0, 10.0], len(x)) * deviation
    return tuple(Rows(x[part], y[part], mean[part], deviation[part]) for part in (slice(few, None), slice(few)))


def train(way: Way, learnt: Rows, rng: torch.Generator) -> tuple[Any, float]:
    """The posterior, and the seconds that it took."""
    prior = way.prior() if way.prior else way.engine.init(rng)
    start = perf_counter()
    return way.engine.update(prior, Data.of(learnt.x, learnt.y), rng), perf_counter() - start


def judge(way: Way, table: np.ndarray, seed: int, path: Path) -> dict[str, Any]:
    """Train, keep the posterior where it is wanted, and measure on what was held out."""
    learnt, held = split(table, seed, way.off)
    rng = generator(seed, "recipe", "network")
    state, seconds = train(way, learnt, rng)
    if path.name.startswith(f"{LEARNT}-"):
        checkpoint.save(path, way.engine, state, {"seed": seed, "rows": len(learnt.y)})
    fresh = Data.of(held.x, held.y)
    seen = predict(way.engine, state, fresh.x, rng, DRAWS)
    line = torch.zeros(len(GRID), table.shape[1])
    line[:, 0] = torch.as_tensor(GRID)
    ahead = predict(way.engine, state, line, rng, DRAWS)
    loss = -float(log_predictive(way.engine, state, fresh, rng, DRAWS).mean())
    sigmas = (held.y - held.mean) / held.deviation
    oracle = float(np.mean(0.5 * np.log(2.0 * np.pi * held.deviation**2) + 0.5 * sigmas**2))
    mean, band = seen.mean.numpy(), 1.96 * np.sqrt(seen.variance.numpy())
    half = 1.96 * np.sqrt(ahead.epistemic.numpy())
    return {
        "seconds": seconds,
        "nats above": loss - oracle,
        "RMSE": float(np.sqrt(np.mean((mean - held.mean) ** 2))),
        "in band": float(np.mean(np.abs(held.y - mean) < band)),
        "inside": float(np.median(1.96 * np.sqrt(seen.epistemic.numpy()))),
        "at -5": float(half[0]),
        "at 5": float(half[-1]),
        "entropy outside": float(ahead.entropy.numpy()[np.abs(GRID) > 3.0].mean()),
        "mean": ahead.mean.tolist(),
        "half": half.tolist(),
    }


def judged(name: str, way: Way, table: np.ndarray, seed: int, out: Path) -> dict[str, Any]:
    """`judge`, or what it found the last time."""
    of, file = hashlib.sha256(table.tobytes()).hexdigest()[:8], f"{name.replace(' ', '_')}-{seed}"
    kept = out / f"{file}-{of}.json"
    if not kept.exists():
        part = kept.with_suffix(".part")
        part.write_text(json.dumps(judge(way, table, seed, out / f"{file}.safetensors")))
        part.replace(kept)
    return json.loads(kept.read_text())


def show(found: dict[str, list[dict[str, Any]]]) -> None:
    """The table, and the comparisons in pairs."""
    measures = [key for key in next(iter(found.values()))[0] if key not in ("mean", "half")]
    table = Table("", *measures, title="mean over seeds ± half of the 95 % interval")
    for name, rows in found.items():
        pairs = [students([row[key] for row in rows]) for key in measures]
        table.add_row(name, *(f"{mean:.3g} ± {half:.2g}" for mean, half in pairs))
    console = Console()
    console.print(table)
    for a, b, measure in (
        ("Pyro, rank 8", "Pyro", "entropy outside"),
        ("Pyro, twice the first scale", "Pyro", "inside"),
        ("Pyro, twice the first scale", "Pyro", "at -5"),
        ("Pyro, twice the first scale", "Pyro", "at 5"),
        ("Student-t, 5 % off", f"{LEARNT}, 5 % off", "RMSE"),
    ):
        ratio = [x[measure] / y[measure] for x, y in zip(found[a], found[b], strict=True)]
        apart = [x[measure] - y[measure] for x, y in zip(found[a], found[b], strict=True)]
        text = "{}: {} against {}: difference {:.3g} ± {:.2g}, ratio {:.3g} ± {:.2g}"
        console.print(text.format(measure, a, b, *students(apart), *students(ratio)))


def draw(found: dict[str, list[dict[str, Any]]], out: Path) -> None:
    """What the first seed's networks say of sin 3x, and how sure they are of it."""
    figure, axes = plt.subplots(3, 3, figsize=(12, 8), sharex=True, sharey=True, layout="constrained")
    for ax, (name, rows) in zip(axes.flat, found.items(), strict=True):
        mean, half = np.array(rows[0]["mean"]), np.array(rows[0]["half"])
        ax.axvspan(-EDGE, EDGE, color="0.93", label="where the data is")
        ax.plot(GRID, np.sin(3.0 * GRID), color="0.5", lw=1.0, label="sin 3x")
        ax.plot(GRID, mean, color="C0", label="mean")
        ax.fill_between(GRID, mean - half, mean + half, color="C0", alpha=0.25, lw=0.0, label="95 %, epistemic")
        ax.set(title=name, ylim=(-4.0, 4.0), xlim=(-5.0, 5.0))
    axes[0, 0].legend(fontsize=8)
    figure.savefig(out / "bands.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("replays/recipe"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    table = inputs(args.data)
    turns = [(name, seed) for seed in range(args.seeds) for name in ways()]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ways()}
    for name, seed in track(turns, "train"):
        found[name].append(judged(name, ways()[name], table, seed, args.out))
    show(found)
    draw(found, args.out)


if __name__ == "__main__":
    main()
