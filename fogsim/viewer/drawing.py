"""A frame as a picture: `draw` is a pure function of the frame and the view, and needs no display."""

from __future__ import annotations

from typing import NamedTuple

import pygame

from fogsim.frame import Frame
from fogsim.viewer import style
from fogsim.viewer.panels import draw_beliefs, draw_course, draw_decision, draw_headline
from fogsim.viewer.street import draw_street
from fogsim.viewer.view import View

MARGIN = 16


class Layout(NamedTuple):
    """Where things are on the picture."""

    headline: pygame.Rect
    street: pygame.Rect
    beliefs: pygame.Rect
    course: pygame.Rect
    decision: pygame.Rect


def layout(size: tuple[int, int]) -> Layout:
    """A headline, the map over the full width, and three panels below; fixed type, so from about 960 x 600 px up."""
    width, height = size
    street = pygame.Rect(0, 52, width, round(0.51 * height))
    top, room = street.bottom + MARGIN, width - 4 * MARGIN
    tall = height - top - MARGIN
    first, third = round(0.40 * room), round(0.30 * room)
    second = room - first - third
    return Layout(
        pygame.Rect(0, 0, width, 52),
        street,
        pygame.Rect(MARGIN, top, first, tall),
        pygame.Rect(2 * MARGIN + first, top, second, tall),
        pygame.Rect(3 * MARGIN + first + second, top, third, tall),
    )


def draw(frame: Frame, view: View) -> pygame.Surface:
    """The picture of one frame: map, beliefs, their course, the decision; (width, height) = ``view.size`` pixels.

    The map stands in the world frame; what the filters hold in the odometry frame is moved there by the
    rigid motion that takes the frame's ``odometry`` to its ``ego_pose``. Logs without scans draw without echoes.
    """
    surface = pygame.Surface(view.size)
    surface.fill(style.GROUND)
    at = layout(view.size)
    draw_headline(surface, at.headline, frame, view)
    draw_street(surface, at.street, frame, view)
    draw_beliefs(surface, at.beliefs, frame, view)
    draw_course(surface, at.course, frame, view)
    draw_decision(surface, at.decision, frame, view)
    return surface
