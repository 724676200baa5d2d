"""What the gate on compute saves and costs, frame by frame, on campaigns of scenarios/regime_shift.py.

    python scenarios/studies/compute_gate.py [--seeds 8] [--out replays/learning_debt/regime_shift]

The campaigns are those that scenarios/studies/learning_debt.py drives, root seeds 23, 24, ...; the gate was set on
seeds 6 to 8. 100 draws are taken of the normal that the shipped classifier's draws have the moments of. Told are,
before and after bags and fog have changed: the share of all draws of rows, the log loss of a frame less that of all 100
draws, how often the action at the threshold differs from theirs, both for the first 8 draws alone too, and the time of
the gate over that of all draws, in one process, the least of five.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from study import parser_of, students

from filters.adaptation import deployed
from filters.adaptation.compute_gate import FEW, ComputeGate, taken
from filters.posterior.ensemble import Ensemble
from filters.posterior.served import use_one_thread
from filters.posterior.spec import DRAWS, generator
from filters.trained import shipped
from fogsim.labelled import encounters

FIRST, SHIFT = 23, 150
CLIP = 1e-6


def frames(folder: Path, first: deployed.Deployed, after: bool) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Inputs (n, F) and labels (n,) of all frames before or after the change, and the threshold of the decision."""
    found = [e for e in encounters(folder) if e and (e.number >= SHIFT) == after]
    x = torch.tensor(np.concatenate([first.inputs(e.seen.features) for e in found]), dtype=torch.float32)
    label = torch.tensor(np.concatenate([np.full(len(e.seen.features), e.label) for e in found]))
    return x, label, found[0].stakes.threshold


def compared(ensemble: Ensemble, x: torch.Tensor, label: torch.Tensor, threshold: float) -> Iterator[float]:
    """Share, loss less the whole's of the gate and of the first draws, shares of other actions, and time."""
    gate, few = ComputeGate.of(ensemble, threshold), taken(ensemble, slice(FEW))
    answer = gate.predict(x)
    p, gated, cheap = (made.mean[:, 1] for made in (ensemble.predict(x), answer.prediction, few.predict(x)))

    def loss(said: torch.Tensor) -> float:
        right = torch.where(label == 1, said, 1.0 - said)
        return -float(right.clamp(CLIP).log().mean())

    yield answer.share
    yield from (loss(said) - loss(p) for said in (gated, cheap))
    yield from (float(((said >= threshold) != (p >= threshold)).float().mean()) for said in (gated, cheap))
    yield least(lambda: gate.predict(x)) / least(lambda: ensemble.predict(x))


def least(call: Callable[[], object]) -> float:
    """The shortest of five calls, s."""
    took = []
    for _ in range(5):
        clock = perf_counter()
        call()
        took.append(perf_counter() - clock)
    return min(took)


def main() -> None:
    given = parser_of(__doc__, 8, "replays/learning_debt/regime_shift").parse_args()
    use_one_thread()
    if not (given.out / str(FIRST)).is_dir():
        raise SystemExit(f"{given.out} has no campaign: give python scenarios/studies/learning_debt.py first")
    first = deployed.load(shipped("bnn"))
    drawn = first.engine.sample(first.model.posterior, generator(0, "gate"), DRAWS)
    ensemble = Ensemble.of(first.engine.network, first.engine.likelihood, drawn)
    names = ("share of compute", "Δ log loss", "of 8 draws", "other actions", "of 8 draws", "time")
    table = Table("frames", *names, title=f"{given.seeds} seeds, mean ± half of the 95 % interval")
    for name, after in (("old bags and fog", False), ("new ones", True)):
        rows = [
            list(compared(ensemble, *frames(given.out / str(seed), first, after)))
            for seed in range(FIRST, FIRST + given.seeds)
        ]
        table.add_row(name, *("{:.5f} ± {:.5f}".format(*students(column)) for column in zip(*rows, strict=True)))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
