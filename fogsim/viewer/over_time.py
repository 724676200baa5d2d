"""The panel of P(barrier) over time, with the thresholds that the driver decides by."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import numpy as np
import pygame

from filters.spec import Array
from fogsim.frame import Frame
from fogsim.viewer import style
from fogsim.viewer.parts import card, title
from fogsim.viewer.thresholds import Threshold, thresholds
from fogsim.viewer.timeline import span
from fogsim.viewer.view import View

LEFT, RIGHT, TOP, BOTTOM = 28, 102, 40, 24  # px about the plot
APART = 12  # px between the names of thresholds
POINTS = 400  # of a line, at most: there are fewer pixels
DOTS = 60  # of a dotted one
DOTTED: style.Colour = (196, 204, 214)
Place = Callable[[Array, Array], Array]


def plot_area(area: pygame.Rect) -> pygame.Rect:
    """Where P from 0 to 1 is drawn over the run's time."""
    return pygame.Rect(area.x + LEFT, area.y + TOP, area.width - LEFT - RIGHT, area.height - TOP - BOTTOM)


def draw_over_time(
    surface: pygame.Surface,
    area: pygame.Rect,
    frames: list[Frame],
    views: list[View],
    track: int,
    seconds: float,
) -> None:
    """P(barrier) of a candidate by every belief shown, from the start until an instant, and dotted the driver's q.

    Of two views, of each the driver's alone where it is shown; the second's lines are thin. Thresholds are of q.
    """
    plot, (start, end) = plot_area(area), span(views)
    card(surface, area, f"{title(frames[0], track)} over time", "dotted: q, in the path" if len(views) == 1 else "")

    def place(times: Array, p: Array) -> Array:
        """Pixels (n, 2)."""
        x = (times - start) / max(end - start, 1e-9) * (plot.width - 1)
        return np.stack([plot.x + x, plot.y + (1.0 - p) * (plot.height - 1)], axis=1)

    for p, mark in ((0.0, "0"), (0.5, "½"), (1.0, "1")):
        y = round(plot.y + (1.0 - p) * (plot.height - 1))
        pygame.draw.line(surface, style.EDGE, (plot.x, y), (plot.right - 1, y))
        style.write(surface, mark, (plot.x - 6, y), 11, style.MUTED, anchor="midright")
    told = [thresholds(frame, view) for frame, view in zip(frames, views, strict=True)]
    _thresholds(surface, plot, sorted(set(chain(*told))))
    style.smooth(surface, plot.inflate(4, 4), lambda large, corner: _lines(large, corner, views, track, seconds, place))
    for k, view in enumerate(views):
        if view.course.decided <= seconds:
            x = place(np.array([view.course.decided]), np.zeros(1))[0, 0]
            pygame.draw.line(surface, style.YELLOW, (x, plot.y - 4), (x, plot.bottom + 3), len(views) - k)
    if len(views) == 1 and views[0].course.decided <= seconds:
        x = place(np.array([views[0].course.decided]), np.zeros(1))[0, 0]
        anchor = "bottomleft" if x < plot.centerx else "bottomright"
        style.write(surface, "decision point", (x, plot.y - 2), 10, style.YELLOW, anchor=anchor)
    style.write(surface, f"{start:.0f} s", (plot.x, plot.bottom + 6), 11, style.MUTED)
    style.write(surface, f"{end:.1f} s", (plot.right, plot.bottom + 6), 11, style.MUTED, anchor="topright")
    if len(views) == 2:
        names = ", ".join(f"{how} {style.short(v.name, 16)}" for how, v in zip(("thick", "thin"), views, strict=True))
        style.write(surface, names, (area.x + 14, area.y + 24), 10, style.MUTED)


def _lines(
    large: pygame.Surface, corner: tuple[int, int], views: list[View], track: int, seconds: float, place: Place
) -> None:
    for k, view in enumerate(views):
        known = np.unique(np.linspace(0, view.course.at(seconds), POINTS).astype(int))
        times = view.course.time[known]
        for b in ordered(view, len(views) > 1):
            line = 2 * (place(times, view.course.barrier[known, b, track]) - corner)
            line = line[np.isfinite(line[:, 1])]
            if len(line) > 1:
                thick = (6 if view.beliefs[b] == view.driver else 4) - 3 * k
                pygame.draw.lines(large, style.belief_colour(view.beliefs, b), False, line.tolist(), thick)
        if view.driver in view.beliefs:
            q = view.course.in_path[known, view.beliefs.index(view.driver)]
            for x, y in 2 * (place(times, q) - corner)[:: -(-len(q) // DOTS)]:
                if np.isfinite(y):
                    pygame.draw.circle(large, DOTTED, (x, y), 3)


def ordered(view: View, driver_only: bool) -> list[int]:
    """The beliefs whose lines are drawn, the driver's last."""
    chosen = [b for b in view.shown if not driver_only or view.beliefs[b] == view.driver] or view.shown
    return sorted(chosen, key=lambda b: view.beliefs[b] == view.driver)


def _thresholds(surface: pygame.Surface, plot: pygame.Rect, found: list[Threshold]) -> None:
    """A dashed line each; the names to the right stand apart even where the lines do not."""
    lowest = plot.bottom + 4
    for q, name, colour in found:
        y = round(plot.y + (1.0 - q) * (plot.height - 1))
        for x in range(plot.x, plot.right, 8):
            pygame.draw.line(surface, colour, (x, y), (min(x + 3, plot.right - 1), y))
        at = min(y, lowest)
        style.write(surface, f"{name} {q:.3f}", (plot.right + 6, at), 10, colour, anchor="midleft")
        lowest = at - APART
