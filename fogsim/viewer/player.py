"""Where playing is and what is shown, changed by keys: pure, so that no window is needed to try it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pygame

from fogsim.viewer.view import OVERLAYS, SHOWN, SPAN

SPEEDS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
SPANS = (20.0, 100.0)  # m of road, from the nearest to the farthest
ZOOM = 1.25  # of one step


@dataclass(frozen=True)
class Player:
    """Simulated time (s), speed (times real time), whether it goes on, and what is shown how.

    `left` is the world's x at the left edge of a map that stands, NaN where it follows ego; `said` is what came of the
    last key.
    """

    time: float = 0.0
    speed: float = 1.0
    playing: bool = True
    running: bool = True
    looping: bool = False
    overlays: frozenset[str] = SHOWN
    span: float = SPAN
    left: float = np.nan
    scene: int = 0
    helping: bool = False
    dragging: bool = False
    said: str = ""

    @property
    def seen(self) -> dict[str, object]:
        """What a view takes over."""
        state = "" if self.playing else "paused"
        note = "   ".join(filter(None, (state, f"{self.speed:g}x", "loop" if self.looping else "")))
        return {"overlays": self.overlays, "span": self.span, "left": self.left, "note": note, "said": self.said}


def press(player: Player, key: int, shift: bool, times: np.ndarray, scenes: int = 1) -> Player:
    """The player after a key; keys without a meaning change nothing."""
    if key in (pygame.K_q, pygame.K_ESCAPE):
        return replace(player, running=False)
    if key == pygame.K_SPACE:
        again = not player.playing and player.time >= times[-1]
        return replace(player, playing=not player.playing, time=float(times[0]) if again else player.time)
    if key in (pygame.K_LEFT, pygame.K_RIGHT):
        return replace(player, time=_step(player.time, 1 if key == pygame.K_RIGHT else -1, shift, times), playing=False)
    if key in (pygame.K_HOME, pygame.K_END):
        return replace(player, time=float(times[0 if key == pygame.K_HOME else -1]))
    if key in (pygame.K_LEFTBRACKET, pygame.K_RIGHTBRACKET):
        return replace(player, speed=_other_speed(player.speed, 1 if key == pygame.K_RIGHTBRACKET else -1))
    if key in (pygame.K_PLUS, pygame.K_EQUALS, pygame.K_KP_PLUS, pygame.K_MINUS, pygame.K_KP_MINUS):
        return zoom(player, -1 if key in (pygame.K_MINUS, pygame.K_KP_MINUS) else 1)
    if key == pygame.K_l:
        return replace(player, looping=not player.looping)
    if key == pygame.K_c:
        return replace(player, scene=(player.scene + 1) % scenes)
    if key in (pygame.K_h, pygame.K_QUESTION) or (key == pygame.K_SLASH and shift):
        return replace(player, helping=not player.helping)
    if 0 <= key - pygame.K_1 < len(OVERLAYS):
        return replace(player, overlays=player.overlays ^ {OVERLAYS[key - pygame.K_1]})
    return player


def _step(time: float, direction: int, shift: bool, times: np.ndarray) -> float:
    """One frame, or with shift one second, on or back."""
    if shift:
        return float(np.clip(time + direction, times[0], times[-1]))
    index = int(np.searchsorted(times, time + 1e-9, side="right")) - 1
    return float(times[np.clip(index + direction, 0, len(times) - 1)])


def _other_speed(speed: float, direction: int) -> float:
    """The next of `SPEEDS`."""
    beyond = [s for s in SPEEDS if direction * (s - speed) > 1e-9]
    return speed if not beyond else min(beyond) if direction > 0 else max(beyond)


def zoom(player: Player, steps: float) -> Player:
    """Nearer by positive steps; ego keeps its share of the map, or what is at the left edge of one that stands."""
    return replace(player, span=float(np.clip(player.span / ZOOM**steps, *SPANS)))


def advance(player: Player, seconds: float, times: np.ndarray, follow: bool) -> Player:
    """The player some seconds of wall clock later; it stops at the end, begins again, or when following waits there."""
    if not player.playing:
        return player
    time = min(player.time + seconds * player.speed, float(times[-1]))
    if time >= times[-1] and player.looping and not follow:
        return replace(player, time=float(times[0]))
    return replace(player, time=time, playing=follow or time < times[-1])
