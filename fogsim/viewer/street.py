"""The map: the street from above, travelling with ego; world x runs right, y up."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pygame

from filters.spec import Array
from fogsim.frame import KINDS, POWER_UNIT, RANGE_UNIT, Frame
from fogsim.viewer import style
from fogsim.viewer.veil import hidden
from fogsim.viewer.view import OVERLAYS, View, several

NOISE, FOG, GROUND, STRUCTURE, OBJECT = 1, 2, 4, 5, 6  # labels; 3 marks an echo that is lost
NONE = (0, 0, 0)
ECHO_COLOURS = (NONE, (122, 104, 128), (158, 168, 186), NONE, (44, 96, 140), style.BLUE, style.YELLOW)  # by label
LEGEND = ((FOG, "fog echo"), (GROUND, "ground echo"), (STRUCTURE, "map echo"), (OBJECT, "object echo"))
SPAN, BEHIND, MIDDLE = 48.0, 6.5, 1.15  # m of road shown, of it behind ego's front; world y at the map's middle
STRIP = 24  # px of the legend
RADIUS_95 = 2.4477  # sqrt(chi2.ppf(.95, 2)): radius of a 95 % ellipse in standard deviations
CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 64)), np.sin(np.linspace(0, 2 * np.pi, 64))], axis=1)


class Camera(NamedTuple):
    """World to pixels of one surface: pixel = scale (x - left, top - y)."""

    left: float
    top: float
    scale: float

    def __call__(self, points: Array) -> Array:
        """Pixels (n, 2) of world points (n, 2)."""
        return (np.asarray(points, dtype=float) - (self.left, self.top)) * (self.scale, -self.scale)


def camera(frame: Frame, size: tuple[int, int]) -> Camera:
    """The camera over a map of `size` pixels: ego's front stands `BEHIND` m from its left edge."""
    scale = size[0] / SPAN
    return Camera(float(frame.ego_pose[0]) - BEHIND, MIDDLE + 0.5 * size[1] / scale, scale)


def rotation(yaw: float) -> Array:
    """The matrix that turns by `yaw`."""
    return np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])


def to_world(frame: Frame, points: Array) -> Array:
    """Points (n, 2) of the odometry frame in the world: the rigid motion that takes `odometry` to `ego_pose`."""
    turn = rotation(float(frame.ego_pose[2] - frame.odometry[2]))
    return frame.ego_pose[:2] + (np.asarray(points, dtype=float) - frame.odometry[:2]) @ turn.T


def echoes(frame: Frame, view: View) -> tuple[Array, Array, np.ndarray]:
    """World positions (n, 2), powers (n,) in noise and labels (n,) of the echoes; none where no scan is kept."""
    ring, column, echo = np.nonzero(frame.range)
    if not ring.size or ring.max() >= view.elevation.size or column.max() >= view.azimuth.size:
        return np.empty((0, 2)), np.empty(0), np.empty(0, int)
    distance = frame.range[ring, column, echo] * RANGE_UNIT
    up, bearing = view.elevation[ring], view.azimuth[column]
    beam = np.stack([np.cos(up) * np.cos(bearing), np.cos(up) * np.sin(bearing), np.sin(up)], axis=1)
    on_ego = view.mount + distance[:, None] * beam @ view.attitude.T
    points = frame.ego_pose[:2] + on_ego @ rotation(float(frame.ego_pose[2])).T
    return points, frame.power[ring, column, echo] * POWER_UNIT, frame.label[ring, column, echo].astype(int)


def draw_street(surface: pygame.Surface, area: pygame.Rect, frame: Frame, view: View) -> None:
    """The map with the overlays that `view` shows."""
    style.smooth(surface, area, lambda large: _paint(large, frame, view))
    eye = camera(frame, area.size)
    clip = surface.get_clip()
    surface.set_clip(area)
    _ruler(surface, area, frame, eye)
    if "truth" in view.overlays:
        _truth_names(surface, area, frame, eye)
    _legend(surface, area, view)
    surface.set_clip(clip)


def _paint(large: pygame.Surface, frame: Frame, view: View) -> None:
    eye = camera(frame, large.get_size())
    _road(large, eye, view)
    if "fog" in view.overlays:
        _fog(large, eye, frame, view)
    if "lidar" in view.overlays:
        _echo_dots(large, eye, frame, view)
    _beliefs(large, eye, frame, view)
    if "truth" in view.overlays:
        _truth(large, eye, frame)
    _ego(large, eye, frame, view)


