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
FAINT: Colour = (92, 100, 114)
EGO: Colour = (214, 222, 232)
GLASS: Colour = (44, 54, 68)
ASPHALT: Colour = (25, 29, 37)
VERGE: Colour = (16, 25, 23)
KERB: Colour = (92, 98, 108)
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
    """White for the fused belief, else the next of six colours."""
    return FUSED if names[index] == "fused" else (SKY, ORANGE, GREEN, PURPLE, YELLOW, BLUE)[index % 6]


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """`a` with a share of `b`."""
    return tuple(round(x + (y - x) * share) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def canvas(size: tuple[int, int], colour: Colour = GROUND) -> pygame.Surface:
    """A picture of 32 bits a pixel, so that arrays of numbers can be written into it."""
    surface = pygame.Surface(size, 0, 32)
    surface.fill(colour)
    return surface


@lru_cache(maxsize=64)
def _font(size: int, bold: bool) -> pygame.font.Font:
    # matplotlib ships the one face that is the same on every machine; pygame's own is bold only.
    spec = find_spec("matplotlib")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, "mpl-data", "fonts", "ttf", "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
        if path.exists():
            return pygame.font.Font(str(path), size)
    return pygame.font.Font(None, round(size * 1.4))


@lru_cache(maxsize=2048)
def _image(words: str, size: int, bold: bool, colour: Colour) -> pygame.Surface:
    """Most words of a picture are those of the one before."""
    return _font(size, bold).render(words, True, colour)


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
    image = _image(words, max(round(size), 6), bold, colour)
    box = image.get_rect(**{anchor: (round(at[0]), round(at[1]))})
    if halo:
        shade = _image(words, max(round(size), 6), bold, GROUND)
        for dx, dy in ((-1, -1), (1, -1), (-1, 1), (1, 1), (0, 2)):
            surface.blit(shade, box.move(dx, dy))
    return surface.blit(image, box)


def short(words: str, most: int) -> str:
    """Words of no more than so many letters."""
    return words if len(words) <= most else words[: most - 1] + "…"


def smooth(
    surface: pygame.Surface, area: pygame.Rect, paint: Callable[[pygame.Surface, tuple[int, int]], None]
) -> None:
    """Paint over `area` at twice the size and shrink: every edge comes out soft, what is not painted stays as it is.

    `paint` is given the large surface and the corner (left, top) of `surface` that its own corner shows.
    """
    part = area.clip(surface.get_clip())
    if not part.width or not part.height:
        return
    large = pygame.transform.scale(surface.subsurface(part), (2 * part.width, 2 * part.height))
    paint(large, part.topleft)
    surface.blit(pygame.transform.smoothscale(large, part.size), part)
