"""The time line: where in the run the picture is, what the driver does when, and what happens."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pygame

from fogsim.viewer import style
from fogsim.viewer.events import Event
from fogsim.viewer.view import View

LEFT, RIGHT = 118, 168  # px about the line


def line_area(area: pygame.Rect) -> pygame.Rect:
    """Where the run's time lies, from its start to its end."""
    return pygame.Rect(area.x + LEFT, area.centery - 3, area.width - LEFT - RIGHT, 8)


def time_at(area: pygame.Rect, x: float, views: list[View]) -> float:
    """The time (s) below a pixel column."""
    line, (start, end) = line_area(area), span(views)
    return start + float(np.clip((x - line.x) / (line.width - 1), 0.0, 1.0)) * (end - start)


def span(views: list[View]) -> tuple[float, float]:
    """First and last time (s) of all logs."""
    known = [v.course.time for v in views if len(v.course.time)]
    return (min(t[0] for t in known), max(t[-1] for t in known)) if known else (0.0, 0.0)


def draw_timeline(surface: pygame.Surface, area: pygame.Rect, seconds: float, views: list[View]) -> None:
    """The driver's actions as a band, of two logs one above the other; events; the head at the time shown."""
    line, (start, end) = line_area(area), span(views)

    def place(time: float) -> int:
        return line.x + round((time - start) / max(end - start, 1e-9) * (line.width - 1))

    pygame.draw.rect(surface, style.CARD, area, border_radius=10)
    style.write(surface, f"{seconds:.1f} / {end:.1f} s", (area.x + 14, area.centery), 12, anchor="midleft")
    style.write(surface, views[0].note, (area.right - 14, area.centery), 12, style.MUTED, anchor="midright")
    pygame.draw.rect(surface, style.TRACK, line)
    tall = line.height // len(views)
    for k, view in enumerate(views):
        _band(surface, view, pygame.Rect(line.x, line.y + k * tall, line.width, tall), place)
        for event in view.events:
            _tick(surface, event, place(event.time), line.y if k == 0 else line.bottom, -1 if k == 0 else 1)
    if len(views) == 2:
        for first, last in different(*views):
            pygame.draw.rect(surface, style.YELLOW, (place(first), line.centery - 1, place(last) - place(first) + 1, 2))
    if views[0].said:
        style.write(surface, views[0].said, (area.centerx, area.y - 2), 13, style.YELLOW, True, "midbottom", halo=True)
    x = place(float(np.clip(seconds, start, end)))
    pygame.draw.rect(surface, style.TEXT, (x - 1, area.y + 5, 3, area.height - 10), border_radius=1)


def _band(surface: pygame.Surface, view: View, area: pygame.Rect, place: Callable[[float], int]) -> None:
    """What the driver does, by colour."""
    time, action = view.course.time, view.course.action
    if not len(time):
        return
    starts = np.flatnonzero(np.diff(action, prepend=-1))
    for first, last in zip(starts, [*starts[1:], len(time) - 1], strict=True):
        colour = style.mix(style.TRACK, style.ACTION_COLOURS[int(action[first])], 0.75)
        left, right = place(time[first]), place(time[last])
        pygame.draw.rect(surface, colour, (left, area.y, right - left + 1, area.height))


def _tick(surface: pygame.Surface, event: Event, x: int, y: int, up: int) -> None:
    """A mark above the line (`up` -1) or below: diamond decision, stroke action, ring flip, cross miss."""
    at = y + 6 * up
    if event.kind == "decision":
        pygame.draw.polygon(surface, style.YELLOW, [(x - 5, at), (x, at - 5), (x + 5, at), (x, at + 5)])
    elif event.kind == "action":
        pygame.draw.line(surface, style.TEXT, (x, y), (x, at))
    elif event.kind == "flip":
        pygame.draw.circle(surface, style.PURPLE, (x, at), 4, 2)
    else:
        for down in (-1, 1):
            pygame.draw.line(surface, style.VERMILLION, (x - 4, at - 4 * down), (x + 4, at + 4 * down), 3)


def different(first: View, second: View) -> list[tuple[float, float]]:
    """The stretches of time (s) in which two drivers act otherwise, each log held at its end."""
    times = np.union1d(first.course.time, second.course.time)
    if not (len(first.course.time) and len(second.course.time)):
        return []
    a, b = (v.course.action[v.course.at(times)] for v in (first, second))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], a != b, [False]])))
    return [(float(times[i]), float(times[j - 1])) for i, j in zip(edges[::2], edges[1::2], strict=True)]
