"""When beliefs decide: how long they stay undecided, and how far off the object is when they no longer are."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from filters.spec import Array
from fogsim.scoring.course import SURE
from fogsim.scoring.page.drawing import WIDE, End, chart, clipped, colour_of, label, label_ends, paint
from fogsim.scoring.page.parts import Panel, Section, listed, rows
from fogsim.scoring.scores import Score
from fogsim.scoring.survival import Survival, kaplan_meier

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
TITLE = "When beliefs decide"
READING = (
    f"A belief has decided once it gives one label {SURE:.0%}, right or wrong. Left: Kaplan and Meier's share still "
    "undecided, those that end undecided censored. Right: distance left then; dot the median, thick the middle half, "
    "thin the middle 90 %."
)


class Decisions(NamedTuple):
    """One belief's: the share still undecided over time, the last time anything was watched, and distances left, m."""

    belief: str
    undecided: Survival
    last: float
    left: Array
    n: int


def section(score: Score) -> Section:
    """Time and distance of the decision, all beliefs in one chart each."""
    found = [d for d in (decisions(score, belief) for belief in score.belief_names) if d is not None]
    if not found:
        return Section(TITLE, "No log holds a belief about an object of a class that beliefs know.")
    survival = chart(
        "undecided", "Share still undecided over time", says(found), lambda axes: draw_undecided(axes, score, found),
        WIDE, room=82.0,
    )  # fmt: skip
    panels = [Panel("", "", "", survival)]
    if any(d.left.size for d in found):
        left = chart("left", "Distance left at the decision", says(found), lambda axes: draw_left(axes, score, found), WIDE)
        panels.append(Panel("", "", "", left))
    return Section(TITLE, says(found), READING, tuple(panels))


def decisions(score: Score, belief: str) -> Decisions | None:
    """One belief's, if somebody held it."""
    found = rows(score, belief)
    if not found:
        return None
    at = np.array([e.course.decided_at[b] for e, b in found])
    done, watched = np.isfinite(at), np.array([e.duration for e, _ in found])
    time, left = np.where(done, at, watched), np.array([e.course.decided_left[b] for e, b in found])
    return Decisions(belief, kaplan_meier(time, done), float(time.max()), left[np.isfinite(left)], len(found))


def says(found: list[Decisions]) -> str:
    """Who decides first, and who leaves most undecided."""
    half = sorted((d for d in found if np.isfinite(d.undecided.median)), key=lambda d: d.undecided.median)
    open_ = sorted(found, key=lambda d: d.left.size / d.n)[0]
    share = 1.0 - open_.left.size / open_.n
    if not half:
        return f"No belief decided half of its encounters; {open_.belief} left {share:.0%} undecided."
    first = half[0]
    text = f"Half of the encounters are decided after {first.undecided.median:.1f} s by {first.belief}"
    text += f" and after {half[-1].undecided.median:.1f} s by {half[-1].belief}" if len(half) > 1 else ""
    text += f", in the median with {listed([f'{np.median(d.left):.1f} m left' for d in half[:1]])}"
    text += f" and {np.median(half[-1].left):.1f} m" if len(half) > 1 else ""
    return f"{text}; {open_.belief} leaves {share:.0%} undecided." if share else f"{text}; none is left undecided."


def draw_undecided(axes: Any, score: Score, found: list[Decisions]) -> None:
    """Steps down from 1, a line a belief."""
    ends, last = [], max(d.last for d in found)
    for d in found:
        time, share = np.append(d.undecided.time, d.last), np.append(d.undecided.share, d.undecided.share[-1])
        colour = colour_of(score.belief_names, d.belief)
        axes.step(time, share, where="post", color=paint(colour), gid=f"undecided-{d.belief}")
        ends.append(End(share[-1], d.belief, colour))
    axes.set(xlim=(0.0, max(last, 1e-9)), ylim=(0.0, 1.02), yticks=(0.0, 0.5, 1.0))
    label(axes, "time, s", "share undecided")
    label_ends(axes, ends)


def draw_left(axes: Any, score: Score, found: list[Decisions]) -> None:
    """A row a belief: quantiles of the distance left, the way from left to right."""
    for row, d in enumerate(found):
        colour = paint(colour_of(score.belief_names, d.belief))
        undecided = f", {1.0 - d.left.size / d.n:.0%} undecided" if d.left.size < d.n else ""
        axes.text(
            0.0, row - 0.24, clipped(d.belief) + undecided, transform=axes.get_yaxis_transform(), color=colour, va="center"
        )
        if d.left.size:
            p5, p25, p50, p75, p95 = np.quantile(d.left, QUANTILES)
            axes.plot([p5, p95], [row + 0.16] * 2, color=colour, linewidth=1.0)
            axes.plot([p25, p75], [row + 0.16] * 2, color=colour, linewidth=4.0)
            axes.plot([p50], [row + 0.16], "o", color=colour, markersize=7.0, gid=f"left-{d.belief}")
    axes.set(ylim=(len(found) - 0.5, -0.5), yticks=[])
    axes.grid(axis="x")
    axes.invert_xaxis()
    label(axes, "distance left at the decision, m", "")
