"""Whether beliefs know how well they know the place: mean NEES and NIS against their χ² bands.

Both are drawn over their degrees of freedom, so that they are 1 in the mean where covariances are right
(`fogsim.scoring.consistency`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fogsim.scoring.consistency import Consistency
from fogsim.scoring.encounters import MOMENTS
from fogsim.scoring.page.drawing import chart
from fogsim.scoring.page.labels import label
from fogsim.scoring.page.palette import colour_of, paint
from fogsim.scoring.page.parts import NEAR, Panel, Section, count, listed, short, where
from fogsim.scoring.scores import Score

LEFT, RIGHT = 62.0, 6.0  # points, for the moments' names and half a number
NEES, NIS = -0.14, 0.18  # of a row, from its middle
TITLE = "Consistency of the place"
READING = (
    "Mean squared error over what the belief expects, 1 where it is right: filled NEES / 2, of the place; hollow NIS "
    "over its degrees of freedom, of the last measurement used. Grey: where 95 % of right ones lie. Above 1 a belief "
    "is surer than it should be. NIS of a filter that keeps one of several models, or widens its noise, need not be 1."
)


class Mean(NamedTuple):
    """Of n encounters at a moment: a mean of squares over its expectation, and the 95 % band."""

    moment: str
    n: int
    value: float
    low: float
    high: float


class Placed(NamedTuple):
    """One belief's NEES and NIS, at each moment that has any."""

    belief: str
    nees: list[Mean]
    nis: list[Mean]

    @property
    def near(self) -> Mean:
        """NEES at `NEAR`, or at the last moment there is."""
        return next((x for x in self.nees if x.moment == NEAR), self.nees[-1])


def section(score: Score) -> Section:
    """A panel a belief, on one axis."""
    found = [placed_by(score, belief) for belief in score.belief_names]
    placed = [c for c in found if c.nees]
    if not placed:
        return Section(TITLE, "No belief of these logs has a place to be scored.")
    limits = span(placed)
    return Section(TITLE, says(placed, found), READING, tuple(panel(score, c, limits) for c in placed))


def placed_by(score: Score, belief: str) -> Placed:
    """One belief's rows of the score."""
    own = [row for row in score.places if row.belief == belief]
    nees = [mean(row.moment, row.nees) for row in own if row.nees.n]
    return Placed(belief, nees, [mean(row.moment, row.nis) for row in own if row.nis.n])


def mean(moment: str, of: Consistency) -> Mean:
    """Over what it should be."""
    return Mean(moment, of.n, of.mean / of.dof, of.low / of.dof, of.high / of.dof)


def says(placed: list[Placed], found: list[Placed]) -> str:
    """Which belief is most too sure of its place, which ones are within their band, which have none."""
    worst = max(placed, key=lambda c: c.near.value)
    near, within = worst.near, [c.belief for c in placed if c.near.low <= c.near.value <= c.near.high]
    where_ = where(near.moment)[:1].upper() + where(near.moment)[1:]
    if near.value <= near.high:
        text = f"{where_} no belief is surer of its place than it should be"
    else:
        of = f"its squared error is {short(near.value)} times what it expects, {near.high:.2f} at most if it were right"
        text = f"{where_} {worst.belief} is too sure of its place by most: {of}"
    inside = f"Within the band: {listed(within) or 'none'}."
    without = [c.belief for c in found if not c.nees]
    return f"{text}. {inside}" + (f" Without a place: {listed(without)}." if without else "")


def span(found: list[Placed]) -> tuple[float, float]:
    """Limits of the logarithmic axis that all panels share."""
    every = [v for c in found for x in (*c.nees, *c.nis) for v in (x.value, x.low, x.high) if 0.0 < v < np.inf]
    return 0.7 * min(every, default=1.0), 1.4 * max(every, default=1.0)


def panel(score: Score, found: Placed, limits: tuple[float, float]) -> Panel:
    """The chart of one belief."""
    colour, k = colour_of(score.belief_names, found.belief), score.belief_names.index(found.belief)
    bands = "; ".join(f"{x.moment} {short(x.value)}, band {x.low:.2f} to {x.high:.2f}" for x in found.nees)
    title, desc = f"NEES / 2 and NIS of {found.belief} by moment", f"NEES / 2: {bands}."
    note = count(max(x.n for x in found.nees), "encounter")
    svg = chart(f"consistency-{k}", title, desc, lambda axes: draw(axes, found, limits, colour), room=RIGHT, left=LEFT)
    return Panel(svg, found.belief, note + ", no NIS" * (not found.nis), colour)


def draw(axes: Any, found: Placed, limits: tuple[float, float], colour: str) -> None:
    """NEES above NIS in each moment's row, their bands behind them; what is infinite lies on the edge."""
    for means, up, fill, gid in ((found.nees, NEES, paint(colour), "nees"), (found.nis, NIS, paint("ground"), "nis")):
        for x in means:
            row = MOMENTS.index(x.moment) + up
            axes.plot([x.low, x.high], [row, row], color=paint("band"), linewidth=8.0, solid_capstyle="butt")
            style = {"markersize": 5.0, "markerfacecolor": fill, "markeredgecolor": paint(colour), "clip_on": False}
            axes.plot([np.clip(x.value, *limits)], [row], "o", gid=f"{gid}-{MOMENTS.index(x.moment)}", **style)
    axes.axvline(1.0, color=paint("muted"), linewidth=0.7, zorder=1.5)
    axes.set(xscale="log", xlim=limits, ylim=(len(MOMENTS) - 0.5, -0.6))
    axes.set_yticks(range(len(MOMENTS)), MOMENTS)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.minorticks_off()
    label(axes, "found / expected", "")
