"""How beliefs part on the way: P(barrier) over distance left, of bags and of barriers, as quantiles over encounters."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from filters.spec import CLASSES, Array
from fogsim.scoring.course import COURSE
from fogsim.scoring.page.drawing import chart
from fogsim.scoring.page.labels import LINE, label, points
from fogsim.scoring.page.palette import colour_of, paint
from fogsim.scoring.page.parts import Panel, Section, listed, rows
from fogsim.scoring.scores import Score

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
SEEN = 0.5  # a distance is drawn if at least this share of encounters came by it
TITLE = "Belief over distance"
READING = (
    "Lines are medians over encounters, bands hold the middle half and the middle 80 %; distances that fewer than half "
    "of the encounters came by are left out."
)


class Fan(NamedTuple):
    """One belief's: distances (k,) in m, and for each class that was there, by its index, quantiles (5, k)."""

    belief: str
    distance: Array
    quantiles: dict[int, Array]

    @property
    def parted(self) -> float:
        """m, from where on the middle half of barriers lies above that of bags; NaN if at the end it does not."""
        if len(self.quantiles) < 2:
            return float("nan")
        apart = self.quantiles[1][1] > self.quantiles[0][3]
        overlap = np.flatnonzero(~apart)
        first = overlap[-1] + 1 if overlap.size else 0
        return float(self.distance[first]) if first < len(apart) else float("nan")


def section(score: Score) -> Section:
    """A fan per belief."""
    fans = [f for f in (fan(score, belief) for belief in score.belief_names) if f is not None]
    if not fans:
        return Section(TITLE, f"No belief was followed between {COURSE[0]} and {COURSE[-1]} m before the object.")
    return Section(TITLE, says(fans), READING, tuple(panel(score, f) for f in fans))


def fan(score: Score, belief: str) -> Fan | None:
    """One belief's, if any encounter came by a distance."""
    found = rows(score, belief)
    p = np.array([e.course.p[:, b] for e, b in found]).reshape(len(found), len(COURSE))
    truth = np.array([e.truth for e, _ in found], int)
    there = np.isfinite(p).mean(axis=0) >= SEEN if len(p) else np.zeros(len(COURSE), bool)
    kinds = [k for k in range(len(CLASSES)) if np.isfinite(p[truth == k][:, there]).any(axis=0).all()]
    if not there.any() or not kinds:
        return None
    quantiles = {k: np.nanquantile(p[truth == k][:, there], QUANTILES, axis=0) for k in kinds}
    return Fan(belief, np.array(COURSE, float)[there], quantiles)


def says(fans: list[Fan]) -> str:
    """Where each belief tells most bags from most barriers."""
    if len(fans[0].quantiles) < 2:
        return f"Every object was a {CLASSES[next(iter(fans[0].quantiles))]}: there is no other class to part from."
    parted = sorted((f for f in fans if np.isfinite(f.parted)), key=lambda f: -f.parted)
    never = [f.belief for f in fans if not np.isfinite(f.parted)]
    text = ""
    if parted:
        places = listed([f"{f.belief} from {f.parted:.0f} m" for f in parted])
        text = f"The middle half of barriers lies above that of bags for {places} on. "
    left = f"Down to {fans[0].distance[-1]:.0f} m it never does for {listed(never)}." if parted else ""
    none = f"No belief parts the middle half of barriers from that of bags, down to {fans[0].distance[-1]:.0f} m."
    return (text + left * bool(never)).strip() or none


def panel(score: Score, found: Fan) -> Panel:
    """The fan as drawn."""
    name = f"fan-{score.belief_names.index(found.belief)}"
    medians = listed([f"{q[2][-1]:.2f} of a {CLASSES[k]}" for k, q in found.quantiles.items()])
    desc = f"At {found.distance[-1]:.0f} m the median P(barrier) is {medians}."
    note = f"parted from {found.parted:.0f} m on" if np.isfinite(found.parted) else "never parted"
    title = f"P(barrier) of {found.belief} over distance left"
    svg = chart(name, title, desc, lambda axes: draw(axes, found))
    return Panel(svg, found.belief, note, colour_of(score.belief_names, found.belief))


def draw(axes: Any, found: Fan) -> None:
    """Bands and median of each class, the way from left to right."""
    for k, (low, lower, median, upper, high) in found.quantiles.items():
        colour = paint(CLASSES[k])
        axes.fill_between(found.distance, low, high, color=colour, alpha=0.14, linewidth=0.0)
        axes.fill_between(found.distance, lower, upper, color=colour, alpha=0.24, linewidth=0.0)
        axes.plot(found.distance, median, color=colour, gid=f"median-{CLASSES[k]}")
    axes.set(xlim=(found.distance[0], found.distance[-1]), ylim=(-0.01, 1.01), yticks=(0.0, 0.5, 1.0))
    label(axes, "distance left, m", "P(barrier)")
    name_classes(axes, found)


def name_classes(axes: Any, found: Fan) -> None:
    """The classes at the left, on either side of where the medians begin."""
    begin = np.mean([q[2][0] for q in found.quantiles.values()])
    away = 1.6 * LINE / points(axes)[1]
    for k in found.quantiles:
        y = min(max(begin + (away if k else -away) * 1.9, 0.06), 0.94)
        axes.text(0.03, y, CLASSES[k], transform=axes.get_yaxis_transform(), color=paint(CLASSES[k]), va="center")
