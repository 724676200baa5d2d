"""Random Frames for tests of what must hold for any content, made from the schema."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fogsim.frame import Column, Dims, Frame, schema
from fogsim.log import Recorder

SMALL = Dims(ring=3, column=5, echo=2, belief=2, point=4)
HEADER = {"seed": 7, "scenario": {"name": "test_fog", "fog": {"visibility": 25.0}}, "beliefs": ("kalman", "fused")}


def random_frame(dims: Dims, rng: np.random.Generator, time: float) -> Frame:
    """Every field over the whole range of its dtype, with some NaN among the floats; only `time` has a meaning."""
    values = {c.name: _random(c, c.shape(dims), rng) for c in schema()}
    return Frame(**(values | {"time": np.array(time, float)}))


def _random(column: Column, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if column.dtype.kind == "b":
        return rng.random(shape) < 0.5
    if column.dtype.kind in "iu":
        limits = np.iinfo(column.dtype)
        return rng.integers(limits.min, limits.max, shape, column.dtype, endpoint=True)
    value = rng.normal(scale=100.0, size=shape)
    return np.where(rng.random(shape) < 0.1, np.nan, value).astype(column.dtype)


def assert_same(a: Frame, b: Frame, names: list[str] | None = None) -> None:
    """Equal to the bit, field by field, dtypes and shapes included; `names` restricts the fields."""
    for column in schema():
        if names is None or column.name in names:
            x, y = (np.asarray(getattr(f, column.name)) for f in (a, b))
            assert (x.dtype, x.shape) == (y.dtype, y.shape), column.name
            assert x.tobytes() == y.tobytes(), column.name


def frames(n: int, seed: int = 5) -> list[Frame]:
    """Small ones, 0.1 s apart."""
    rng = np.random.default_rng(seed)
    return [random_frame(SMALL, rng, 0.1 * i) for i in range(n)]


def record(path: Path, rows: list[Frame], level: str = "scans", **header: object) -> Path:
    """A log of these frames."""
    with Recorder(path, SMALL, HEADER | header, level) as recorder:
        for row in rows:
            recorder.append(row)
    return path
