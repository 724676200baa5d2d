"""How those who drove fared: what their encounters cost, what they hit, when they braked for nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from fogsim.scoring.cells import interval, number
from fogsim.scoring.page.drawing import chart
from fogsim.scoring.page.labels import BELOW, label, name_row, rows_high, rows_only
from fogsim.scoring.page.palette import paint
from fogsim.scoring.page.parts import Panel, Section, Table, count
from fogsim.scoring.scores import DriverScore, Score

TITLE = "Who drove"
COLUMNS = (
    "driver",
    "n",
    "mean cost",
    "collisions",
    "impact, m/s",
    "needless brakes",
    "decides at, m",
    "left at the end, m",
)
READING = "Realised cost: of the manoeuvre, and of the collision if there was one. Lines are 95 % intervals over seeds."


def section(score: Score) -> Section:
    """A table, and a chart where there is somebody to compare with."""
    known = [d for d in score.drivers if d.n]
    if not known:
        return Section(TITLE, "No log has its end: what the drivers cost is not known.")
    told, rows = says(score, known), Table(COLUMNS, tuple(cells(d) for d in known))
    if len(known) == 1:
        return Section(TITLE, told, table=rows)
    svg = chart(
        "drivers", "Mean cost of an encounter by driver", told, lambda axes: draw(axes, known), rows_high(len(known))
    )
    return Section(TITLE, told, READING, (Panel(svg),), wide=True, table=rows)


def says(score: Score, known: list[DriverScore]) -> str:
    """The cheapest driver, and how surely the next one is dearer."""
    first, *others = sorted(known, key=lambda d: d.cost.mean)
    fared = f"{count(first.collisions, 'collision')} and {count(first.needless_brakes, 'needless brake')}"
    text = f"{first.driver}: {first.cost.mean:,.2f} an encounter, with {fared} in {first.n:,}"
    if not others:
        return f"Cost of {text}."
    second = others[0]
    return f"Cheapest is {text}; next is {second.driver} with {second.cost.mean:,.2f}. {apart(score, first, second)}"


def apart(score: Score, first: DriverScore, second: DriverScore) -> str:
    """Whether two drivers can be told apart on what both drove."""
    both = {first.driver, second.driver}
    found = next((d for d in score.differences if {d.who, d.other} == both), None)
    if found is None or np.isnan(found.cost.difference.low):
        return "They did not drive the same encounters."
    gap = found.cost.difference
    told = "can" if gap.low > 0.0 or gap.high < 0.0 else "cannot"
    size = f"{found.who} less {found.other} is {interval(gap, '.2f')}"
    return f"On the {found.cost.n:,} seeds that both drove they {told} be told apart: {size}."


def draw(axes: Any, known: list[DriverScore]) -> None:
    """A row a driver, a dot with its interval."""
    for row, d in enumerate(known):
        axes.plot([d.cost.low, d.cost.high], [row + BELOW] * 2, color=paint("ink"), linewidth=1.2)
        axes.plot([d.cost.mean], [row + BELOW], "o", color=paint("ink"), markersize=6.0, gid=f"driver-{row}")
        name_row(axes, row, d.driver, paint("ink"))
    rows_only(axes, len(known))
    axes.set_xlim(0.0, None)
    label(axes, "mean cost of an encounter", "")


def cells(d: DriverScore) -> tuple[str, ...]:
    """One driver's row."""
    came, left = (number(d.impact_speed, ".1f"), str(d.needless_brakes)), (d.decision_left, d.distance_left)
    ends = (number(metres, ".1f") for metres in left)
    return (d.driver, f"{d.n:,}", interval(d.cost, ".2f"), str(d.collisions), *came, *ends)
