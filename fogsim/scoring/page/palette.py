"""The page's colours: Okabe and Ito's, which colour-blind eyes tell apart too, in the viewer's order."""

from __future__ import annotations

from collections.abc import Sequence

from fogsim.frame import JUDGE

COLOURS = {  # on paper, where they must be darker, and on a dark ground
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


def paint(name: str) -> str:
    """A colour by name, as matplotlib is given it: `fogsim.scoring.page.drawing.inline` makes it a variable."""
    return COLOURS[name][0]


def colour_of(names: Sequence[str], belief: str) -> str:
    """Ink for the fused belief, olive for the judge, else the next of five."""
    special = {"fused": "ink", JUDGE: "olive"}
    turns = [name for name in names if name not in special]
    return special.get(belief) or TURNS[turns.index(belief) % len(TURNS)]
