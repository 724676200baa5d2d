"""How charts are drawn: matplotlib's SVG with its text as text, and every colour a variable of the page's style."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from io import StringIO
from typing import Any

from fogsim.scoring.page.palette import COLOURS, paint

SMALL, WIDE = (220.0, 184.0), (380.0, 240.0)  # points; the page shows a point as about a pixel
TEXT = 9.5  # points
MARGIN = (30.0, 29.0, 10.0, 21.0)  # points left, below, right and above the axes
ROOM = 82.0  # points for names on the right
RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a belief may have a dollar in its name
    "font.family": "DejaVu Sans",  # to measure with; the page has its own
    "font.size": TEXT,
    "text.color": paint("ink"),
    "xtick.labelsize": TEXT,
    "ytick.labelsize": TEXT,
    "xtick.color": paint("rule"),
    "ytick.color": paint("rule"),
    "xtick.labelcolor": paint("muted"),
    "ytick.labelcolor": paint("muted"),
    "axes.edgecolor": paint("rule"),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": paint("rule"),
    "grid.linewidth": 0.5,
    "ytick.major.size": 0.0,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
}
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def chart(
    name: str,
    title: str,
    desc: str,
    draw: Callable[[Any], None],
    size: tuple[float, float] = SMALL,
    room: float = 0.0,
    left: float = MARGIN[0],
) -> str:
    """One SVG element of what `draw` draws into the axes it is given.

    Parameters
    ----------
    name : str
        Letters, digits and dashes, unique in the page: its ids begin with it.
    title, desc : str
        What a reader hears who does not see it.
    draw : function
        Of the axes.
    size : (float, float)
        Points.
    room, left : float
        Points kept free on the right and on the left, for words beside what is drawn.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context({**RC, "svg.hashsalt": name}):
        figure = Figure(figsize=(size[0] / 72.0, size[1] / 72.0))
        FigureCanvasSVG(figure)
        draw(figure.add_axes(box(size, room, left)))
        stream = StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata=NO_METADATA)
    return inline(stream.getvalue(), name, title, desc)


def box(size: tuple[float, float], room: float = 0.0, left: float = MARGIN[0]) -> tuple[float, float, float, float]:
    """The axes within a figure, as matplotlib wants it."""
    (width, height), (_, below, right, above) = size, MARGIN
    wide, high = width - left - right - room, height - below - above
    return left / width, below / height, wide / width, high / height


def inline(svg: str, name: str, title: str, desc: str) -> str:
    """A file of SVG as an element of the page: named, described, coloured by variables, as wide as its place.

    Its ids begin with its name, or those of two charts would be the same.
    """
    svg = re.sub(r"\s*\n\s*", "\n", svg[svg.index("<svg") :])
    svg = re.sub(r"<defs>\n<style.*?</style>\n</defs>\n", "", svg, flags=re.DOTALL)  # it would be of the whole page
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    variables = {light: f"var(--{colour})" for colour, (light, _) in COLOURS.items()}
    svg = re.sub(r"(fill|stroke): (#[0-9a-f]{6})", lambda m: f"{m[1]}: {variables.get(m[2], m[2])}", svg)
    svg = re.sub(r' d="[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), svg)  # a hundredth of a pixel is enough
    svg = re.sub(r'width="[^"]*pt" height="[^"]*pt" ', "", svg, count=1)
    head, body = svg.split(">", 1)
    named = f'{head} role="img" aria-labelledby="{name}-title {name}-desc">'
    words = f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(desc)}</desc>'
    return f"{named}{words}{body}".strip()
