"""A comparison on the terminal and as a dictionary for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fogsim.scoring.cells import empty_table, interval, number
from fogsim.scoring.compared import Comparison
from fogsim.scoring.costs import CostDifference
from fogsim.scoring.paired import Paired
from fogsim.scoring.regret import AT
from fogsim.scoring.report import APART, plain, remarks

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def to_dict(found: Comparison) -> dict[str, Any]:
    """What ``--json`` writes: differences of the first less the second, and on how many seeds. NaN is None."""
    one, other, common = found.seeds
    return {
        "seeds": {"first": one, "second": other, "common": common},
        "settings_differ": found.settings_differ,
        **{name: plain(getattr(found, name)) for name in ("decision_left", "beliefs", "actions", "drivers")},
        "remarks": remarks_of(found),
    }


def print_comparison(found: Comparison, console: Console) -> None:
    """Print how beliefs, their actions and drivers of the first differ from the second's."""
    one, other, common = found.seeds
    head = f"[bold]{common} seed{'s' * (common != 1)} in common[/], of {one} and {other}"
    console.print(f"{head}; first less second, intervals are 95 %, over seeds")
    if any(row.log_loss.n for row in found.beliefs):
        console.print(belief_table(found))
    for title, rows in (("By shadow at the decision point, bayes", found.actions), ("Who drove", found.drivers)):
        if any(row.cost.n for row in rows):
            console.print(cost_table(title, rows))
    for line in remarks_of(found):
        console.print(line, markup=False, style="yellow")


def remarks_of(found: Comparison) -> list[str]:
    """What makes the two less comparable, and what was not scored in either, a line each."""
    lines = ["the settings differ: so do the encounters, not only who met them"] if found.settings_differ else []
    left = found.decision_left
    if abs(left.difference.mean) > APART:
        lines.append(
            f"the decision point lay {left.one:.1f} m before the object in the first, {left.other:.1f} m in the second:"
            " beliefs there are of different places"
        )
    return lines + list(dict.fromkeys(remarks(found.one) + remarks(found.other)))


def belief_table(found: Comparison) -> Table:
    """One row per moment and pair."""
    columns = ("n", "log loss", "second", "less", "Brier", "less")
    table = empty_table("Beliefs", "at", "belief", *columns)
    for moment in AT:
        rows = [row for row in found.beliefs if row.moment == moment and row.log_loss.n]
        for k, row in enumerate(rows):
            names = ("" if k else moment, pair(row.belief, row.other), str(row.log_loss.n))
            table.add_row(*names, *_cells(row.log_loss, ".3f"), *_cells(row.brier, ".3f")[::2])
        table.add_section()
    return table


def cost_table(title: str, rows: tuple[CostDifference, ...]) -> Table:
    """One row per pair; collisions and needless brakes are an encounter."""
    table = empty_table(title, "who", "n", "cost", "other", "less", "less\ncollisions", "less\nneedless brakes")
    for row in rows:
        counts = (interval(v.difference, ".3f") for v in (row.collisions, row.needless_brakes))
        table.add_row(pair(row.who, row.other), str(row.cost.n), *_cells(row.cost, ".2f"), *counts)
    return table


def pair(one: str, other: str) -> str:
    """Both names, or the one that they are."""
    return one if one == other else f"{one}\n- {other}"


def _cells(value: Paired, form: str) -> tuple[str, str, str]:
    return number(value.one, form), number(value.other, form), interval(value.difference, form)
