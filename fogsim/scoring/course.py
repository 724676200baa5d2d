"""How a belief goes on its way there: over distance, when it first decides, how often it changes its mind."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from filters.spec import BARRIER, Array

SURE = 0.95  # a belief has decided once it gives one label this
COURSE = tuple(range(40, 4, -1))  # m of distance left at which a course is kept


class Course(NamedTuple):
    """Of every belief: P(barrier) at `COURSE` (distances, beliefs), NaN where the log did not come by; time s and
    distance left m when it first gave a label `SURE` (beliefs,), NaN where it never did; how often the likelier label
    changed (beliefs,); and the label it was first sure of (beliefs,), index into CLASSES.
    """

    p: Array
    decided_at: Array
    decided_left: Array
    flips: np.ndarray
    said: Array


def course_of(log_probs: Array, left: Array, time: Array) -> Course:
    """The course of log-probabilities (frames, beliefs, classes) over distance left (frames,) and time (frames,)."""
    p = np.exp(log_probs[..., BARRIER])
    first = [np.flatnonzero(left <= d) if left[0] >= d else np.empty(0, int) for d in COURSE]
    never = np.full(p.shape[1], np.nan)
    at = [sure[0] if (sure := np.flatnonzero(np.maximum(row, 1.0 - row) >= SURE)).size else None for row in p.T]
    return Course(
        np.array([p[k[0]] if k.size else never for k in first]).reshape(len(COURSE), -1),
        np.array([np.nan if k is None else time[k] for k in at]),
        np.array([np.nan if k is None else left[k] for k in at]),
        np.array([flips(row) for row in p.T], int),
        np.array([np.nan if k is None else float(row[k] > 0.5) for k, row in zip(at, p.T, strict=True)]),
    )


def flips(p: Array) -> int:
    """How often P(barrier) (frames,) changes sides of one half; at one half it has no side and keeps the last."""
    side = np.sign(p - 0.5)
    return int(np.count_nonzero(np.diff(side[np.isfinite(side) & (side != 0.0)])))
