"""The panels below the map: what each filter believes, how it came to, what the driver does; and the headline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pygame

from filters.belief import entropy
from filters.policy import REASONS
from filters.spec import BARRIER, CLASSES
from fogsim.frame import ACTIONS, POLICIES, Frame
from fogsim.viewer import style
from fogsim.viewer.view import View, focus, several

BAR_LEFT, BAR_RIGHT = 108, 96  # px of a belief row left of its bar (the name), and right of it (the numbers)
LABEL = CLASSES[BARRIER]


def words(name: str) -> str:
    """An identifier as people read it."""
    return name.replace("_", " ")


def title(frame: Frame, track: int) -> str:
    """P(barrier), and of which candidate where there are several."""
    return f"P({LABEL})" + (f" of {track + 1}" if several(frame) else "")


def card(surface: pygame.Surface, area: pygame.Rect, title: str, note: str = "") -> None:
    """An empty panel with its title and a note on the right."""
    pygame.draw.rect(surface, style.CARD, area, border_radius=10)
    style.write(surface, title, (area.x + 16, area.y + 12), 12, style.MUTED, bold=True)
    style.write(surface, note, (area.right - 16, area.y + 12), 11, style.MUTED, anchor="topright")


def bar(surface: pygame.Surface, area: pygame.Rect, share: float, colour: style.Colour) -> None:
    """A bar whose filled length is `share` of `area`."""
    pygame.draw.rect(surface, style.TRACK, area)
    pygame.draw.rect(surface, colour, (area.x, area.y, round(share * area.width), area.height))


def belief_bar(area: pygame.Rect, row: int, rows: int) -> pygame.Rect:
    """Where the bar of belief `row` of `rows` lies in the panel `area`: its full width is P = 1."""
    pitch = min((area.height - 58) / max(rows, 1), 46)
    thick = round(min(16, pitch * 0.36))
    top = area.y + 44 + round(row * pitch)
    return pygame.Rect(area.x + BAR_LEFT, top, area.width - BAR_LEFT - BAR_RIGHT, thick)


def whisker(p: float, epistemic: float) -> tuple[float, float]:
    """P(barrier) give or take one standard deviation over the weights.

    To second order the mutual information of a label with P = p is I = var(p) / 2p(1-p), so sd = √(2 p (1-p) I).
    """
    sd = float(np.sqrt(max(2.0 * p * (1.0 - p) * epistemic, 0.0)))
    return max(p - sd, 0.0), min(p + sd, 1.0)


def draw_beliefs(surface: pygame.Surface, area: pygame.Rect, frame: Frame, view: View) -> None:
    """One row per belief: name, bar as long as P(barrier), the number, entropy, what it would do now."""
    track, n = focus(frame), len(view.beliefs)
    card(surface, area, title(frame, track), "what it would do: Bayes / likeliest label")
    for b, name in enumerate(view.beliefs):
        log_probs = frame.log_probs[b, track]
        if not np.isfinite(log_probs).all():
            continue
        p, colour, line = (
            float(np.exp(log_probs[BARRIER])),
            style.belief_colour(view.beliefs, b),
            belief_bar(area, b, n),
        )
        style.write(surface, words(name), (area.x + 16, line.centery), 13, style.TEXT, name == view.driver, "midleft")
        bar(surface, line, p, colour)
        pygame.draw.line(surface, style.GROUND, (line.centerx, line.y), (line.centerx, line.bottom - 1))
        _whisker(surface, line, p, float(frame.epistemic[b, track]))
        style.write(surface, f"{p:.3f}", (line.right + 12, line.centery), 17, style.TEXT, True, "midleft")
        below = line.bottom + 3
        style.write(surface, f"entropy {entropy(log_probs):.2f} nat", (line.x, below), 11, style.MUTED)
        would = " / ".join(words(ACTIONS[int(a)]) for a in frame.shadow_action[b, : len(POLICIES)])
        style.write(surface, would, (area.right - 16, below), 11, style.MUTED, anchor="topright")


def _whisker(surface: pygame.Surface, line: pygame.Rect, p: float, epistemic: float) -> None:
    if not np.isfinite(epistemic):
        return
    low, high = (line.x + round(end * line.width) for end in whisker(p, epistemic))
    pygame.draw.line(surface, style.VERMILLION, (low, line.centery), (high, line.centery), 2)
    for end in (low, high):
        pygame.draw.line(surface, style.VERMILLION, (end, line.y + 2), (end, line.bottom - 3), 2)


def draw_course(surface: pygame.Surface, area: pygame.Rect, frame: Frame, view: View) -> None:
    """P(barrier) of every belief from the start until now, the decision point marked."""
    track = focus(frame)
    card(surface, area, f"{title(frame, track)} over time")
    plot = pygame.Rect(area.x + 42, area.y + 44, area.width - 60, area.height - 76)
    start = float(view.times[0]) if len(view.times) else 0.0
    length = max(view.end_time - start, 1e-9) if np.isfinite(view.end_time) else 1.0

    def place(times: np.ndarray, p: np.ndarray, scale: int = 1) -> np.ndarray:
        x = (times - start) / length * (plot.width - 1)
        return scale * np.stack([x, (1.0 - p) * (plot.height - 1)], axis=1)

    def paint(large: pygame.Surface) -> None:
        large.fill(style.CARD)
        for p in (0.0, 0.5, 1.0):
            left, right = place(np.array([start, start + length]), np.full(2, p), 2).tolist()
            pygame.draw.line(large, style.EDGE, left, right, 2)
        now = view.times <= frame.time
        for b in _driver_last(view):
            p = view.history[now, b, track]
            if len(p) > 1 and np.isfinite(p).all():
                thick = 6 if view.beliefs[b] == view.driver else 4
                course = place(view.times[now], p, 2)
                pygame.draw.lines(large, style.belief_colour(view.beliefs, b), False, course.tolist(), thick)

    style.smooth(surface, plot, paint)
    for p, mark in ((0.0, "0"), (0.5, "½"), (1.0, "1")):
        style.write(
            surface, mark, (plot.x - 8, plot.y + (1 - p) * (plot.height - 1)), 11, style.MUTED, anchor="midright"
        )
    if view.decision_time <= frame.time:
        x = plot.x + place(np.array([view.decision_time]), np.zeros(1))[0, 0]
        pygame.draw.line(surface, style.YELLOW, (x, plot.y - 4), (x, plot.bottom + 4))
        anchor = "bottomleft" if x < plot.centerx else "bottomright"
        style.write(surface, "decision point", (x, plot.y - 4), 11, style.YELLOW, anchor=anchor)
    style.write(surface, f"{start:.0f} s", (plot.x, plot.bottom + 8), 11, style.MUTED)
    style.write(surface, f"{start + length:.1f} s", (plot.right, plot.bottom + 8), 11, style.MUTED, anchor="topright")


def _driver_last(view: View) -> list[int]:
    return sorted(range(view.history.shape[1]), key=lambda b: view.beliefs[b] == view.driver)


def draw_decision(surface: pygame.Surface, area: pygame.Rect, frame: Frame, view: View) -> None:
    """The driver's action as a banner, and the four expected losses of the belief that drives."""
    card(surface, area, "the driver", f"{words(view.driver)}, {words(view.policy)}")
    action, crash = int(frame.action), bool(frame.collided)
    banner = pygame.Rect(area.x + 16, area.y + 38, area.width - 32, 52)
    colour = style.VERMILLION if crash else style.ACTION_COLOURS[action]
    pygame.draw.rect(surface, style.mix(style.CARD, colour, 0.25), banner, border_radius=8)
    pygame.draw.rect(surface, colour, (banner.x, banner.y, 6, banner.height), border_radius=3)
    shout = "COLLISION" if crash else words(ACTIONS[action]).upper()
    style.write(surface, shout, (banner.x + 22, banner.centery), 22, style.TEXT, True, "midleft")
    style.write(surface, _stage(frame, view), (banner.right - 12, banner.centery), 11, style.TEXT, anchor="midright")
    style.write(surface, why(frame), (area.right - 16, area.y + 102), 11, style.MUTED, anchor="topright")
    if view.driver in view.beliefs:
        _losses(surface, area, frame.expected_loss[view.beliefs.index(view.driver)], action)


