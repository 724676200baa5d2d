"""What the panels are made of, and the headline."""

from __future__ import annotations

import numpy as np
import pygame

from filters.spec import BARRIER, CLASSES
from fogsim.frame import Frame
from fogsim.viewer import style
from fogsim.viewer.view import View, focus, several

WIDE = 280  # px: a narrower panel tells less


def words(name: str) -> str:
    """An identifier as people read it."""
    return name.replace("_", " ")


def title(frame: Frame, track: int) -> str:
    """P(barrier), and of which candidate where there are several."""
    return f"P({CLASSES[BARRIER]})" + (f" of {track + 1}" if several(frame) else "")


def card(surface: pygame.Surface, area: pygame.Rect, title: str, note: str = "") -> None:
    """An empty panel with its title and a note on the right."""
    pygame.draw.rect(surface, style.CARD, area, border_radius=10)
    style.write(surface, title, (area.x + 14, area.y + 10), 12, style.MUTED, bold=True)
    style.write(surface, note, (area.right - 14, area.y + 11), 11, style.MUTED, anchor="topright")


def bar(surface: pygame.Surface, area: pygame.Rect, share: float, colour: style.Colour) -> None:
    """A bar whose filled length is `share` of `area`."""
    pygame.draw.rect(surface, style.TRACK, area)
    pygame.draw.rect(surface, colour, (area.x, area.y, round(share * area.width), area.height))


def draw_headline(surface: pygame.Surface, area: pygame.Rect, frame: Frame, view: View) -> None:
    """Title on the left; time, speed, visibility and distance left on the right."""
    name = style.write(surface, words(view.title), (area.x + 16, area.centery), 20, bold=True, anchor="midleft")
    style.write(surface, view.subtitle, (name.right + 12, area.centery + 3), 12, style.MUTED, anchor="midleft")
    left = float(frame.distance_left[focus(frame)])
    numbers = (
        ("time", f"{frame.time:.1f} s"),
        ("speed", f"{frame.ego_speed:.1f} m/s"),
        ("visibility", f"{frame.visibility:.0f} m"),
        ("distance left", f"{left:.1f} m" if np.isfinite(left) else "–"),
    )
    for k, (caption, number) in enumerate(reversed(numbers)):
        right = area.right - 16 - 124 * k
        style.write(surface, caption, (right, area.y + 6), 10, style.MUTED, anchor="topright")
        style.write(surface, number, (right, area.bottom - 4), 18, bold=True, anchor="bottomright")
