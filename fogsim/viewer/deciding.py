"""The panel of the decision: what the driver does, why, and what it expects every action to cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pygame

from filters.policy import REASONS
from fogsim.frame import ACTIONS, POLICIES, Frame
from fogsim.viewer import style
from fogsim.viewer.parts import WIDE, bar, card, words
from fogsim.viewer.view import View


def banner_area(area: pygame.Rect) -> pygame.Rect:
    """Where what the driver does is shouted."""
    return pygame.Rect(area.x + 14, area.y + 32, area.width - 28, 44)


def loss_bar(area: pygame.Rect, action: int) -> pygame.Rect:
    """Where the bar of an action's expected loss lies; the greatest, or 10 if that is more, fills it."""
    top = area.y + 122 + round(action * (area.height - 128) / len(ACTIONS))
    return pygame.Rect(area.x + 100, top, area.width - 166, 10)


def draw_decision(surface: pygame.Surface, area: pygame.Rect, frame: Frame, view: View, other: Frame | None) -> None:
    """A banner with the driver's action, its reason, and the expected losses; framed where `other` acts otherwise.

    Where one belief is shown that does not drive, what it would do by the driver's policy.
    """
    who = next(iter(view.only), view.driver)
    named, wide, drives = f"{words(who)}, {words(view.policy)}", area.width >= WIDE, who == view.driver
    card(surface, area, "the driver" if wide else named, named if wide else "")
    action, crash, banner = action_of(frame, view, who), bool(frame.collided), banner_area(area)
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
    reason = (reason_of(frame) + more(frame, view) * wide) if drives else f"would do; {words(view.driver)} drives"
    style.write(surface, reason, (area.x + 14, area.y + 82), 11, style.MUTED)
    if who in view.beliefs:
        _losses(surface, area, frame.expected_loss[view.beliefs.index(who)], action)


def action_of(frame: Frame, view: View, who: str) -> int:
    """What the driver does, or what another belief would do by its policy; by Bayes' where that is not logged."""
    if who == view.driver:
        return int(frame.action)
    policy = POLICIES.index(view.policy) if view.policy in POLICIES else 0
    return int(frame.shadow_action[view.beliefs.index(who), policy])


def differ(frame: Frame, other: Frame) -> bool:
    """Whether two drivers act otherwise, or one of them has crashed."""
    return bool(frame.action != other.action or frame.collided != other.collided)


def reason_of(frame: Frame) -> str:
    """Why the driver does it; "" in logs that do not tell."""
    return REASONS[int(frame.reason)] if 0 <= int(frame.reason) < len(REASONS) else ""


def more(frame: Frame, view: View) -> str:
    """From which q on it would do more, where that is of q."""
    threshold = float(frame.threshold)
    told = np.isfinite(threshold) and view.policy != "most_likely_label"
    return f", more from q = {threshold:.3f}" if told else ""


def _stage(frame: Frame, view: View) -> str:
    if frame.at_decision_point:
        return "decision point"
    return "all four open" if view.course.decided <= frame.time else "proceed or slow only"


def _losses(surface: pygame.Surface, area: pygame.Rect, losses: Sequence[float], action: int) -> None:
    style.write(surface, "expected loss", (area.x + 14, area.y + 100), 11, style.MUTED)
    top = max(*(x for x in losses if np.isfinite(x)), 10.0) if np.isfinite(losses).any() else 10.0
    for k, loss in enumerate(losses):
        line = loss_bar(area, k)
        chosen = k == action
        style.write(surface, words(ACTIONS[k]), (area.x + 14, line.centery), 12, style.TEXT, chosen, "midleft")
        if np.isfinite(loss):
            colour = style.ACTION_COLOURS[k]
            bar(surface, line, float(loss) / top, colour if chosen else style.mix(style.CARD, colour, 0.5))
            style.write(surface, f"{loss:.2f}", (area.right - 14, line.centery), 12, style.TEXT, chosen, "midright")
