"""What a viewer jumps to and marks on the time line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from filters.spec import CLASSES, Array
from fogsim.frame import ACTIONS
from fogsim.viewer.course import Course

UNDECIDED = 1e-6  # nearer to 1/2 than this, P is on no side of it
KINDS = ("decision", "action", "flip", "miss")


class Event(NamedTuple):
    """When (s), one of `KINDS`, and what happened, in words."""

    time: float
    kind: str
    words: str


def events(course: Course, driver: int | None) -> tuple[Event, ...]:
    """In the order of time: the decision point, every change of action, every change of the likeliest label of the
    driver's belief, which is given by its index, and the collision.
    """
    found = [Event(float(t), "decision", "decision point") for t in course.time[course.decision.astype(bool)]]
    found += [
        Event(float(course.time[i]), "action", ACTIONS[int(course.action[i])].replace("_", " "))
        for i in np.flatnonzero(np.diff(course.action)) + 1
    ]
    if driver is not None:
        found += flips(course.time, course.barrier[:, driver])
    if course.collided.any():
        found.append(Event(float(course.time[course.collided.argmax()]), "miss", "collision"))
    return tuple(sorted(found))


def flips(time: Array, barrier: Array) -> list[Event]:
    """Where P(barrier) (n, tracks) of a candidate goes from one side of 1/2 to the other."""
    found, several = [], bool(np.isfinite(barrier).any(axis=0).sum() > 1)
    for track, p in enumerate(barrier.T):
        told = np.flatnonzero(np.abs(p - 0.5) > UNDECIDED)  # none of an empty slot's NaN
        number, likely = f" of {track + 1}" if several else "", p[told] > 0.5
        for k in np.flatnonzero(np.diff(likely)) + 1:
            words = f"likeliest label{number} is now {CLASSES[int(likely[k])]}"
            found.append(Event(float(time[told[k]]), "flip", words))
    return found


def beside(found: Sequence[Event], seconds: float, direction: int) -> float:
    """Time of the next event after (direction 1) or the last before (-1) a time; that time where there is none."""
    ahead = [e.time for e in found if direction * (e.time - seconds) > 1e-6]
    return (min if direction > 0 else max)(ahead, default=seconds)
