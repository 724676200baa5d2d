"""What each filter loses against the exact posterior: 400 encounters of creeping fog, an open-loop car, in nats.

    python scenarios/studies/regret.py [--seeds 400] [--first 40000] [--out replays/regret] [--jobs 2] [--only oracle]

Half of the seeds meet a bag and half a barrier. The oracle and the filters are driven into folders of their own, the
oracle for an hour or two: the car and the echoes are the same, which is checked, so that logs are paired by seed, and
filters can be driven again (`--only filters`, after their folder was moved away) beside the oracle that is there. Logs
that are there already are not driven again. It prints

- regret and expected regret of every filter at the decision point, 20, 15 and 10 m, and by true visibility;
- the CORP decomposition of every belief's Brier score: MCB is miscalibration, with its upper 95 % bound and what
  calibrated beliefs with the same probabilities would show, DSC discrimination, with what useless ones would show,
  UNC the base rate's score;
- how often a belief in the right class exceeds .99 more than 8 m away, and in the wrong one ever;
- the mutual information of label and the oracle's run: the tolerance of all this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from study import Job, drive_all, in_turns, parser_of

from fogsim.scenario import Driver, Scenario

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from fogsim.log import Replay
    from fogsim.scoring.encounters import Encounter

FOLDERS = {"oracle": ("oracle",), "filters": ("kalman", "particle", "kernel_bayes", "bnn")}
WORLD = ("distance_left", "truth_class", "truth_position", "object_echoes", "odometry", "visibility")
AT = ("decision", "15 m", "10 m")
DOUBT = 0.01  # nats
SURE, NEAR = 0.99, 8.0  # of a belief; m left, within which it comes late


class Judged(NamedTuple):
    """An encounter, the oracle's belief among the others; how sure each (b,) ever was, and the oracle of itself."""

    encounter: Encounter
    right: np.ndarray  # more than SURE of what was true, more than NEAR away
    wrong: np.ndarray  # more than SURE of what was not, in any frame
    doubt: np.ndarray  # mutual information of label and the oracle's run, nats, at `MOMENTS` (moments,)


def jobs_of(seeds: Sequence[int], out: Path, only: str | None = None) -> list[Job]:
    """Every encounter of the study, or of one folder of it."""
    plain = Scenario(driver=Driver(policy="open_loop"))
    return [
        Job(in_turns(replace(plain, filters=filters), seed), seed, out / folder / f"{seed:05d}.h5")
        for folder, filters in FOLDERS.items()
        if only in (None, folder)
        for seed in seeds
    ]


def judged(filters: Replay, oracle: Replay) -> Judged:
    """Two logs of one encounter as one.

    Raises
    ------
    SystemExit
        If what the car met is not the same in both.
    """
    import numpy as np

    from fogsim.scoring.encounters import encounter, moments

    for name in WORLD:
        if not np.array_equal(filters.column(name), oracle.column(name), equal_nan=True):
            raise SystemExit(f"seed {filters.seed}: {name} of filters and oracle differ: drive both by the same code")
    one, other = encounter(filters), encounter(oracle)
    k = [other.beliefs.index("oracle")]
    both = replace(
        one,
        beliefs=(*one.beliefs, "oracle"),
        log_probs=np.concatenate([one.log_probs, other.log_probs[:, k]], axis=1),
        shadow_action=np.concatenate([one.shadow_action, other.shadow_action[k]]),
    )
    log_probs = np.concatenate([filters.column("log_probs")[:, :, 0], oracle.column("log_probs")[:, k, 0]], axis=1)
    doubt = oracle.column("epistemic")[:, k[0], 0]
    doubts = np.array([np.nan if i is None else doubt[i] for i in moments(oracle)])
    return Judged(both, *sure(np.exp(log_probs[:, :, one.truth]), filters.column("distance_left")[:, 0]), doubts)


