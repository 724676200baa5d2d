"""A live watch on calibration within a campaign: an e-process of every belief at the decision point.

The alarm holds its bound for ever, however often one looks (`filters.eprocess`), if encounters count in an order that
has nothing to do with their truth. They do not end in such a one: a car that stops before a barrier is done sooner. So
they count by number, and one that is done early waits for those before it; if the campaign is interrupted it waits for
the next.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.special import logit

from filters import eprocess
from filters.spec import CLASSES
from fogsim.results import AT, Row
from fogsim.scoring.metrics import CLIP

ALPHA = 0.05  # chance of a false alarm, ever, of any stream


@dataclass
class Stream:
    """One belief in one setting: evidence against it, the encounters that count, where the alarm was, who waits."""

    state: eprocess.State = field(default_factory=eprocess.init)
    n: int = 0
    alarm: int = 0
    next: int = 0
    waiting: dict[int, Row | None] = field(default_factory=dict)


class Monitor:
    """The watch over a number of streams, which share `ALPHA` equally."""

    def __init__(self, streams: int) -> None:
        self.alpha = ALPHA / streams
        self.streams: dict[tuple[str, ...], Stream] = {}

    def add(self, name: tuple[str, ...], number: int, row: Row | None) -> str:
        """Take in the row of an encounter, or that there is none; the alarm, if this rings it."""
        stream = self.streams.setdefault(name, Stream())
        stream.waiting[number] = row
        told = ""
        while stream.next in stream.waiting:
            told = self._count(name, stream, stream.waiting.pop(stream.next)) or told
            stream.next += 1
        return told

    def _count(self, name: tuple[str, ...], stream: Stream, row: Row | None) -> str:
        """Bet on one more encounter, if its belief and its truth are known."""
        p = float(row[AT[0]] or "nan") if row and row["truth"] in CLASSES else float("nan")
        if row is None or not np.isfinite(p):
            return ""
        L = logit(np.clip(p, CLIP, 1.0 - CLIP))
        stream.state = eprocess.update(stream.state, L, CLASSES.index(row["truth"]))
        stream.n += 1
        if stream.alarm or not eprocess.alarm(stream.state, self.alpha):
            return ""
        stream.alarm = stream.n
        return f"alarm: {' '.join(name)} is not calibrated at the decision point, {evidence(stream)}"

    def __str__(self) -> str:
        return ", ".join(f"{' '.join(name)} {np.exp(eprocess.log_e(s.state)):.2g}" for name, s in self.streams.items())


def evidence(stream: Stream) -> str:
    """How strong the evidence against a belief is, in words."""
    grown = np.exp(stream.state.highest)
    return (
        f"by {stream.alarm} encounters: a bet against it has grown {grown:.3g} fold,"
        f" which it ever would with a chance of {eprocess.p_value(stream.state):.1g} at most"
    )
