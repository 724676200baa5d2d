"""What the sensors returned: echoes and radar detections on the map, and the scan as an image of ranges."""

from __future__ import annotations

import numpy as np
import pygame

from filters.spec import Array
from fogsim.frame import DETECTION, POWER_UNIT, RANGE_UNIT, Frame
from fogsim.viewer import style
from fogsim.viewer.camera import Camera, rotation
from fogsim.viewer.view import View

NOISE, FOG, GROUND, STRUCTURE, OBJECT = 1, 2, 4, 5, 6  # labels; 3 marks an echo that is lost
NONE = (0, 0, 0)
ECHO_COLOURS = (NONE, (122, 104, 128), (164, 174, 192), NONE, (44, 96, 140), style.BLUE, style.YELLOW)  # by label
SIZES = ((NOISE, 1), (FOG, 1), (GROUND, 2), (STRUCTURE, 3), (OBJECT, 5))  # pixels; the object's are drawn last
LEGEND = ((FOG, "fog echo"), (GROUND, "ground echo"), (STRUCTURE, "map echo"), (OBJECT, "object echo"))
WEAK, STRONG = (70, 50, 110), style.YELLOW
STRONGEST = 300.0  # times the noise: brighter is not told apart
NEAR, FAR = 1.0, 60.0  # m, ends of the range image's colours
RAMP = ((240, 232, 208), (158, 176, 184), (78, 118, 156), (36, 66, 116), (18, 28, 64))  # brightness alone tells it too


def echoes(frame: Frame, view: View) -> tuple[Array, Array, np.ndarray]:
    """World positions (n, 2), powers (n,) in noise and labels (n,) of the echoes; none where no scan is kept."""
    at = np.flatnonzero(frame.range)
    if not at.size or frame.range.shape[:2] != view.beams.shape[:2]:
        return np.empty((0, 2)), np.empty(0), np.empty(0, np.uint8)
    turn = rotation(float(frame.ego_pose[2])).T
    beam = (view.beams.reshape(-1, 2) @ turn)[at // frame.range.shape[2]]
    beam *= frame.range.ravel()[at, None] * RANGE_UNIT
    beam += frame.ego_pose[:2] + view.mount @ turn
    return beam, frame.power.ravel()[at] * POWER_UNIT, frame.label.ravel()[at]


def draw_echoes(surface: pygame.Surface, area: pygame.Rect, eye: Camera, frame: Frame, view: View) -> None:
    """A dot each, coloured by origin, or by power."""
    points, power, label = echoes(frame, view)
    pixels, kind = eye(points), np.minimum(label, OBJECT)
    if "power" in view.overlays:
        level = np.log(np.clip(power, 1.0, STRONGEST)) / np.log(STRONGEST)
        colours = np.array([style.mix(WEAK, STRONG, share / 63) for share in range(64)])
        dots(surface, area, pixels, packed(colours)[np.round(63 * level).astype(int)], 2)
        return
    colours = packed(np.array(ECHO_COLOURS))
    for chosen, size in SIZES:
        dots(surface, area, pixels[kind == chosen], colours[chosen], size)


def packed(colours: np.ndarray) -> np.ndarray:
    """Colours (..., 3) as the numbers of a picture's pixels (...)."""
    red, green, blue = np.moveaxis(np.asarray(colours, np.uint32), -1, 0)
    return np.asarray(red << 16 | green << 8 | blue)


def dots(surface: pygame.Surface, area: pygame.Rect, pixels: Array, colours: np.ndarray, size: int) -> None:
    """Square dots of `size` pixels about places (n, 2), all at once; those that touch the area's edge are left out."""
    x, y = np.floor(pixels.T - (0.5 * size - 0.5)).astype(np.int32)
    inside = (x >= area.left) & (x <= area.right - size) & (y >= area.top) & (y <= area.bottom - size)
    x, y = x[inside], y[inside]
    values = colours[inside] if colours.ndim else colours
    canvas = pygame.surfarray.pixels2d(surface)
    for dx in range(size):
        for dy in range(size):
            canvas[x + dx, y + dy] = values


def draw_radar(surface: pygame.Surface, eye: Camera, frame: Frame) -> None:
    """A diamond where each detection was, with a stroke as long as what moves on its own goes in a second.

    They were taken a little earlier, when ego was further back.
    """
    found = frame.radar[np.isfinite(frame.radar[:, 0])]
    taken, distance, azimuth, rate, _ = (found[:, DETECTION.index(name)] for name in DETECTION)
    bearing, heading = float(frame.ego_pose[2]) + azimuth, rotation(float(frame.ego_pose[2]))[:, 0]
    ahead = np.stack([np.cos(bearing), np.sin(bearing)], axis=1)
    own = rate + float(frame.ego_speed) * np.cos(azimuth)
    driven = float(frame.ego_speed) * (float(frame.time) - taken)
    places = frame.ego_pose[:2] - driven[:, None] * heading + distance[:, None] * ahead
    for at, end in zip(eye(places), eye(places + own[:, None] * ahead), strict=True):
        corners = at + 4.0 * np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
        pygame.draw.aalines(surface, style.GREEN, True, corners.tolist())
        pygame.draw.aaline(surface, style.GREEN, at.tolist(), end.tolist())


def draw_ranges(surface: pygame.Surface, area: pygame.Rect, frame: Frame, view: View) -> None:
    """The scan as the lidar sees it, ring over ring and left to the left: near is bright, black is no echo.

    Of several echoes of a beam the strongest is shown.
    """
    pygame.draw.rect(surface, style.STRIP, area)
    half = 0.5 * view.azimuth_deg
    style.write(surface, f"{half:.0f}° left", (area.x + 16, area.centery), 11, style.MUTED, anchor="midleft")
    style.write(surface, f"{half:.0f}° right", (area.right - 16, area.centery), 11, style.MUTED, anchor="midright")
    image = image_area(area)
    if "ranges" not in view.overlays:
        return
    if not frame.range.size:
        style.write(surface, "this log holds no scans", image.center, 12, style.MUTED, anchor="center")
        return
    strongest = np.take_along_axis(frame.range, frame.power.argmax(axis=2)[..., None], axis=2)[::-1, ::-1, 0].T
    level = np.log(np.clip(strongest * RANGE_UNIT, NEAR, FAR) / NEAR) / np.log(FAR / NEAR)
    colours = np.append(ramp(), np.array([style.mix(style.STRIP, NONE, 0.5)]), axis=0)
    index = np.where(strongest == 0, len(colours) - 1, np.round((len(colours) - 2) * level))
    small = style.canvas(index.shape)
    pygame.surfarray.blit_array(small, packed(colours)[index.astype(int)])
    surface.blit(pygame.transform.scale(small, image.size), image)


def image_area(area: pygame.Rect) -> pygame.Rect:
    """Where the image of ranges lies on its strip."""
    return pygame.Rect(area.x + 84, area.y + 3, area.width - 168, area.height - 6)


def ramp(steps: int = 64) -> np.ndarray:
    """Colours (steps, 3) from near to far."""
    at = np.linspace(0, len(RAMP) - 1, steps)
    channels = [np.interp(at, range(len(RAMP)), channel) for channel in zip(*RAMP, strict=True)]
    return np.stack(channels, axis=1).astype(int)
