"""Simulation-based calibration: is the truth's rank among draws of the exact posterior uniform?

    python scenarios/studies/simulation_based_calibration.py [--encounters 500] [--out replays/sbc] [--jobs 2]

Truth and scans come from the world as runs use it, posteriors from the filters' own likelihood by importance sampling
(`filters/standing.py`). If both are one model, then the rank of the truth among independent draws is uniform
(Talts et al. 2018, arXiv 1804.06788), whatever the model. An encounter: a hazard announced 14 m ahead, five scans of a
lidar with 150 columns from known poses, still air; the seed's remainder by four picks the mode of its echoes.

Tests, fixed beforehand: chi-square of each quantity's ranks in 20 bins, five quantities, Bonferroni. Two controls
must fail: range noise (the sensor's and the shapes' roughness) x .7 in the likelihood, and a likelihood in which fog
has no echo.
What approximates: echoes come quantised (5 mm, 1/64 of the noise), and a beam's background density is linear between
nodes of ln visibility that lie half a deviation apart.

It prints the tests, the errors and interval coverage of the visibility by visibility, writes the picture into --out,
and exits with 1 if anything fails. Encounters that are there already are not computed again.
"""

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.stats import binom, binomtest, chisquare

import fogsim
from filters.jit import cache_folder
from filters.models.model import Model
from filters.models.motion import BagMotion
from filters.models.optics import MODES
from filters.models.shapes import ELLIPSOID, Solids
from filters.resampling import ess
from filters.spec import BARRIER, Pose, Prior, Scan
from filters.standing import EFFORTS, Posterior, Standing, posterior, standing
from filters.streams import stream
from fogsim.background import background_of
from fogsim.followers import model_of
from fogsim.runner import prior_of, scan_of, sweep
from fogsim.scenario import Hazard, Lidar, Scenario
from fogsim.world import ego as car
from fogsim.world import world as worlds

QUANTITIES = ("range", "lateral", "size", "visibility", "class")
LIKELIHOODS = ("right", "narrow", "clear")  # the model's own, range noise x .7, fog without echoes
SCANS = 5
DRAWS = 99  # of the posterior, so that there are 100 ranks
ENOUGH = 200.0  # effective draws that they are resampled from
BINS = 20
WANTED = 500  # encounters
CONTROLS = {"narrow": 500, "clear": 60}  # encounters with the wrong likelihoods
PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)
VISIBILITIES = (0.0, 18.0, 25.0, 35.0, np.inf)  # m, bins of the table
MATTERS = -10.0  # ln probability above which a class's evidence is asked for its error
NARROW = 0.7  # what the control multiplies range noise by
STILL = BagMotion(wander=0.0, gust_rate=0.0)
SCENARIO = Scenario(hazards=(Hazard(x=14.0),), motion=STILL, lidar=Lidar(columns=150))


class Encounter(NamedTuple):
    """What a seed draws: the world after the last scan, and the scans at their true poses."""

    world: worlds.World
    scans: list[Scan]


def scenario_of(seed: int) -> Scenario:
    """The scenario in the mode of the seed's turn."""
    optics = replace(SCENARIO.lidar.optics, mode=MODES[seed % len(MODES)])
    return replace(SCENARIO, lidar=replace(SCENARIO.lidar, optics=optics))


def observe(scenario: Scenario, seed: int) -> Encounter:
    """Drive up to the hazard."""
    world, background, seen = worlds.start(scenario, seed), background_of(scenario), []
    for tick in range(SCANS):
        if tick:
            world = worlds.step(world, car.PROCEED, scenario, stream(seed, "motion", tick))
        x, y, yaw = car.front(scenario.ego, world.ego)
        returns = sweep(world, np.array([x, y, yaw]), scenario, background, stream(seed, "lidar", tick))
        seen.append(scan_of(returns, Pose(x, y, 0.0, yaw), scenario, background))
    return Encounter(world, seen)


def assumptions(scenario: Scenario, likelihood: str) -> tuple[Model, Prior]:
    """What a likelihood assumes."""
    model, prior = model_of(scenario), prior_of(scenario, scenario.hazards[0])
    if likelihood == "narrow":
        optics = replace(model.optics, range_noise=NARROW * model.optics.range_noise)
        bag, barrier = (replace(shape, roughness=NARROW * shape.roughness) for shape in (model.bag, model.barrier))
        return replace(model, optics=optics, bag=bag, barrier=barrier), prior
    if likelihood == "clear":
        model = replace(model, optics=replace(model.optics, lidar_ratio=1e9))
    return model, prior