def _road(large: pygame.Surface, eye: Camera, view: View) -> None:
    width, half = large.get_width(), view.lane_width / 2.0
    far_side = 3.0 * half

    def row(y: float) -> float:
        return float(eye(np.array([0.0, y]))[1])

    large.fill(style.VERGE)
    pygame.draw.rect(large, style.ASPHALT, (0, row(far_side), width, row(view.kerb_y) - row(far_side)))
    pygame.draw.rect(large, (92, 98, 108), (0, row(view.kerb_y), width, 0.18 * eye.scale))
    for y in (far_side, -half):
        pygame.draw.rect(large, style.mix(style.ASPHALT, style.PAINT, 0.6), (0, row(y + 0.06), width, 0.12 * eye.scale))
    first = np.floor(eye.left / 6.0) * 6.0  # dashes of 3 m, fixed to the road
    for x in np.arange(first, eye.left + SPAN, 6.0):
        left, top = eye(np.array([x, half + 0.06]))
        pygame.draw.rect(large, style.PAINT, (left, top, 3.0 * eye.scale, 0.12 * eye.scale))


def _fog(large: pygame.Surface, eye: Camera, frame: Frame, view: View) -> None:
    """Veil of what the fog hides of a place."""
    coarse = 8
    width, height = large.get_width() // coarse + 1, large.get_height() // coarse + 1
    x = eye.left + (np.arange(width) + 0.5) * coarse / eye.scale
    y = eye.top - (np.arange(height) + 0.5) * coarse / eye.scale
    veil = pygame.Surface((width, height), pygame.SRCALPHA)
    veil.fill((*style.FOG, 0))
    pygame.surfarray.pixels_alpha(veil)[...] = np.round(215.0 * hidden(frame, view, x, y))
    large.blit(pygame.transform.smoothscale(veil, (width * coarse, height * coarse)), (0, 0))


def _dots(large: pygame.Surface, pixels: Array, colours: np.ndarray, radius: int) -> None:
    """Square dots of 2 radius + 1 pixels, all at once."""
    width, height = large.get_size()
    at = np.round(pixels).astype(int)
    inside = (at >= radius).all(axis=1) & (at[:, 0] < width - radius) & (at[:, 1] < height - radius)
    at, colours = at[inside], np.broadcast_to(colours, (len(pixels), 3))[inside]
    canvas = pygame.surfarray.pixels3d(large)
    for dx in range(-radius, radius + 1):
        for dy in range(-radius, radius + 1):
            canvas[at[:, 0] + dx, at[:, 1] + dy] = colours


def _echo_dots(large: pygame.Surface, eye: Camera, frame: Frame, view: View) -> None:
    points, power, label = echoes(frame, view)
    pixels = eye(points)
    if "power" in view.overlays:
        level = np.clip(np.log(np.maximum(power, 1.0)) / np.log(300.0), 0.0, 1.0)[:, None]  # nearly black to yellow
        _dots(large, pixels, np.round((1 - level) * (70, 50, 110) + level * style.YELLOW).astype(int), 2)
        return
    colours = np.array(ECHO_COLOURS)[np.minimum(label, OBJECT)]
    for kind, radius in ((NOISE, 1), (FOG, 1), (GROUND, 1), (STRUCTURE, 2), (OBJECT, 4)):  # the object's on top
        chosen = np.minimum(label, OBJECT) == kind
        _dots(large, pixels[chosen], colours[chosen], radius)


def _beliefs(large: pygame.Surface, eye: Camera, frame: Frame, view: View) -> None:
    turn = rotation(float(frame.ego_pose[2] - frame.odometry[2]))
    for b in range(len(view.beliefs)):
        colour = style.belief_colour(view.beliefs, b)
        for track in np.flatnonzero(frame.track_id >= 0):
            points = frame.points[b, track] if frame.points.size else np.empty((0, 2))
            points = points[np.isfinite(points).all(axis=1)]
            if "particles" in view.overlays:
                _dots(large, eye(to_world(frame, points)), np.array(style.mix(colour, style.FOG, 0.25)), 1)
            mean, covariance = frame.position_mean[b, track], frame.position_covariance[b, track]
            if "ellipses" in view.overlays and np.isfinite(mean).all() and np.isfinite(covariance).all():
                values, vectors = np.linalg.eigh(turn @ covariance @ turn.T)
                outline = RADIUS_95 * CIRCLE * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
                pixels = eye(to_world(frame, mean[None]) + outline)
                pygame.draw.lines(large, colour, True, pixels.tolist(), 5 if view.beliefs[b] == view.driver else 3)


