"""Overrides of a frozen value by dotted path: ``--set fog.visibility=40``."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args, get_origin, get_type_hints

from fogsim.errors import UserError, did_you_mean


def override(value: Any, path: str, text: str, whole: str = "") -> Any:
    """A copy of `value` with the field at a dotted path parsed from text, e.g. ``fog.visibility``, ``hazards.0.kind``.

    Raises
    ------
    UserError
        On an unknown field (with the nearest known name) or a text of the wrong type.
    """
    whole = whole or path
    head, _, rest = path.partition(".")
    if isinstance(value, tuple) and rest:
        if not head.isdigit() or int(head) >= len(value):
            raise UserError(f"{whole}: no item {head!r}, expected an index below {len(value)}")
        i = int(head)
        return (*value[:i], override(value[i], rest, text, whole), *value[i + 1 :])
    known = [f.name for f in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
    if head not in known:
        raise UserError(f"unknown scenario field {whole!r}: {did_you_mean(head, known)}")
    old = getattr(value, head)
    new = override(old, rest, text, whole) if rest else parse(text, get_type_hints(type(value))[head], whole)
    try:
        return dataclasses.replace(value, **{head: new})
    except ValueError as error:
        raise UserError(f"{whole}={text!r}: {error}") from error


def parse(text: str, hint: Any, path: str) -> Any:
    """Text as the type a field is annotated with: str, int, float, bool or a tuple of these (comma-separated)."""
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        parts = [p for p in text.strip("()[] ").split(",") if p.strip()]
        if kinds[-1] is Ellipsis:
            kinds = (kinds[0],) * len(parts)
        if len(parts) != len(kinds):
            raise UserError(f"{path}={text!r}: found {len(parts)} values, expected {len(kinds)}, comma-separated")
        return tuple(parse(p.strip(), k, path) for p, k in zip(parts, kinds, strict=True))
    if hint is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if hint in (int, float, str):
        try:
            return hint(text)
        except ValueError:
            pass
    kind = getattr(hint, "__name__", str(hint))
    raise UserError(
        f"{path}={text!r}: expected {kind}" + ("" if hint in (int, float, bool, str) else "; set its fields")
    )
