"""The encounters of a campaign as what a deployed classifier was asked and could have learnt from afterwards."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from filters.adaptation.debt import Stakes
from filters.adaptation.deployed import Frames
from filters.spec import BARRIER, CLASSES
from fogsim.campaigns import MANIFEST, RESULTS
from fogsim.errors import UserError, one_line
from fogsim.log import Replay
from fogsim.scoring.encounters import BRAKE, DECISION, PROCEED, loss_table, moments


class Labelled(NamedTuple):
    """One encounter: its number and log, frames of its first candidate up to the decision point and on the whole way
    to it, and what is known once the encounter has ended, by passing it or by stopping before it: its class.
    """

    number: int
    log: str
    content_hash: str
    asked: Frames
    seen: Frames
    stakes: Stakes
    label: int


def logs_of(folder: Path) -> list[tuple[int, Path]]:
    """Number and log of every encounter that a campaign has finished, in their order.

    Raises
    ------
    UserError
        If the folder is not a campaign's, or has no finished encounter.
    """
    table = folder / RESULTS
    if not (folder / MANIFEST).is_file() or not table.is_file():
        raise UserError(f"{folder} is no campaign, expected {MANIFEST} and {RESULTS}: `fogsim campaign` makes one")
    try:
        if json.loads((folder / MANIFEST).read_text())["sweep"]:
            raise UserError(f"{folder} sweeps settings, expected one world in encounters' order: drive it without")
        with table.open(newline="") as stream:
            numbers = {row["log"]: int(row["number"]) for row in csv.DictReader(stream)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} is damaged ({one_line(error)}): give its campaign's command again") from error
    if not numbers:
        raise UserError(f"{folder} has no finished encounter: give its campaign's command again")
    return sorted((number, folder / log) for log, number in numbers.items())


def read(number: int, path: Path) -> Labelled | None:
    """One of them; None where there is no class that classifiers have, no decision, or nothing was looked at before it.

    Raises
    ------
    UserError
        If the log is not there, or damaged.
    """
    with Replay(path) as log:
        label = int(log.column("truth_class")[0, 0])
        features, left = log.column("features")[:, 0].astype(float), log.column("distance_left")[:, 0]
        decided = moments(log)[DECISION]
        table, stored = loss_table(log, decided), log.stored_hash
    told = np.isfinite(features).all(axis=1)
    if label >= len(CLASSES) or decided is None or not told[: decided + 1].any():
        return None
    false_alarm, miss = table[BRAKE, 0] - table[PROCEED, 0], table[PROCEED, BARRIER] - table[BRAKE, BARRIER]
    if not (false_alarm > 0.0 and miss > 0.0):
        return None
    stakes, frames = Stakes(float(false_alarm), float(miss)), Frames(features, -np.diff(left, prepend=left[0]))
    asked, seen = frames.where(told & (np.arange(len(told)) <= decided)), frames.where(told & (left > 0.0))
    return Labelled(number, path.name, stored, asked, seen, stakes, label)


def encounters(folder: Path) -> Iterator[Labelled | None]:
    """All of a campaign's, see `logs_of` and `read`."""
    for number, path in logs_of(folder):
        yield read(number, path)
