"""A score on the terminal and as a dictionary for JSON."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from filters.spec import BARRIER, CLASSES
from fogsim.scoring.cells import interval
from fogsim.scoring.metrics import CLIP
from fogsim.scoring.scores import Score
from fogsim.scoring.tables import (
    against_table,
    belief_table,
    driver_table,
    fog_table,
    place_table,
    policy_table,
    regret_table,
    sureness_table,
    visibility_table,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

APART = 1.0  # m between decision points from which it is said: more than a frame at 8 m/s
TABLES = ("beliefs", "against", "places", "sureness", "policies", "drivers", "differences")


def to_dict(score: Score) -> dict[str, Any]:
    """What ``--json`` writes: the tables, over all and by visibility, what they rest on, and what was left out.

    What is no finite number is None.
    """
    return {
        "encounters": len(score.encounters),
        "barriers": barriers(score),
        "unclassed": score.unclassed,
        "clip": CLIP,
        "not_reached": score.not_reached,
        "unfinished": list(score.unfinished),
        "refused": [{"log": name, "why": why} for name, why in score.refused],
        **_tables(score),
        "regrets": plain(score.regrets),
        "remarks": remarks(score),
        "in_fog": {name: {"encounters": len(part.encounters)} | _tables(part) for name, part in score.in_fog.items()},
    }


def _tables(score: Score) -> dict[str, Any]:
    return {name: plain(getattr(score, name)) for name in TABLES}


def plain(value: Any) -> Any:
    """Named tuples as dictionaries, other tuples as lists, and None for what is no finite number."""
    if hasattr(value, "_asdict"):
        return {key: plain(v) for key, v in value._asdict().items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def barriers(score: Score) -> int:
    """Encounters with a barrier."""
    return sum(e.truth == BARRIER for e in score.encounters)


def print_score(score: Score, console: Console) -> None:
    """Print the tables: what beliefs are worth, where and when, what each would have done, how the drivers fared."""
    n = len(score.encounters)
    head = f"[bold]{n} encounter{'s' * (n != 1)}[/], {barriers(score)} with a barrier"
    console.print(f"{head}; intervals are 95 %, over seeds, of shares exact over encounters")
    for table in tables_of(score):
        console.print(table)
    for d in score.differences:
        gap = interval(d.cost.difference, ".2f")
        console.print(f"cost of ({d.who}) less ({d.other}), {d.cost.n} common seeds: {gap}")
    for line in remarks(score):
        console.print(line, markup=False, style="yellow")


def tables_of(score: Score) -> list[Table]:
    """Those that have something to tell."""
    tables = [belief_table, fog_table] if any(row.n for row in score.beliefs) else []
    tables += [against_table] if score.against else []
    tables += [place_table] if any(row.n for row in score.places) else []
    tables += [sureness_table] if any(row.n for row in score.sureness) else []
    tables += [regret_table, visibility_table] if score.regrets else []
    tables += [policy_table] if any(row.n for row in score.policies) else []
    return [table(score) for table in (*tables, driver_table)]


def pooled(score: Score) -> list[str]:
    """What is told as one though it differs, a line each."""
    lines: list[str] = []
    n, seeds = len(score.encounters), len(set(score.seeds))
    if seeds < n:
        lines.append(
            f"{n} encounters share {seeds} seeds: exact intervals take them for independent, and are too narrow"
        )
    if len(cards := Counter(e.card for e in score.encounters)) > 1:
        told = ", ".join(f"of {k} by {f'card {name}' if name else 'none'}" for name, k in cards.items())
        lines.append(f"beliefs are recalibrated {told}: they are pooled")
    left = {d.driver: d.decision_left for d in score.drivers if not math.isnan(d.decision_left)}
    if left and max(left.values()) - min(left.values()) > APART:
        told = ", ".join(f"{metres:.1f} m for ({driver})" for driver, metres in left.items())
        lines.append(f"the decision point lay before the object {told}: beliefs there are of different places")
    return lines


def remarks(score: Score) -> list[str]:
    """What was not scored, or was scored together though it differs, a line each."""
    n = len(score.encounters)
    lines = pooled(score) + [f"{k} of {n} never reached: {moment}" for moment, k in score.not_reached.items() if k]
    if score.unclassed:
        left, kinds = sum(score.unclassed.values()), ", ".join(f"{kind} {k}" for kind, k in score.unclassed.items())
        lines.append(f"{left} of {n} left out of class scores, not of cost: no belief has a class for it ({kinds})")
    lines += [f"{belief} was no number in {k} of {n}: not scored there" for belief, k in score.unknown.items()]
    if one := {CLASSES[e.truth] for e in score.encounters if e.classed}:
        lines += [f"only {one.pop()}s were met: AUC and DSC need both classes"] if len(one) == 1 else []
    if score.without_dof:
        lines.append(
            f"{score.without_dof} of {n} are of an earlier schema, without the degrees of freedom of NIS: it is"
            " not scored there"
        )
    if outside := sum(e.outside_card for e in score.encounters):
        lines.append(f"{outside} of {n} met fog in which their calibration card was not fitted")
    lines += [f"{name} has no end: scored up to its last frame, its outcome is not" for name in score.unfinished]
    return lines + [f"left out: {why}" for _, why in score.refused]
