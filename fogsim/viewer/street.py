"""The map: the street from above, with what is there, what the sensors return and what the filters hold."""

from __future__ import annotations

import numpy as np
import pygame

from fogsim.frame import KINDS, Frame
from fogsim.viewer import style
from fogsim.viewer.camera import CIRCLE, Camera, box, camera, corners, rotation
from fogsim.viewer.echoes import ECHO_COLOURS, LEGEND, STRONG, WEAK, draw_echoes, draw_radar
from fogsim.viewer.held import draw_ellipses, draw_particles
from fogsim.viewer.veil import hidden
from fogsim.viewer.view import OVERLAYS, View, several

COARSE = 8  # pixels between places where the fog's veil is computed
EVERY = (1, 2, 5, 10, 20, 50)  # m between marks of the ruler, as the map's span asks


def draw_street(surface: pygame.Surface, area: pygame.Rect, frame: Frame, view: View) -> None:
    """The map with the overlays that `view` shows."""
    eye, clip = camera(frame, view, area), surface.get_clip()
    surface.set_clip(area)
    _road(surface, area, eye, view)
    if "fog" in view.overlays:
        _fog(surface, area, eye, frame, view)
    if "lidar" in view.overlays:
        draw_echoes(surface, area, eye, frame, view)
    if "radar" in view.overlays:
        draw_radar(surface, eye, frame)
    if "particles" in view.overlays:
        draw_particles(surface, area, eye, frame, view)
    if "ellipses" in view.overlays:
        draw_ellipses(surface, eye, frame, view)
    _ego(surface, eye, frame, view)
    if "truth" in view.overlays:
        _truth(surface, area, eye, frame)
    _ruler(surface, area, eye, frame, view)
    surface.set_clip(clip)


def _road(surface: pygame.Surface, area: pygame.Rect, eye: Camera, view: View) -> None:
    half, far_side = view.lane_width / 2.0, 1.5 * view.lane_width

    def stripe(y: float, tall: float, colour: style.Colour) -> None:
        """A band over the whole map, from y down."""
        top = float(eye(np.array([0.0, y]))[1])
        pygame.draw.rect(surface, colour, (area.x, round(top), area.width, max(round(tall * eye.scale), 1)))

    surface.fill(style.VERGE, area)
    stripe(far_side, far_side - view.kerb_y, style.ASPHALT)
    stripe(view.kerb_y, 0.18, style.KERB)
    for y in (far_side, -half):
        stripe(y + 0.06, 0.12, style.mix(style.ASPHALT, style.PAINT, 0.6))
    first = np.floor(eye.left / 6.0) * 6.0  # dashes of 3 m, fixed to the road
    for x in np.arange(first, eye.left + view.span, 6.0):
        (left, top), (right, _) = eye(np.array([[x, half + 0.06], [x + 3.0, 0.0]]))
        dash = (round(left), round(top), round(right) - round(left), max(round(0.12 * eye.scale), 1))
        pygame.draw.rect(surface, style.PAINT, dash)


def _fog(surface: pygame.Surface, area: pygame.Rect, eye: Camera, frame: Frame, view: View) -> None:
    """Veil of what the fog hides of a place."""
    width, height = area.width // COARSE + 1, area.height // COARSE + 1
    x = eye.left + (np.arange(width) + 0.5) * COARSE / eye.scale
    y = eye.top - (np.arange(height) + 0.5) * COARSE / eye.scale
    veil = pygame.Surface((width, height), pygame.SRCALPHA, 32)
    veil.fill((*style.FOG, 0))
    pygame.surfarray.pixels_alpha(veil)[...] = np.round(215.0 * hidden(frame, view, x, y))
    surface.blit(pygame.transform.smoothscale(veil, (width * COARSE, height * COARSE)), area)


