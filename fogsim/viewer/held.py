"""What filters hold of the place of a candidate: particles, and ellipses of 95 %."""

from __future__ import annotations

import numpy as np
import pygame

from filters.spec import Array
from fogsim.frame import Frame
from fogsim.viewer import style
from fogsim.viewer.camera import CIRCLE, Camera, box, rotation, to_world
from fogsim.viewer.echoes import dots, packed
from fogsim.viewer.view import View

RADIUS_95 = 2.4477  # sqrt(chi2.ppf(.95, 2)): radius of a 95 % ellipse in standard deviations


def draw_particles(surface: pygame.Surface, area: pygame.Rect, eye: Camera, frame: Frame, view: View) -> None:
    """The points that beliefs are drawn by."""
    for b in view.shown:
        points = frame.points[b].reshape(-1, 2)
        points = points[np.isfinite(points[:, 0])]
        if len(points):
            colour = packed(np.array(style.mix(style.belief_colour(view.beliefs, b), style.FOG, 0.25)))
            dots(surface, area, eye(to_world(frame, points)), colour, 2)


def draw_ellipses(surface: pygame.Surface, eye: Camera, frame: Frame, view: View) -> None:
    """One of each belief and candidate, the driver's the strongest."""
    for track in np.flatnonzero(frame.track_id >= 0):
        found = [(b, ellipse(frame, b, track)) for b in view.shown]
        drawn = [(b, outline) for b, outline in found if np.isfinite(outline).all()]
        if not drawn:
            continue

        def paint(large: pygame.Surface, corner: tuple[int, int], drawn: list = drawn) -> None:
            for b, outline in drawn:
                width = 5 if view.beliefs[b] == view.driver else 3
                pixels = eye.twice(corner)(outline)
                pygame.draw.lines(large, style.belief_colour(view.beliefs, b), True, pixels.tolist(), width)

        style.smooth(surface, box(eye(np.concatenate([outline for _, outline in drawn]))), paint)


def ellipse(frame: Frame, belief: int, track: np.signedinteger) -> Array:
    """The outline (n, 2), in the world, within which a belief has a candidate with 95 %; NaN where it has none."""
    turn = rotation(float(frame.ego_pose[2] - frame.odometry[2]))
    mean, covariance = frame.position_mean[belief, track], frame.position_covariance[belief, track]
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        return np.full_like(CIRCLE, np.nan)
    values, vectors = np.linalg.eigh(turn @ covariance @ turn.T)
    offset = RADIUS_95 * CIRCLE * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    return np.asarray(to_world(frame, mean[None]) + offset)
