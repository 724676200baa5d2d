"""Two frames of one instant in one picture: two logs, or two beliefs of one log. Where they differ is yellow."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pygame

from fogsim.frame import Frame
from fogsim.viewer import style
from fogsim.viewer.beliefs import chances, draw_beliefs
from fogsim.viewer.deciding import draw_decision
from fogsim.viewer.drawing import HEADLINE, LEGEND, MARGIN, TIMELINE, columns
from fogsim.viewer.over_time import draw_over_time
from fogsim.viewer.parts import words
from fogsim.viewer.street import draw_legend, draw_street
from fogsim.viewer.timeline import draw_timeline
from fogsim.viewer.view import ON_MAP, View, focus

LATE = 1e-6  # s
LONGEST = 22  # letters of a log's name


class PairLayout(NamedTuple):
    """Where things are: of what there is two of, the first's and the second's."""

    headline: pygame.Rect
    legend: pygame.Rect
    streets: tuple[pygame.Rect, pygame.Rect]
    beliefs: tuple[pygame.Rect, pygame.Rect]
    decisions: tuple[pygame.Rect, pygame.Rect]
    over_time: pygame.Rect
    timeline: pygame.Rect


def layout_pair(size: tuple[int, int]) -> PairLayout:
    """Maps one above the other, so that places ahead can be compared; panels left and right of what both share."""
    width, height = size
    tall = round(0.31 * (height - HEADLINE - LEGEND - TIMELINE - 2 * MARGIN))
    first = pygame.Rect(0, HEADLINE + LEGEND, width, tall)
    second = first.move(0, tall + 3)
    timeline = pygame.Rect(MARGIN, height - MARGIN - TIMELINE, width - 2 * MARGIN, TIMELINE)
    row = pygame.Rect(0, second.bottom + MARGIN, width, timeline.y - second.bottom - 2 * MARGIN)
    beliefs, decision, shared, other_decision, other_beliefs = columns(row, (0.215, 0.17, 0.23, 0.17, 0.215))
    return PairLayout(
        pygame.Rect(0, 0, width, HEADLINE),
        pygame.Rect(0, HEADLINE, width, LEGEND),
        (first, second),
        (beliefs, other_beliefs),
        (decision, other_decision),
        shared,
        timeline,
    )


def draw_pair(frames: tuple[Frame, Frame], views: tuple[View, View], seconds: float) -> pygame.Surface:
    """The picture of the frames that two logs show at an instant (s); sizes and overlays are the first view's."""
    surface = style.canvas(views[0].size)
    at = layout_pair(views[0].size)
    _headline(surface, at.headline, views, seconds)
    draw_legend(surface, at.legend, views[0], ON_MAP)
    track = focus(frames[0])  # of both logs the same candidate, also where one car has passed it
    held = [chances(frame, view, track) for frame, view in zip(frames, views, strict=True)]
    if views[0].only and views[1].only:  # two beliefs, of other names, are held against one another
        held = [dict(zip(a, b.values(), strict=False)) for a, b in ((held[1], held[0]), (held[0], held[1]))]
    for k, (frame, view) in enumerate(zip(frames, views, strict=True)):
        draw_street(surface, at.streets[k], frame, view)
        _caption(surface, at.streets[k], frame, view, seconds)
        draw_beliefs(surface, at.beliefs[k], frame, view, track, held[1 - k])
        draw_decision(surface, at.decisions[k], frame, view, frames[1 - k])
    draw_over_time(surface, at.over_time, list(frames), list(views), track, seconds)
    draw_timeline(surface, at.timeline, seconds, list(views))
    return surface


def _headline(surface: pygame.Surface, area: pygame.Rect, views: tuple[View, View], seconds: float) -> None:
    first, second = views
    names = [style.short(view.name, LONGEST) for view in views]
    x = style.write(surface, names[0], (area.x + 16, area.centery), 20, bold=True, anchor="midleft").right
    x = style.write(surface, "beside", (x + 12, area.centery + 2), 13, style.MUTED, anchor="midleft").right
    x = style.write(surface, names[1], (x + 12, area.centery), 20, bold=True, anchor="midleft").right
    same = (first.title, first.subtitle) == (second.title, second.subtitle)
    told = [f"{words(v.title)}, {v.subtitle}" for v in views]
    told = told[:1] if same else told
    style.write(surface, " | ".join(told), (x + 16, area.centery + 3), 12, style.MUTED, anchor="midleft")
    style.write(surface, "time", (area.right - 16, area.y + 6), 10, style.MUTED, anchor="topright")
    style.write(surface, f"{seconds:.1f} s", (area.right - 16, area.bottom - 4), 18, bold=True, anchor="bottomright")


def _caption(surface: pygame.Surface, area: pygame.Rect, frame: Frame, view: View, seconds: float) -> None:
    """Whose map it is, and how its car fares."""
    left = float(frame.distance_left[focus(frame)])
    said = [style.short(view.name, LONGEST), f"{frame.ego_speed:.1f} m/s"]
    said += [f"{left:.1f} m left"] if np.isfinite(left) else []
    end = float(view.course.time[-1])
    said += [f"ended at {end:.1f} s"] if seconds > end + LATE else []
    style.write(surface, "   ".join(said), (area.right - 16, area.y + 8), 13, style.TEXT, True, "topright", halo=True)
    if frame.collided:
        at = (area.right - 16, area.y + 28)
        style.write(surface, "COLLISION", at, 13, style.VERMILLION, True, "topright", halo=True)
