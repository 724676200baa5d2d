"""How charts are drawn: matplotlib's SVG with its text as text, and every colour a variable of the page's style.

The palette is Okabe and Ito's, told apart by colour-blind eyes too, in the viewer's order and darkened for paper.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from html import escape
from io import StringIO
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression

from filters.spec import Array
from fogsim.frame import JUDGE

COLOURS = {  # on paper, on a dark ground
    "ink": ("#1b2330", "#e8ecf1"),
    "muted": ("#5d6878", "#a3acba"),
    "rule": ("#d5dae1", "#3a4656"),
    "band": ("#e6e9ee", "#2a3443"),
    "ground": ("#fdfdfc", "#10141b"),
    "barrier": ("#c14a06", "#f0813c"),
    "bag": ("#53708f", "#8fabc9"),
    "sky": ("#1a76b4", "#56b4e9"),
    "orange": ("#b36b00", "#e69f00"),
    "green": ("#007f5c", "#00b286"),
    "purple": ("#a5467c", "#d78ab4"),
    "olive": ("#757000", "#d9ce3c"),
    "brown": ("#7d4f2a", "#c49a6c"),
}
TURNS = ("sky", "orange", "green", "purple", "brown")
SMALL, WIDE = (220.0, 180.0), (380.0, 236.0)  # points; the page shows a point as about a pixel
TEXT = 9.5  # points
LINE = TEXT * 1.2  # between lines of text
LONGEST = 16  # letters of a name beside a line
MARGIN = (30.0, 29.0, 10.0, 17.0)  # points left, below, right and above the axes
RC = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a belief may have a dollar in its name
    "font.size": TEXT,
    "text.color": COLOURS["ink"][0],
    "xtick.labelsize": TEXT,
    "ytick.labelsize": TEXT,
    "xtick.color": COLOURS["rule"][0],
    "ytick.color": COLOURS["rule"][0],
    "xtick.labelcolor": COLOURS["muted"][0],
    "ytick.labelcolor": COLOURS["muted"][0],
    "axes.edgecolor": COLOURS["rule"][0],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": COLOURS["rule"][0],
    "grid.linewidth": 0.5,
    "ytick.major.size": 0.0,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
}
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def paint(name: str) -> str:
    """A colour by name, as matplotlib is given it; `inline` makes it a variable."""
    return COLOURS[name][0]


def colour_of(names: Sequence[str], belief: str) -> str:
    """Ink for the fused belief, olive for the judge, else the next of five."""
    special = {"fused": "ink", JUDGE: "olive"}
    turns = [name for name in names if name not in special]
    return special.get(belief) or TURNS[turns.index(belief) % len(TURNS)]


def chart(
    name: str,
    title: str,
    desc: str,
    draw: Callable[[Any], None],
    size: tuple[float, float] = SMALL,
    room: float = 0.0,
) -> str:
    """One SVG element of what `draw` draws into the axes it is given.

    Parameters
    ----------
    name : str
        Letters, digits and dashes, unique in the page: its ids begin with it.
    title, desc : str
        What a reader hears who does not see it.
    size : (float, float)
        Points.
    room : float
        Points kept free on the right, for words beside the lines.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context({**RC, "svg.hashsalt": name}):
        figure = Figure(figsize=(size[0] / 72.0, size[1] / 72.0))
        FigureCanvasSVG(figure)
        draw(figure.add_axes(box(size, room)))
        stream = StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata=NO_METADATA)
    return inline(stream.getvalue(), name, title, desc)


def box(size: tuple[float, float], room: float = 0.0) -> tuple[float, float, float, float]:
    """The axes within a figure, as matplotlib wants it."""
    (width, height), (left, below, right, above) = size, MARGIN
    return (
        left / width,
        below / height,
        1.0 - (left + right + room) / width,
        1.0 - (below + above) / height,
    )


def inline(svg: str, name: str, title: str, desc: str) -> str:
    """A file of SVG as an element of the page: named, described, coloured by variables, its ids its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    variables = {light: f"var(--{colour})" for colour, (light, _) in COLOURS.items()}
    svg = re.sub(r"(fill|stroke): (#[0-9a-f]{6})", lambda m: f"{m[1]}: {variables.get(m[2], m[2])}", svg)
    svg = re.sub(r' d="[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), svg)  # a hundredth of a pixel is enough
    svg = re.sub(r'width="[^"]*pt" height="[^"]*pt" ', "", svg, count=1)
    head, body = svg.split(">", 1)
    named = f'{head} role="img" aria-labelledby="{name}-title {name}-desc">'
    words = f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(desc)}</desc>'
    return f"{named}{words}{body}".strip()


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
