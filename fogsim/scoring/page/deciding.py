"""When beliefs decide: how long they stay undecided, and how far off the object is when they no longer are."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fogsim.scoring.course import SURE
from fogsim.scoring.page.drawing import ROOM, WIDE, chart
from fogsim.scoring.page.labels import BELOW, End, clipped, label, label_ends, name_row, rows_high, rows_only
from fogsim.scoring.page.palette import colour_of, paint
from fogsim.scoring.page.parts import Panel, Section, percent
from fogsim.scoring.scores import Score
from fogsim.scoring.sureness import Sureness, by_distance, by_time
from fogsim.scoring.survival import Survival

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
TITLE = "When beliefs decide"
READING = (
    f"A belief has decided once it gives one label {percent(SURE)}, right or wrong. Shares are Kaplan and Meier's: "
    "those that end undecided count until then, as if ends had nothing to do with deciding; a car that stops in doubt "
    "ends in doubt. By distance: dot the median, thick the middle half, thin the middle 90 %; on the far right never."
)


class Decisions(NamedTuple):
    """One belief's: who is undecided over time, s, until `last`, and over distance left, m, until `nearest`."""

    sureness: Sureness
    undecided: Survival
    last: float
    left: Survival
    nearest: float

    @property
    def belief(self) -> str:
        """Whose."""
        return self.sureness.belief

    @property
    def open(self) -> float:
        """Share that ended undecided."""
        return self.sureness.never.mean


def section(score: Score) -> Section:
    """Time and distance of the decision, all beliefs in one chart each."""
    found = [decisions(score, row) for row in score.sureness if row.n]
    if not found:
        return Section(TITLE, "No log holds a belief about an object of a class that beliefs know.")
    told, title = says(found), "Share of encounters still undecided over time"
    svg = chart("undecided", title, told, lambda axes: draw_undecided(axes, score, found), WIDE, ROOM)
    panels = [Panel(svg, "by time")]
    if any(d.open < 1.0 for d in found):
        size, title = rows_high(len(found)), "Distance left at the decision"
        left = chart("left", title, told, lambda axes: draw_left(axes, score, found), size)
        panels.append(Panel(left, "by distance"))
    return Section(TITLE, told, READING, tuple(panels), wide=True)


def decisions(score: Score, row: Sureness) -> Decisions:
    """One belief's, of at least one encounter."""
    of = score.stacks[row.belief]
    last = np.where(np.isfinite(of.decided_at), of.decided_at, of.duration).max()
    nearest = np.where(np.isfinite(of.decided_at), of.decided_left, of.distance_left).min()
    return Decisions(row, by_time(of), float(last), by_distance(of), float(nearest))


def says(found: list[Decisions]) -> str:
    """Who decides first and last, and who leaves most undecided."""
    most = max(found, key=lambda d: d.open)
    undecided = f"{most.belief} leaves {percent(most.open)} undecided" if most.open else "none is left undecided"
    half = sorted((d.sureness for d in found if np.isfinite(d.sureness.time)), key=lambda row: row.time)
    if not half:
        return f"No belief decides half of its encounters; {undecided}."
    first, last = (f"after {row.time:.1f} s by {row.belief} ({median_left(row)})" for row in (half[0], half[-1]))
    later = f", and only {last}" if len(half) > 1 else ""
    return f"Half of the encounters are decided {first}{later}; {undecided}."


def median_left(row: Sureness) -> str:
    """The median of distance left."""
    return f"{row.left:.1f} m left in the median" if np.isfinite(row.left) else "fewer than half by distance"


def draw_undecided(axes: Any, score: Score, found: list[Decisions]) -> None:
    """Steps down from 1, a line a belief, named where it ends."""
    ends = []
    for d in found:
        time, share = np.append(d.undecided.time, d.last), np.append(d.undecided.share, d.undecided.share[-1])
        colour, gid = colour_of(score.belief_names, d.belief), f"undecided-{score.belief_names.index(d.belief)}"
        axes.step(time, share, where="post", color=paint(colour), gid=gid)
        ends.append(End(share[-1], d.belief, colour))
    axes.set(xlim=(0.0, max(0.1, *(d.last for d in found))), ylim=(0.0, 1.02), yticks=(0.0, 0.5, 1.0))
    label(axes, "time, s", "share undecided")
    label_ends(axes, ends)


def draw_left(axes: Any, score: Score, found: list[Decisions]) -> None:
    """A row a belief, the way from left to right."""
    for row, d in enumerate(found):
        colour, at = paint(colour_of(score.belief_names, d.belief)), [row + BELOW] * 2
        name_row(axes, row, clipped(d.belief) + f", {percent(d.open)} undecided" * bool(d.open), colour)
        if d.open < 1.0:
            p5, p25, _, p75, p95 = np.nan_to_num([d.left.when(q) for q in QUANTILES], nan=d.nearest)
            axes.plot([p5, p95], at, color=colour, linewidth=1.0)
            axes.plot([p25, p75], at, color=colour, linewidth=4.0)
            axes.plot([d.sureness.left], at[:1], "o", color=colour, markersize=7.0, gid=f"left-{row}")
    rows_only(axes, len(found))
    axes.invert_xaxis()
    label(axes, "distance left at the decision, m", "")
