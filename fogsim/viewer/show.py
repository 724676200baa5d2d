"""What can be shown of one or two logs, one picture for every instant and every state of the player."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pygame

from fogsim.errors import UserError, did_you_mean
from fogsim.viewer.drawing import draw
from fogsim.viewer.events import Event
from fogsim.viewer.pair import draw_pair
from fogsim.viewer.view import SIZE, Log, View, view_of


class Side(NamedTuple):
    """A log, by number, and the one belief of it that is shown, "" for all."""

    log: int
    belief: str = ""


Scene = tuple[Side, ...]  # one, or two beside one another


@dataclass(frozen=True, eq=False)
class Show:
    """Logs, a view of each, and the scenes that can be made of them."""

    logs: tuple[Log, ...]
    views: tuple[View, ...]
    scenes: tuple[Scene, ...]

    def seen(self, scene: int) -> list[View]:
        """The views of the logs in a scene, each once."""
        return [self.views[log] for log in dict.fromkeys(side.log for side in self.scenes[scene])]

    def times(self, scene: int = 0) -> np.ndarray:
        """Of the frames of a scene's log, s; of two, instants as far apart as the frames of the finer one."""
        times = [view.course.time for view in self.seen(scene)]
        if len(times) == 1:
            return times[0]
        start, end, pace = min(t[0] for t in times), max(t[-1] for t in times), min(map(step, times))
        return start + pace * np.arange(round((end - start) / pace) + 1)

    def events(self, scene: int) -> list[Event]:
        """Of all logs in a scene."""
        return sorted(event for view in self.seen(scene) for event in view.events)

    def extended(self) -> Self:
        """With what followed logs have more; itself where there is nothing."""
        longer = [len(log) > len(v.course.time) for log, v in zip(self.logs, self.views, strict=True)]
        if not any(longer):
            return self
        views = (v.extended(log) if more else v for log, v, more in zip(self.logs, self.views, longer, strict=True))
        return replace(self, views=tuple(views))

    def picture(self, scene: int, seconds: float, **seen: object) -> pygame.Surface:
        """A scene at an instant; `seen` replaces fields of the views."""
        sides = self.scenes[scene]
        views = [
            replace(self.views[s.log], only=frozenset({s.belief} if s.belief else ()), **seen)  # type: ignore[arg-type]
            for s in sides
        ]
        if len(sides) == 2 and sides[1].belief:
            of = [f", {v.name}" * (len(self.logs) > 1) for v in views]
            names = [s.belief.replace("_", " ") + name for s, name in zip(sides, of, strict=True)]
            views = [replace(v, name=name) for v, name in zip(views, names, strict=True)]
        at = {s.log: self.logs[s.log][self.views[s.log].course.at(seconds)] for s in sides}
        if len(sides) == 1:
            return draw(at[sides[0].log], views[0])
        return draw_pair((at[sides[0].log], at[sides[1].log]), (views[0], views[1]), seconds)


def step(times: np.ndarray) -> float:
    """The median step of a log, s; of a single frame one second."""
    return float(np.median(np.diff(times))) if len(times) > 1 else 1.0


def stem(path: str | os.PathLike[str]) -> str:
    """A log's name without folder and endings."""
    return Path(path).name.removesuffix(".part").removesuffix(".h5")


def show_of(
    logs: Sequence[Log], names: Sequence[str], beliefs: tuple[str, str] | None = None, size: tuple[int, int] = SIZE
) -> Show:
    """One log, or two, of which the first scene has both; two beliefs of one log, if they are named.

    Raises
    ------
    UserError
        If a log has no frame, or no such belief.
    """
    for log, name in zip(logs, names, strict=True):
        if not len(log):
            raise UserError(f"{name} has no frame: nothing to show; record it again, or wait until its run has begun")
    views = tuple(replace(view_of(log, size), name=name) for log, name in zip(logs, names, strict=True))
    return Show(tuple(logs), views, scenes_of(views, beliefs))


def scenes_of(views: tuple[View, ...], beliefs: tuple[str, str] | None) -> tuple[Scene, ...]:
    """In the order of the key C: what was asked for, then each log alone, or the driver beside every other belief."""
    if len(views) == 2:
        if beliefs is not None:
            check(views[0], beliefs[:1])
            check(views[1], beliefs[1:])
            return ((Side(0, beliefs[0]), Side(1, beliefs[1])), (Side(0), Side(1)), (Side(0),), (Side(1),))
        return (Side(0), Side(1)), (Side(0),), (Side(1),)
    view = views[0]
    if beliefs is not None:
        check(view, beliefs)
        return (Side(0, beliefs[0]), Side(0, beliefs[1])), (Side(0),)
    others = [name for name in view.beliefs if name != view.driver] if view.driver in view.beliefs else []
    return (Side(0),), *((Side(0, view.driver), Side(0, name)) for name in others)


def check(view: View, beliefs: tuple[str, ...]) -> None:
    """Refuse a belief that a log does not hold."""
    for name in beliefs:
        if name not in view.beliefs:
            raise UserError(f"{view.name} has no belief {name!r}: {did_you_mean(name, list(view.beliefs))}")
