"""What shape of an object is heard: the front and side of a barrier, the disc of a bag, arrays (n,) over n states.

State: x, y, vx, vy (odometry frame), width, top, ln reflectance, ln roughness, fill, two offsets, of the powers' spread
and of the bulge, and how far a barrier is turned away from the line of sight.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from filters.models.detection import CLEARANCE, heard
from filters.models.model import Model
from filters.spec import BARRIER, Array

X, Y, VX, VY, WIDTH, TOP, REFLECTANCE, ROUGHNESS, FILL, SPREAD, BULGE, TURN = STATE = range(12)
LEAST_WIDTH = 0.1  # m: a Gaussian's tail may say less
CENTRE = 0.35  # of a ball's width its echoes lie before its centre: 2/3 of the radius, .7 where only u > 1/4 are heard


class Surface(NamedTuple):
    """What is heard of an object, arrays (n,): its power facing the sensor, the level, the share of beams heard."""

    power: Array
    least: Array
    variance: Array
    share: Array


class Outline(NamedTuple):
    """What shape the heard part has, arrays (n,), m; mean and deviation of ln u over it, u the cosine of incidence."""

    width: Array
    top: Array
    bulge: Array
    roughness: Array
    log_cosine: Array
    uneven: Array


def corners() -> tuple[Array, Array, Array]:
    """Bulge and roughness of a front with a side of unit depth on a share of its width, by least squares."""
    shares, t = np.linspace(0.0, 0.5, 26), np.linspace(-1.0, 1.0, 401)
    design = np.stack([np.ones_like(t), t, t**2], axis=1)
    ramps = np.stack([np.maximum(t - (1.0 - 2.0 * s), 0.0) / max(2.0 * s, 1e-9) for s in shares], axis=1)
    fit = np.linalg.lstsq(design, ramps, rcond=None)[0]
    return shares, fit[2], np.sqrt(np.mean((ramps - design @ fit) ** 2, axis=0))


CORNER_SHARE, CORNER_BULGE, CORNER_ROUGHNESS = corners()


def setback(model: Model, klass: int, width: Array) -> Array:
    """How far an object's echoes lie before its centre on average, m."""
    return np.full_like(width, 0.5 * model.barrier.depth) if klass == BARRIER else CENTRE * width


def turn(x: Array) -> Array:
    """Angle between a barrier's front and the line of sight's normal, rad: ln tan is finite, and no end leads."""
    return np.clip(np.abs(x[:, TURN]), 0.02, 0.8)


def front(model: Model, height: float, distance: Array, x: Array, surface: Surface) -> Outline:
    """Of a barrier: its front, and so much of its side as is heard, which makes a corner."""
    angle, depth, width = turn(x), model.barrier.depth, np.maximum(x[:, WIDTH], LEAST_WIDTH)
    side = heard(surface.power * np.sin(angle), model.barrier.texture, surface.least, surface.variance)
    side = side * depth * np.sin(angle)
    wide = width * np.cos(angle) + side
    share = np.minimum(side / wide, 0.5)
    bulge, rough = (depth * np.cos(angle) * np.interp(share, CORNER_SHARE, c) for c in (CORNER_BULGE, CORNER_ROUGHNESS))
    fainter = np.log(np.tan(angle))
    return Outline(
        wide,
        x[:, TOP],
        bulge,
        rough,
        np.log(np.cos(angle)) + share * fainter,
        np.sqrt(share * (1.0 - share)) * np.abs(fainter),
    )


def ball(model: Model, height: float, distance: Array, x: Array, surface: Surface) -> Outline:
    """Of a bag: the disc in which u exceeds that at the rim, as wide as the widest chord that a ring cuts.

    No chord is taken to be shorter than .6 radii, whatever the rings: a cluster has three echoes.
    """
    radius = 0.5 * np.maximum(x[:, WIDTH], LEAST_WIDTH)
    edge = rim(surface.power, surface.least)
    disc = (1.0 - edge**2) * radius**2
    z = height + distance[:, None] * np.tan(np.array(model.elevation))
    off = np.where(z > CLEARANCE, np.abs(z - radius[:, None]), np.inf).min(axis=1)
    half = np.sqrt(np.maximum(disc - off**2, (0.3 * radius) ** 2))
    bulge = radius - np.sqrt(radius**2 - np.minimum(half, 0.95 * radius) ** 2)
    cosine, variance = log_cosine(edge)
    top = radius + np.sqrt(disc)
    return Outline(2.0 * half, top, bulge, np.zeros_like(bulge), cosine, np.sqrt(variance))


def rim(power: Array, least: Array) -> Array:
    """Cosine of incidence at which a ball's echoes drown in the level: a disc is left, and its edge."""
    return np.clip(least / power, 0.05, 0.95)


def log_cosine(edge: Array) -> tuple[Array, Array]:
    """Mean and variance of ln u over a ball's disc where u > edge; the density of u is 2u."""
    rest, log_edge = 1.0 - edge**2, np.log(edge)
    mean = -0.5 - edge**2 * log_edge / rest
    square = (0.5 - edge**2 * (log_edge**2 - log_edge + 0.5)) / rest
    return mean, np.maximum(square - mean**2, 0.0)
