"""The window: plays logs in real time, and follows one that is being written."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
import pygame

from fogsim.errors import UserError
from fogsim.log import Replay
from fogsim.viewer.camera import following
from fogsim.viewer.drawing import LEAST, MARGIN, TIMELINE
from fogsim.viewer.events import beside
from fogsim.viewer.film import RATE, Film
from fogsim.viewer.help import draw_help
from fogsim.viewer.picture import save
from fogsim.viewer.player import Player, advance, press, zoom
from fogsim.viewer.show import Show, show_of, stem
from fogsim.viewer.timeline import time_at
from fogsim.viewer.view import SIZE

TICKS = 60  # of the window per second
RECORDING = (230, 60, 60)


def check_display() -> None:
    """Refuse to open a window where there is none to open."""
    named = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"))
    if sys.platform.startswith("linux") and not named:
        raise UserError("no display found, a window needs one: replay LOG.h5 --export FILE.png draws to a file instead")


def watch(
    paths: Sequence[str | os.PathLike[str]],
    follow: bool = False,
    speed: float = 1.0,
    beliefs: tuple[str, str] | None = None,
) -> None:
    """Play a log, or two side by side, in a window until it is closed; `fogsim.viewer.help` tells the keys.

    Parameters
    ----------
    paths : sequence of one or two paths
        Of the logs.
    follow : bool
        Start at the end and wait there for what another process is still writing.
    speed : float
        Times real time.
    beliefs : pair of str, optional
        Hold these side by side: of one log, or each of its own.

    Raises
    ------
    UserError
        Without a display, or if a log cannot be read or has no frame, or no such belief.
    """
    check_display()
    names = [stem(path) for path in paths]
    with ExitStack() as opened:
        logs = [opened.enter_context(Replay(path, follow=follow)) for path in paths]
        show = show_of(logs, names, beliefs)
        try:
            with Window(opened_screen(f"fogsim: {', '.join(names)}"), "-".join(names)) as window:
                window.play(show, Player(time=float(show.times()[-1 if follow else 0]), speed=speed), follow)
        finally:
            pygame.display.quit()


def opened_screen(caption: str) -> pygame.Surface:
    """A window that can be resized."""
    try:
        pygame.display.init()
        pygame.display.set_caption(caption)
        return pygame.display.set_mode(SIZE, pygame.RESIZABLE)
    except pygame.error as error:
        raise UserError(f"no window could be opened ({error}): use --export FILE.png instead") from error


@dataclass
class Window:
    """The screen and the film that is being made, if one is; closing it finishes the film."""

    screen: pygame.Surface
    name: str
    film: Film | None = None
    filmed: float = 0.0

    def __enter__(self) -> Window:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.film is not None:
            self.film.__exit__(kind)

    @property
    def size(self) -> tuple[int, int]:
        """Of the picture, which in a window that is too small is shrunk into it."""
        width, height = self.screen.get_size()
        return max(width, LEAST[0]), max(height, LEAST[1])

    def play(self, show: Show, player: Player, follow: bool) -> None:
        """Until the player no longer runs."""
        clock, shown, picture = pygame.time.Clock(), None, None
        while player.running:
            edge, show = float(show.times()[-1]), show.extended()
            if follow and player.playing and player.time >= edge:
                player = replace(player, time=float(show.times()[-1]))  # what is new at once, however fast it comes
            for event in pygame.event.get():  # also while paused: a window that does not listen freezes
                player = self.handle(player, event, show)
            seconds = clock.tick(TICKS) / 1000.0
            player = advance(player, seconds, show.times(player.scene), follow)
            places = tuple(view.course.at(player.time) for view in show.views)
            lengths = tuple(len(view.course.time) for view in show.views)
            wanted = (places, lengths, replace(player, time=0.0), self.size, self.film is None)
            if wanted != shown or picture is None:
                picture, shown = self.draw(show, player), wanted
            try:
                self.record(picture, seconds)
            except UserError as error:  # a full disk ends the film, not the watching
                self.__exit__(UserError)
                self.film, player = None, replace(player, said=str(error))

    def draw(self, show: Show, player: Player) -> pygame.Surface:
        """Put the picture on the screen; returned is what a film is made of, without help and marks."""
        picture = self.picture(show, player)
        seen = picture.copy()
        if player.helping:
            draw_help(seen)
        if self.film is not None:
            pygame.draw.circle(seen, RECORDING, (seen.get_width() // 2, 24), 8)
        fits = seen.get_size() == self.screen.get_size()
        self.screen.blit(seen if fits else pygame.transform.smoothscale(seen, self.screen.get_size()), (0, 0))
        pygame.display.flip()
        return picture

    def picture(self, show: Show, player: Player) -> pygame.Surface:
        """What the player shows now."""
        return show.picture(player.scene, player.time, size=self.size, **player.seen)

    def handle(self, player: Player, event: pygame.event.Event, show: Show) -> Player:
        """The player after an event."""
        if event.type == pygame.QUIT:
            return replace(player, running=False)
        if event.type == pygame.MOUSEWHEEL:
            return zoom(player, event.y)
        if event.type == pygame.KEYDOWN:
            return self.key(player, event.key, bool(event.mod & pygame.KMOD_SHIFT), show)
        if event.type == pygame.MOUSEBUTTONUP:
            return replace(player, dragging=False)
        if event.type == pygame.MOUSEBUTTONDOWN and event.button == 1 and self.timeline().collidepoint(self.at(event)):
            player = replace(player, dragging=True, playing=False)
        if event.type in (pygame.MOUSEBUTTONDOWN, pygame.MOUSEMOTION) and player.dragging:
            times, time = show.times(player.scene), time_at(self.timeline(), self.at(event)[0], show.seen(player.scene))
            return replace(player, time=float(times[np.abs(times - time).argmin()]))
        return player

    def timeline(self) -> pygame.Rect:
        """Where the time line is on the picture."""
        width, height = self.size
        return pygame.Rect(MARGIN, height - MARGIN - TIMELINE, width - 2 * MARGIN, TIMELINE)

    def at(self, event: pygame.event.Event) -> tuple[float, float]:
        """Where on the picture the mouse is."""
        (x, y), (width, height) = event.pos, self.screen.get_size()
        return x * self.size[0] / width, y * self.size[1] / height

    def key(self, player: Player, key: int, shift: bool, show: Show) -> Player:
        """What a key does that needs more than the player."""
        if key in (pygame.K_n, pygame.K_p):
            events = show.events(player.scene)
            time = beside(events, player.time, 1 if key == pygame.K_n else -1)
            words = [e.words for e in events if e.time == time]
            return replace(player, time=time, playing=False, said=", ".join(words))
        if key == pygame.K_f:
            log = show.scenes[player.scene][0].log
            view = show.views[log]
            frame = show.logs[log][view.course.at(player.time)]
            here = following(frame, replace(view, span=player.span))
            return replace(player, left=np.nan if np.isfinite(player.left) else here)
        if key in (pygame.K_s, pygame.K_v):
            try:
                return replace(player, said=self.shoot(show, player) if key == pygame.K_s else self.toggle_film())
            except UserError as error:
                return replace(player, said=str(error))
        return press(replace(player, said=""), key, shift, show.times(player.scene), len(show.scenes))

    def shoot(self, show: Show, player: Player) -> str:
        """Save the picture; returns what there is to say."""
        path = free_name(f"{self.name}-{player.time:.1f}s", ".png")
        save(self.picture(show, replace(player, said="")), path)
        return f"saved {path}"

    def toggle_film(self) -> str:
        """Begin a film of what is shown, or finish it; returns what there is to say."""
        if self.film is None:
            self.film, self.filmed = Film(free_name(self.name, ".mp4"), self.size, RATE), 0.0
            return ""
        done, self.film = self.film, None
        done.close()
        return f"saved {done.path}" if done.pictures else "nothing was recorded"

    def record(self, picture: pygame.Surface, seconds: float) -> None:
        """What is shown for some seconds, at the film's pace; a film keeps the size it began with."""
        if self.film is None:
            return
        self.filmed += seconds
        fits = picture.get_size() == self.film.size
        while self.filmed >= 1.0 / RATE:
            self.film.add(picture if fits else pygame.transform.smoothscale(picture, self.film.size))
            self.filmed -= 1.0 / RATE


def free_name(stem: str, suffix: str) -> Path:
    """`stem` and suffix, or with the first number that is not taken."""
    names = (Path(f"{stem}{suffix}" if n == 1 else f"{stem}-{n}{suffix}") for n in count(1))
    return next(path for path in names if not path.exists())
