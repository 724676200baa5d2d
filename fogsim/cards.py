"""Files of calibration cards, and scenarios that are driven by one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from filters.calibration import Calibrator
from filters.card import EDGES, Card, Recalibration
from filters.conformal import Threshold
from filters.stopping import Rate
from fogsim.calibrating import hashed
from fogsim.errors import UserError, one_line
from fogsim.scenario import Scenario
from fogsim.scoring.encounters import setting_hash

VERSION = 1
DEFAULT = "default"  # the name of the card that is shipped
SHIPPED = Path(str(files("filters") / "trained" / "card.json"))


class CardFile(NamedTuple):
    """A card, the seeds it was fitted on, and what else is told of where it comes from."""

    card: Card
    seeds: tuple[int, ...]
    about: dict[str, Any]


def write(path: Path, card: CardFile) -> None:
    """Write a new file."""
    content = {"fogsim_card": VERSION, **card.about, **asdict(card.card), "seed_list": sorted(card.seeds)}
    try:
        with path.open("x") as stream:
            stream.write(json.dumps(content, indent=1) + "\n")
    except FileExistsError as error:
        raise UserError(f"{path} exists already and is never overwritten: choose another name") from error
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): choose another name or folder") from error


def read(name: str) -> CardFile:
    """The card of a file, or the one that is shipped.

    Raises
    ------
    UserError
        If there is none, or it is no card.
    """
    path = SHIPPED if name == DEFAULT else Path(name)
    try:
        content = json.loads(path.read_text())
        if (version := content.pop("fogsim_card")) != VERSION:
            raise ValueError(f"of version {version}, this fogsim reads {VERSION}")
        seeds, card = tuple(content.pop("seed_list")), card_of(content)
        if hashed(seeds) != card.seeds:
            raise ValueError("its list of seeds was changed")
        content["scenario"] = str(content["scenario"])
    except OSError as error:
        raise UserError(f"cannot read the card {path} ({error.strerror}): `fogsim calibrate` writes one") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is no card ({one_line(error)}): `fogsim calibrate` writes one") from error
    return CardFile(card, seeds, content)


def card_of(content: dict[str, Any]) -> Card:
    """The card of its JSON; what is not of it stays in `content`."""
    return Card(
        setting=content.pop("setting"),
        filters=tuple(content.pop("filters")),
        seeds=content.pop("seeds"),
        encounters=content.pop("encounters"),
        visibility=tuple(content.pop("visibility")),
        recalibrations=tuple(map(recalibration_of, content.pop("recalibrations"))),
    )


def recalibration_of(content: dict[str, Any]) -> Recalibration:
    """Of its JSON."""
    maps, rate = tuple(map(Calibrator.of_dict, content["calibrators"])), content["rate"]
    if len(maps) != len(EDGES) + 1:
        raise ValueError(f"found {len(maps)} maps of {content['belief']}, expected {len(EDGES) + 1}")
    return Recalibration(content["belief"], maps, Threshold(**content["threshold"]), Rate(**rate) if rate else None)


def carded(scenario: Scenario, name: str | None, seeds: Iterable[int]) -> Scenario:
    """The scenario driven by a card, if one is named.

    Parameters
    ----------
    scenario : Scenario
        Without one.
    name : str, optional
        The card's file, or `DEFAULT`.
    seeds : iterable of int
        That will be driven.

    Raises
    ------
    UserError
        If the card was fitted on one of the seeds.
    """
    if name is None:
        return scenario
    found = read(name)
    known = frozenset(found.seeds)
    for seed in seeds:
        if seed in known:
            raise UserError(f"card {name} was fitted on seed {seed}, expected fresh ones: give another --seed")
    return replace(scenario, card=found.card)


def warn(scenario: Scenario) -> None:
    """Say so where a scenario's card was fitted in another world, and promises nothing here."""
    if scenario.card.setting not in ("", setting_hash(json.loads(scenario.json))):
        line = f"fogsim: the card was fitted in another setting than this {scenario.name}: no guarantee holds here"
        Console(stderr=True).print(line, markup=False, highlight=False, soft_wrap=True)
