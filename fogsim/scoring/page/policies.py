"""What each belief would have done at the decision point under each policy, and what that costs."""

from __future__ import annotations

from typing import Any

from fogsim.frame import POLICIES
from fogsim.scoring.cells import interval
from fogsim.scoring.page.drawing import chart
from fogsim.scoring.page.labels import BELOW, clipped, label, name_row, rows_high, rows_only
from fogsim.scoring.page.palette import colour_of, paint
from fogsim.scoring.page.parts import Panel, Section, Table, count
from fogsim.scoring.scores import PolicyScore, Score

TITLE = "Cost by policy"
COLUMNS = ("belief", "policy", "n", "mean cost", "collisions", "needless brakes")
FIRST, SECOND = (name.replace("_", " ") for name in POLICIES)
READING = (
    "Loss under the truth of the action that each policy would have chosen of all four at the decision point, with "
    f"its 95 % interval over seeds; filled {FIRST}, hollow {SECOND}."
)


def section(score: Score) -> Section:
    """A chart and a table of all beliefs."""
    known = [row for row in score.policies if row.n]
    if not known:
        return Section(TITLE, "No encounter reached the decision point: no policy had anything to choose.")
    told, title = says(known), "Mean cost of an encounter by belief and policy"
    svg = chart("policies", title, told, lambda axes: draw(axes, score, known), rows_high(len(known) // len(POLICIES)))
    return Section(TITLE, told, READING, (Panel(svg),), wide=True, table=table(known))


def says(known: list[PolicyScore]) -> str:
    """The cheapest and the dearest."""
    least, most = min(known, key=lambda row: row.cost.mean), max(known, key=lambda row: row.cost.mean)
    return f"Cheapest would have been {fared(least)}; dearest {fared(most)}."


def fared(row: PolicyScore) -> str:
    """What one belief would have cost under one policy."""
    hits, policy = count(row.collisions, "collision"), row.policy.replace("_", " ")
    return f"{row.belief} under {policy} with {row.cost.mean:,.2f} an encounter and {hits} in {row.n:,}"


def draw(axes: Any, score: Score, known: list[PolicyScore]) -> None:
    """A row a belief, a dot with its interval a policy."""
    names = list(dict.fromkeys(row.belief for row in known))
    for k, belief in enumerate(names):
        name_row(axes, k, clipped(belief), paint(colour_of(score.belief_names, belief)))
    for found in known:
        row, colour = names.index(found.belief) + BELOW, paint(colour_of(score.belief_names, found.belief))
        fill = colour if found.policy == POLICIES[0] else paint("ground")
        axes.plot([found.cost.low, found.cost.high], [row, row], color=colour, linewidth=1.2)
        axes.plot([found.cost.mean], [row], "o", markersize=6.0, markerfacecolor=fill, markeredgecolor=colour)
    rows_only(axes, len(names))
    axes.set_xlim(0.0, None)
    label(axes, "mean cost of an encounter", "")


def table(known: list[PolicyScore]) -> Table:
    """A row a belief and policy."""
    return Table(COLUMNS, tuple(cells(row) for row in known))


def cells(row: PolicyScore) -> tuple[str, ...]:
    """One row's."""
    counts = (str(row.collisions), str(row.needless_brakes))
    return (row.belief, row.policy.replace("_", " "), f"{row.n:,}", interval(row.cost, ".2f"), *counts)