def corners(centre: Array, length: float, width: float, yaw: float) -> Array:
    """Corners (4, 2) of a rectangle."""
    half = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * (0.5 * length, 0.5 * width)
    return centre + half @ rotation(yaw).T


def _truth(large: pygame.Surface, eye: Camera, frame: Frame) -> None:
    for track in np.flatnonzero(frame.track_id >= 0):
        length, width = np.maximum(frame.truth_size[track, :2], 0.1)
        outline = corners(frame.truth_position[track], length, width, float(frame.truth_yaw[track]))
        pygame.draw.lines(large, style.TRUTH, True, eye(outline).tolist(), 5)


def _truth_names(surface: pygame.Surface, area: pygame.Rect, frame: Frame, eye: Camera) -> None:
    """What each object is, below it; above it where there is no room below."""
    for track in np.flatnonzero(frame.track_id >= 0):
        reach = 0.5 * float(np.hypot(*frame.truth_size[track, :2])) + 0.6
        low, high = eye(frame.truth_position[track] + np.array([[0.0, -reach], [0.0, reach]]))
        number = f"{track + 1} " if several(frame) else ""
        name = f"{number}truth: {KINDS[int(frame.truth_class[track])]}"
        (x, y), anchor = (low, "midtop") if low[1] < area.height - 36 else (high, "midbottom")
        style.write(surface, name, (area.x + x, area.y + y), 12, style.TRUTH, True, anchor, halo=True)


def _ego(large: pygame.Surface, eye: Camera, frame: Frame, view: View) -> None:
    length, width, yaw = view.ego_length, view.ego_width, float(frame.ego_pose[2])

    # A superellipse, |2x/length|^6 + |2y/width|^6 = 1: a box with round corners.
    body = 0.5 * np.array([length, width]) * np.sign(CIRCLE) * np.abs(CIRCLE) ** (1.0 / 3.0)
    pygame.draw.polygon(
        large, style.EGO, eye(frame.ego_pose[:2] + (body - (0.5 * length, 0.0)) @ rotation(yaw).T).tolist()
    )

    def part(back: float, front: float, across: float, colour: style.Colour) -> None:
        """A rectangle of the car; `back` and `front` are shares of its length, measured from the rear."""
        centre = frame.ego_pose[:2] + rotation(yaw) @ (0.5 * (back + front - 2.0) * length, 0.0)
        shape = corners(centre, (front - back) * length, across * width, yaw)
        pygame.draw.polygon(large, colour, eye(shape).tolist())

    part(0.10, 0.20, 0.78, style.GLASS)
    part(0.50, 0.66, 0.80, style.GLASS)
    for side in (-0.36, 0.36):
        lamp = frame.ego_pose[:2] + rotation(yaw) @ (-0.12, side * width)
        pygame.draw.circle(large, style.YELLOW, eye(lamp).tolist(), 0.13 * eye.scale)


def _ruler(surface: pygame.Surface, area: pygame.Rect, frame: Frame, eye: Camera) -> None:
    """Distances ahead of ego's front along the lower edge."""
    for metres in range(5, int(SPAN - BEHIND) + 1, 5):
        x = area.x + float(eye(frame.ego_pose[:2] + np.array([metres, 0.0]))[0])
        tall = 8 if metres % 10 == 0 else 4
        pygame.draw.line(surface, style.MUTED, (x, area.bottom - tall), (x, area.bottom))
        if metres % 10 == 0:
            style.write(surface, f"{metres} m", (x, area.bottom - 10), 11, style.MUTED, anchor="midbottom")


def _legend(surface: pygame.Surface, area: pygame.Rect, view: View) -> None:
    """What the marks mean, and the overlay keys, on a strip along the upper edge."""
    pygame.draw.rect(surface, style.STRIP, (area.x, area.y, area.width, STRIP))
    x, y = area.x + 16, area.y + STRIP // 2
    if "lidar" in view.overlays and "power" not in view.overlays:
        for label, words in LEGEND:
            pygame.draw.rect(surface, ECHO_COLOURS[label], (x, y - 3, 7, 7))
            x = style.write(surface, words, (x + 12, y), 11, style.MUTED, anchor="midleft").right + 16
    x = area.right - 16
    for key, name in reversed(list(enumerate(OVERLAYS, 1))):
        colour = style.TEXT if name in view.overlays else (92, 100, 114)
        x = style.write(surface, f"{key} {name}", (x, y), 11, colour, anchor="midright").left - 14
