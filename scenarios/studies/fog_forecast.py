"""How thick will the fog be in 30 s: what a car's visibility sensor will read as it drives through patches of fog.

    python scenarios/studies/fog_forecast.py [--seeds 40] [--out replays/forecast] [--jobs J]

A car drives at its drawn 6 to 8.5 m/s against a wind of 3 m/s, which also blows 1 m/s across, through patches whose
length is drawn for each drive, log-uniformly from 150 to 600 m, and told to nobody: what the sensor reads is correlated
over some 15 to 60 s. The patches are the world's own Gaussian field of ln extinction: nothing but them is to be
forecast. From the tenth minute
on, each minute every forecaster tells the distribution of ln reading 30 s later:

    persistence     normal about the last reading; its deviation that of all 30 s differences so far
    autoregression  statsmodels' AutoReg of the order, up to 30, that AIC or BIC picks, fitted to all readings so far
    networks        `filters.adaptation.forecast`: all readings so far, all structures by their evidence
    the world's     Gaussian prediction by the field's true length, strength and noise: the bound

It prints the CRPS of ln reading (.1 is some 10 % of the visibility), the networks' less it, how many readings lie in
the 90 % interval, with 95 % intervals (Student's t) over seeds, 300 and on, and which structures were believed. A
finished seed is kept as JSON in the folder. A picture of one drive is `forecast.png` there.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from rich.console import Console
from rich.table import Table
from study import arguments_of, students

from filters.adaptation.forecast import Forecast, Forecaster, library
from filters.posterior.regression import linear
from filters.spec import Pose
from filters.streams import stream
from fogsim.scenario import Fog, Scenario, Texture, VisibilitySensor
from fogsim.sensors.schedule import Moment
from fogsim.sensors.visibility import read
from fogsim.world import world as worlds

SEEDS, LENGTHS = 300, (150.0, 600.0)  # the first, and m
FOG = Fog(visibility=100.0, texture=Texture(0.7, 300.0), wind=(-3.0, 1.0))
SENSOR = VisibilitySensor(on=True)
DURATION, FIRST, EVERY, AHEAD, ORDERS = 1500, 600, 60, 30, 30
OURS = "networks"


def series(seed: int) -> tuple[np.ndarray, float]:
    """What a car that only proceeds reads each second (m), and the field's length in s as it meets it."""
    length = float(np.exp(stream(seed, "length").uniform(*np.log(LENGTHS))))
    fog = replace(FOG, texture=replace(FOG.texture, length=length))
    world = worlds.start(Scenario(fog=fog, visibility_sensor=SENSOR), seed)
    readings = []
    for k in range(1, DURATION + 1):
        pose = np.array([world.ego.speed * k, 0.0, 0.0])
        moment = Moment(world._replace(time=float(k)), pose, Pose(0.0, 0.0, 0.0, 0.0))
        readings.append(read(moment, SENSOR, stream(seed, "visibility sensor", k)))
    return np.array(readings), length / float(np.hypot(world.ego.speed - FOG.wind[0], FOG.wind[1]))


def normal(mean: float, deviation: float) -> Forecast:
    """One normal of ln reading."""
    return Forecast(np.zeros(1), np.array([mean]), np.array([deviation]), SENSOR.limits)


def persistence(logs: np.ndarray) -> Forecast:
    apart = logs[AHEAD:] - logs[:-AHEAD]
    return normal(logs[-1], float(np.sqrt(np.mean(apart**2))))


def autoregression(logs: np.ndarray, criterion: str) -> Forecast:
    from statsmodels.tsa.ar_model import ar_select_order

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an order's fit that is not the one picked
        told = ar_select_order(logs, ORDERS, ic=criterion).model.fit().get_prediction(len(logs), len(logs) + AHEAD - 1)
    return normal(float(told.predicted_mean[-1]), float(told.se_mean[-1]))


def bound(logs: np.ndarray, length: float) -> Forecast:
    """Prediction by the very field and what is told of its level, seconds for metres.

    Between the lattice points on which the world draws it the field is bent; to know that is worth .0005.
    """
    noise, strength = SENSOR.spread, FOG.texture.strength
    mean = np.log(FOG.visibility) + 0.5 * strength**2
    times = np.append(np.arange(1.0 - len(logs), 1.0), AHEAD)
    k = strength**2 * np.exp(-0.5 * ((times[:, None] - times) / length) ** 2) + FOG.spread**2
    gain = np.linalg.solve(k[:-1, :-1] + noise**2 * np.eye(len(logs)), k[:-1, -1])
    variance = k[-1, -1] - gain @ k[:-1, -1] + noise**2
    return normal(float(mean + gain @ (logs - mean)), float(np.sqrt(variance)))


