"""Train the parts that are learned: simulate encounters, fit, temper on held-out ones, save."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from filters.spec import CLASSES, Array
from filters.streams import stream
from filters.tempering import fit_tempering, fused, log_loss, totals
from filters.trained import save
from fogsim import classifier, dataset
from fogsim.dataset import Dataset, Looks
from fogsim.errors import UserError
from fogsim.scenario import Scenario

What = Literal["classifier", "patch", "kernel"]
KINDS = {"classifier": "bnn", "patch": "patch", "kernel": "kernel_bayes"}  # what to train, and the filter it is for
ENGINES = {"classifier": "reparameterised", "patch": "pyro"}
WORKERS = 2
FEWEST = 40  # encounters: fewer leave next to nothing to hold out
HELD_OUT = 0.25
PAIRS = 600
RANGES = (20.0, 15.0, 10.0)  # m, at which the summary scores
EVEN = np.full(len(CLASSES), -np.log(len(CLASSES)))


def train(
    what: What,
    encounters: int,
    out: Path,
    seed: int,
    scenario: Scenario | None = None,
    engine: str = "",
    device: str = "auto",
) -> dict[str, float]:
    """Train the network or draw the kernel's pairs, fit the tempering on held-out encounters, save both.

    What was simulated, once it is all, and where the training stands are kept beside the checkpoint until it is there:
    broken off, the same call goes on, and ends as if it had not been.

    Parameters
    ----------
    what : {"classifier", "patch", "kernel"}
        The Bayesian network or the pairs of the kernel Bayes filter.
    encounters : int
        To simulate, under weather reports of 15 to 90 m, a quarter of them (which the kernel does without) of 90 to
        2000 m, and speeds of 3 to 9 m/s.
    out : Path
        Checkpoint to write; must not exist.
    seed : int
        Determines everything, on one machine.
    scenario : Scenario, optional
        What to vary; the default encounter if none.
    engine : str
        Of a network, one of `filters.posterior.engines.NAMES`; `ENGINES` if none.
    device : {"auto", "cpu", "cuda"}
        Where a network is trained.

    Returns
    -------
    dict
        Held-out log loss of the fused belief in nats, by distance; of the network's without "none of these".

    Raises
    ------
    UserError
        If the file exists or cannot be made, the numbers are out of range, or the engine is unknown.
    """
    engine = engine or ENGINES.get(what, "")
    check(what, encounters, out, seed, engine, device)
    scenario = scenario or Scenario()
    frames, kept = (out.with_name(f".{out.name}.{part}") for part in ("frames", "training"))
    learnt, held = (part.looks for part in simulated(frames, scenario, encounters, seed).split(HELD_OUT, seed))
    if what == "kernel":  # its few pairs cannot cover clear air too
        learnt, held = (part.take(part.visibility < dataset.FOGGY[1]) for part in (learnt, held))
        tensors, evidence, by = *fit_kernel(learnt, held, seed), ""
    else:
        tensors, evidence = classifier.fit(learnt, held, seed, engine, kept, what, device)
        by = f" --engine {engine}"
        if what == "classifier":
            tensors |= classifier.known(learnt, held, evidence, tensors["prior"])
    with Console(stderr=True).status("fit the tempering"):
        tensors["tau"], scores = temper(evidence, held)
    command = f"fogsim train {what}{by} --encounters {encounters} --seed {seed} --out {out.name}"
    header = {
        "kind": KINDS[what],
        "command": command,
        "seed": seed,
        "encounters": encounters,
        "scenario": scenario.hash,
    }
    save(out, tensors, header | {"held_out_log_loss": scores, "shapes": {k: list(v.shape) for k, v in tensors.items()}})
    frames.unlink()
    if what in ENGINES:
        kept.unlink()
    show(what, scores, tensors["tau"])
    return scores


def simulated(path: Path, scenario: Scenario, encounters: int, seed: int) -> Dataset:
    """The frames of that file, once it is made, or if it is there.

    Raises
    ------
    UserError
        If it is there, and of something else.
    """
    if not path.exists():
        try:
            dataset.write(path, scenario, encounters, seed, processes=WORKERS)
        except KeyboardInterrupt:
            console = Console(stderr=True)
            console.print("fogsim: interrupted: the same command simulates anew", markup=False, soft_wrap=True)
            raise
    there = Dataset(path)
    if there.header != dataset.header_of(scenario, encounters, seed):
        raise UserError(f"{path} is of another scenario, seed, number of encounters or fogsim: remove it")
    return there


def check(what: str, encounters: int, out: Path, seed: int, engine: str, device: str) -> None:
    """Refuse what could not end well before the minutes are spent."""
    if what not in KINDS:
        raise UserError(f"cannot train {what!r}, expected {', '.join(KINDS)}")
    if encounters < FEWEST:
        raise UserError(f"found {encounters} encounters, expected at least {FEWEST}; 600 make a good checkpoint")
    if seed < 0:
        raise UserError(f"seed is {seed}, expected 0 or more")
    for path in (out, out.with_suffix(".json") if out.name else out):
        if path.exists():
            raise UserError(f"{path} exists and is not overwritten; name another file or remove it first")
    if out.suffix != ".safetensors" or not out.parent.is_dir():
        raise UserError(f"cannot write {out}, expected a name ending in .safetensors in a folder that exists")
    if what in ENGINES:
        classifier.engine_of(what, engine, device)
    elif engine:
        raise UserError(f"found engine {engine!r} for the {what}, expected none: it has no posterior to infer")


def fit_kernel(looks: Looks, held: Looks, seed: int) -> tuple[dict[str, Array], Array]:
    """Tensors of the pairs, and the rule's evidence (n, 1, K) in the held-out frames."""
    from filters import kernel_bayes

    drawn = looks.take(draw_pairs(looks, stream(seed, "pairs")))
    tensors = {
        "latents": np.stack([drawn.distance, np.log(drawn.visibility)], axis=1),
        "features": drawn.features,
        "labels": drawn.label.astype(float),
        "mean": looks.features.mean(axis=0),
        "deviation": looks.features.std(axis=0) + 1e-3,
    }
    sample = kernel_bayes.build(**tensors, tau=np.ones(2))
    return tensors, np.array([kernel_bayes.evidence(sample, values)[0] for values in held.features])[:, None]


