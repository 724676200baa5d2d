"""Checkpoints: tensors in safetensors, their provenance as JSON in the same file. Nothing executable is read.

A copy of the JSON lies beside each file for people; only the one inside is read.
"""

from __future__ import annotations

import importlib.resources
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialise

from filters.spec import CLASSES, FEATURES

Tensors = dict[str, np.ndarray]


def shipped(name: str) -> str:
    """Path of a checkpoint that comes with the package, e.g. ``shipped("bnn")``."""
    return str(importlib.resources.files("filters") / "trained" / f"{name}.safetensors")


def load(path: str | os.PathLike[str], kind: str, shapes: Mapping[str, tuple[int | None, ...]]) -> tuple[Tensors, dict]:
    """Read the tensors and the header of a checkpoint of one kind.

    Parameters
    ----------
    path : path
        A file made by ``fogsim train``.
    kind : str
        What the header must say it is, e.g. "bnn".
    shapes : mapping
        The tensors expected and their shapes; None leaves an axis free.

    Raises
    ------
    ValueError
        In one line, if the file is missing, is not safetensors, is of another kind, was trained on other
        features or classes, or holds other tensors, shapes or types than expected, or values not finite.
    """
    tensors, header = _read(path)
    found = {k: header.get(k) for k in ("kind", "features", "classes")}
    for key, expected in (("kind", kind), ("features", list(FEATURES)), ("classes", list(CLASSES))):
        if found[key] != expected:
            raise ValueError(f"{path}: found {key} {found[key]}, expected {expected}; train one with `fogsim train`")
    if tensors.keys() != shapes.keys():
        raise ValueError(f"{path}: found tensors {sorted(tensors)}, expected {sorted(shapes)}; train it again")
    for name, shape in shapes.items():
        _check(path, name, tensors[name], shape)
    return {name: tensor.astype(np.float64) for name, tensor in tensors.items()}, header


def kind_of(path: str | os.PathLike[str]) -> str:
    """What a checkpoint says it is; "" if it is none of these, or not to be read."""
    try:
        return str(_read(path)[1].get("kind", ""))
    except ValueError:
        return ""


def save(path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> None:
    """Write a checkpoint as float32 and the copy of its header beside it, each all at once or not at all.

    ``features`` and ``classes`` are added to the header, which must name its ``kind``.
    """
    path = Path(path)
    full = {**header, "features": list(FEATURES), "classes": list(CLASSES)}
    arrays = {name: np.ascontiguousarray(tensor, np.float32) for name, tensor in tensors.items()}
    part = path.with_name(path.name + ".part")
    part.write_bytes(serialise(arrays, metadata={"header": json.dumps(full)}))
    text = path.with_suffix(".json.part")
    text.write_text(json.dumps(full, indent=1) + "\n")
    os.replace(text, path.with_suffix(".json"))
    os.replace(part, path)


def _read(path: str | os.PathLike[str]) -> tuple[Tensors, dict]:
    try:
        with safe_open(path, framework="np") as file:
            header = json.loads((file.metadata() or {}).get("header", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such checkpoint; make one with `fogsim train`") from None
    except (SafetensorError, OSError, ValueError) as error:
        what = str(error).splitlines()[0]
        raise ValueError(f"{path}: not a checkpoint ({what}), expected a file made by `fogsim train`") from None
    if not isinstance(header, dict):
        raise ValueError(f"{path}: found no header, expected a file made by `fogsim train`")
    return tensors, header


def _check(path: str | os.PathLike[str], name: str, tensor: np.ndarray, shape: tuple[int | None, ...]) -> None:
    fits = tensor.ndim == len(shape) and all(e in (None, s) for s, e in zip(tensor.shape, shape, strict=True))
    if not fits or tensor.dtype != np.float32:
        raise ValueError(f"{path}: {name} is {tensor.dtype} {tensor.shape}, expected float32 {shape}")
    if not np.isfinite(tensor).all():
        raise ValueError(f"{path}: {name} holds values that are not finite; train it again")
