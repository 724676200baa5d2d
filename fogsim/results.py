"""A campaign's results as one tidy table: a row per encounter and belief, as CSV.

Rows are appended as encounters are finished, and put in order when the campaign ends. Everything in them is read from
the logs, so that a row that was lost is found again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fogsim.errors import UserError
from fogsim.folders import replace_file
from fogsim.frame import ACTIONS, KINDS, POLICIES
from fogsim.log import Replay
from fogsim.scoring.encounters import MOMENTS, NO_ACTION, Encounter, encounter
from fogsim.scoring.metrics import log_loss

Row = dict[str, Any]
ENCOUNTER = ("seed", "log", "content_hash", "truth", "visibility", "obstacle_in_path", "driver", "collided")
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
        "truth": KINDS[found.truth],
        "visibility": found.visibility,
        "obstacle_in_path": int(found.in_path),
        "driver": found.driver,
        "collided": int(found.collided),
        "realised_cost": found.realised_cost,
        "distance_left": found.distance_left,
    }


def of_belief(found: Encounter, b: int) -> Row:
    """What one belief thought, lost (nats, at the decision point) and would have done there.

    The log loss of an object that beliefs have no class for is NaN.
    """
    bayes, p = POLICIES.index("bayes"), found.p_barrier[:, b]
    action = found.shadow_action[b, bayes]
    return {
        "belief": found.beliefs[b],
        **dict(zip(AT, p.tolist(), strict=True)),
        "log_loss": float(log_loss(p[0], found.truth)) if found.classed else float("nan"),
        "bayes_action": "" if action == NO_ACTION else ACTIONS[action],
        "bayes_cost": float(found.shadow_cost[b, bayes]),
    }


def append(path: Path, rows: list[Row], names: list[str]) -> None:
    """Add rows at the end."""
    with path.open("a") as stream:
        stream.write(as_csv(rows, names))


def lines(path: Path, names: list[str]) -> Iterator[tuple[str, int, bytes]]:
    """Log, offset and text of every row but a last one that a killed campaign left unfinished.

    Raises
    ------
    UserError
        If it is no such table.
    """
    if not path.exists():
        return
    place, header = names.index("log"), ",".join(names)
    with path.open("rb") as stream:
        found = stream.readline()
        if found.endswith(b"\n") and found.decode(errors="replace") != header + "\n":
            raise UserError(f"{path} is no such table, expected columns {header}: move it away, and it is made again")
        offset = len(found)
        for line in stream:
            cells = next(csv.reader([line.decode(errors="replace")]))
            if line.endswith(b"\n") and len(cells) == len(names):
                yield cells[place], offset, line
            offset += len(line)


def read(path: Path, names: list[str]) -> Iterator[Row]:
    """Its rows, one by one."""
    for _, _, line in lines(path, names):
        yield dict(zip(names, next(csv.reader([line.decode()])), strict=True))


def put_in_order(path: Path, names: list[str], rows: dict[str, int]) -> set[str]:
    """Sort the table by the order of `rows`, which says how many a log has; the logs that it tells of.

    What other logs' rows there are, or too few of a log, is left out. Nothing is kept but where rows are.
    """
    places: dict[str, list[int]] = {log: [] for log in rows}
    for log, offset, _ in lines(path, names):
        if len(places.get(log, [])) < rows.get(log, 0):
            places[log].append(offset)
    whole = {log for log, found in places.items() if len(found) == rows[log]}

    def parts() -> Iterator[bytes]:
        yield (",".join(names) + "\n").encode()
        if whole:
            with path.open("rb") as stream:
                for log in rows:
                    for offset in places[log] if log in whole else ():
                        stream.seek(offset)
                        yield stream.readline()

    replace_file(parts(), path)
    return whole


def as_csv(rows: list[Row], names: list[str]) -> str:
    """Lines without a header."""
    text = io.StringIO()
    csv.DictWriter(text, names, lineterminator="\n").writerows(rows)
    return text.getvalue()
