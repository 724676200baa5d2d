"""The window: plays a log in real time, and follows one that is being written."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
import pygame

from fogsim.errors import UserError
from fogsim.log import Replay
from fogsim.viewer.drawing import draw
from fogsim.viewer.video import save
from fogsim.viewer.view import OVERLAYS, SHOWN, Log, View, view_of

SPEEDS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
TICKS = 60  # of the window per second


@dataclass(frozen=True)
class Player:
    """Where playing is: simulated time (s), speed (times real time), and what is shown."""

    time: float = 0.0
    speed: float = 1.0
    playing: bool = True
    running: bool = True
    overlays: frozenset[str] = SHOWN


def press(player: Player, key: int, shift: bool, times: np.ndarray) -> Player:
    """The player after a key; keys without a meaning change nothing."""
    if key in (pygame.K_q, pygame.K_ESCAPE):
        return replace(player, running=False)
    if key == pygame.K_SPACE:
        return replace(player, playing=not player.playing)
    if key in (pygame.K_LEFT, pygame.K_RIGHT):
        return replace(player, time=_step(player.time, 1 if key == pygame.K_RIGHT else -1, shift, times), playing=False)
    if key in (pygame.K_HOME, pygame.K_END):
        return replace(player, time=float(times[0 if key == pygame.K_HOME else -1]))
    if key in (pygame.K_LEFTBRACKET, pygame.K_RIGHTBRACKET):
        place = SPEEDS.index(player.speed) + (1 if key == pygame.K_RIGHTBRACKET else -1)
        return replace(player, speed=SPEEDS[min(max(place, 0), len(SPEEDS) - 1)])
    if 0 <= key - pygame.K_1 < len(OVERLAYS):
        return replace(player, overlays=player.overlays ^ {OVERLAYS[key - pygame.K_1]})
    return player


def _step(time: float, direction: int, shift: bool, times: np.ndarray) -> float:
    """One frame, or with shift one second, on or back."""
    if shift:
        return float(np.clip(time + direction, times[0], times[-1]))
    return float(times[np.clip(index_at(times, time) + direction, 0, len(times) - 1)])


def index_at(times: np.ndarray, time: float) -> int:
    """The frame shown at a time: the last one at or before it."""
    return max(int(np.searchsorted(times, time + 1e-9, side="right")) - 1, 0)


def advance(player: Player, seconds: float, times: np.ndarray, follow: bool) -> Player:
    """The player some seconds of wall clock later; it stops at the end, or when following waits there."""
    if not player.playing:
        return player
    time = min(player.time + seconds * player.speed, float(times[-1]))
    return replace(player, time=time, playing=follow or time < times[-1])


def check_display() -> None:
    """Refuse to open a window where there is none to open."""
    named = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"))
    if sys.platform.startswith("linux") and not named:
        raise UserError("no display found, a window needs one: replay LOG.h5 --export FILE.png draws to a file instead")


def watch(path: str | os.PathLike[str], follow: bool = False) -> None:
    """Play a log in a window until it is closed.

    Space plays and pauses; Left and Right step (Shift: 1 s); [ and ] change the speed; Home and End; 1 to 6 toggle
    overlays; S saves a picture in the current folder; Q or Esc quits.

    Parameters
    ----------
    path : path
        Of the log.
    follow : bool
        Start at the end and wait there for what another process is still writing.

    Raises
    ------
    UserError
        Without a display, or if the log cannot be read or has no frame.
    """
    check_display()
    with Replay(path, follow=follow) as log:
        if not len(log):
            raise UserError(f"{path} has no frame yet: nothing to show; try again when the run has begun")
        try:
            pygame.display.init()
            pygame.display.set_caption(f"fogsim: {Path(path).name}")
            _play(log, pygame.display.set_mode(View(()).size), Path(path).name, follow)
        except pygame.error as error:
            raise UserError(f"no window could be opened ({error}): use --export FILE.png instead") from error
        finally:
            pygame.display.quit()


def _play(log: Log, screen: pygame.Surface, name: str, follow: bool) -> None:
    clock, view, shown = pygame.time.Clock(), view_of(log), None
    player = Player(time=float(view.times[-1 if follow else 0]))
    while player.running:
        if len(log) > len(view.times):
            view = view_of(log)
        for event in pygame.event.get():  # also while paused: a window that does not listen freezes
            player = _handle(player, event, log, view, name)
        player = advance(player, clock.tick(TICKS) / 1000.0, view.times, follow)
        wanted = (index_at(view.times, player.time), player.overlays, len(view.times))
        if wanted != shown:
            screen.blit(picture(log, view, player), (0, 0))
            pygame.display.flip()
            shown = wanted


def _handle(player: Player, event: pygame.event.Event, log: Log, view: View, name: str) -> Player:
    if event.type == pygame.QUIT:
        return replace(player, running=False)
    if event.type != pygame.KEYDOWN:
        return player
    if event.key == pygame.K_s:
        stem = f"{name.removesuffix('.part').removesuffix('.h5')}-{player.time:.1f}s"
        save(picture(log, view, player), free_name(stem))
    return press(player, event.key, bool(event.mod & pygame.KMOD_SHIFT), view.times)


def picture(log: Log, view: View, player: Player) -> pygame.Surface:
    """The frame at the player's time with its overlays."""
    return draw(log[index_at(view.times, player.time)], replace(view, overlays=player.overlays))


def free_name(stem: str) -> Path:
    """`stem`.png, or with the first number that is not taken."""
    names = (Path(f"{stem}.png" if n == 1 else f"{stem}-{n}.png") for n in count(1))
    return next(path for path in names if not path.exists())
