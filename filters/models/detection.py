"""How likely perception is to find a cluster: the chance of enough echoes from an object of a given look.

Where the sensor reports the strongest echo only, a surface must drown the fog's echo of its beam, not just the
receiver's threshold: in thick fog that, not the threshold, decides what is heard.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from filters.models.model import Model
from filters.models.optics import POWER_LIMIT, echo_table, extinction
from filters.spec import BARRIER, Array

FEWEST = 3  # echoes that make a cluster
NEIGHBOURS = 6  # of the beams beside an echo, two must agree with it
CLEARANCE = 0.08  # m: echoes lower than this are the road's
BALL = np.sqrt((np.arange(5) + 0.5) / 5.0)  # cosines of incidence on a ball: their squares are uniform over its disc
FAINTEST = 1e-3  # expected power below which a surface might as well not be there, in noise units
SQUARE = np.ones(1)  # and on a front that faces the sensor
AREA = np.pi / 4.0  # of a disc, as a share of the square about it


def hit_power(model: Model, distance: Array, log_reflectance: Array, log_visibility: float) -> Array:
    """P_hard = A (rho cos/pi) exp(-2 alpha R) xi / R², the cosine inside the reflectance."""
    optics = model.optics
    near, far = optics.overlap
    overlap = np.clip((distance - near) / (far - near), 0.0, 1.0)
    clear = optics.gain / np.pi * np.exp(log_reflectance) * overlap / distance**2
    dimmed = clear * np.exp(-2.0 * extinction(np.exp(log_visibility)) * distance)
    return np.asarray(np.clip(dimmed, FAINTEST, POWER_LIMIT))


def fog_peak(model: Model, distance: Array, log_visibility: float) -> Array:
    """P_soft = A beta S(alpha, R): the fog's own echo before a surface at R, in noise units."""
    table = echo_table(model.optics)
    place = float(np.log(extinction(np.exp(log_visibility))) - table.log_alpha_0) / table.log_alpha_step
    place = min(max(place, 0.0), len(table.soft) - 1.001)
    row, share = int(place), place - int(place)
    soft = (1.0 - share) * table.soft[row] + share * table.soft[row + 1]
    stops = (np.arange(len(soft)) + 1.0) * table.stop_step
    alpha = np.exp(table.log_alpha_0 + place * table.log_alpha_step)
    return np.asarray(alpha * table.beta_per_alpha * table.gain * np.interp(distance, stops, soft))


def level(model: Model, distance: Array, log_visibility: float) -> tuple[Array, Array]:
    """What a surface's power must exceed to be reported, and that level's variance: the fog's echo, or the threshold.

    Only in the mode "strongest" does the fog's echo stand in the way.
    """
    threshold = np.full(np.shape(distance), model.optics.threshold)
    if model.optics.mode != "strongest":
        return threshold, np.zeros_like(threshold)
    fog = fog_peak(model, distance, log_visibility)
    return np.maximum(threshold, fog), (fog > threshold).astype(float)


def heard(power: Array, texture: float, least: Array, variance: Array) -> Array:
    """P(p > b) of a surface's p ~ N(P, 1 + (k P)²) and a level b ~ N(least, variance)."""
    return np.asarray(ndtr((power - least) / np.sqrt(1.0 + variance + (texture * power) ** 2)))


def agreed(share: Array) -> Array:
    """P(two or more of the beams beside an echo are heard too), each with the given chance."""
    return 1.0 - (1.0 - share) ** NEIGHBOURS - NEIGHBOURS * share * (1.0 - share) ** (NEIGHBOURS - 1)


def expected_echoes(
    model: Model,
    klass: int,
    height: float,
    distance: Array,
    width: Array | float,
    top: Array,
    log_reflectance: Array,
    log_visibility: float,
) -> Array:
    """Beams that meet an object's front, times the chance that each is heard and two beside it too.

    `height` is the sensor's, m; `distance`, `top` and `log_reflectance` are arrays of one shape. A barrier's front is
    a rectangle that faces the sensor, its cosine inside the reflectance; a bag's a porous disc of a ball.
    """
    solid = klass == BARRIER
    cosines, area, fill = (SQUARE, 1.0, 1.0) if solid else (BALL, AREA, float(np.mean(model.bag.fill)))
    texture = model.barrier.texture if solid else model.bag.texture
    columns = width / (distance * model.azimuth_step)
    z = height + distance[..., None] * np.tan(np.array(model.elevation))
    rings = ((z > CLEARANCE) & (z < top[..., None])).sum(axis=-1)
    power = hit_power(model, distance, log_reflectance, log_visibility)[..., None] * cosines
    least, variance = level(model, distance, log_visibility)
    share = fill * heard(power, texture, least[..., None], variance[..., None])
    return np.asarray(area * columns * rings * (share * agreed(share)).mean(axis=-1))


def detection_probability(echoes: Array) -> Array:
    """P(at least FEWEST) of a Poisson number of echoes."""
    return 1.0 - np.exp(-echoes) * (1.0 + echoes + 0.5 * echoes**2)
