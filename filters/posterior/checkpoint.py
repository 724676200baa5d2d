"""Checkpoints of posteriors: tensors in safetensors, engine and provenance as JSON in the same file.

Nothing executable is read: an engine is a name of `KINDS` and its fields, a state the tensors that such an engine has.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from filters.posterior.spec import fits

KINDS = {
    "Reparameterised": "reparameterised",
    "PyroSvi": "pyro_svi",
    "Ivon": "ivon",
    "Laplace": "laplace",
    "Dropout": "dropout",
    "Anchored": "anchored",
    "Nuts": "nuts",
    "KalmanNetwork": "kalman_network",
    "KnownNoise": "kalman_network",
    "Mlp": "mlp",
    "ConvNet": "convnet",
    "Polynomial": "compositional",
    "Stationary": "compositional",
    "Periodic": "compositional",
    "OneLayer": "compositional",
    "Sum": "compositional",
    "Product": "compositional",
    "ChangePoint": "compositional",
    "Schedule": "descent",
    "Bernoulli": "likelihoods",
    "Categorical": "likelihoods",
    "Gaussian": "likelihoods",
    "StudentT": "likelihoods",
}


def save(path: str | os.PathLike[str], engine: Any, state: Any, header: Mapping[str, Any]) -> None:
    """Write engine, state and what is to be known of them, all at once or not at all.

    Raises
    ------
    ValueError
        In one line, if a value of the state is not finite.
    """
    tensors = dict(leaves(state))
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise ValueError(
            f"found a state with values that are not finite, which is not written to {path}; train it again"
        )
    write(path, tensors, {**header, "engine": described(engine)})


def load(path: str | os.PathLike[str]) -> tuple[Any, Any, dict[str, Any]]:
    """Engine, state and header of a checkpoint.

    Raises
    ------
    ValueError
        In one line, if the file is missing, no such checkpoint, damaged, or its tensors do not fit its engine.
    """
    tensors, header = read(path)
    try:
        engine = rebuilt(header["engine"], path)
        return engine, fitted(engine, tensors, path), header
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        if what.startswith(f"{path}:"):
            raise
        raise ValueError(f"{path}: what its header tells of cannot be made here ({what})") from None


def write(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Tensors and header into one file, all at once or not at all."""
    kept = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
    told = json.dumps({**header, "hash": fingerprint(kept, header)})
    part = Path(path).with_name(Path(path).name + ".tmp")
    part.write_bytes(serialise(kept, metadata={"header": told}))
    os.replace(part, path)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write` wrote.

    Raises
    ------
    ValueError
        In one line, if the file is missing, damaged, or not of `write`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("header", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such checkpoint") from None
    except (SafetensorError, OSError, ValueError) as error:
        what = str(error).splitlines()[0]
        raise ValueError(f"{path}: not a checkpoint ({what}), expected safetensors; pickles are not read") from None
    if not isinstance(header, dict) or not {"engine", "hash"} <= header.keys():
        raise ValueError(f"{path}: found no header of a posterior, expected a file that `checkpoint.save` made")
    if fingerprint(tensors, {key: value for key, value in header.items() if key != "hash"}) != header["hash"]:
        raise ValueError(f"{path}: is not what was saved (its hash differs); get the file again")
    return tensors, header


def fitted(engine: Any, tensors: dict[str, Tensor], path: str | os.PathLike[str]) -> Any:
    """The state of these tensors, once outputs can be made of it."""
    rng = torch.Generator().manual_seed(0)
    fits(engine)
    like = engine.init(rng)
    expected = [name for name, _ in leaves(like)]
    if sorted(expected) != sorted(tensors):
        raise ValueError(f"{path}: found tensors {sorted(tensors)}, expected {sorted(expected)}")
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise ValueError(f"{path}: holds values that are not finite; train it again")
    for name, model in leaves(like):
        if not alike(name, tensors[name], model):
            shape, wanted = tuple(tensors[name].shape), tuple(model.shape)
            raise ValueError(f"{path}: {name} is {tensors[name].dtype} {shape}, expected {model.dtype} {wanted}")
    if "scale" in tensors and not (tensors["scale"] > 0.0).all():
        raise ValueError(f"{path}: holds deviations that are not above 0; train it again")
    if len({len(tensors[name]) for name in ("x", "y", "weight") if name in tensors}) > 1:
        raise ValueError(f"{path}: the data that it keeps have not as many inputs as targets and weights")
    state = assembled(like, iter([tensors[name] for name in expected]))
    engine.outputs(state, torch.zeros(1, engine.network.sizes[0]), rng, 2)
    return state


def alike(name: str, found: Tensor, model: Tensor) -> bool:
    """Whether a tensor has type and shape of a prior's; where that is empty, and of a `precision`, the size is free."""
    if found.ndim != model.ndim or found.dtype != model.dtype:
        return False
    return name == "precision" or all(b in (a, 0) for a, b in zip(found.shape, model.shape, strict=True))


def leaves(state: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of a state, named by the path to them, e.g. ``means.0``."""
    if isinstance(state, Tensor):
        yield name, state
        return
    names = getattr(state, "_fields", range(len(state)))
    for key, part in zip(names, state, strict=True):
        yield from leaves(part, f"{name}.{key}" if name else str(key))


def assembled(like: Any, tensors: Iterator[Tensor]) -> Any:
    """Tensors in the form of another state, and where it is."""
    if isinstance(like, Tensor):
        return next(tensors).to(like.device)
    parts = [assembled(part, tensors) for part in like]
    return type(like)(*parts) if hasattr(like, "_fields") else tuple(parts)


def fingerprint(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """SHA-256 of the header, and of names, shapes, types and values."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def described(value: Any) -> Any:
    """A dataclass of `KINDS` as JSON: its name and fields, but not its device, which need not be there to load it."""
    if not is_dataclass(value):
        return value
    parts = {f.name: described(getattr(value, f.name)) for f in fields(value) if f.init and f.name != "device"}
    return {"kind": type(value).__name__, **parts}


def rebuilt(told: Any, path: str | os.PathLike[str]) -> Any:
    """`described`, turned back."""
    if not isinstance(told, dict):
        return tuple(told) if isinstance(told, list) else told
    kind = told.get("kind")
    if kind not in KINDS:
        raise ValueError(f"{path}: found {kind!r}, expected one of {', '.join(KINDS)}")
    made = getattr(import_module(f"filters.posterior.{KINDS[kind]}"), kind)
    try:
        return made(**{name: rebuilt(part, path) for name, part in told.items() if name != "kind"})
    except TypeError as error:
        raise ValueError(f"{path}: found other fields than {kind} has ({error})") from None
