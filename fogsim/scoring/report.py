"""A score as tables for the terminal and as a dictionary for JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from filters.spec import BARRIER
from fogsim.frame import POLICIES
from fogsim.scoring.encounters import MOMENTS
from fogsim.scoring.metrics import CLIP, Interval
from fogsim.scoring.regret import ALL, VISIBILITIES, Regret
from fogsim.scoring.scores import Score

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

KINDS = {"regret": "Regret", "expected": "Expected regret"}


def to_dict(score: Score) -> dict[str, Any]:
    """What ``score.json`` holds: the tables, what they rest on, and what was left out. NaN is None."""
    tables = {
        "beliefs": score.beliefs,
        "regrets": score.regrets,
        "policies": score.policies,
        "drivers": score.drivers,
        "differences": score.differences,
    }
    return {
        "encounters": len(score.encounters),
        "barriers": barriers(score),
        "unclassed": score.unclassed,
        "clip": CLIP,
        "not_reached": score.not_reached,
        "unfinished": list(score.unfinished),
        "refused": [{"log": name, "why": why} for name, why in score.refused],
    } | {name: [_plain(row) for row in rows] for name, rows in tables.items()}


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {key: _plain(v) for key, v in value._asdict().items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def barriers(score: Score) -> int:
    """Encounters with a barrier."""
    return sum(e.truth == BARRIER for e in score.encounters)


def number(value: float, form: str = ".3f") -> str:
    """A number, or a dash where there is none."""
    return "–" if math.isnan(value) else format(value, f"z{form}")


def interval(value: Interval, form: str = ".3f") -> str:
    """``mean [low, high]``."""
    bounds = "" if math.isnan(value.low) else f" [{number(value.low, form)}, {number(value.high, form)}]"
    return number(value.mean, form) + bounds


def print_score(score: Score, console: Console) -> None:
    """Print the tables: beliefs at each moment, what each belief would have done, how the drivers fared."""
    n = len(score.encounters)
    head = f"[bold]{n} encounter{'s' * (n != 1)}[/], {barriers(score)} with a barrier"
    console.print(f"{head}; intervals are 95 %, over seeds")
    for moment in MOMENTS:
        if any(row.n for row in score.beliefs if row.moment == moment):
            console.print(belief_table(score, moment))
    if score.regrets:
        console.print(regret_table(score))
        console.print(visibility_table(score))
    if any(row.n for row in score.policies):
        console.print(policy_table(score))
    console.print(driver_table(score))
    for d in score.differences:
        console.print(f"cost of ({d.driver}) less ({d.other}), {d.n} common encounters: {interval(d.cost, '.2f')}")
    for line in remarks(score):
        console.print(line, markup=False, style="yellow")


def remarks(score: Score) -> list[str]:
    """What was not scored, a line each."""
    n = len(score.encounters)
    lines = [f"{k} of {n} never reached: {moment}" for moment, k in score.not_reached.items() if k]
    if score.unclassed:
        left, kinds = sum(score.unclassed.values()), ", ".join(f"{kind} {k}" for kind, k in score.unclassed.items())
        lines.append(f"{left} of {n} left out of class scores, not of cost: no belief has a class for it ({kinds})")
    lines += [f"{name} has no end: scored up to its last frame, its outcome is not" for name in score.unfinished]
    return lines + [f"left out: {why}" for _, why in score.refused]


def _table(title: str, *columns: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for k, column in enumerate(columns):
        table.add_column(
            column, justify="left" if k == 0 else "right", no_wrap=k == 0 or column.startswith(("cost", "less"))
        )
    return table


def belief_table(score: Score, moment: str) -> Table:
    """One row per belief at one moment."""
    title = {"decision": "At the decision point", "first echo": "At the first echo from the object"}
    columns = ("n", "log loss", "less ln 2", "Brier", "MCB", "DSC", "accuracy", "AUC", "entropy", "undecided")
    table = _table(title.get(moment, f"At {moment}"), "belief", *columns)
    for row in score.beliefs:
        if row.moment == moment:
            shares = (number(row.accuracy, ".1%"), number(row.auc), number(row.entropy), number(row.undecided, ".0%"))
            loss = (number(row.log_loss), interval(row.gain), *(number(v) for v in (row.brier, row.mcb, row.dsc)))
            table.add_row(row.belief, str(row.n), *loss, *shares)
    return table


def regret_table(score: Score) -> Table:
    """One row per belief and moment."""
    table = _table("Regret against the oracle, nats", "belief", "at", "n", "regret", "expected regret")
    for row in _regrets(score, ALL):
        table.add_row(row.belief, row.moment, str(row.n), interval(row.regret), interval(row.expected))
    return table


def visibility_table(score: Score, kind: str = "expected") -> Table:
    """One row per belief and moment, the bins of true visibility side by side; `kind` "regret" or "expected"."""
    bins, title = [name for name in VISIBILITIES if name != ALL], KINDS[kind]
    table = _table(f"{title} by visibility, nats, and of how many", "belief", "at", *bins)
    for rows in zip(*(_regrets(score, name) for name in bins), strict=True):
        cells = (f"{interval(getattr(row, kind))} {row.n:4d}" for row in rows)
        table.add_row(rows[0].belief, rows[0].moment, *cells)
    return table


def _regrets(score: Score, visibility: str) -> list[Regret]:
    return [row for row in score.regrets if row.visibility == visibility]


def policy_table(score: Score) -> Table:
    """One row per belief, the policies side by side."""
    names = [name.replace("_", " ") for name in POLICIES]
    counts = [f"{what}\n{' / '.join(names)}" for what in ("collisions", "needless brakes")]
    table = _table(
        "What each belief would have done at the decision point", "belief", "n", *(f"cost\n{n}" for n in names), *counts
    )
    for name in score.belief_names:
        rows = [row for row in score.policies if row.belief == name]
        costs = [interval(row.cost, ".2f") for row in rows]
        collisions, brakes = zip(*((str(row.collisions), str(row.needless_brakes)) for row in rows), strict=True)
        table.add_row(name, str(rows[0].n), *costs, " / ".join(collisions), " / ".join(brakes))
    return table


def driver_table(score: Score) -> Table:
    """One row per driver."""
    table = _table("Who drove", "driver", "n", "cost", "collisions", "impact m/s", "needless brakes", "left at the end")
    for row in score.drivers:
        ends = (number(row.impact_speed, ".1f"), str(row.needless_brakes), f"{number(row.distance_left, '.1f')} m")
        table.add_row(row.driver, str(row.n), interval(row.cost, ".2f"), str(row.collisions), *ends)
    return table
