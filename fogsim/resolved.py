"""A scenario out of the JSON that a log holds of it: values of its own types only, and nothing that could run."""

from __future__ import annotations

import dataclasses
import json
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from fogsim.errors import UserError, did_you_mean
from fogsim.scenario import Scenario


def scenario_of(text: str) -> Scenario:
    """The scenario of its `Scenario.json`; what a log of before did not know yet has its default.

    Raises
    ------
    UserError
        If it is no JSON, or a field is unknown, of another type, or out of range.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(f"the scenario is no JSON ({error}), expected what `fogsim run` writes") from error
    found = read(value, Scenario, "scenario")
    assert isinstance(found, Scenario)
    return found


def read(value: Any, hint: Any, path: str) -> Any:
    """A value of JSON as the type that a field is annotated with."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _part(value, hint, path)
    if isinstance(hint, UnionType):
        return read(value, _member(value, hint, path), path)
    if get_origin(hint) is tuple and isinstance(value, list):
        kinds = get_args(hint)
        kinds = (kinds[0],) * len(value) if kinds[-1] is Ellipsis else kinds
        if len(kinds) != len(value):
            raise UserError(f"{path} has {len(value)} values, expected {len(kinds)}")
        return tuple(read(v, k, f"{path}.{i}") for i, (v, k) in enumerate(zip(value, kinds, strict=True)))
    if get_origin(hint) is Literal and value in get_args(hint):
        return value
    if hint in (bool, int, float, str, NoneType) and type(value) in ((int, float) if hint is float else (hint,)):
        return value
    raise UserError(f"{path} is {value!r}, expected {getattr(hint, '__name__', hint)}")


def _part(value: Any, kind: type, path: str) -> Any:
    hints = get_type_hints(kind)
    if not isinstance(value, dict):
        raise UserError(f"{path} is {value!r}, expected the fields of {kind.__name__}")
    for name in value:
        if name not in hints:
            raise UserError(f"{path} has an unknown field {name!r}: {did_you_mean(name, list(hints))}")
    given = {name: read(v, hints[name], f"{path}.{name}") for name, v in value.items()}
    try:
        return kind(**given)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: {error}") from error


def _member(value: Any, union: UnionType, path: str) -> Any:
    """The one of some types that a value is of: of dataclasses, which has its fields."""
    for kind in get_args(union):
        if dataclasses.is_dataclass(kind) and isinstance(value, dict) and set(value) <= set(get_type_hints(kind)):
            return kind
        if not dataclasses.is_dataclass(kind) and type(value) in ((int, float) if kind is float else (kind,)):
            return kind
    raise UserError(f"{path} is {value!r}, expected {union}")
