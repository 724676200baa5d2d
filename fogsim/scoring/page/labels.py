"""Words on charts: what the axes show, whose line it is, whose row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression

from filters.spec import Array
from fogsim.scoring.page.drawing import MARGIN, TEXT, WIDE
from fogsim.scoring.page.palette import paint

BELOW = 0.16  # of a row, from its middle to what is drawn under its words
LINE = TEXT * 1.2  # between lines of text
LONGEST = 16  # letters of a name beside a line


def label(axes: Any, x: str, y: str) -> None:
    """What the axes show: x beneath, y above its upper left corner, where it is read without turning the head."""
    left = -(MARGIN[0] - 3.0) / points(axes)[0]
    axes.set_xlabel(x, color=paint("muted"), labelpad=3.0)
    axes.text(left, 1.0 + 6.0 / points(axes)[1], y, transform=axes.transAxes, color=paint("muted"), va="bottom")


def points(axes: Any) -> tuple[float, float]:
    """Width and height of axes, points."""
    frame = axes.get_position()
    width, height = axes.figure.get_size_inches() * 72.0
    return float(frame.width * width), float(frame.height * height)


def name_row(axes: Any, row: int, words: str, colour: str) -> None:
    """Words at the left of a row, above what it shows, which lies `BELOW` its middle."""
    axes.text(0.0, row - 0.24, words, transform=axes.get_yaxis_transform(), color=colour, va="center")


def rows_high(n: int) -> tuple[float, float]:
    """The size of a chart of n such rows."""
    return WIDE[0], MARGIN[1] + MARGIN[3] + 3.2 * LINE * n


def rows_only(axes: Any, n: int) -> None:
    """Rows from top to bottom, n of them, and no axis for them."""
    axes.set(ylim=(n - 0.5, -0.5), yticks=[])
    axes.grid(axis="x")


class End(NamedTuple):
    """Where a line ends on the right, the words for it, and its colour."""

    y: float
    words: str
    colour: str


def label_ends(axes: Any, ends: Sequence[End]) -> None:
    """Name lines where they end, the names moved apart as little as it takes."""
    height = points(axes)[1]
    drawn = axes.transAxes.inverted().transform(axes.transData.transform([(0.0, end.y) for end in ends]))[:, 1]
    for end, at, moved in zip(ends, drawn, apart(drawn, LINE / height), strict=True):
        style = {"transform": axes.transAxes, "color": paint(end.colour), "clip_on": False}
        axes.plot([1.005, 1.03], [at, moved], linewidth=0.7, **style)
        axes.text(1.04, moved, clipped(end.words), va="center_baseline", **style)


def clipped(name: str) -> str:
    """A name, cut where it would leave the picture."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def apart(y: Array, gap: float) -> Array:
    """Places (n,) within [0, 1], if there is room, at least `gap` apart and nearest to y (n,) in squares.

    Less `gap` for each place below, they need only not decrease: an isotonic regression.
    """
    order = np.argsort(y, kind="stable")
    steps = gap * np.arange(len(y))
    placed = np.empty(len(y))
    free = np.asarray(isotonic_regression(np.asarray(y, float)[order] - steps).x)
    placed[order] = np.clip(free, 0.0, max(1.0 - steps[-1], 0.0)) + steps
    return placed
