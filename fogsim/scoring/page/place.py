"""Whether beliefs know how well they know the place: NEES and NIS against χ², and how NEES spreads.

    NEES = e' P⁻¹ e ~ χ²(2), NIS = ν' S⁻¹ ν ~ χ²(dof):  mean NEES / 2 and ΣNIS / Σdof are 1 where P and S are right,
    within [χ²(.025), χ²(.975)](Σdof) / Σdof in 95 % of cases; Bar-Shalom, Li & Kirubarajan 2001, ch. 5.4
    u = F(NEES; 2) = 1 - exp(-NEES / 2) ~ U(0, 1), the probability integral transform of NEES
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import binom, chi2

from filters.spec import Array
from fogsim.scoring.encounters import MOMENTS, RANGES, Encounter
from fogsim.scoring.page.drawing import chart, colour_of, label, paint
from fogsim.scoring.page.parts import Panel, Section, count, listed, rows, short
from fogsim.scoring.scores import Score

LEVEL = 0.05
NEAR = f"{RANGES[-1]} m"  # where PIT are shown: by then most objects have been seen
BINS = 10
TITLES = ("Consistency of the place", f"Spread of the place's errors at {NEAR}")
READINGS = (
    "Mean squared error of the place over what the belief expects, 1 where it is right: filled NEES / 2, of the place; "
    "hollow NIS over its degrees of freedom, of the last measurement used. Grey: where 95 % of right ones lie. Above 1 "
    "a belief is surer than it should be. Of encounters that share a seed the first counts.",
    "Histogram of F(NEES) under χ²(2), flat where the place's covariance is right. Grey: where 95 % of flat ones lie "
    "in every bar. A tower on the right are places that the belief held to be all but impossible.",
)


class Mean(NamedTuple):
    """A mean of squares over their expectation at a moment, of n encounters, and its 95 % band."""

    moment: str
    n: int
    value: float
    low: float
    high: float


class Consistency(NamedTuple):
    """One belief's: NEES and NIS at each moment that has any, and u of NEES at `NEAR`."""

    belief: str
    nees: list[Mean]
    nis: list[Mean]
    u: Array


def sections(score: Score) -> list[Section]:
    """Means against their bands, then the spread."""
    found = [consistency(score, belief) for belief in score.belief_names]
    placed = [c for c in found if c.nees]
    if not placed:
        return [Section(TITLES[0], "No belief of these logs has a place to be scored.")]
    limits = span(placed)
    means = tuple(mean_panel(score, c, limits) for c in placed)
    first = Section(TITLES[0], says(found), READINGS[0], means)
    spread = [c for c in placed if c.u.size]
    if not spread:
        return [first]
    top = max(shares(c.u).max() for c in spread)
    pits = tuple(pit_panel(score, c, top) for c in spread)
    return [first, Section(TITLES[1], says_spread(spread), READINGS[1], pits)]


def consistency(score: Score, belief: str) -> Consistency:
    """One belief's, of one encounter a seed."""
    own = list({e.seed: (e, b) for e, b in reversed(rows(score, belief))}.values())
    nees = [mean(own, m, lambda e: e.nees, lambda e: np.full(e.nees.shape, 2.0)) for m in range(len(MOMENTS))]
    nis = [mean(own, m, lambda e: e.nis, lambda e: e.nis_dof) for m in range(len(MOMENTS))]
    near = np.array([e.nees[MOMENTS.index(NEAR), b] for e, b in own], float)
    u = -np.expm1(-0.5 * near[~np.isnan(near)])
    return Consistency(belief, [x for x in nees if x.n], [x for x in nis if x.n], u)


def mean(
    own: list[tuple[Encounter, int]], moment: int, value: Callable[[Encounter], Array], dof: Callable[[Encounter], Array]
) -> Mean:
    """Σ value / Σ dof over encounters, and the band of that many degrees of freedom."""
    pairs = np.array([(value(e)[moment, b], dof(e)[moment, b]) for e, b in own], float).reshape(-1, 2)
    values, d = pairs[~np.isnan(pairs).any(axis=1) & (pairs[:, 1] > 0.0)].T
    total = float(d.sum())
    if not total:
        return Mean(MOMENTS[moment], 0, float("nan"), float("nan"), float("nan"))
    low, high = chi2.ppf((LEVEL / 2.0, 1.0 - LEVEL / 2.0), total) / total
    return Mean(MOMENTS[moment], len(d), float(values.sum() / total), float(low), float(high))


def says(found: list[Consistency]) -> str:
    """Which belief is most too sure of its place, which ones are within their band, which have none."""
    at = {c.belief: c.nees[-1] if c.nees[-1].moment == NEAR else next((x for x in c.nees if x.moment == NEAR), c.nees[-1])
          for c in found if c.nees}  # fmt: skip
    worst = max(at, key=lambda belief: at[belief].value)
    x = at[worst]
    within = [belief for belief, x in at.items() if x.low <= x.value <= x.high]
    text = f"At {x.moment} {worst}'s squared error is {short(x.value)} times what it expects (at most {x.high:.2f} if right)"
    if worst in within:
        text = f"At {x.moment} no belief is surer of its place than it should be: the largest ratio is {short(x.value)}, {worst}'s"
    elif within:
        text += f"; {listed(within)} {'is' if len(within) == 1 else 'are'} within the band"
    else:
        text += "; no belief is within its band"
    placeless = [c.belief for c in found if not c.nees]
    return f"{text}. {listed(placeless)} {'has' if len(placeless) == 1 else 'have'} no place." if placeless else f"{text}."


