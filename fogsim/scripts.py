"""Scenario scripts: SCENARIO, and THEN where there is one, taken out of a .py file, fields checked and overridden."""

from __future__ import annotations

import dataclasses
import re
import runpy
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import fogsim.scenario
from fogsim.errors import UserError, did_you_mean, one_line
from fogsim.overrides import override
from fogsim.scenario import Scenario, Then


def load(path: Path) -> Scenario:
    """The SCENARIO of a script.

    Raises
    ------
    UserError
        If the file is missing, is no ``.py``, errs when it is run, or its SCENARIO is missing, no `Scenario`, or has a
        field of the wrong type.
    """
    return load_both(path)[0]


def load_both(path: Path) -> tuple[Scenario, Then | None]:
    """The SCENARIO of a script, and its THEN if it has one.

    Raises
    ------
    UserError
        As `load`, or if THEN is no `Then` or follows by other filters.
    """
    if path.suffix != ".py":
        raise UserError(f"scenario {path} is not a Python script, expected a .py file that says SCENARIO = Scenario()")
    if not path.is_file():
        raise UserError(f"scenario {path} not found{_neighbours(path)}; check the path")
    found = _globals(path)
    if "SCENARIO" not in found:
        raise UserError(f"{path} has no SCENARIO: add SCENARIO = Scenario(...) (from fogsim.scenario import Scenario)")
    scenario, then = found["SCENARIO"], found.get("THEN")
    if not isinstance(scenario, Scenario):
        raise UserError(f"{path}: SCENARIO is of type {type(scenario).__name__}, expected fogsim.scenario.Scenario")
    if not isinstance(then, Then | None):
        raise UserError(f"{path}: THEN is of type {type(then).__name__}, expected fogsim.scenario.Then")
    for value, name in ((scenario, ""), (then, "THEN.")):
        for fault in wrong_types(value, name) if value else ():
            raise UserError(f"{path}: {fault}")
    if then and then.scenario.filters != scenario.filters:
        raise UserError(f"{path}: THEN has other filters than SCENARIO, expected the same: a campaign has one table")
    return scenario, then


def load_then(path: Path) -> Scenario:
    """The scenario of a script's THEN.

    Raises
    ------
    UserError
        As `load_both`, or if there is none.
    """
    _, then = load_both(path)
    if then is None:
        raise UserError(f"{path} has no THEN, expected what its campaigns go on with: leave --then out")
    return then.scenario


def resolve(scenario: Scenario, filters: str | None, settings: Sequence[str]) -> Scenario:
    """The scenario with ``--filters a,b`` and each ``--set FIELD=VALUE`` put in.

    Raises
    ------
    UserError
        On an unknown field, a value of the wrong type or out of range, or a field that is still to be given.
    """
    if filters is not None:
        scenario = override(scenario, "filters", filters)
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name:
            raise UserError(f"found --set {setting}, expected FIELD=VALUE, e.g. --set fog.visibility=40")
        scenario = override(scenario, name.strip(), text.strip())
    if re.fullmatch("<.*>", scenario.street.scan):
        raise UserError(f"scenario {scenario.name} needs street.scan, a real sweep's file: add --set street.scan=PATH")
    return scenario


def wrong_types(value: Any, path: str = "") -> Iterator[str]:
    """Where a dataclass, or one within it, holds another type than its field is annotated with: a line each."""
    hints = get_type_hints(type(value))
    for field in dataclasses.fields(value):
        yield from _wrong(getattr(value, field.name), hints[field.name], f"{path}{field.name}")


def _wrong(value: Any, hint: Any, path: str) -> Iterator[str]:
    kind = hint if isinstance(hint, UnionType) else get_origin(hint) or hint
    fits = isinstance(value, (int, float) if kind is float else kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        yield f"{path} is {value!r}, expected {getattr(hint, '__name__', hint) if kind is not tuple else hint}"
    elif kind is tuple:
        kinds = get_args(hint)
        kinds = (kinds[0],) * len(value) if kinds[-1] is Ellipsis else kinds
        if len(kinds) != len(value):
            yield f"{path} is {value!r}, expected {len(kinds)} values"
        for i, (item, expected) in enumerate(zip(value, kinds, strict=False)):
            yield from _wrong(item, expected, f"{path}.{i}")
    elif dataclasses.is_dataclass(value):
        yield from wrong_types(value, f"{path}.")


def _neighbours(path: Path) -> str:
    """Scripts in the missing one's folder, as the middle of an error."""
    scripts = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
    return f"; {did_you_mean(path.name, scripts)}" if scripts else f", nor any script in {path.parent}"


def _globals(path: Path) -> dict[str, Any]:
    """What a script defines when run, not as main."""
    try:
        return runpy.run_path(str(path), run_name="fogsim_scenario")
    except SyntaxError as error:
        raise UserError(f"{path} line {error.lineno}: {one_line(error)}: correct the script") from error
    except OSError as error:
        raise UserError(f"{path} cannot be run ({one_line(error)}): check the file and what it opens") from error
    except (Exception, SystemExit) as error:
        frames = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        line = f" line {frames[-1]}" if frames else ""
        if isinstance(error, UserError):
            raise UserError(f"{path}{line}: {error}") from error
        what = f"{type(error).__name__}: {one_line(error)}{_field_hint(str(error))}"
        raise UserError(f"{path}{line}: {what}: correct the script") from error


def _field_hint(text: str) -> str:
    """For a misspelt field of one of the scenario's parts: the nearest name."""
    match = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", text)
    part = getattr(fogsim.scenario, match[1], None) if match else None
    if not match or not dataclasses.is_dataclass(part):
        return ""
    return f" ({did_you_mean(match[2], [f.name for f in dataclasses.fields(part)])})"