def draw_pairs(looks: Looks, rng: np.random.Generator) -> np.ndarray:
    """Indices of `PAIRS` frames, as many of each class, spread evenly over distance, encounters used in turn."""
    chosen: list[int] = []
    for label in range(len(CLASSES)):
        encounters = rng.permutation(np.unique(looks.encounter[looks.label == label]))
        goals = rng.permutation(np.linspace(looks.distance.min(), looks.distance.max(), PAIRS // len(CLASSES)))
        for encounter, goal in zip(np.resize(encounters, len(goals)), goals, strict=True):
            rows = np.flatnonzero(looks.encounter == encounter)
            chosen.append(int(rows[np.argmin(np.abs(looks.distance[rows] - goal))]))
    return np.array(chosen)


def temper(evidence: Array, held: Looks) -> tuple[Array, dict[str, float]]:
    """Tau fitted on all held-out encounters; the scores by distance under each half's tau on the other half."""
    sums = totals(evidence, held.detected, held.encounter)
    half = held.encounter % 2 == 0
    log_probs = np.empty((len(held.label), len(CLASSES)))
    for part in (half, ~half):
        tau = fit_tempering(sums[:, ~part], held.label[~part], held.weight[~part], EVEN)
        log_probs[part] = fused(tau, sums[:, part], EVEN)
    loss = log_loss(log_probs, held.label)
    scores = {"all": float(np.average(loss, weights=held.weight))}
    for at in RANGES:
        near = np.abs(held.distance - at) < 1.0
        if near.any():
            scores[f"{at:g} m"] = float(np.average(loss[near], weights=held.weight[near]))
    return fit_tempering(sums, held.label, held.weight, EVEN), scores


def show(what: str, scores: dict[str, float], tau: Array) -> None:
    """Print the held-out log loss by distance."""
    table = Table(title=f"{what}: held-out log loss in nats (a coin: {np.log(2.0):.3f})")
    for name in scores:
        table.add_column(name, justify="right")
    table.add_row(*(f"{value:.3f}" for value in scores.values()))
    console: Any = Console()
    console.print(table)
    console.print(f"tempering: {tau[0]:.3f} unseen, {tau[1]:.3f} seen")
