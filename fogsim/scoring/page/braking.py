"""What it costs to brake from some P(a barrier stands in the path) on, whatever the threshold: the decision curve.

    C(t) = mean over encounters of L[brake, path] where q >= t, of L[proceed, path] where q < t
    p* = (L[brake, clear] - L[proceed, clear]) / (that + L[proceed, barrier] - L[brake, barrier])

q is the belief at the decision point, `path` what in truth stood in the path; a calibrated q does best at t = p*.
Vickers & Elkin 2006, Medical Decision Making 26:565, whose net benefit is C(1) - C(t) in other units.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from filters.spec import Array
from fogsim.scoring.encounters import BRAKE, PROCEED
from fogsim.scoring.page.drawing import ROOM, WIDE, chart
from fogsim.scoring.page.labels import End, label, label_ends
from fogsim.scoring.page.palette import colour_of, paint
from fogsim.scoring.page.parts import Panel, Section, listed, short
from fogsim.scoring.scores import Score

THRESHOLDS = np.linspace(0.0, 1.0, 201)
WORTH = 0.005  # of the cost: less is not worth telling
TITLE = "Cost by threshold"
READING = (
    "Mean loss at the decision point, had the car braked wherever P(a barrier stands in the path) was at least the "
    "threshold, and else proceeded. On the left it always brakes, on the right never; p* is where the table of losses "
    "switches between the two."
)


class Curve(NamedTuple):
    """One belief's q in n encounters, and what proceeding and braking cost there, all (n,)."""

    belief: str
    q: Array
    proceed: Array
    brake: Array

    def cost(self, threshold: float) -> float:
        """C(t)."""
        return float(np.where(self.q >= threshold, self.brake, self.proceed).mean())

    @property
    def costs(self) -> Array:
        """C at `THRESHOLDS`."""
        return np.array([self.cost(t) for t in THRESHOLDS])


def section(score: Score) -> Section:
    """One chart of all beliefs, those named first that cost least on the whole."""
    curves = [c for c in (curve(score, belief) for belief in score.belief_names) if len(c.q)]
    if not curves:
        return Section(TITLE, "No encounter reached the decision point with a belief about its path.")
    curves.sort(key=lambda c: c.costs.mean())
    between, title = switches(score), "Mean cost by the threshold from which it brakes"
    told = says(curves, between)
    svg = chart("braking", title, told, lambda axes: draw(axes, score, curves, between), WIDE, ROOM)
    return Section(TITLE, told, READING, (Panel(svg),), wide=True)


def curve(score: Score, belief: str) -> Curve:
    """One belief's, of every encounter that reached the decision point; what beliefs have no class for counts too."""
    held = [(e, e.in_path_belief[0, e.beliefs.index(belief)]) for e in score.encounters if belief in e.beliefs]
    known = [(e, q) for e, q in held if np.isfinite(q)]
    proceed, brake = ([e.loss[a, int(e.in_path)] for e, _ in known] for a in (PROCEED, BRAKE))
    return Curve(belief, np.array([q for _, q in known], float), np.array(proceed, float), np.array(brake, float))


def switches(score: Score) -> tuple[float, float]:
    """The least and the greatest p* of the encounters' losses: the same where losses are constant."""
    found = [switch(e.loss) for e in score.encounters]
    return min(found), max(found)


def switch(loss: Array) -> float:
    """p* of a table (actions, 2); 1 where braking does not help, 0 where it costs nothing."""
    price, gain = max(loss[BRAKE, 0] - loss[PROCEED, 0], 0.0), loss[PROCEED, 1] - loss[BRAKE, 1]
    return float(price / (price + gain)) if gain > 0.0 else 1.0


def says(curves: list[Curve], between: tuple[float, float]) -> str:
    """What each belief costs at p*, what it costs to heed none, and what a threshold chosen afterwards would save."""
    low, high = between
    none = f"always braking would cost {curves[0].cost(0.0):,.2f}, never braking {curves[0].cost(np.inf):,.2f}"
    if high - low > 1e-9:
        return f"Losses follow the situation, so p* lies between {short(low)} and {short(high)}; {none} an encounter."
    costs = sorted((c.cost(low), c.belief) for c in curves)
    spread = listed([f"{cost:,.2f} ({belief})" for cost, belief in costs])
    return f"Braking from p* = {short(low)} on costs {spread} an encounter; {none}. {hindsight(curves, low)}"


def hindsight(curves: list[Curve], at: float) -> str:
    """The belief that would have gained most from another threshold."""
    found = max(curves, key=lambda c: c.cost(at) - c.costs.min())
    least = float(found.costs.min())
    if found.cost(at) - least <= WORTH * found.cost(at):
        return "No other threshold would have been better for any belief."
    t = THRESHOLDS[int(np.argmin(found.costs))]
    return f"In hindsight {t:.2f} would have been best for {found.belief}, which gains most by it: {least:,.2f}."


def draw(axes: Any, score: Score, curves: list[Curve], between: tuple[float, float]) -> None:
    """A line a belief, named where it ends; p* as a line, or as a band where it varies."""
    axes.axvspan(*between, color=paint("muted"), alpha=0.2, linewidth=0.0)
    axes.axvline(between[0], color=paint("muted"), linewidth=0.8, gid="p-star")
    axes.text(between[1], 0.94, " p*", transform=axes.get_xaxis_transform(), color=paint("muted"), va="top")
    if min(c.costs.min() for c in curves) > 0.0:
        logarithmic(axes)
    for c in curves:
        colour, gid = colour_of(score.belief_names, c.belief), f"cost-{score.belief_names.index(c.belief)}"
        axes.step(THRESHOLDS, c.costs, where="pre", color=paint(colour), linewidth=1.3, gid=gid)
    axes.set(xlim=(0.0, 1.0), xticks=(0.0, 0.25, 0.5, 0.75, 1.0))
    label(axes, "threshold", "mean cost of an encounter")
    label_ends(axes, [End(c.costs[-1], c.belief, colour_of(score.belief_names, c.belief)) for c in curves])


def logarithmic(axes: Any) -> None:
    """Ratios of costs, in which the least ones, which matter, do not lie on one another."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