def networks(readings: np.ndarray, seed: int) -> Forecast:
    import torch

    from filters.posterior.spec import generator

    torch.set_num_threads(1)
    times = np.arange(1.0, len(readings) + 1.0)
    return Forecaster().forecast(times, readings, AHEAD, generator(seed, "forecast", len(readings)))


def judged(seed: int) -> list[dict[str, Any]]:
    """Every forecaster at every minute of one drive."""
    readings, length = series(seed)
    rows = []
    for now in range(FIRST, DURATION - AHEAD + 1, EVERY):
        logs, truth = np.log(readings[:now]), readings[now + AHEAD - 1]
        ours = networks(readings[:now], seed)
        told = {
            "persistence": persistence(logs),
            "autoregression, AIC": autoregression(logs, "aic"),
            "autoregression, BIC": autoregression(logs, "bic"),
            OURS: ours,
            "the world's": bound(logs, length),
        }
        for name, forecast in told.items():
            inside = forecast.quantile(0.05) <= truth <= forecast.quantile(0.95)
            width = float(np.log(forecast.quantile(0.95) / forecast.quantile(0.05)))
            rows.append({"name": name, "crps": forecast.crps(truth), "inside": bool(inside), "width": width})
        rows[-2]["weights"] = np.exp(ours.log_weights).tolist()
    return rows


def kept(seed: int, out: Path) -> list[dict[str, Any]]:
    """`judged`, or what it found the last time."""
    path = out / f"forecast-{seed}.json"
    if not path.exists():
        part = path.with_suffix(".part")
        part.write_text(json.dumps(judged(seed)))
        part.replace(path)
    return json.loads(path.read_text())


def show(found: list[list[dict[str, Any]]]) -> None:
    """The table, and which structures were believed."""
    names = list(dict.fromkeys(row["name"] for row in found[0]))
    mean = {
        (name, key): np.array([np.mean([r[key] for r in rows if r["name"] == name]) for rows in found])
        for name in names
        for key in ("crps", "inside", "width")
    }
    table = Table("", "CRPS", "the networks' less it", "ratio of means", "in 90 % interval", "its width, ln")
    for name in names:
        off = mean[OURS, "crps"] - mean[name, "crps"]
        ratio = mean[OURS, "crps"].mean() / mean[name, "crps"].mean()
        cells = [students(list(v)) for v in (mean[name, "crps"], off, mean[name, "inside"], mean[name, "width"])]
        told = [f"{m:.3f} ± {half:.3f}" for m, half in cells]
        table.add_row(name, told[0], told[1], f"{ratio:.2f}", told[2], told[3])
    console = Console(width=120)
    console.print(f"{len(found)} drives, {sum(map(len, found)) // len(names)} forecasts of each")
    console.print(table)
    weights = np.mean([row["weights"] for rows in found for row in rows if "weights" in row], axis=0)
    known = library(DURATION)
    names = [*known, *(f"{name}, lately" for name, series in known.items() if linear(series))]
    believed = Counter(dict(zip(names, weights.tolist(), strict=True))).most_common(8)
    console.print("mean weights: " + ", ".join(f"{name} {w:.2f}" for name, w in believed))


def draw(seed: int, out: Path) -> None:
    """One drive: what was read, and what was forecast 30 s before."""
    readings, _ = series(seed)
    span = np.arange(FIRST, FIRST + 420, 12)
    told = [networks(readings[:now], seed) for now in span]
    last = [persistence(np.log(readings[:now])) for now in span]
    figure, axes = plt.subplots(2, 1, figsize=(10, 6.5), sharex=True, sharey=True, layout="constrained")
    for ax, name, forecasts, colour in zip(
        axes, ("networks by their evidence", "persistence"), (told, last), ("C0", "C1"), strict=True
    ):
        low, middle, high = ([f.quantile(p) for f in forecasts] for p in (0.05, 0.5, 0.95))
        ax.fill_between(span + AHEAD, low, high, color=colour, alpha=0.2, lw=0.0, label="90 %, told 30 s before")
        ax.plot(span + AHEAD, middle, color=colour, label="median, told 30 s before")
        seen = np.arange(span[0] + AHEAD, span[-1] + AHEAD + 1)
        ax.plot(seen, readings[seen - 1], ".", color="0.3", ms=3, label="read")
        ax.set(yscale="log", ylabel="visibility, m", title=name)
        ax.set_yticks([20, 50, 100, 200, 500], labels=["20", "50", "100", "200", "500"])
        ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    axes[-1].set_xlabel("s")
    figure.savefig(out / "forecast.png", dpi=110)


def main() -> None:
    args = arguments_of(__doc__, 40, "replays/forecast")
    args.out.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(kept, range(SEEDS, SEEDS + args.seeds), [args.out] * args.seeds))
    show(found)
    draw(SEEDS, args.out)


if __name__ == "__main__":
    main()