def says_spread(found: list[Consistency]) -> str:
    """How many true places lie outside of the 95 % ellipse."""
    outside = sorted(((float((c.u > 1.0 - LEVEL).mean()), c.belief) for c in found), reverse=True)
    shares = listed([f"{share:.0%} of {belief}'s" for share, belief in outside])
    return f"Outside the 95 % ellipse of the belief, where 5 % should be, lie {shares} true places."


def span(found: list[Consistency]) -> tuple[float, float]:
    """Limits of the logarithmic axis that all panels share."""
    every = [v for c in found for x in (*c.nees, *c.nis) for v in (x.value, x.low, x.high) if 0.0 < v < np.inf]
    return 0.7 * min([*every, 0.7]), 1.4 * max([*every, 1.4])


def mean_panel(score: Score, found: Consistency, limits: tuple[float, float]) -> Panel:
    """Rows of moments."""
    k = score.belief_names.index(found.belief)
    told = "; ".join(f"{x.moment}: {short(x.value)}, band {x.low:.2f} to {x.high:.2f}" for x in found.nees)
    svg = chart(
        f"consistency-{k}", f"NEES / 2 and NIS of {found.belief} by moment", f"NEES / 2 {told}.",
        lambda axes: draw_means(axes, found, limits, paint(colour_of(score.belief_names, found.belief))),
    )  # fmt: skip
    note = count(max(x.n for x in found.nees), "encounter") + ("" if found.nis else ", no NIS logged")
    return Panel(found.belief, colour_of(score.belief_names, found.belief), note, svg)


def draw_means(axes: Any, found: Consistency, limits: tuple[float, float], colour: str) -> None:
    """NEES above NIS in each moment's row, their bands behind them."""
    for means, up, fill, gid in ((found.nees, -0.14, colour, "nees"), (found.nis, 0.18, "none", "nis")):
        for x in means:
            row = MOMENTS.index(x.moment) + up
            axes.plot([x.low, x.high], [row, row], color=paint("band"), linewidth=8.0, solid_capstyle="butt")
            shown = min(x.value, limits[1])
            axes.plot([shown], [row], "o", markersize=5.0, markerfacecolor=fill, markeredgecolor=colour, gid=gid)
    axes.axvline(1.0, color=paint("muted"), linewidth=0.7)
    axes.set(xscale="log", xlim=limits, ylim=(len(MOMENTS) - 0.5, -0.6), yticks=range(len(MOMENTS)))
    axes.set_yticklabels([])
    for row, moment in enumerate(MOMENTS):
        axes.text(0.99, row, moment, transform=axes.get_yaxis_transform(), color=paint("muted"), ha="right", va="center")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.xaxis.set_minor_formatter(lambda x, _: "")
    label(axes, "over what was expected", "")


def shares(u: Array) -> Array:
    """Heights (BINS,) of the histogram, 1 where it is flat."""
    return np.histogram(u, BINS, (0.0, 1.0))[0] * BINS / len(u)


def flat_band(n: int) -> tuple[float, float]:
    """Heights between which in 95 % of cases all bars of n uniform u lie (Bonferroni's bound over the bars)."""
    low, high = binom.ppf((LEVEL / 2.0 / BINS, 1.0 - LEVEL / 2.0 / BINS), n, 1.0 / BINS)
    return float(low) * BINS / n, float(high) * BINS / n


def pit_panel(score: Score, found: Consistency, top: float) -> Panel:
    """The histogram as drawn."""
    k, outside = score.belief_names.index(found.belief), float((found.u > 1.0 - LEVEL).mean())
    note = f"{outside:.1%} outside the 95 % ellipse"
    colour = colour_of(score.belief_names, found.belief)
    svg = chart(
        f"pit-{k}", f"Histogram of F(NEES) of {found.belief} at {NEAR}", f"{note} of {count(len(found.u), 'encounter')}.",
        lambda axes: draw_pit(axes, found.u, top, paint(colour)),
    )  # fmt: skip
    return Panel(found.belief, colour, note, svg)


def draw_pit(axes: Any, u: Array, top: float, colour: str) -> None:
    """Bars over the band of flat ones."""
    axes.axhspan(*flat_band(len(u)), color=paint("band"), linewidth=0.0, gid="flat-band")
    axes.bar(np.arange(BINS) / BINS, shares(u), 0.92 / BINS, align="edge", color=colour, alpha=0.75)
    axes.axhline(1.0, color=paint("muted"), linewidth=0.7)
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.05 * max(top, 1.5)), xticks=(0.0, 0.5, 1.0))
    label(axes, "F(NEES)", "over flat")