def calibrate(job: tuple[int, str]) -> dict[str, Any]:
    """Ranks of one encounter's truth under a likelihood, and what the tables need."""
    seed, likelihood = job
    scenario, clock = scenario_of(seed), perf_counter()
    encounter = observe(scenario, seed)
    target = standing(*assumptions(scenario, likelihood), encounter.scans)
    found = posterior(target, ENOUGH, stream(seed, "posterior", likelihood))
    return row_of(scenario, seed, likelihood, encounter, target, found) | {"seconds": perf_counter() - clock}


def row_of(
    scenario: Scenario, seed: int, likelihood: str, encounter: Encounter, target: Standing, found: Posterior
) -> dict[str, Any]:
    """One line of the study's record."""
    rng, pose, thing = stream(seed, "rank"), encounter.scans[-1].pose, encounter.world.things[0]
    truth = quantities(thing.solids(scenario), np.array([encounter.world.visibility]), pose)[0]
    values = [
        quantities(target.solids(k, d.points), np.exp(target.log_visibility(d.points)), pose)
        for k, d in enumerate(found.draws)
    ]
    klass, index = found.resample(DRAWS, rng)
    drawn = np.array([values[k][i] for k, i in zip(klass, index, strict=True)])
    ties = int((klass == thing.kind).sum())
    ranks = [*(drawn < truth).sum(axis=0).tolist(), int((klass < thing.kind).sum()) + int(rng.integers(ties + 1))]
    everything, weights = np.concatenate(values), np.exp(np.concatenate(found.log_weights))
    before = [
        quantities(target.solids(k, rng.standard_normal((4000, target.dimensions(k)))), np.ones(4000), pose)[:, 0]
        for k in range(len(found.draws))
    ]
    return {
        "seed": seed,
        "barrier": thing.kind == BARRIER,
        "truth": truth.tolist(),
        "ranks": dict(zip(QUANTITIES, ranks, strict=True)),
        "p_barrier": float(np.exp(found.log_probs[BARRIER])),
        "log_prob": float(found.log_probs[thing.kind]),
        "visibility": quantiles(everything[:, 3], weights).tolist(),
        "sd": spread(everything[:, 0], weights),
        "prior_sd": float(np.std(np.concatenate(before))),
        "ess": found.ess,
        "class_ess": [ess(d.log_weights) for d in found.draws],
        "evidence_error": [d.evidence_error for d in found.draws],
        "log_probs": found.log_probs.tolist(),
        "efforts": found.efforts,
    }


def quantities(solids: Solids, visibility: np.ndarray, pose: Pose) -> np.ndarray:
    """Range of the front, lateral position, half width, visibility: (n, 4), m.

    Range is from the last pose, to the plane of a barrier's front or to the nearest point of a bag.
    """
    x, y = solids.x - pose.x, solids.y - pose.y
    centre = np.where(solids.kind == ELLIPSOID, np.hypot(x, y), x * np.cos(solids.yaw) + y * np.sin(solids.yaw))
    return np.stack([centre - solids.hx, solids.y, solids.hy, visibility], axis=1)


