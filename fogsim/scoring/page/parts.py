"""What the page is made of: sections of words, charts and tables, all plain text until `document` writes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from filters.spec import Array
from fogsim.scoring.encounters import MOMENTS, RANGES, Encounter
from fogsim.scoring.scores import Score

NEAR = f"{RANGES[-1]} m"  # by then most objects have been seen
WHERE = {"decision": "at the decision point", "first echo": "at the first echo from the object"}


class Panel(NamedTuple):
    """One chart: its SVG, whose it is, a line beneath that name, and the name's colour."""

    svg: str
    name: str = ""
    note: str = ""
    colour: str = "ink"


class Table(NamedTuple):
    """Rows of text under their columns; the first column names the row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Section(NamedTuple):
    """A heading, what is to be seen there, how to read it, and what there is to see; `wide` is of all its charts."""

    title: str
    says: str
    reading: str = ""
    panels: tuple[Panel, ...] = ()
    wide: bool = False
    table: Table | None = None


def rows(score: Score, belief: str) -> list[tuple[Encounter, int]]:
    """The encounters scored by class in which somebody holds this belief, and which of their beliefs it is."""
    return [(e, e.beliefs.index(belief)) for e in score.encounters if e.classed and belief in e.beliefs]


class Said(NamedTuple):
    """P(barrier), the truth and the seed of the `n` encounters that reached a moment, all (n,)."""

    p: Array
    y: np.ndarray
    seeds: np.ndarray


def said(score: Score, belief: str, moment: str) -> Said:
    """What a belief said at a moment."""
    m = MOMENTS.index(moment)
    known = [(e.p_barrier[m, b], e) for e, b in rows(score, belief) if np.isfinite(e.p_barrier[m, b])]
    return Said(
        np.array([p for p, _ in known], float),
        np.array([e.truth for _, e in known], int),
        np.array([e.seed for _, e in known], int),
    )


def main_moment(score: Score) -> str:
    """The decision point, or the first moment that some encounter reached where none reached that."""
    reached = {row.moment for row in score.beliefs if row.n}
    return next((m for m in MOMENTS if m in reached), MOMENTS[0])


def where(moment: str) -> str:
    """A moment within a sentence."""
    return WHERE.get(moment, f"at {moment}")


def listed(words: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def count(n: int, what: str) -> str:
    """``1 encounter``, ``1,000 encounters``."""
    return f"{n:,} {what}{'s' * (n != 1)}"


def sentence(words: str) -> str:
    """With a capital to begin and a full stop to end."""
    return f"{words[:1].upper()}{words[1:]}" + "." * (not words.endswith("."))


def percent(share: float) -> str:
    """``13 %``; of what is neither none nor all, never 0 % or 100 %."""
    rounded = f"{100.0 * share:.0f}"
    if rounded in ("0", "100") and 0.0 < share < 1.0:
        return "less than 1 %" if share < 0.5 else "more than 99 %"
    return f"{rounded} %"


def short(value: float) -> str:
    """Three digits, or a dash where there is no number."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "∞"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
