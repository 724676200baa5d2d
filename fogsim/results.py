"""A campaign's results as one tidy table: a row per encounter and belief, as CSV.

Rows are appended as encounters are finished, and put in order when the campaign ends. Everything in them is read from
the logs, so that a row that was lost is found again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from filters.spec import CLASSES
from fogsim.errors import UserError, one_line
from fogsim.folders import replace_file
from fogsim.frame import ACTIONS, POLICIES
from fogsim.log import Replay
from fogsim.scoring.encounters import MOMENTS, NO_ACTION, Encounter, encounter
from fogsim.scoring.metrics import log_loss

Row = dict[str, Any]
ENCOUNTER = ("seed", "log", "content_hash", "truth", "visibility", "barrier_in_path", "driver", "collided")
OUTCOME = ("realised_cost", "distance_left")
AT = tuple(f"p_barrier at {moment}" for moment in MOMENTS)
BELIEF = ("belief", *AT, "log_loss", "bayes_action", "bayes_cost")


def columns(settings: Iterable[str]) -> list[str]:
    """Names of the columns; the swept fields have one each."""
    return ["number", *settings, *ENCOUNTER, *OUTCOME, *BELIEF]


def rows_of(path: Path, number: int, settings: dict[str, str]) -> list[Row]:
    """The rows of a complete log.

    Raises
    ------
    UserError
        If it is not complete, or cannot be read.
    """
    with Replay(path) as replay:
        if not replay.complete:
            raise UserError(f"{path} is not complete")
        found, stored = encounter(replay, path.name), replay.stored_hash
    common = {"number": number, **settings, **of_encounter(found), "content_hash": stored}
    return [common | of_belief(found, b) for b in range(len(found.beliefs))] or [common]


def of_encounter(found: Encounter) -> Row:
    """What its rows have in common."""
    return {
        "seed": found.seed,
        "log": found.name,
        "truth": CLASSES[found.truth],
        "visibility": found.visibility,
        "barrier_in_path": int(found.in_path),
        "driver": found.driver,
        "collided": int(found.collided),
        "realised_cost": found.realised_cost,
        "distance_left": found.distance_left,
    }


def of_belief(found: Encounter, b: int) -> Row:
    """What one belief thought, lost (nats, at the decision point) and would have done there."""
    bayes, p = POLICIES.index("bayes"), found.p_barrier[:, b]
    action = found.shadow_action[b, bayes]
    return {
        "belief": found.beliefs[b],
        **dict(zip(AT, p.tolist(), strict=True)),
        "log_loss": float(log_loss(p[:1], np.array([found.truth]))[0]),
        "bayes_action": "" if action == NO_ACTION else ACTIONS[action],
        "bayes_cost": float(found.shadow_cost[b, bayes]),
    }


def append(path: Path, rows: list[Row], names: list[str]) -> None:
    """Add rows at the end."""
    with path.open("a") as stream:
        stream.write(as_csv(rows, names))


def read(path: Path, names: list[str]) -> list[Row]:
    """All rows but a last one that a killed campaign left unfinished.

    Raises
    ------
    UserError
        If it is no such table.
    """
    if not path.exists():
        return []
    try:
        text = path.read_text()
        reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]), strict=True)
        if list(reader.fieldnames or names) != names:
            raise ValueError(f"columns {', '.join(reader.fieldnames or [])}")
        return list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(
            f"{path} is no such table ({one_line(error)}), expected {', '.join(names)}: move it away, and it is made"
            " again from the logs"
        ) from error


def put_in_order(path: Path, names: list[str], ranks: dict[str, int], beliefs: int) -> list[Row]:
    """Sort the rows by their logs' ranks and return them; logs that lack rows, or have no rank, are left out."""
    rows: dict[str, list[Row]] = {}
    for row in read(path, names):
        rows.setdefault(row["log"], []).append(row)
    whole = [log for log, found in rows.items() if log in ranks and len(found) >= beliefs]
    ordered = [row for log in sorted(whole, key=ranks.__getitem__) for row in rows[log][:beliefs]]
    replace_file((",".join(names) + "\n" + as_csv(ordered, names)).encode(), path)
    return ordered


def as_csv(rows: list[Row], names: list[str]) -> str:
    """Lines without a header."""
    text = io.StringIO()
    csv.DictWriter(text, names, lineterminator="\n").writerows(rows)
    return text.getvalue()
