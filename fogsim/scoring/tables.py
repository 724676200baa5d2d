"""The tables of a score as the terminal shows them; what is left out here stands in the JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fogsim.frame import POLICIES
from fogsim.scoring.beliefs import BeliefScore
from fogsim.scoring.bins import ALL, BINS
from fogsim.scoring.cells import empty_table, interval, number, share, upper
from fogsim.scoring.consistency import Consistency
from fogsim.scoring.metrics import Interval
from fogsim.scoring.regret import AT, Regret
from fogsim.scoring.scores import Score

if TYPE_CHECKING:
    from rich.table import Table

KINDS = {"regret": "Regret", "expected": "Expected regret"}
SHORT = {"bayes": "bayes", "most_likely_label": "likeliest"}


def belief_table(score: Score) -> Table:
    """One row per moment and belief: decision point and ranges."""
    columns = ("n", "log loss", "Brier", "MCB", "p-value", "DSC", "accuracy", "AUC", "unsure")
    table = empty_table("What beliefs are worth; a coin's log loss is 0.693 nats", "at", "belief", *columns)
    for moment in AT:
        rows = [row for row in score.beliefs if row.moment == moment and row.n]
        for k, row in enumerate(rows):
            table.add_row("" if k else moment, row.belief, *_belief_cells(row))
        table.add_section()
    return table


def _belief_cells(row: BeliefScore) -> tuple[str, ...]:
    parts = (upper(row.mcb), number(row.p_value, ".2f"), number(row.dsc.mean))
    shares = (number(row.accuracy, ".1%"), number(row.auc), number(row.undecided, ".0%"))
    return str(row.n), interval(row.loss), number(row.brier), *parts, *shares


def fog_table(score: Score) -> Table:
    """One row per belief, the bins of true visibility side by side."""
    table = empty_table("Log loss at the decision point by visibility, and of how many", "belief", *BINS)
    found = {(name, row.belief): row for name in BINS for row in score.in_fog[name].beliefs if row.moment == AT[0]}
    for name in score.belief_names:
        rows = (found.get((bin_, name)) for bin_ in BINS)
        table.add_row(name, *("–" if row is None else f"{interval(row.loss)} {row.n:4d}" for row in rows))
    return table


def against_table(score: Score) -> Table:
    """One row per belief, the moments side by side."""
    table = empty_table("Log loss less that of fused, nats", "belief", *AT)
    for name in dict.fromkeys(row.belief for row in score.against):
        rows = {row.moment: row for row in score.against if row.belief == name}
        table.add_row(name, *(interval(rows[moment].log_loss.difference) for moment in AT))
    return table


def place_table(score: Score) -> Table:
    """One row per belief; NEES and NIS with the band that their mean is in where covariances are right."""
    columns = ("n", "CRPS along", "across", "NEES", "inside", "n", "NIS", "of", "inside")
    title = "Where beliefs have the object at the decision point, m; in brackets NEES and NIS of right covariances"
    table = empty_table(title, "belief", *columns)
    for row in score.places:
        if row.moment == AT[0] and row.n:
            crps = (number(row.crps_along.mean), number(row.crps_across.mean))
            (nees, inside), (nis, inside_nis) = _cells(row.nees), _cells(row.nis)
            innovations = (str(row.nis.n), nis, number(row.nis.dof, ".0f"), inside_nis)
            table.add_row(row.belief, str(row.n), *crps, nees, inside, *innovations)
    return table


def _cells(value: Consistency) -> tuple[str, str]:
    return interval(Interval(value.mean, value.low, value.high), ".2f"), number(value.inside, ".0%")


def sureness_table(score: Score) -> Table:
    """One row per belief."""
    columns = ("n", "after s", "m left", "never sure", "of those sure, wrong", "changes of mind")
    table = empty_table("When beliefs are first sure of a class (.95), in the median", "belief", *columns)
    for row in score.sureness:
        when = (str(row.n), number(row.time, ".1f"), number(row.left, ".1f"))
        table.add_row(row.belief, *when, share(row.never), share(row.wrong), number(row.flips, ".2f"))
    return table


def regret_table(score: Score) -> Table:
    """One row per belief and moment."""
    table = empty_table("Regret against the oracle, nats", "belief", "at", "n", "regret", "expected regret")
    for row in _regrets(score, ALL):
        table.add_row(row.belief, row.moment, str(row.n), interval(row.regret), interval(row.expected))
    return table


def visibility_table(score: Score, kind: str = "expected") -> Table:
    """One row per belief and moment, the bins of true visibility side by side; `kind` "regret" or "expected"."""
    table = empty_table(f"{KINDS[kind]} by visibility, nats, and of how many", "belief", "at", *BINS)
    for rows in zip(*(_regrets(score, name) for name in BINS), strict=True):
        cells = (f"{interval(getattr(row, kind))} {row.n:4d}" for row in rows)
        table.add_row(rows[0].belief, rows[0].moment, *cells)
    return table


def _regrets(score: Score, visibility: str) -> list[Regret]:
    return [row for row in score.regrets if row.visibility == visibility]


def policy_table(score: Score) -> Table:
    """One row per belief and policy."""
    columns = ("policy", "n", "cost", "expected", "misses an obstacle", "brakes needlessly")
    table = empty_table("What each belief would have done at the decision point", "belief", *columns)
    for k, row in enumerate(score.policies):
        cells = (SHORT[row.policy], str(row.n), interval(row.cost, ".2f"), number(row.expected.mean, ".2f"))
        table.add_row("" if k % len(POLICIES) else row.belief, *cells, share(row.miss), share(row.needless))
    return table


def driver_table(score: Score) -> Table:
    """One row per driver."""
    columns = ("n", "cost", "hits", "of obstacles", "at m/s", "brakes needlessly", "decides\nat m", "left\nm")
    table = empty_table("Who drove", "driver", *columns)
    for row in score.drivers:
        cost, hits = interval(row.cost, ".2f"), (str(row.collisions), share(row.collided))
        left = (number(row.decision_left, ".1f"), number(row.distance_left, ".1f"))
        table.add_row(row.driver, str(row.n), cost, *hits, number(row.impact_speed, ".1f"), share(row.needless), *left)
    return table
