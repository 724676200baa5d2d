"""The course of a run: what a viewer keeps of every frame, read once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from filters.spec import BARRIER, Array
from fogsim.frame import Frame

COLUMNS = ("time", "log_probs", "in_path", "action", "at_decision_point", "collided")


class Log(Protocol):
    """What is read of a `fogsim.log.Replay`."""

    @property
    def scenario(self) -> dict[str, Any]: ...

    @property
    def seed(self) -> int: ...

    @property
    def beliefs(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Frame: ...

    def column(self, name: str, or_absent: bool = False, start: int = 0) -> np.ndarray: ...


class Course(NamedTuple):
    """A run from its start to its last frame known, n of them.

    Parameters
    ----------
    time : array (n,)
        s.
    barrier : array (n, beliefs, tracks)
        P(barrier).
    in_path : array (n, beliefs)
        P(a barrier stands in the path).
    action, decision, collided : arrays (n,)
        Of the driver, whether it is the frame in which its full choice opens, and whether ego overlaps an obstacle.
    """

    time: Array
    barrier: Array
    in_path: Array
    action: np.ndarray
    decision: np.ndarray
    collided: np.ndarray

    @classmethod
    def of(cls, log: Log, start: int = 0) -> Self:
        """The frames from `start` on."""
        columns = [log.column(name, or_absent=True, start=start) for name in COLUMNS]
        time, log_probs, *rest = (column[: min(map(len, columns))] for column in columns)  # a followed log may grow
        return cls(time, np.exp(log_probs[..., BARRIER]), *rest)

    def extended(self, log: Log) -> Self:
        """With what `log` has more."""
        more = self.of(log, len(self.time))
        return type(self)(*(np.concatenate(pair) for pair in zip(self, more, strict=True)))

    def at(self, seconds: Array | float) -> Any:
        """Index of the last frame at or before a time, of the first before all of them; of times (n,) an array."""
        return np.maximum(np.searchsorted(self.time, np.asarray(seconds) + 1e-9, side="right") - 1, 0)

    @property
    def decided(self) -> float:
        """Time of the decision point, s; infinite where it has not been reached."""
        return float(self.time[self.decision.argmax()]) if self.decision.any() else np.inf


def nothing() -> Course:
    """A course without a frame."""
    none, flags = np.empty(0), np.empty(0, bool)
    return Course(none, np.empty((0, 0, 0)), np.empty((0, 0)), np.empty(0, np.int8), flags, flags)
