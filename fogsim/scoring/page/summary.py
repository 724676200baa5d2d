"""The top of the page: what was scored, what was left out, and one row a belief."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from fogsim.frame import POLICIES
from fogsim.scoring.beliefs import COIN, BeliefScore
from fogsim.scoring.cells import interval, number, upper
from fogsim.scoring.page.parts import Section, Table, count, listed, main_moment, sentence, where
from fogsim.scoring.report import barriers, remarks
from fogsim.scoring.scores import Score

REMARKS = 12  # shown; the terminal and the JSON have all
COLUMNS = ("belief", "n", "log loss", "Brier", "MCB", "DSC", "AUC", "misses", "needless brakes")


class Fact(NamedTuple):
    """A number and what it counts."""

    value: str
    of: str


def facts(score: Score) -> list[Fact]:
    """What was scored, in numbers."""
    n, seeds = len(score.encounters), len({e.seed for e in score.encounters})
    visibility = [e.visibility for e in score.encounters]
    return [
        Fact(f"{n:,}", f"encounter{'s' * (n != 1)}" + (f" of {count(seeds, 'seed')}" if seeds != n else "")),
        Fact(f"{barriers(score):,}", "with a barrier"),
        Fact(f"{min(visibility):.0f}–{max(visibility):.0f} m", "true visibility"),
        Fact(f"{sum(e.collided for e in score.encounters):,}", "collisions"),
    ]


def notes(score: Score) -> list[str]:
    """Who drove, by which card, and what was not scored, a line each."""
    drivers = Counter(e.driver for e in score.encounters)
    driven = f"driven by {'; '.join(f'{name} ({k:,})' for name, k in drivers.items())}"
    left = remarks(score)
    more = [f"and {len(left) - REMARKS:,} more such lines, which the terminal and the JSON have"]
    lines = [driven, card(score), *left[:REMARKS], *more * (len(left) > REMARKS)]
    return [sentence(line) for line in lines]


def card(score: Score) -> str:
    """Whether a calibration card had recalibrated beliefs."""
    cards = Counter(e.card for e in score.encounters)
    if set(cards) == {""}:
        return "no calibration card: beliefs are as the filters hold them"
    shares = [f"{name or 'none'} ({k:,})" for name, k in cards.items()]
    return f"calibration card {listed(shares)}"


def section(score: Score) -> Section:
    """One row a belief, at the decision point if any encounter reached it."""
    moment = main_moment(score)
    found = [row for row in score.beliefs if row.moment == moment and row.n]
    title = f"Beliefs {where(moment)}"
    if not found:
        return Section(title, "No encounter was followed by a belief that has a class for its object.")
    reading = (
        "Log loss in nats with its 95 % interval over seeds; MCB, with its upper 95 % bound, is what recalibration "
        "would take off the Brier score, DSC what the belief then takes off that of the base rate. Misses went on into "
        "an obstacle, needless brakes were for nothing in the path, both had the belief decided by Bayes' rule."
    )
    return Section(title, says(found), reading, table=Table(COLUMNS, tuple(key_row(score, row) for row in found)))


def says(found: list[BeliefScore]) -> str:
    """Which belief knows most, and whether more than a coin."""
    best = min(found, key=lambda row: row.log_loss)
    text = f"{best.belief} has the least log loss, {best.log_loss:.3f} nats; a coin has {COIN:.3f}"
    worse = [row.belief for row in found if not row.gain.high < 0.0]
    return (
        f"{text}. Not clearly better than a coin: {listed(worse)}."
        if worse
        else f"{text}, and every belief clearly less."
    )


def key_row(score: Score, row: BeliefScore) -> tuple[str, ...]:
    """One belief's scores, and what it would have done."""
    shadow = next(p for p in score.policies if p.belief == row.belief and p.policy == POLICIES[0])
    done = (str(shadow.collisions), str(shadow.needless_brakes)) if shadow.n else ("–", "–")
    parts = (number(row.brier), upper(row.mcb), number(row.dsc.mean), number(row.auc))
    return (row.belief, f"{row.n:,}", interval(row.loss), *parts, *done)
