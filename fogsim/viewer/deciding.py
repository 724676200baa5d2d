"""The panel of the decision: what the driver does, why, and what it expects every action to cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pygame

from filters.policy import REASONS
from fogsim.frame import ACTIONS, Frame
from fogsim.viewer import style
from fogsim.viewer.parts import WIDE, bar, card, words
from fogsim.viewer.view import View


def banner_area(area: pygame.Rect) -> pygame.Rect:
    """Where what the driver does is shouted."""
    return pygame.Rect(area.x + 14, area.y + 32, area.width - 28, 44)


def draw_decision(surface: pygame.Surface, area: pygame.Rect, frame: Frame, view: View, other: Frame | None) -> None:
    """A banner with the driver's action, its reason, and the expected losses; framed where `other` acts otherwise."""
    who, wide = f"{words(view.driver)}, {words(view.policy)}", area.width >= WIDE
    card(surface, area, "the driver" if wide else who, who if wide else "")
    action, crash, banner = int(frame.action), bool(frame.collided), banner_area(area)
    colour = style.VERMILLION if crash else style.ACTION_COLOURS[action]
    pygame.draw.rect(surface, style.mix(style.CARD, colour, 0.25), banner, border_radius=8)
    pygame.draw.rect(surface, colour, (banner.x, banner.y, 6, banner.height), border_radius=3)
    shout = "COLLISION" if crash else words(ACTIONS[action]).upper()
    style.write(surface, shout, (banner.x + 18, banner.centery), 19, style.TEXT, True, "midleft")
    if wide:
        at = (banner.right - 10, banner.centery)
        style.write(surface, _stage(frame, view), at, 11, style.TEXT, anchor="midright")
    if other is not None and differ(frame, other):
        pygame.draw.rect(surface, style.YELLOW, banner.inflate(4, 4), 2, border_radius=9)
    reason = why(frame) if wide else why(frame).split(",")[0]
    style.write(surface, reason, (area.x + 14, area.y + 82), 11, style.MUTED)
    if view.driver in view.beliefs:
        _losses(surface, area, frame.expected_loss[view.beliefs.index(view.driver)], action)


def differ(frame: Frame, other: Frame) -> bool:
    """Whether two drivers act otherwise, or one of them has crashed."""
    return bool(frame.action != other.action or frame.collided != other.collided)


def why(frame: Frame) -> str:
    """The reason of what the driver does, and from which q on it would do more; "" in logs that do not tell."""
    reason, threshold = int(frame.reason), float(frame.threshold)
    more = f", more from q = {threshold:.3f}" if np.isfinite(threshold) else ""
    return REASONS[reason] + more if 0 <= reason < len(REASONS) else ""


def _stage(frame: Frame, view: View) -> str:
    if frame.at_decision_point:
        return "decision point"
    return "all four open" if view.course.decided <= frame.time else "proceed or slow only"


def _losses(surface: pygame.Surface, area: pygame.Rect, losses: Sequence[float], action: int) -> None:
    style.write(surface, "expected loss", (area.x + 14, area.y + 100), 11, style.MUTED)
    top = max(*(x for x in losses if np.isfinite(x)), 10.0) if np.isfinite(losses).any() else 10.0
    pitch = (area.height - 128) / len(ACTIONS)
    for k, loss in enumerate(losses):
        line = pygame.Rect(area.x + 100, area.y + 122 + round(k * pitch), area.width - 100 - 66, 10)
        chosen = k == action
        style.write(surface, words(ACTIONS[k]), (area.x + 14, line.centery), 12, style.TEXT, chosen, "midleft")
        if np.isfinite(loss):
            colour = style.ACTION_COLOURS[k]
            bar(surface, line, float(loss) / top, colour if chosen else style.mix(style.CARD, colour, 0.5))
            style.write(surface, f"{loss:.2f}", (area.right - 14, line.centery), 12, style.TEXT, chosen, "midright")