def sure(true: np.ndarray, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of P(what is true) (frames, b): whether it exceeds SURE more than NEAR away, and 1 - it ever, each (b,)."""
    return (true[left > NEAR] > SURE).any(axis=0), (1.0 - true > SURE).any(axis=0)


def read(seeds: Sequence[int], out: Path) -> list[Judged]:
    """Every encounter, from the logs alone."""
    from fogsim.log import Replay

    found = []
    for seed in seeds:
        with Replay(out / "filters" / f"{seed:05d}.h5") as filters, Replay(out / "oracle" / f"{seed:05d}.h5") as oracle:
            found.append(judged(filters, oracle))
    return found


def corp_table(found: Sequence[Judged], moment: str) -> Table:
    """MCB, DSC and UNC of every belief at a moment, what chance shows beside them; with upper 95 % bounds."""
    import numpy as np
    from rich.table import Table

    from fogsim.scoring.cells import upper
    from fogsim.scoring.corp import calibration, useless
    from fogsim.scoring.encounters import MOMENTS

    p = np.array([j.encounter.p_barrier[MOMENTS.index(moment)] for j in found])
    reached, y = np.isfinite(p).all(axis=1), np.array([j.encounter.truth for j in found])
    table = Table("belief", "Brier", "MCB", "if calibrated", "p", "DSC", "if useless")
    for name, believed in zip(found[0].encounter.beliefs, p[reached].T, strict=True):
        c, chance = calibration(believed, y[reached]), useless(believed, y[reached])
        mcb, if_calibrated, dsc, if_useless = (upper(x, ".4f") for x in (c.mcb, c.calibrated, c.dsc, chance))
        table.add_row(name, f"{c.brier:.4f}", mcb, if_calibrated, f"{c.p_value:.3f}", dsc, if_useless)
    table.title = f"Brier score = MCB - DSC + UNC at {moment}, {c.n} encounters, UNC = {c.unc:.4f}"
    return table


def sureness_table(found: Sequence[Judged]) -> Table:
    """How many encounters saw a belief sure of the right class early, and of the wrong one ever."""
    from rich.table import Table

    title = f"Encounters of {len(found)} in which P > {SURE} (exact 95 % intervals)"
    table = Table("belief", f"right, > {NEAR:.0f} m left", "share", "wrong, ever", "share", title=title)
    for b, name in enumerate(found[0].encounter.beliefs):
        counts = (sum(bool(j.right[b]) for j in found), sum(bool(j.wrong[b]) for j in found))
        table.add_row(name, *(cell for k in counts for cell in (str(k), share(k, len(found)))))
    return table


def doubt_table(found: Sequence[Judged]) -> Table:
    """How far the oracle's runs are apart, in the unit of expected regret."""
    import numpy as np
    from rich.table import Table

    from fogsim.scoring.encounters import MOMENTS

    table = Table(
        "at", "mean", "largest", f"above {DOUBT}", title="Mutual information of label and the oracle's run, nats"
    )
    for moment in AT:
        doubt = np.array([j.doubt[MOMENTS.index(moment)] for j in found])
        doubt = doubt[np.isfinite(doubt)]
        table.add_row(moment, f"{doubt.mean():.5f}", f"{doubt.max():.4f}", f"{np.sum(doubt > DOUBT)} of {len(doubt)}")
    return table


def share(k: int, n: int) -> str:
    """k of n with its Clopper-Pearson interval."""
    from scipy.stats import binomtest

    bounds = binomtest(k, n).proportion_ci(method="exact")
    return f"{k / n:.3f} [{bounds.low:.3f}, {bounds.high:.3f}]"


def report(seeds: Sequence[int], out: Path) -> None:
    """Print every table."""
    from rich.console import Console

    from fogsim.scoring.scores import Score
    from fogsim.scoring.tables import regret_table, visibility_table

    console, found = Console(width=120), read(seeds, out)
    score = Score(tuple(j.encounter for j in found))
    for table in (regret_table(score), visibility_table(score), visibility_table(score, "regret")):
        console.print(table)
    for moment in AT:
        console.print(corp_table(found, moment))
    console.print(sureness_table(found))
    console.print(doubt_table(found))


if __name__ == "__main__":
    parser = parser_of(__doc__, 400, "replays/regret")
    parser.add_argument("--first", type=int, default=40_000)
    parser.add_argument("--only", choices=list(FOLDERS))
    given = parser.parse_args()
    of = range(given.first, given.first + given.seeds)
    drive_all(jobs_of(of, given.out, given.only), given.jobs)
    if given.only is None:
        report(of, given.out)
