"""How likely perception is to find a cluster: the chance of enough echoes from an object of a given look."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from filters.models.model import Model
from filters.models.optics import POWER_LIMIT, extinction
from filters.spec import Array

FEWEST = 3  # echoes that make a cluster
NEIGHBOURS = 6  # of the beams beside an echo, two must agree with it


def hit_power(model: Model, distance: Array, log_reflectance: Array, log_visibility: float) -> Array:
    """P_hard = A (rho cos/pi) exp(-2 alpha R) xi / R², the cosine inside the reflectance."""
    optics = model.optics
    near, far = optics.overlap
    overlap = np.clip((distance - near) / (far - near), 0.0, 1.0)
    clear = optics.gain / np.pi * np.exp(log_reflectance) * overlap / distance**2
    return np.minimum(clear * np.exp(-2.0 * extinction(np.exp(log_visibility)) * distance), POWER_LIMIT)


def expected_echoes(
    model: Model,
    height: float,
    distance: Array,
    width: float,
    top: Array,
    log_reflectance: Array,
    log_visibility: float,
) -> Array:
    """Beams that meet a front of width x top m, times the chance that each is heard and two beside it too.

    `height` is the sensor's, m; `distance`, `top` and `log_reflectance` are arrays of one shape.
    """
    columns = width / (distance * model.azimuth_step)
    level = height + distance[..., None] * np.tan(np.array(model.elevation))
    rings = ((level > 0.0) & (level < top[..., None])).sum(axis=-1)
    power = hit_power(model, distance, log_reflectance, log_visibility)
    spread = np.sqrt(1.0 + (model.barrier.texture * power) ** 2)
    heard = ndtr((power - model.optics.threshold) / spread)
    agreed = 1.0 - (1.0 - heard) ** NEIGHBOURS - NEIGHBOURS * heard * (1.0 - heard) ** (NEIGHBOURS - 1)
    return columns * rings * heard * agreed


def detection_probability(echoes: Array) -> Array:
    """P(at least FEWEST) of a Poisson number of echoes."""
    return 1.0 - np.exp(-echoes) * (1.0 + echoes + 0.5 * echoes**2)
