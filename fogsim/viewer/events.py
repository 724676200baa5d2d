"""What a viewer jumps to and marks on the time line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from filters.spec import CLASSES
from fogsim.frame import ACTIONS
from fogsim.viewer.course import Course

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
        likely = course.barrier[:, driver] > 0.5  # an empty slot's NaN never is
        for i, track in zip(*np.nonzero(np.diff(likely, axis=0)), strict=True):
            label = CLASSES[int(likely[i + 1, track])]
            found.append(Event(float(course.time[i + 1]), "flip", f"likeliest label is now {label}"))
    if course.collided.any():
        found.append(Event(float(course.time[course.collided.argmax()]), "miss", "collision"))
    return tuple(sorted(found))


def beside(found: Sequence[Event], seconds: float, direction: int) -> float:
    """Time of the next event after (direction 1) or the last before (-1) a time; that time where there is none."""
    ahead = [e.time for e in found if direction * (e.time - seconds) > 1e-6]
    return (min if direction > 0 else max)(ahead, default=seconds)