def quantiles(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted quantiles at `PROBABILITIES`."""
    order = np.argsort(values)
    return np.interp(PROBABILITIES, (np.cumsum(weights[order]) - 0.5 * weights[order]) / weights.sum(), values[order])


def spread(values: np.ndarray, weights: np.ndarray) -> float:
    """Weighted standard deviation."""
    mean = np.average(values, weights=weights)
    return float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))


def p_value(ranks: list[int], bins: int = BINS) -> float:
    """Chi-square test of ranks 0 to `DRAWS` for uniformity."""
    counts = np.bincount(np.array(ranks) * bins // (DRAWS + 1), minlength=bins)
    return float(chisquare(counts).pvalue)


def p_values(rows: list[dict[str, Any]], bins: int = BINS) -> dict[str, float]:
    """One per quantity."""
    return {name: p_value([row["ranks"][name] for row in rows], bins) for name in QUANTITIES}


def compute(encounters: int, out: Path, jobs: int) -> dict[str, list[dict[str, Any]]]:
    """All rows of each likelihood by seed, those that are missing computed and recorded."""
    out.mkdir(parents=True, exist_ok=True)
    made_of = {
        "scenario": SCENARIO.json,
        "code": cache_folder(Path(fogsim.__file__).parent).name,
        "draws": DRAWS,
        "enough": ENOUGH,
    }
    rows: dict[str, list[dict[str, Any]]] = {}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for likelihood in LIKELIHOODS:
            path = out / f"{likelihood}.jsonl"
            there = read(path, made_of)
            wanted = range(min(CONTROLS.get(likelihood, encounters), encounters))
            missing = [(seed, likelihood) for seed in wanted if seed not in there]
            with path.open("a") as file:
                for k, row in enumerate(pool.map(calibrate, missing), 1):
                    there[row["seed"]] = row
                    file.write(json.dumps(row) + "\n")
                    file.flush()
                    if k % 20 == 0:
                        print(f"{likelihood}: {k} of {len(missing)} encounters", flush=True)
            rows[likelihood] = [there[seed] for seed in wanted]
    return rows


def read(path: Path, made_of: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The rows of a record by seed, without a last line that a kill cut short; a new record gets its first line."""
    if not path.exists():
        path.write_text(json.dumps(made_of) + "\n")
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
    first, *lines = whole.splitlines()
    if json.loads(first) != made_of:
        raise SystemExit(f"{path} is of another scenario or model than today's: name another --out")
    return {row["seed"]: row for row in map(json.loads, lines)}


def report(rows: dict[str, list[dict[str, Any]]]) -> bool:
    """Print the figures; whether all of them hold."""
    right, m = rows["right"], len(QUANTITIES)
    for likelihood, these in rows.items():
        p = p_values(these)
        print(f"{likelihood}, {len(these)} encounters: " + ", ".join(f"{name} p = {v:.2g}" for name, v in p.items()))
    size, ratio = [row["ess"] for row in right], float(np.median([row["sd"] / row["prior_sd"] for row in right]))
    tried = [row["efforts"] for row in right]
    both = ((e, p) for row in right for e, p in zip(row["evidence_error"], row["log_probs"], strict=True))
    errors = [e for e, p in both if p > MATTERS]
    seconds = sum(row["seconds"] for these in rows.values() for row in these)
    print(f"effective draws: least {min(size):.0f}, median {np.median(size):.0f}; computed in {seconds / 60:.0f} min")
    print(f"relative error of an evidence that matters: median {np.median(errors):.3f}, most {max(errors):.3f}")
    print(f"encounters with a second effort {sum(t > 1 for t in tried)}, never enough {sum(map(unreached, right))}")
    gap = np.array([row["barrier"] - row["p_barrier"] for row in right])
    scale = np.sqrt(sum(row["p_barrier"] * (1.0 - row["p_barrier"]) for row in right))
    print(f"barriers less their summed probability, in standard deviations: {gap.sum() / scale:.2f}")
    visibility_table(right)
    worst = {likelihood: m * min(p_values(these).values()) for likelihood, these in rows.items()}
    checks = {
        f"{len(right)} encounters, expected at least {WANTED}": len(right) >= WANTED,
        f"m min p = {worst['right']:.3g} with the model's own likelihood, expected > .01": worst["right"] > 0.01,
        f"least effective sample size {min(size):.0f}, expected >= {ENOUGH:.0f}": min(size) >= ENOUGH,
        f"no encounter without enough draws: {sum(map(unreached, right))}": not any(map(unreached, right)),
        f"median ratio of the range's deviations {ratio:.3f}, expected <= .7": ratio <= 0.7,
        f"m min p = {worst['narrow']:.3g} with range noise x .7, expected < .001": worst["narrow"] < 0.001,
        f"m min p = {worst['clear']:.3g} with fog that has no echo, expected < .001": worst["clear"] < 0.001,
    }
    for text, holds in checks.items():
        print(f"{'holds' if holds else 'FAILS'}: {text}")
    return all(checks.values())


def unreached(row: dict[str, Any]) -> bool:
    """Whether no effort gave a class that matters enough effective draws."""
    return bool(row["efforts"] > len(EFFORTS))


def visibility_table(rows: list[dict[str, Any]]) -> None:
    """Error of the posterior's median visibility, coverage of its intervals (95 % Wilson), log loss of the class."""
    print("visibility      n  mean error   %     in the 50 %        in the 90 %        log loss of the class")
    truth = np.array([row["truth"][3] for row in rows])
    found = np.array([row["visibility"] for row in rows])
    loss = -np.array([row["log_prob"] for row in rows])
    for low, high in pairwise(VISIBILITIES):
        here = (low <= truth) & (truth < high)
        if not here.any():
            continue
        error = np.abs(found[here, 2] - truth[here])
        share = [covered(truth[here], *found[here][:, ends].T) for ends in ([1, 3], [0, 4])]
        relative, doubt = 100 * (error / truth[here]).mean(), loss[here].std() / np.sqrt(here.sum())
        print(
            f"{low:3.0f} to {high:3.0f} m {here.sum():4d}  {error.mean():7.3f} m {relative:5.2f}"
            f"  {share[0]}  {share[1]}  {loss[here].mean():.3f} +- {doubt:.3f}"
        )


def covered(truth: np.ndarray, low: np.ndarray, high: np.ndarray) -> str:
    """Share of truths between low and high, with its interval."""
    test = binomtest(int(((low < truth) & (truth < high)).sum()), len(truth))
    ends = test.proportion_ci(method="wilson")
    return f"{test.statistic:.2f} [{ends.low:.2f}, {ends.high:.2f}]"


def band(n: int, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Simultaneous band of the ECDF of n uniform ranks less the diagonal (Säilynoja et al. 2022, arXiv 2103.10522)."""
    z = np.arange(1, DRAWS + 1) / (DRAWS + 1)
    drawn = np.random.default_rng(0).integers(DRAWS + 1, size=(2000, n))
    counts = np.stack([np.bincount(row, minlength=DRAWS + 1).cumsum()[:-1] for row in drawn])
    tail = 2.0 * np.minimum(binom.cdf(counts, n, z), binom.sf(counts - 1, n, z)).min(axis=1)
    gamma = np.quantile(tail, 1.0 - level)
    return binom.ppf(gamma / 2, n, z) / n - z, binom.ppf(1 - gamma / 2, n, z) / n - z


def draw(rows: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Rank histograms with a 99 % band per bin, and ECDFs less the diagonal with their simultaneous 95 % band."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    n = len(rows["right"])
    figure, axes = plt.subplots(2, len(QUANTITIES), figsize=(14, 5.2), sharex=True, sharey="row", layout="constrained")
    names = {"right": "the model's own", "narrow": "range noise × .7", "clear": "fog without echoes"}
    colours = {"right": "#1b4f8a", "narrow": "#d1772e", "clear": "#8a8a8a"}
    z, (low, high) = np.arange(1, DRAWS + 1) / (DRAWS + 1), band(n)
    edges = np.linspace(0.0, 1.0, BINS + 1)
    for name, top, bottom in zip(QUANTITIES, *axes, strict=True):
        ranks = {k: np.array([row["ranks"][name] for row in these]) for k, these in rows.items()}
        top.axhspan(*binom.ppf([0.005, 0.995], n, 1 / BINS), color="0.88")
        top.axhline(n / BINS, color="0.6", lw=0.8)
        shares = (ranks["right"] + 0.5) / (DRAWS + 1)
        top.hist(shares, bins=edges, color=colours["right"], rwidth=0.9)
        top.set_title(f"{name}, p = {p_value(list(ranks['right'])):.2f}")
        bottom.fill_between(z, low, high, color="0.88")
        for k in ("clear", "narrow", "right"):
            counts = np.bincount(ranks[k], minlength=DRAWS + 1).cumsum()[:-1]
            width = 1.8 if k == "right" else 1.0
            bottom.plot(z, counts / len(ranks[k]) - z, color=colours[k], lw=width, label=names[k])
        bottom.set_ylim(-0.25, 0.25)  # a control may leave the picture
        bottom.set_xlabel("rank of the truth / 100")
    axes[0, 0].set_ylabel("encounters")
    axes[1, 0].set_ylabel("ECDF less the diagonal")
    axes[1, 0].legend(title="likelihood", fontsize=8, title_fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encounters", type=int, default=WANTED)
    parser.add_argument("--out", type=Path, default=Path("replays/sbc"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    rows = compute(arguments.encounters, arguments.out, arguments.jobs)
    draw(rows, arguments.out / "sbc.png")
    print(f"picture: {arguments.out / 'sbc.png'}")
    return 0 if report(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
