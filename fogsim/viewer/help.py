"""The help: every key, and what the time line's marks mean."""

from __future__ import annotations

import pygame

from fogsim.viewer import style

KEYS = (
    ("Space", "play, pause"),
    ("Left, Right", "one step; with Shift one second"),
    ("[  ]", "slower, faster: 0.1 to 8 times"),
    ("Home, End", "first, last frame"),
    ("N, P", "next, previous event"),
    ("L", "begin again at the end"),
    ("F", "map follows ego, or stands"),
    ("+  -, wheel", "zoom"),
    ("1 to 9", "overlays"),
    ("C", "side by side: another log, or beliefs of this one"),
    ("S", "save this picture"),
    ("V", "record what is shown as a film, until V"),
    ("H, ?", "this help"),
    ("Q, Esc", "leave"),
    ("drag the time line", "anywhere in the run"),
)
MARKS = "on the time line: ◆ decision point   | new action   ○ likeliest label changes   ✕ collision"
ROW = 24


def help_area(size: tuple[int, int]) -> pygame.Rect:
    """Where the help lies."""
    area = pygame.Rect(0, 0, 620, ROW * len(KEYS) + 96)
    area.center = (size[0] // 2, size[1] // 2)
    return area


def draw_help(surface: pygame.Surface) -> None:
    """Over whatever is there."""
    area = help_area(surface.get_size())
    pygame.draw.rect(surface, style.CARD, area, border_radius=12)
    pygame.draw.rect(surface, style.EDGE, area, 1, border_radius=12)
    style.write(surface, "Keys", (area.x + 24, area.y + 16), 16, bold=True)
    for row, (keys, meaning) in enumerate(KEYS):
        y = area.y + 54 + ROW * row
        style.write(surface, keys, (area.x + 24, y), 13, style.YELLOW)
        style.write(surface, meaning, (area.x + 190, y), 13)
    style.write(surface, MARKS, (area.x + 24, area.bottom - 20), 11, style.MUTED, anchor="midleft")