def _truth(surface: pygame.Surface, area: pygame.Rect, eye: Camera, frame: Frame) -> None:
    """Outlines, and what each object is: below it, or above it."""
    for track in np.flatnonzero(frame.track_id >= 0):
        length, width = np.maximum(frame.truth_size[track, :2], 0.1)
        outline = corners(frame.truth_position[track], length, width, float(frame.truth_yaw[track]))

        def paint(large: pygame.Surface, corner: tuple[int, int], outline: np.ndarray = outline) -> None:
            pygame.draw.lines(large, style.TRUTH, True, eye.twice(corner)(outline).tolist(), 5)

        style.smooth(surface, box(eye(outline)), paint)
        reach = 0.5 * float(np.hypot(length, width)) + 0.6
        low, high = eye(frame.truth_position[track] + np.array([[0.0, -reach], [0.0, reach]]))
        number = f"{track + 1} " if several(frame) else ""
        name = f"{number}truth: {KINDS[int(frame.truth_class[track])]}"
        below = low[1] < area.bottom - 36 and track % 2 == 0  # of neighbours one below, one above
        at, anchor = (low, "midtop") if below else (high, "midbottom")
        style.write(surface, name, at, 12, style.TRUTH, True, anchor, halo=True)


def _ego(surface: pygame.Surface, eye: Camera, frame: Frame, view: View) -> None:
    length, width, yaw = view.ego_length, view.ego_width, float(frame.ego_pose[2])
    # A superellipse, |2x/length|^6 + |2y/width|^6 = 1: a box with round corners.
    round_box = 0.5 * np.array([length, width]) * np.sign(CIRCLE) * np.abs(CIRCLE) ** (1.0 / 3.0)
    body = frame.ego_pose[:2] + (round_box - (0.5 * length, 0.0)) @ rotation(yaw).T

    def paint(large: pygame.Surface, corner: tuple[int, int]) -> None:
        twice = eye.twice(corner)
        pygame.draw.polygon(large, style.EGO, twice(body).tolist())
        for back, front, across in ((0.10, 0.20, 0.78), (0.50, 0.66, 0.80)):  # windows, in shares from the rear
            centre = frame.ego_pose[:2] + rotation(yaw) @ (0.5 * (back + front - 2.0) * length, 0.0)
            window = corners(centre, (front - back) * length, across * width, yaw)
            pygame.draw.polygon(large, style.GLASS, twice(window).tolist())
        for side in (-0.36, 0.36):
            lamp = frame.ego_pose[:2] + rotation(yaw) @ (-0.12, side * width)
            pygame.draw.circle(large, style.YELLOW, twice(lamp).tolist(), 0.13 * twice.scale)

    style.smooth(surface, box(eye(body)), paint)


def _ruler(surface: pygame.Surface, area: pygame.Rect, eye: Camera, frame: Frame, view: View) -> None:
    """Distances ahead of ego's front along the lower edge."""
    every = next((m for m in EVERY if m * eye.scale >= 60), EVERY[-1])
    front = float(frame.ego_pose[0])
    for metres in np.arange(every, eye.left + view.span - front, every):
        x = eye(np.array([front + metres, 0.0]))[0]
        pygame.draw.line(surface, style.MUTED, (x, area.bottom - 6), (x, area.bottom))
        style.write(surface, f"{metres:g} m", (x, area.bottom - 8), 11, style.MUTED, anchor="midbottom")


def draw_legend(surface: pygame.Surface, area: pygame.Rect, view: View, keys: tuple[str, ...] = OVERLAYS) -> None:
    """What the marks mean, and the keys of the overlays that there are."""
    pygame.draw.rect(surface, style.STRIP, area)
    x, y = area.x + 16, area.centery
    if "lidar" in view.overlays:
        known = [(ECHO_COLOURS[label], words) for label, words in LEGEND]
        for colour, words in [(WEAK, "weak echo"), (STRONG, "strong echo")] if "power" in view.overlays else known:
            pygame.draw.rect(surface, colour, (x, y - 3, 7, 7))
            x = style.write(surface, words, (x + 12, y), 11, style.MUTED, anchor="midleft").right + 16
    x = area.right - 16
    x = style.write(surface, "H help", (x, y), 11, style.TEXT, anchor="midright").left - 14
    for key, name in reversed(list(enumerate(keys, 1))):
        colour = style.TEXT if name in view.overlays else style.FAINT
        x = style.write(surface, f"{key} {name}", (x, y), 11, colour, anchor="midright").left - 12
