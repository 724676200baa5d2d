"""Whether fitted weights of the pool beat equal ones: fitted on half of the encounters, scored on the other, and back.

    python scenarios/studies/fusion.py LOGS...          folders of logs, e.g. replays/first_table/bayes

It prints the weights fitted to all encounters of a folder, at 20, 15 and 10 m and the decision point together, and for
each of these moments the log loss less ln 2 (a coin scores 0) of the equal pool, of the pool by the weights fitted on
the other half, and their difference on the same encounters with its 95 % bootstrap interval over seeds.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from filters.belief import normalise
from filters.fusion import fit_weights
from fogsim.scoring.cells import interval
from fogsim.scoring.encounters import MOMENTS
from fogsim.scoring.metrics import by_group, paired_bootstrap
from fogsim.scoring.scores import score

AT = ("20 m", "15 m", "10 m", "decision")


class Held(NamedTuple):
    """Beliefs (n, filters, K) of encounters at moments, and the truth, the seed and the moment (n,) of each."""

    log_probs: np.ndarray
    truth: np.ndarray
    seed: np.ndarray
    moment: np.ndarray

    def take(self, which: np.ndarray) -> "Held":
        """Those of a mask."""
        return Held(*(column[which] for column in self))


def read(folder: Path) -> tuple[tuple[str, ...], Held]:
    """The filters' names, and what they believed wherever a log reached one of the moments."""
    encounters, rows = score(folder).encounters, []
    names = encounters[0].beliefs[:-1]
    for e in encounters:
        for moment in AT:
            log_probs = e.log_probs[MOMENTS.index(moment), :-1]
            if e.beliefs[:-1] == names and np.isfinite(log_probs).all():
                rows.append((log_probs, e.truth, e.seed, moment))
    return names, Held(*(np.array(column) for column in zip(*rows, strict=True)))


def losses(held: Held, weights: np.ndarray) -> np.ndarray:
    """Log loss of the pool less ln 2, (n,)."""
    scores = np.einsum("i,nik->nk", weights, held.log_probs)
    return np.array([-normalise(s)[t] for s, t in zip(scores, held.truth, strict=True)]) - np.log(2.0)


def crossed(held: Held) -> np.ndarray:
    """Losses of each half under the weights fitted on the other; a half has as many bags as barriers."""
    result = np.empty(len(held.truth))
    first = (held.seed // 2) % 2 == 0
    for half in (first, ~first):
        other = held.take(~half)
        result[half] = losses(held.take(half), fit_weights(other.log_probs, other.truth))
    return result


def report(folder: Path, console: Console) -> None:
    """Print weights and table of one folder."""
    names, held = read(folder)
    weights = fit_weights(held.log_probs, held.truth)
    equal, fitted = losses(held, np.full(len(names), 1.0 / len(names))), crossed(held)
    told = ", ".join(f"{name} {w:.2f}" for name, w in zip(names, weights, strict=True))
    console.print(f"{folder}: weights {told}; sum {weights.sum():.2f}", markup=False)
    table = Table("at", "n", "equal", "fitted on the other half", "difference")
    for moment in AT:
        at = held.moment == moment
        columns = (v[at] for v in (equal, fitted, fitted - equal))
        table.add_row(moment, str(at.sum()), *(interval(paired_bootstrap(by_group(v, held.seed[at]))) for v in columns))
    console.print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    for given in parser.parse_args().folders:
        report(given, Console(width=120))