def why(frame: Frame) -> str:
    """The reason of what the driver does, and from which q on it would do more; "" in logs that do not tell."""
    reason, threshold = int(frame.reason), float(frame.threshold)
    more = f", more from q = {threshold:.3f}" if np.isfinite(threshold) else ""
    return REASONS[reason] + more if 0 <= reason < len(REASONS) else ""


def _stage(frame: Frame, view: View) -> str:
    if frame.at_decision_point:
        return "decision point"
    return "all four open" if view.decision_time <= frame.time else "proceed or slow only"


def _losses(surface: pygame.Surface, area: pygame.Rect, losses: Sequence[float], action: int) -> None:
    style.write(surface, "expected loss", (area.x + 16, area.y + 102), 11, style.MUTED)
    top = max(*(x for x in losses if np.isfinite(x)), 10.0) if np.isfinite(losses).any() else 10.0
    pitch = (area.height - 138) / len(ACTIONS)
    for k, loss in enumerate(losses):
        y = area.y + 132 + round(k * pitch)
        line = pygame.Rect(area.x + 116, y, area.width - 116 - 74, 10)
        chosen = k == action
        style.write(surface, words(ACTIONS[k]), (area.x + 16, line.centery), 13, style.TEXT, chosen, "midleft")
        if np.isfinite(loss):
            colour = style.ACTION_COLOURS[k]
            bar(surface, line, float(loss) / top, colour if chosen else style.mix(style.CARD, colour, 0.5))
            style.write(surface, f"{loss:.2f}", (area.right - 16, line.centery), 13, style.TEXT, chosen, "midright")


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
        right = area.right - 16 - 130 * k
        style.write(surface, caption, (right, area.y + 8), 10, style.MUTED, anchor="topright")
        style.write(surface, number, (right, area.bottom - 5), 18, bold=True, anchor="bottomright")
