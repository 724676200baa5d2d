"""Colours, type and smooth shapes. The palette is Okabe and Ito's, told apart by colour-blind eyes too."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import pygame

Colour = tuple[int, int, int]

GROUND: Colour = (10, 13, 19)
CARD: Colour = (19, 24, 33)
TRACK: Colour = (36, 43, 56)
EDGE: Colour = (58, 68, 84)
TEXT: Colour = (232, 236, 241)
MUTED: Colour = (146, 156, 171)
EGO: Colour = (214, 222, 232)
GLASS: Colour = (44, 54, 68)
ASPHALT: Colour = (25, 29, 37)
VERGE: Colour = (16, 25, 23)
PAINT: Colour = (150, 157, 168)
FOG: Colour = (66, 78, 98)
STRIP: Colour = (14, 18, 26)

ORANGE: Colour = (230, 159, 0)
SKY: Colour = (86, 180, 233)
GREEN: Colour = (0, 178, 130)
YELLOW: Colour = (240, 228, 66)
BLUE: Colour = (52, 132, 200)
VERMILLION: Colour = (230, 106, 28)
PURPLE: Colour = (204, 121, 167)

TRUTH = VERMILLION
FUSED = TEXT
ACTION_COLOURS: tuple[Colour, ...] = (GREEN, SKY, YELLOW, VERMILLION)  # in the order of ACTIONS


def belief_colour(names: tuple[str, ...], index: int) -> Colour:
    """White for the fused belief, else the next of four colours."""
    return FUSED if names[index] == "fused" else (SKY, ORANGE, GREEN, PURPLE)[index % 4]


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """`a` with a share of `b`."""
    return tuple(round(x + (y - x) * share) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


@lru_cache(maxsize=64)
def _font(size: int, bold: bool) -> pygame.font.Font:
    # matplotlib ships the one face that is the same on every machine; pygame's own is bold only.
    spec = find_spec("matplotlib")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, "mpl-data", "fonts", "ttf", "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
        if path.exists():
            return pygame.font.Font(str(path), size)
    return pygame.font.Font(None, round(size * 1.4))


def write(
    surface: pygame.Surface,
    words: str,
    at: tuple[float, float],
    size: float = 13,
    colour: Colour = TEXT,
    bold: bool = False,
    anchor: str = "topleft",
    halo: bool = False,
) -> pygame.Rect:
    """Words at a point; `anchor` names the corner or side of their box that lies there. Needs no display.

    A halo sets them off a busy ground.
    """
    if not pygame.font.get_init():
        pygame.font.init()
        _font.cache_clear()  # fonts die with the module that made them
    image = _font(max(round(size), 6), bold).render(words, True, colour)
    box = image.get_rect(**{anchor: (round(at[0]), round(at[1]))})
    if halo:
        shade = _font(max(round(size), 6), bold).render(words, True, GROUND)
        for dx, dy in ((-1, -1), (1, -1), (-1, 1), (1, 1), (0, 2)):
            surface.blit(shade, box.move(dx, dy))
    return surface.blit(image, box)


def smooth(surface: pygame.Surface, area: pygame.Rect, paint: Callable[[pygame.Surface], None]) -> None:
    """Paint at twice the size and shrink into `area`: every edge comes out soft."""
    large = pygame.Surface((2 * area.width, 2 * area.height))
    paint(large)
    surface.blit(pygame.transform.smoothscale(large, area.size), area)
