"""How the errors of the place spread: the probability integral transform of NEES.

    u = F(NEES) = 1 - exp(-NEES / 2), F that of χ²(2);  u ~ U(0, 1) where mean and covariance of the place are right

A mean of NEES may rest on a handful of encounters; this tells whether it does.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.stats import binom

from filters.spec import Array
from fogsim.scoring.encounters import MOMENTS
from fogsim.scoring.page.drawing import chart
from fogsim.scoring.page.labels import label
from fogsim.scoring.page.palette import colour_of, paint
from fogsim.scoring.page.parts import NEAR, Panel, Section, count, listed, percent, rows
from fogsim.scoring.scores import Score

LEVEL = 0.05
BINS = 10
TITLE = f"Spread of the place's errors at {NEAR}"
READING = (
    "Histogram of F(NEES), F that of χ²(2): flat where the covariance of the place is right. Grey: where in 95 % of "
    "cases all bars of a flat one lie. A tower on the right are places that the belief held to be all but impossible."
)


class Spread(NamedTuple):
    """One belief's u (n,)."""

    belief: str
    u: Array

    @property
    def outside(self) -> float:
        """Share of true places outside of the 95 % ellipse."""
        return float((self.u > 1.0 - LEVEL).mean())

    @property
    def heights(self) -> Array:
        """Of the bars, (BINS,): 1 where they are flat."""
        return np.histogram(self.u, BINS, (0.0, 1.0))[0] * BINS / len(self.u)


def section(score: Score) -> Section:
    """A histogram a belief, on one axis."""
    found = [s for s in (spread(score, belief) for belief in score.belief_names) if s.u.size]
    if not found:
        return Section(TITLE, f"No belief has a place {NEAR} before the object.")
    top = max(1.5, *(float(s.heights.max()) for s in found))
    return Section(TITLE, says(found), READING, tuple(panel(score, s, top) for s in found))


def spread(score: Score, belief: str) -> Spread:
    """One belief's; an infinite NEES has u = 1. Of encounters that share a seed the first counts: u have no mean."""
    m = MOMENTS.index(NEAR)
    first = {e.seed: e.nees[m, b] for e, b in reversed(rows(score, belief))}
    nees = np.array(list(first.values()), float)
    return Spread(belief, -np.expm1(-0.5 * nees[~np.isnan(nees)]))


def says(found: list[Spread]) -> str:
    """How many true places lie outside of the 95 % ellipse."""
    shares = listed([f"{percent(s.outside)} ({s.belief})" for s in sorted(found, key=lambda s: -s.outside)])
    return f"Of the true places, 5 % should lie outside of the belief's 95 % ellipse; there are {shares}."


def flat_band(n: int) -> tuple[float, float]:
    """Heights between which all bars of n uniform u lie in at least 95 % of cases, by Bonferroni's bound over bars."""
    low, high = binom.ppf((LEVEL / 2.0 / BINS, 1.0 - LEVEL / 2.0 / BINS), n, 1.0 / BINS)
    return float(low) * BINS / n, float(high) * BINS / n


def panel(score: Score, found: Spread, top: float) -> Panel:
    """The histogram of one belief."""
    colour, k = colour_of(score.belief_names, found.belief), score.belief_names.index(found.belief)
    note = f"{percent(found.outside)} outside the 95 % ellipse"
    desc = f"{note}, of {count(len(found.u), 'encounter')}."
    svg = chart(
        f"pit-{k}", f"Histogram of F(NEES) of {found.belief}", desc, lambda axes: draw(axes, found, top, colour)
    )
    return Panel(svg, found.belief, note, colour)


def draw(axes: Any, found: Spread, top: float, colour: str) -> None:
    """Bars over the band of flat ones, whose edges are seen before them too."""
    low, high = flat_band(len(found.u))
    axes.axhspan(low, high, color=paint("band"), linewidth=0.0, gid="flat-band")
    axes.bar(np.arange(BINS) / BINS, found.heights, 0.92 / BINS, align="edge", color=paint(colour), alpha=0.75)
    for edge in (low, high):
        axes.axhline(edge, color=paint("muted"), linewidth=0.5, linestyle=(0, (3, 2)))
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.05 * top), xticks=(0.0, 0.5, 1.0))
    label(axes, "F(NEES)", "density")
