"""Log loss by range and by fog: which belief knows most where."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fogsim.scoring import metrics
from fogsim.scoring.metrics import Interval
from fogsim.scoring.page.drawing import WIDE, End, chart, colour_of, label, label_ends, paint
from fogsim.scoring.page.parts import Panel, Section, count, listed, said, where
from fogsim.scoring.regret import ALL, AT, VISIBILITIES
from fogsim.scoring.scores import Score

COIN = float(np.log(2.0))
DODGE = 0.1  # between beliefs, of the way from one range to the next
TITLE = "Log loss by range and fog"
READING = (
    f"Mean log loss in nats with its 95 % interval over seeds; a coin loses {COIN:.2f}. Fog is the true visibility where "
    "ego starts."
)


class Loss(NamedTuple):
    """Of one belief at one moment in one bin of visibility, over n encounters, nats."""

    belief: str
    moment: str
    n: int
    loss: Interval


def section(score: Score) -> Section:
    """A panel for each bin of visibility that has encounters, on one axis."""
    bins = {name: losses(score, name) for name in VISIBILITIES}
    bins = {name: found for name, found in bins.items() if found}
    if not bins:
        return Section(TITLE, "No encounter with a class that beliefs know reached any of the ranges.")
    if len(bins) == 2:  # all, and the one bin that all are in
        del bins[ALL]
    top = max(np.nanmax([x.loss.mean, x.loss.high]) for found in bins.values() for x in found)
    panels = tuple(panel(score, name, found, 1.05 * max(top, COIN)) for name, found in bins.items())
    return Section(TITLE, says(bins), READING, panels)


def losses(score: Score, visibility: str) -> list[Loss]:
    """Each belief at each moment in one bin, where there was any."""
    found = [loss(score, belief, moment, visibility) for belief in score.belief_names for moment in AT]
    return [x for x in found if x.n]


def loss(score: Score, belief: str, moment: str, visibility: str) -> Loss:
    """One belief's at one moment in one bin."""
    low, high = VISIBILITIES[visibility]
    told = said(score, belief, moment, lambda e: low <= e.visibility < high)
    values = metrics.by_group(metrics.log_loss(told.p, told.y), told.seeds)
    return Loss(belief, moment, len(told.p), metrics.paired_bootstrap(values))


def says(bins: dict[str, list[Loss]]) -> str:
    """The best belief at the last range in each fog, and what of all is worse than a coin."""
    best = []
    for name, found in bins.items():
        last = [x for x in found if x.moment == found[-1].moment]
        least = min(last, key=lambda x: x.loss.mean)
        best.append(f"{least.loss.mean:.2f} by {least.belief} {'in all' if name == ALL else name}")
    worse = [(x, name) for name, found in bins.items() for x in found if name != ALL and x.loss.low > COIN]
    text = f"Least log loss {where(next(iter(bins.values()))[-1].moment)}: {listed(best)}"
    if not worse:
        return f"{text}. Nowhere is a belief clearly worse than a coin."
    most, name = max(worse, key=lambda pair: pair[0].loss.mean)
    return f"{text}. Worse than a coin by most is {most.belief} {where(most.moment)} {name}, {most.loss.mean:.2f}."


def panel(score: Score, name: str, found: list[Loss], top: float) -> Panel:
    """One bin as drawn."""
    last = [x for x in found if x.moment == found[-1].moment]
    desc = f"{where(last[0].moment)}: {listed([f'{x.belief} {x.loss.mean:.3f}' for x in last])}."
    heading = "all fog" if name == ALL else f"visibility {name}"
    svg = chart(
        f"log-loss-{list(VISIBILITIES).index(name)}", f"Log loss by range, {heading}", desc,
        lambda axes: draw(axes, score, found, top), WIDE, room=82.0,
    )  # fmt: skip
    return Panel(heading, "", count(max(x.n for x in found), "encounter"), svg)


def draw(axes: Any, score: Score, found: list[Loss], top: float) -> None:
    """A dot with its interval a belief and moment; ranges are joined, the decision point stands apart."""
    names, ends = list(dict.fromkeys(x.belief for x in found)), []
    axes.axhline(COIN, color=paint("muted"), linewidth=0.7)
    axes.text(-0.45, COIN, "a coin", color=paint("muted"), va="bottom")
    for k, belief in enumerate(names):
        own, colour = [x for x in found if x.belief == belief], colour_of(score.belief_names, belief)
        at = [AT.index(x.moment) + DODGE * (k - 0.5 * (len(names) - 1)) for x in own]
        mean = [x.loss.mean for x in own]
        axes.vlines(at, [x.loss.low for x in own], [x.loss.high for x in own], color=paint(colour), linewidth=1.0)
        axes.plot(at, mean, "o", color=paint(colour), markersize=4.0, gid=f"log-loss-{belief}")
        ranges = [i for i, x in enumerate(own) if x.moment != AT[0]]
        axes.plot([at[i] for i in ranges], [mean[i] for i in ranges], color=paint(colour), linewidth=0.8, alpha=0.6)
        ends.append(End(mean[-1], belief, colour))
    axes.set(xlim=(-0.5, len(AT) - 0.5), ylim=(0.0, top), xticks=range(len(AT)), xticklabels=AT)
    axes.tick_params(axis="x", length=0.0)
    label(axes, "", "log loss, nats")
    label_ends(axes, ends)
