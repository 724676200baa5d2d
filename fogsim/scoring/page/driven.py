"""How those who drove fared: what their encounters cost, what they hit, when they braked for nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from fogsim.scoring.page.drawing import WIDE, chart, label, paint
from fogsim.scoring.page.parts import Panel, Section, Table, count, short
from fogsim.scoring.report import interval, number
from fogsim.scoring.scores import DriverScore, Score

TITLE = "Who drove"
READING = "Cost of the manoeuvre and of the collision, if there was one; dot the mean, line its 95 % interval over seeds."


def section(score: Score) -> Section:
    """A table, and a chart where there is somebody to compare with."""
    known = [d for d in score.drivers if d.n]
    if not known:
        return Section(TITLE, "No log has its end: what the drivers cost is not known.")
    panels: tuple[Panel, ...] = ()
    if len(known) > 1:
        svg = chart("drivers", "Mean cost of an encounter by driver", says(score), lambda axes: draw(axes, known), WIDE)
        panels = (Panel("", "", "", svg),)
    return Section(TITLE, says(score), READING if panels else "", panels, table(known))


def says(score: Score) -> str:
    """The cheapest driver, and how surely the next one is dearer."""
    known = sorted((d for d in score.drivers if d.n), key=lambda d: d.cost.mean)
    first = known[0]
    fared = f"{count(first.collisions, 'collision')} and {count(first.needless_brakes, 'needless brake')}"
    text = f"({first.driver}) cost {short(first.cost.mean)} an encounter, with {fared} in {first.n:,}"
    if len(known) == 1:
        return f"{text}."
    gap = next((d for d in score.differences if {d.driver, d.other} == {first.driver, known[1].driver}), None)
    if gap is None or np.isnan(gap.cost.low):
        return f"Cheapest: {text}; next ({known[1].driver}), {short(known[1].cost.mean)}."
    told = "can" if gap.cost.low > 0.0 or gap.cost.high < 0.0 else "cannot"
    return (
        f"Cheapest: {text}; next ({known[1].driver}), {short(known[1].cost.mean)}: on the {gap.n:,} encounters that both "
        f"drove they {told} be told apart (difference {interval(gap.cost, '.2f')})."
    )


def draw(axes: Any, known: list[DriverScore]) -> None:
    """A row a driver."""
    for row, d in enumerate(known):
        axes.plot([d.cost.low, d.cost.high], [row + 0.16] * 2, color=paint("ink"), linewidth=1.0)
        axes.plot([d.cost.mean], [row + 0.16], "o", color=paint("ink"), markersize=6.0, gid=f"cost-{row}")
        axes.text(0.0, row - 0.24, d.driver, transform=axes.get_yaxis_transform(), va="center")
    axes.set(ylim=(len(known) - 0.5, -0.5), yticks=[], xlim=(0.0, None))
    axes.grid(axis="x")
    label(axes, "mean cost of an encounter", "")


def table(known: list[DriverScore]) -> Table:
    """A row a driver."""
    columns = ("driver", "n", "mean cost", "collisions", "impact, m/s", "needless brakes", "left at the end, m")
    return Table(
        columns,
        tuple(
            (d.driver, str(d.n), interval(d.cost, ".2f"), str(d.collisions), number(d.impact_speed, ".1f"))
            + (str(d.needless_brakes), number(d.distance_left, ".1f"))
            for d in known
        ),
    )
