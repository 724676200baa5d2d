"""Is the network as good as gradient boosting on the same features, and is it calibrated?

    python scenarios/studies/classifier.py [--learn 1500] [--encounters 2000] [--seeds 5] [--patch 1]
        [--out replays/classifier]

`--learn` encounters as `fogsim train` draws them (seed 1) are learnt from, `--encounters` others (seed 70000) are
judged on, frame by frame. The network over features learns by two engines from `--seeds` starts each, that over beams
by Pyro from `--patch` (many minutes each). The boosted trees are scikit-learn's (extra `peers`); their number, their
leaves and the share of features that a split chooses from are those of least loss under five-fold cross-validation over
the encounters learnt from. All weigh a frame by the metres driven in it while they learn, and none sees the encounters
that it is judged on.

It prints for all of those frames, those in fog (visibility below 90 m) and those in clear air:

    seconds     it took to learn, mean over the starts
    log loss    nats a frame, mean over the starts ± half of the 95 % interval (Student's) where there are several
    less trees  that loss less the trees' in the same frames, with the 95 % interval of resampled encounters
    MCB         what of the Brier score recalibration would take away (`fogsim.scoring.corp`), mean over the starts
    at most     MCB's 97.5th percentile over resampled encounters and starts; high, as a resample shows more of it

Frames, trees and trained networks' answers are kept in the folder, and not made again.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.optimize import isotonic_regression
from scipy.special import expit
from study import students

from filters.streams import stream
from fogsim import classifier, dataset
from fogsim.dataset import FOGGY, Dataset, Looks
from fogsim.scenario import Scenario
from fogsim.scoring.corp import decompose
from fogsim.training import WORKERS

LEARN, UNSEEN = 1, 70_000  # seeds of the frames
TREES = "boosted trees"
NETWORKS = {
    "network, reparameterised": ("classifier", "reparameterised"),
    "network, ivon": ("classifier", "ivon"),
    "network of beams, pyro": ("patch", "pyro"),
}
LEAVES, SHARES, MOST, FOLDS = (31, 63, 127), (0.1, 0.2, 0.4), 600, 5  # shares of the features that a split may use
RESAMPLES = 500
COLUMNS = "", "starts", "seconds", "frames", "log loss", "less trees", "MCB", "at most"


class Answers(NamedTuple):
    """Log-odds of a barrier in the frames to be judged on (n,), the seconds to learn, what else there is to tell."""

    log_odds: np.ndarray
    seconds: float
    note: str


def frames_of(path: Path, encounters: int, seed: int) -> Looks:
    """Frames that are there, or are simulated."""
    if not path.exists():
        dataset.write(path, Scenario(), encounters, seed, processes=WORKERS)
    there, expected = Dataset(path), {"scenario": Scenario().json, "encounters": encounters, "seed": seed}
    if any(there.header[name] != value for name, value in expected.items()):
        raise SystemExit(f"{path} is of another scenario or number of encounters: name another --out")
    return there.looks


def answered(path: Path, learn: Callable[[], tuple[np.ndarray, str]]) -> Answers:
    """Answers that are there, or are learnt now."""
    if not path.exists():
        start = perf_counter()
        log_odds, note = learn()
        told = {"log_odds": log_odds.round(5).tolist(), "seconds": perf_counter() - start, "note": note}
        part = path.with_suffix(".tmp")
        part.write_text(json.dumps(told))
        part.replace(path)
    kept = json.loads(path.read_text())
    return Answers(np.array(kept["log_odds"]), kept["seconds"], kept["note"])


def network(learnt: Looks, unseen: Looks, what: str, engine: str, seed: int, part: Path) -> tuple[np.ndarray, str]:
    """Log-odds by one that is trained from a start; what was broken off goes on."""
    tensors, evidence = classifier.fit(learnt, unseen, seed, engine, part, what)
    part.unlink(missing_ok=True)
    log_probs = np.logaddexp.reduce(evidence + tensors["prior"], axis=1)
    return log_probs[:, 1] - log_probs[:, 0], ""


def trees(learnt: Looks, unseen: Looks) -> tuple[np.ndarray, str]:
    """Log-odds by the trees whose settings do best on encounters held out of those learnt from."""
    looks, grid = learnt._replace(patch=learnt.patch[:, :0]), list(product(LEAVES, SHARES))
    losses = np.array([held_out_loss(looks, setting) for setting in track(grid, "tune the trees")])
    best, last = (int(k) for k in np.unravel_index(losses.argmin(), losses.shape))
    note = "boosted trees: {} leaves, {:g} of the features, {} trees".format(*grid[best], last + 1)
    return boosted(looks, grid[best], last + 1).decision_function(unseen.features), note


def held_out_loss(looks: Looks, setting: tuple[int, float]) -> np.ndarray:
    """Weighted log loss after 1, 2, ..., `MOST` trees (MOST,), of every fold by trees grown on the others."""
    from sklearn.model_selection import GroupKFold

    total = np.zeros(MOST)
    for rows, fresh in GroupKFold(FOLDS).split(looks.features, looks.label, looks.encounter):
        held = looks.take(fresh)
        stages = boosted(looks.take(rows), setting, MOST).staged_decision_function(held.features)
        total += [held.weight @ log_loss(stage, held.label) for stage in stages]
    return total / looks.weight.sum()


def boosted(looks: Looks, setting: tuple[int, float], count: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    leaves, share = setting
    fixed = {"learning_rate": 0.03, "min_samples_leaf": 100, "l2_regularization": 10.0, "random_state": 0}
    model = HistGradientBoostingClassifier(
        max_iter=count, max_leaf_nodes=leaves, max_features=share, early_stopping=False, **fixed
    )
    return model.fit(looks.features, looks.label, sample_weight=looks.weight)


def log_loss(log_odds: np.ndarray, label: np.ndarray) -> np.ndarray:
    """-ln p of what was true: (..., n)."""
    return np.logaddexp(0.0, np.where(label == 1, -log_odds, log_odds))


def resamples(encounters: int) -> np.ndarray:
    """How often each encounter is drawn: (RESAMPLES, encounters)."""
    return stream(0, "classifier study").multinomial(encounters, np.full(encounters, 1 / encounters), RESAMPLES)


def resampled_means(values: np.ndarray, encounter: np.ndarray, picks: np.ndarray) -> np.ndarray:
    """Mean over the frames of each resample's encounters: (B,) from values (n,) and picks (B, E)."""
    _, of, counts = np.unique(encounter, return_inverse=True, return_counts=True)
    return (picks @ np.bincount(of, values)) / (picks @ counts)


