"""Log loss by range and by fog: which belief knows most where."""

from __future__ import annotations

from typing import Any

import numpy as np

from fogsim.scoring.beliefs import COIN, BeliefScore
from fogsim.scoring.bins import ALL, VISIBILITIES
from fogsim.scoring.page.drawing import ROOM, WIDE, chart
from fogsim.scoring.page.labels import End, label, label_ends
from fogsim.scoring.page.palette import colour_of, paint
from fogsim.scoring.page.parts import Panel, Section, count, listed, where
from fogsim.scoring.regret import AT
from fogsim.scoring.scores import Score

DODGE = 0.1  # between beliefs, of the way from one range to the next
TITLE = "Log loss by range and fog"
READING = (
    f"Mean log loss in nats with its 95 % interval over seeds; a coin loses {COIN:.2f}. Fog is told by the true "
    "visibility where ego starts."
)


def section(score: Score) -> Section:
    """A panel for each bin of visibility that has encounters, on one axis."""
    bins = {name: found for name in VISIBILITIES if (found := losses(score, name))}
    if not bins:
        return Section(TITLE, "No encounter with a class that beliefs know reached any of the ranges.")
    if len(bins) == 2:  # all, and the one bin that all are in
        del bins[ALL]
    top = 1.05 * max(COIN, *(float(np.nanmax([x.loss.mean, x.loss.high])) for found in bins.values() for x in found))
    panels = tuple(panel(score, name, found, top) for name, found in bins.items())
    return Section(TITLE, says(bins), READING, panels, wide=True)


def losses(score: Score, visibility: str) -> list[BeliefScore]:
    """Each belief at each range in one bin, where there was any."""
    part = score if visibility == ALL else score.in_fog[visibility]
    return [row for row in part.beliefs if row.n and row.moment in AT]


def last(found: list[BeliefScore]) -> list[BeliefScore]:
    """Each belief's at the nearest range that was reached."""
    return [x for x in found if x.moment == max((x.moment for x in found), key=AT.index)]


def says(bins: dict[str, list[BeliefScore]]) -> str:
    """The best belief at the last range in each fog, and what of all is worse than a coin."""
    least = {name: min(last(found), key=lambda x: x.loss.mean) for name, found in bins.items()}
    best = listed([f"{x.belief}'s {nats(x.loss.mean)} ({fog(name)})" for name, x in least.items()])
    text = f"The least log loss {where(next(iter(least.values())).moment)} is {best}"
    worse = [(x.loss.mean, x, name) for name, found in bins.items() for x in found if x.loss.low > COIN]
    if not worse:
        return f"{text}. Nowhere is a belief clearly worse than a coin."
    most, x, name = max(worse, key=lambda found: found[0])
    return f"{text}. Worse than a coin by most is {x.belief} {where(x.moment)} ({fog(name)}) with {most:.2f}."


def fog(name: str) -> str:
    """A bin of visibility in words."""
    return "all fog" if name == ALL else f"visibility {name}"


def nats(loss: float) -> str:
    """Three decimals, and never nothing: a belief that is always right still loses by the clip."""
    return "less than 0.001" if loss < 0.0005 else f"{loss:.3f}"


def panel(score: Score, name: str, found: list[BeliefScore], top: float) -> Panel:
    """The chart of one bin."""
    nearest = last(found)
    desc = f"{where(nearest[0].moment)}: {listed([f'{x.belief} {nats(x.loss.mean)}' for x in nearest])}."
    key, title = f"log-loss-{list(VISIBILITIES).index(name)}", f"Log loss by range, {fog(name)}"
    svg = chart(key, title, desc, lambda axes: draw(axes, score, found, top), WIDE, ROOM)
    return Panel(svg, fog(name), count(max(x.n for x in found), "encounter"))


def draw(axes: Any, score: Score, found: list[BeliefScore], top: float) -> None:
    """The beliefs side by side at each moment, and what a coin loses."""
    names, ends = list(dict.fromkeys(x.belief for x in found)), [End(COIN, "a coin", "muted")]
    axes.axhline(COIN, color=paint("muted"), linewidth=0.7)
    for k, belief in enumerate(names):
        own, colour = [x for x in found if x.belief == belief], colour_of(score.belief_names, belief)
        draw_belief(axes, own, DODGE * (k - 0.5 * (len(names) - 1)), paint(colour), f"log-loss-{k}")
        ends.append(End(own[-1].loss.mean, belief, colour))
    axes.set(xlim=(-0.5, len(AT) - 0.5), ylim=(0.0, top), xticks=range(len(AT)), xticklabels=AT)
    axes.tick_params(axis="x", length=0.0)
    label(axes, "", "log loss, nats")
    label_ends(axes, ends)


def draw_belief(axes: Any, own: list[BeliefScore], aside: float, colour: str, gid: str) -> None:
    """A dot with its interval a moment; ranges are joined, the decision point stands apart."""
    at, mean = np.array([AT.index(x.moment) + aside for x in own]), np.array([x.loss.mean for x in own])
    ranges = np.array([x.moment != AT[0] for x in own])
    axes.vlines(at, [x.loss.low for x in own], [x.loss.high for x in own], color=colour, linewidth=1.0)
    axes.plot(at, mean, "o", color=colour, markersize=4.0, gid=gid)
    axes.plot(at[ranges], mean[ranges], color=colour, linewidth=0.8, alpha=0.6)
