"""The messages of the Open Inference Protocol, version 2, that KServe and Triton speak: a question, and its answer.

    {"id": "7", "inputs": [{"name": "INPUT", "datatype": "FP32", "shape": [n, F], "data": [...]}], "outputs": [...]}

By the extension of binary tensor data, a tensor may be bytes (little-endian) behind the JSON instead of its `data`.
"""

from __future__ import annotations

import json
from itertools import chain
from reprlib import repr as shown
from typing import Any, NamedTuple

import numpy as np

from fogsim.errors import one_line

INPUT = "INPUT"
OUTPUTS = ("MEAN", "EPISTEMIC", "ALEATORIC", "ENTROPY", "INFORMATION")
TYPES: dict[str, np.dtype] = {"FP32": np.dtype("<f4"), "FP64": np.dtype("<f8")}
ROWS = 1024  # of a question: with 100 draws a layer of 64 units takes 26 MB
LARGEST = 2**31  # rows or columns: Python does not print numbers of any size
Message = dict[str, Any]


class RequestError(Exception):
    """A question that is not answered: HTTP's status, and why in one line."""

    def __init__(self, line: str, status: int = 400) -> None:
        super().__init__(line)
        self.status = status


class Question(NamedTuple):
    """Inputs (n, F) as they came, the outputs to tell and whether as bytes, and what the client calls it."""

    x: np.ndarray
    outputs: dict[str, bool]
    identity: str | None


def question(body: bytes, json_length: str | None) -> Question:
    """Read a body of which so much is JSON, all of it if that is not said.

    Raises
    ------
    RequestError
        If it is no question that can be answered. Widths and values are left to the network.
    """
    told, rest = parts(body, json_length)
    identity = told.get("id")
    if not isinstance(identity, str | None):
        raise RequestError(f"found id {shown(identity)}, expected a string")
    return Question(tensor(the_input(told), rest), wanted(told), identity)


def parts(body: bytes, json_length: str | None) -> tuple[Message, bytes]:
    """The JSON, and the bytes behind it."""
    try:
        length = len(body) if json_length is None else int(json_length)
    except ValueError:
        length = -1
    if not 0 <= length <= len(body):
        raise RequestError(f"found {shown(json_length)} bytes of JSON announced, expected 0 to {len(body)}")
    try:
        told = json.loads(body[:length])
    except RecursionError:
        raise RequestError("found JSON that is nested too deep") from None
    except ValueError as error:
        raise RequestError(f"found no JSON ({one_line(error)})") from None
    if not isinstance(told, dict):
        raise RequestError(f"found {shown(told)}, expected a JSON object")
    return told, body[length:]


def the_input(told: Message) -> Message:
    """The only tensor that is asked with."""
    found = told.get("inputs")
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], dict):
        raise RequestError(f"found inputs {shown(found)}, expected one tensor, {INPUT}")
    if found[0].get("name") != INPUT:
        raise RequestError(f"found input {shown(found[0].get('name'))}, expected {INPUT}")
    return found[0]


def tensor(given: Message, rest: bytes) -> np.ndarray:
    """Its values, from its own list or from the bytes behind the JSON."""
    kind, shape = given.get("datatype"), given.get("shape")
    if not isinstance(kind, str) or kind not in TYPES:
        raise RequestError(f"found datatype {shown(kind)}, expected {' or '.join(TYPES)}")
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(n) is int and 0 < n < LARGEST for n in shape):
        raise RequestError(f"found shape {shown(shape)}, expected two whole numbers above 0")
    if shape[0] > ROWS:
        raise RequestError(f"found {shown(shape[0])} rows, expected at most {ROWS}: ask in parts")
    size = parameters(given).get("binary_data_size")
    if size is None and not rest:
        return listed(given.get("data"), shape, TYPES[kind])
    expected = shape[0] * shape[1] * TYPES[kind].itemsize
    if type(size) is not int or not size == len(rest) == expected:
        announced = f"{len(rest)} bytes behind the JSON and a binary_data_size of {shown(size)}"
        raise RequestError(f"found {announced}, expected {shown(expected)} for {kind} of shape {shown(shape)}")
    return np.frombuffer(rest, TYPES[kind]).reshape(shape)


def listed(data: Any, shape: list[int], kind: np.dtype) -> np.ndarray:
    """Numbers in one list, or in one a row."""
    rows = data if isinstance(data, list) and data and isinstance(data[0], list) else [data]
    widths = {len(row) if isinstance(row, list) else -1 for row in rows}
    if (len(rows), widths) not in ((shape[0], {shape[1]}), (1, {shape[0] * shape[1]})):
        raise RequestError(f"found data that are not of shape {shown(shape)}, expected a list of numbers, or one a row")
    if not all(type(value) in (int, float) for value in chain.from_iterable(rows)):
        raise RequestError("found data that are not all numbers")
    try:
        with np.errstate(over="ignore"):
            return np.array(rows, kind).reshape(shape)
    except OverflowError:
        raise RequestError("found a number too large for a float") from None


def wanted(told: Message) -> dict[str, bool]:
    """The outputs to tell, all if none is named, and whether as bytes."""
    found, all_bytes = told.get("outputs"), parameters(told).get("binary_data_output") is True
    found = [{"name": name} for name in OUTPUTS] if found in (None, []) else found
    if not isinstance(found, list) or not all(isinstance(output, dict) for output in found):
        raise RequestError(f"found outputs {shown(found)}, expected a list of tensors")
    names: dict[str, bool] = {}
    for output in found:
        name, further = output.get("name"), parameters(output)
        if name not in OUTPUTS or name in names:
            raise RequestError(f"found output {shown(name)}, expected each once of {', '.join(OUTPUTS)}")
        if further.keys() - {"binary_data"}:
            raise RequestError(f"found {shown(sorted(further))} of output {name}, expected binary_data at most")
        names[name] = further.get("binary_data", all_bytes) is True
    return names


def parameters(of: Message) -> Message:
    """What else is said of a tensor or a question."""
    found = of.get("parameters") or {}
    if not isinstance(found, dict):
        raise RequestError(f"found parameters {shown(found)}, expected a JSON object")
    return found


def answer(about: Message, asked: Question, outputs: dict[str, np.ndarray]) -> tuple[bytes, int | None]:
    """Outputs (n, K) as a body, and how much of it is JSON where bytes follow."""
    tensors: list[Message] = []
    behind: list[bytes] = []
    for name, as_bytes in asked.outputs.items():
        values = outputs[name].astype(TYPES["FP32"])
        told: Message = {"name": name, "datatype": "FP32", "shape": list(values.shape)}
        if as_bytes:
            behind.append(values.tobytes())
            told["parameters"] = {"binary_data_size": len(behind[-1])}
        else:
            told["data"] = values.ravel().tolist()
        tensors.append(told)
    identity = {} if asked.identity is None else {"id": asked.identity}
    text = json.dumps({**about, **identity, "outputs": tensors}).encode()
    return text + b"".join(behind), len(text) if behind else None
