"""The panel of numbers: how good each belief is now, how sure, and how its filter fares."""

from __future__ import annotations

import numpy as np
import pygame

from filters.belief import entropy
from filters.spec import CLASSES, Status
from fogsim.frame import Frame
from fogsim.viewer import style
from fogsim.viewer.parts import card, words
from fogsim.viewer.view import View, focus

HEADS = ("loss", "H", "ESS", "NIS/n", "ms")
NAME = 82  # px left of the numbers


def draw_metrics(surface: pygame.Surface, area: pygame.Rect, frame: Frame, view: View) -> None:
    """Per belief: -ln p(truth) and entropy (nats), effective sample size, NIS by its degrees of freedom, time (ms)."""
    card(surface, area, "metrics")
    if "metrics" not in view.overlays:
        return
    step, top = (area.width - NAME - 12) / len(HEADS), area.y + 40
    for k, head in enumerate(HEADS):
        style.write(surface, head, (area.x + NAME + (k + 1) * step, top), 10, style.MUTED, anchor="midright")
    pitch = min((area.height - 78) / max(len(view.shown), 1), 24)
    for row, b in enumerate(view.shown):
        y = top + 20 + round(row * pitch)
        colour = style.belief_colour(view.beliefs, b)
        style.write(surface, style.short(words(view.beliefs[b]), 13), (area.x + 14, y), 10, colour, anchor="midleft")
        for k, number in enumerate(numbers(frame, b, focus(frame))):
            at = (area.x + NAME + (k + 1) * step, y)
            style.write(surface, short(number), at, 10, style.TEXT, anchor="midright")
    _statuses(surface, area, frame, view)


def numbers(frame: Frame, belief: int, track: int) -> tuple[float, ...]:
    """Of one belief about one candidate, in the order of `HEADS`; NaN where it has none."""
    log_probs, truth, dof = frame.log_probs[belief, track], int(frame.truth_class[track]), frame.nis_dof[belief, track]
    return (
        -float(log_probs[truth]) if 0 <= truth < len(CLASSES) else np.nan,
        entropy(log_probs) if np.isfinite(log_probs).all() else np.nan,
        float(frame.ess[belief, track]),
        float(frame.nis[belief, track]) / float(dof) if dof > 0 else np.nan,
        float(frame.filter_ms[belief]),
    )


def short(number: float) -> str:
    """Three digits, so far as they say anything."""
    if not np.isfinite(number):
        return "–"
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}"


def _statuses(surface: pygame.Surface, area: pygame.Rect, frame: Frame, view: View) -> None:
    """What went wrong in this tick, on the last line."""
    ill = [(b, int(frame.status[b, focus(frame)])) for b in view.shown if frame.status[b, focus(frame)] > 0]
    said = ", ".join(f"{words(view.beliefs[b])} {words(Status(status).name.lower())}" for b, status in ill)
    colour = style.VERMILLION if ill else style.MUTED
    style.write(
        surface,
        said or "loss: -ln p(truth), H: entropy, nats",
        (area.x + 14, area.bottom - 14),
        10,
        colour,
        anchor="midleft",
    )
