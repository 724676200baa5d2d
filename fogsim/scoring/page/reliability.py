"""Whether what a belief says comes true as often as it says: CORP's reliability diagram, one per belief."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from filters.spec import Array
from fogsim.scoring.beliefs import RESAMPLES, BeliefScore
from fogsim.scoring.corp import Reliability, reliability
from fogsim.scoring.page.drawing import chart
from fogsim.scoring.page.labels import label
from fogsim.scoring.page.palette import colour_of, paint
from fogsim.scoring.page.parts import NEAR, Panel, Said, Section, count, listed, main_moment, said, sentence, where
from fogsim.scoring.scores import Score

LEVEL = 0.05  # at which a belief is told from calibrated
KNOTS = 80  # at most, of a band: it is smooth
BINS = 40  # of the strip that shows which p were said
STRIP = 0.12  # its height
READING = (
    "Line: how often it was a barrier where this P(barrier) was said, by isotonic regression. Grey: where 95 % of "
    "calibrated beliefs have theirs. Strip: which P(barrier) were said. Brier score = MCB − DSC + UNC; p: the share of "
    "calibrated beliefs with no less MCB."
)


class Diagram(NamedTuple):
    """One belief's at one moment."""

    belief: str
    said: Said
    score: BeliefScore
    curve: Reliability


def sections(score: Score) -> list[Section]:
    """At the decision point, and at the last range."""
    moments = dict.fromkeys((main_moment(score), NEAR))
    return [section(score, moment, READING * (k == 0)) for k, moment in enumerate(moments)]


def section(score: Score, moment: str, reading: str = READING) -> Section:
    """The diagrams at one moment."""
    found = [diagram(score, belief, moment) for belief in score.belief_names]
    known = [d for d in found if d is not None]
    title = f"Calibration {where(moment)}"
    if not known:
        return Section(title, sentence(f"no encounter with a class that beliefs know was followed {where(moment)}"))
    if len({int(y) for d in known for y in d.said.y}) == 1:
        return Section(
            title, "Every object was of one class: there is no share of barriers to hold P(barrier) against."
        )
    return Section(title, says(known), reading, tuple(panel(score, d, moment) for d in known))


def diagram(score: Score, belief: str, moment: str) -> Diagram | None:
    """One belief's, if it said anything then."""
    told = said(score, belief, moment)
    if not len(told.p):
        return None
    row = next(r for r in score.beliefs if (r.belief, r.moment) == (belief, moment))
    return Diagram(belief, told, row, reliability(told.p, told.y, told.seeds))


def says(found: list[Diagram]) -> str:
    """Which belief is worst calibrated, and which cannot be told from calibrated."""
    off = sorted((d for d in found if d.score.p_value < LEVEL), key=lambda d: -d.score.mcb.mean)
    calm = [d.belief for d in found if d.score.p_value >= LEVEL]
    if not off:
        least = min(found, key=lambda d: d.score.p_value)
        return (
            f"No belief can be told from calibrated; the least p-value is {least.belief}'s {least.score.p_value:.2g}."
        )
    worst = off[0]
    text = (
        f"{worst.belief} is worst calibrated: recalibration would take {worst.score.mcb.mean:.3f} off its Brier score "
        f"(p {p_text(worst.score.p_value)})"
    )
    also = [f"{d.belief} ({d.score.mcb.mean:.3f}, p {p_text(d.score.p_value)})" for d in off[1:]]
    text += f"; off too: {listed(also)}" if also else ""
    return f"{text}. {listed(calm)} cannot be told from calibrated." if calm else f"{text}."


def p_text(p: float) -> str:
    """``= 0.12``, or the least that so many resamples can tell."""
    least = 1.0 / (1 + RESAMPLES)
    return f"≤ {least:.1g}" if p <= least else f"= {p:.2g}"


def panel(score: Score, found: Diagram, moment: str) -> Panel:
    """The diagram as drawn."""
    name = f"reliability-{moment.replace(' ', '-')}-{score.belief_names.index(found.belief)}"
    colour, row = colour_of(score.belief_names, found.belief), found.score
    numbers = f"MCB {row.mcb.mean:.3f} · DSC {row.dsc.mean:.3f} · UNC {row.unc:.3f} · p {p_text(row.p_value)}"
    title = f"Reliability of {found.belief} {where(moment)}"
    svg = chart(
        name, title, f"{numbers}, {count(len(found.said.p), 'encounter')}.", lambda axes: draw(axes, found, colour)
    )
    return Panel(svg, found.belief, numbers, colour)


def draw(axes: Any, found: Diagram, colour: str) -> None:
    """Diagonal, band, fit, and the strip of what was said."""
    curve = found.curve
    kept = np.unique(np.linspace(0, len(curve.p) - 1, KNOTS).round().astype(int))
    axes.fill_between(
        curve.p[kept], curve.low[kept], curve.high[kept], color=paint("band"), linewidth=1.0, gid="consistency-band"
    )
    axes.plot([0, 1], [0, 1], color=paint("muted"), linewidth=0.7)
    heights, edges = np.histogram(found.said.p, BINS, (0.0, 1.0))
    axes.stairs(STRIP * heights / heights.max(), edges, fill=True, color=paint(colour), alpha=0.35)
    bends = corners(curve.found)
    few = {"marker": "o", "markersize": 3.0} if len(bends) < 3 else {}
    axes.plot(curve.p[bends], curve.found[bends], color=paint(colour), gid="reliability", **few)
    ticks = (0.0, 0.5, 1.0)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xticks=ticks, yticks=ticks)
    label(axes, "P(barrier) said", "share that were barriers")


def corners(fit: Array) -> np.ndarray:
    """Indices of the first and last of each run of equal values: between them the line is straight."""
    steps = np.flatnonzero(np.diff(fit)) + 1
    return np.unique(np.concatenate([[0], steps - 1, steps, [len(fit) - 1]]))
