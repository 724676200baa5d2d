"""The panel of beliefs: how likely each filter holds a barrier to be, and what it would do."""

from __future__ import annotations

import numpy as np
import pygame

from filters.spec import BARRIER
from fogsim.frame import ACTIONS, Frame
from fogsim.viewer import style
from fogsim.viewer.parts import WIDE, bar, card, title, words
from fogsim.viewer.view import View

NAME, NUMBER = 100, 72  # px of a row left of its bar, and right of it


def belief_bar(area: pygame.Rect, row: int, rows: int) -> pygame.Rect:
    """Where the bar of belief `row` of `rows` lies in the panel `area`: its full width is P = 1."""
    pitch = min((area.height - 48) / max(rows, 1), 46)
    thick = round(min(15, pitch * 0.36))
    top = area.y + 40 + round(row * pitch)
    return pygame.Rect(area.x + NAME, top, area.width - NAME - NUMBER, thick)


def whisker(p: float, epistemic: float) -> tuple[float, float]:
    """P(barrier) give or take one standard deviation over the weights.

    To second order the mutual information of a label with P = p is I = var(p) / 2p(1-p), so sd = √(2 p (1-p) I).
    """
    sd = float(np.sqrt(max(2.0 * p * (1.0 - p) * epistemic, 0.0)))
    return max(p - sd, 0.0), min(p + sd, 1.0)


def draw_beliefs(
    surface: pygame.Surface, area: pygame.Rect, frame: Frame, view: View, track: int, other: dict[str, float]
) -> None:
    """One row per belief about a candidate: name, bar as long as P(barrier), the number, what it would do now.

    `other` has P(barrier) of beliefs by the same name that these are held against; the difference is told.
    """
    shown = view.shown
    card(surface, area, title(frame, track), "" if area.width < WIDE else "would do: Bayes / likeliest label")
    for row, b in enumerate(shown):
        name, log_probs, line = view.beliefs[b], frame.log_probs[b, track], belief_bar(area, row, len(shown))
        if not np.isfinite(log_probs).all():
            continue
        p = float(np.exp(log_probs[BARRIER]))
        label, bold = style.short(words(name), 13), name == view.driver
        style.write(surface, label, (area.x + 14, line.centery), 12, style.TEXT, bold, "midleft")
        bar(surface, line, p, style.belief_colour(view.beliefs, b))
        pygame.draw.line(surface, style.GROUND, (line.centerx, line.y), (line.centerx, line.bottom - 1))
        _whisker(surface, line, p, float(frame.epistemic[b, track]))
        style.write(surface, f"{p:.3f}", (area.right - 14, line.centery), 16, style.TEXT, True, "midright")
        below = line.bottom + 2
        would = " / ".join(words(ACTIONS[int(a)]) for a in frame.shadow_action[b])
        style.write(surface, would, (line.x, below), 10, style.MUTED)
        if name in other and abs(p - other[name]) >= 0.0005:
            off = f"{p - other[name]:+.3f}"
            style.write(surface, off, (area.right - 14, below), 10, style.YELLOW, anchor="topright")


def _whisker(surface: pygame.Surface, line: pygame.Rect, p: float, epistemic: float) -> None:
    if not np.isfinite(epistemic):
        return
    low, high = (line.x + round(end * line.width) for end in whisker(p, epistemic))
    pygame.draw.line(surface, style.VERMILLION, (low, line.centery), (high, line.centery), 2)
    for end in (low, high):
        pygame.draw.line(surface, style.VERMILLION, (end, line.y + 2), (end, line.bottom - 3), 2)


def chances(frame: Frame, view: View, track: int) -> dict[str, float]:
    """P(barrier) of a candidate by the name of the belief, of those that are shown and hold one."""
    p = np.exp(frame.log_probs[:, track, BARRIER])
    return {view.beliefs[b]: float(p[b]) for b in view.shown if np.isfinite(p[b])}
