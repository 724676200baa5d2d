"""Where things of the world lie on the map; x runs right, y up."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pygame

from filters.spec import Array
from fogsim.frame import Frame
from fogsim.viewer.view import View

BEHIND = 6.5 / 48.0  # share of the map's width that lies behind ego's front
MIDDLE = 0.8 / 48.0  # world y at the map's middle, as a share of its span: the nearer, the more in the lane
CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 64)), np.sin(np.linspace(0, 2 * np.pi, 64))], axis=1)


class Camera(NamedTuple):
    """World to pixels of the picture: pixel = (x0 + scale (x - left), y0 + scale (top - y))."""

    left: float
    top: float
    scale: float
    x0: float = 0.0
    y0: float = 0.0

    def __call__(self, points: Array) -> Array:
        """Pixels (n, 2) of world points (n, 2)."""
        at = (np.asarray(points, dtype=float) - (self.left, self.top)) * (self.scale, -self.scale)
        return np.asarray(at + np.array([self.x0, self.y0]))

    def twice(self, corner: tuple[int, int]) -> Camera:
        """Onto a picture twice as large, whose corner shows the pixel `corner` of this one."""
        x0, y0 = 2.0 * (self.x0 - corner[0]), 2.0 * (self.y0 - corner[1])
        return Camera(self.left, self.top, 2.0 * self.scale, x0, y0)


def camera(frame: Frame, view: View, area: pygame.Rect) -> Camera:
    """The camera of a map: it follows ego, `BEHIND` from the left edge, or stays where the view says."""
    scale = area.width / view.span
    left = view.left if np.isfinite(view.left) else following(frame, view)
    return Camera(left, MIDDLE * view.span + 0.5 * area.height / scale, scale, area.x, area.y)


def following(frame: Frame, view: View) -> float:
    """World x at the left edge of a map that follows ego."""
    return float(frame.ego_pose[0]) - BEHIND * view.span


def rotation(yaw: float) -> Array:
    """The matrix that turns by `yaw`."""
    return np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])


def to_world(frame: Frame, points: Array) -> Array:
    """Points (n, 2) of the odometry frame in the world: the rigid motion that takes `odometry` to `ego_pose`."""
    turn = rotation(float(frame.ego_pose[2] - frame.odometry[2]))
    return np.asarray(frame.ego_pose[:2] + (np.asarray(points, dtype=float) - frame.odometry[:2]) @ turn.T)


def corners(centre: Array, length: float, width: float, yaw: float) -> Array:
    """Corners (4, 2) of a rectangle."""
    half = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * (0.5 * length, 0.5 * width)
    return np.asarray(centre + half @ rotation(yaw).T)


def box(pixels: Array, margin: int = 4) -> pygame.Rect:
    """The rectangle about pixels (n, 2), a margin wider; of what lies far off the picture, a part."""
    low, high = np.clip([pixels.min(axis=0), pixels.max(axis=0)], -1e4, 1e4)
    left, top = np.floor(low).astype(int) - margin
    right, bottom = np.ceil(high).astype(int) + margin
    return pygame.Rect(int(left), int(top), int(right - left), int(bottom - top))