def resampled_mcb(p: np.ndarray, y: np.ndarray, encounter: np.ndarray, picks: np.ndarray) -> np.ndarray:
    """MCB (B,) of the frames of each resample's encounters, as `decompose` would find it of repeated frames."""
    values, index = np.unique(p, return_inverse=True)
    of, found = np.unique(encounter, return_inverse=True)[1], []
    for pick in picks:
        n = np.bincount(index, pick[of])
        there = n > 0
        n, share = n[there], np.bincount(index, pick[of] * y)[there] / n[there]
        best = isotonic_regression(share, weights=n).x
        found.append(n @ ((values[there] - share) ** 2 - (best - share) ** 2) / n.sum())
    return np.array(found)


def interval(values: np.ndarray) -> str:
    """Mean ± half of the 95 % interval by Student's t, if there are several."""
    if len(values) < 2:
        return f"{values[0]:.4f}"
    return "{:.4f} ± {:.4f}".format(*students(values))


def row(starts: list[Answers], other: np.ndarray, looks: Looks, which: np.ndarray) -> list[str]:
    """Cells of one method in some frames; `other` are the trees' log-odds."""
    label, encounter = looks.label[which], looks.encounter[which]
    log_odds = np.array([answers.log_odds[which] for answers in starts])
    picks, loss = resamples(len(np.unique(encounter))), log_loss(log_odds, label)
    apart = loss.mean(axis=0) - log_loss(other[which], label)
    low, high = np.percentile(resampled_means(apart, encounter, picks), (2.5, 97.5))
    less = f"{apart.mean():+.4f} [{low:+.4f}, {high:+.4f}]" if apart.any() else ""
    mcb = np.mean([decompose(p, label).mcb for p in expit(log_odds)])
    most = np.percentile([resampled_mcb(p, label, encounter, picks) for p in expit(log_odds)], 97.5)
    return [interval(loss.mean(axis=1)), less, f"{mcb:.4f}", f"{most:.4f}"]


def rows(found: dict[str, list[Answers]], looks: Looks) -> Iterator[list[str]]:
    """Of every method in all frames, in fog and in clear air."""
    fog = looks.visibility < FOGGY[1]
    for name, starts in found.items():
        seconds = f"{np.mean([answers.seconds for answers in starts]):.0f}"
        for where, which in (("all", np.full(len(fog), True)), ("fog", fog), ("clear", ~fog)):
            first = [name, str(len(starts)), seconds] if where == "all" else ["", "", ""]
            yield [*first, where, *row(starts, found[TREES][0].log_odds, looks, which)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("learn", 1500), ("encounters", 2000), ("seeds", 5), ("patch", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, default=Path("replays/classifier"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    learnt = frames_of(args.out / f"learn-{args.learn}.h5", args.learn, LEARN)
    unseen = frames_of(args.out / f"unseen-{args.encounters}.h5", args.encounters, UNSEEN)
    sizes = f"{args.learn}-{args.encounters}.json"
    found = {TREES: [answered(args.out / f"trees-{sizes}", lambda: trees(learnt, unseen))]}
    starts = {"classifier": args.seeds, "patch": args.patch}
    for name, (what, engine) in NETWORKS.items():
        for seed in range(1, starts[what] + 1):
            path = args.out / f"{what}-{engine}-{seed}-{sizes}"
            learn = partial(network, learnt, unseen, what, engine, seed, path.with_suffix(".part"))
            found.setdefault(name, []).append(answered(path, learn))
    title = f"{len(unseen.label)} frames of {args.encounters} encounters, learnt from {args.learn}"
    table = Table(*COLUMNS, title=title, caption=found[TREES][0].note)
    for cells in rows(found, unseen):
        table.add_row(*cells)
    Console(width=132).print(table)


if __name__ == "__main__":
    main()
