"""A frame as a picture: `draw` is a pure function of the frame and the view, and needs no display."""

from __future__ import annotations

from typing import NamedTuple

import pygame

from fogsim.frame import Frame
from fogsim.viewer import style
from fogsim.viewer.beliefs import draw_beliefs
from fogsim.viewer.deciding import draw_decision
from fogsim.viewer.echoes import draw_ranges
from fogsim.viewer.metrics import draw_metrics
from fogsim.viewer.over_time import draw_over_time
from fogsim.viewer.parts import draw_headline
from fogsim.viewer.street import draw_legend, draw_street
from fogsim.viewer.timeline import draw_timeline
from fogsim.viewer.view import SIZE, View, focus

MARGIN = 12
HEADLINE, LEGEND, RANGES, TIMELINE = 48, 24, 54, 40  # px
LEAST = SIZE  # px: below, type would not fit


class Layout(NamedTuple):
    """Where things are on the picture."""

    headline: pygame.Rect
    legend: pygame.Rect
    street: pygame.Rect
    ranges: pygame.Rect
    beliefs: pygame.Rect
    over_time: pygame.Rect
    decision: pygame.Rect
    metrics: pygame.Rect
    timeline: pygame.Rect


def layout(size: tuple[int, int]) -> Layout:
    """A headline, the map over the full width, the image of ranges, four panels, the time line."""
    width, height = size
    free = height - HEADLINE - LEGEND - RANGES - TIMELINE - 3 * MARGIN
    street = pygame.Rect(0, HEADLINE + LEGEND, width, round(0.57 * free))
    ranges = pygame.Rect(0, street.bottom, width, RANGES)
    timeline = pygame.Rect(MARGIN, height - MARGIN - TIMELINE, width - 2 * MARGIN, TIMELINE)
    row = pygame.Rect(0, ranges.bottom + MARGIN, width, timeline.y - ranges.bottom - 2 * MARGIN)
    beliefs, over_time, decision, metrics = columns(row, (0.29, 0.28, 0.23, 0.20))
    headline, legend = pygame.Rect(0, 0, width, HEADLINE), pygame.Rect(0, HEADLINE, width, LEGEND)
    return Layout(headline, legend, street, ranges, beliefs, over_time, decision, metrics, timeline)


def columns(row: pygame.Rect, shares: tuple[float, ...]) -> list[pygame.Rect]:
    """A row parted into rectangles, with margins between and at the ends."""
    room, left, parts = row.width - (len(shares) + 1) * MARGIN, MARGIN, []
    for share in shares:
        parts.append(pygame.Rect(row.x + left, row.y, round(share * room), row.height))
        left += round(share * room) + MARGIN
    return parts


def draw(frame: Frame, view: View) -> pygame.Surface:
    """The picture of one frame, (width, height) = ``view.size`` pixels, at least `LEAST`.

    The map stands in the world frame; what the filters hold in the odometry frame is moved there by the
    rigid motion that takes the frame's ``odometry`` to its ``ego_pose``. Logs without scans draw without echoes.
    """
    surface = style.canvas(view.size)
    at = layout(view.size)
    draw_headline(surface, at.headline, frame, view)
    draw_legend(surface, at.legend, view)
    draw_street(surface, at.street, frame, view)
    draw_ranges(surface, at.ranges, frame, view)
    draw_beliefs(surface, at.beliefs, frame, view, focus(frame), {})
    draw_over_time(surface, at.over_time, [frame], [view], focus(frame), float(frame.time))
    draw_decision(surface, at.decision, frame, view, None)
    draw_metrics(surface, at.metrics, frame, view)
    draw_timeline(surface, at.timeline, float(frame.time), [view])
    return surface
