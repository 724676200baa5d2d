"""What a cluster of echoes tells of its object: the measurement z = h(x) + N(0, R) of the Kalman banks.

The state x is that of `filters.models.outline`. Measurement z: range, bearing (from the cluster's own, so that it is 0
and has no seam), width, top, ln reflectance, ln roughness, fill, spread of ln power, bulge.

A beam is heard where its surface drowns the level b: the threshold, or the fog's echo (`detection.level`). On a ball
that is where the cosine of incidence u exceeds b / P, so far and faint balls look smaller, flatter and brighter than
they are. A turned barrier shows its side where that drowns the level too: the cluster then has a corner. Of n beams
heard with probability q the outermost lie (1 - q)/q steps inside the edge on either side.
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr, polygamma, psi

from filters.models.detection import agreed, heard, hit_power, level
from filters.models.model import Model
from filters.models.outline import (
    BULGE,
    FILL,
    REFLECTANCE,
    ROUGHNESS,
    SPREAD,
    WIDTH,
    Outline,
    Surface,
    X,
    Y,
    ball,
    front,
    log_cosine,
    rim,
    setback,
    turn,
)
from filters.spec import BARRIER, Array, Features

MEASURED = 9
RANGE, BEARING, SEEN_WIDTH, SEEN_TOP, SEEN_REFLECTANCE, SEEN_ROUGHNESS, SEEN_FILL, SEEN_SPREAD, SEEN_BULGE = range(9)
LEAST_SHARE = 0.15  # of beams heard: with fewer there is no cluster
PARABOLA = 11.25  # n var(c r²) / sigma² of a parabola's curvature term over n even points: 45/4


def measured(seen: Features, model: Model) -> Array:
    """The cluster as z (9,); the top lies half a ring above the highest echo on average."""
    away = seen.position - np.array([seen.pose.x, seen.pose.y])
    distance = float(np.hypot(*away))
    top = seen.top + 0.5 * ring_step(model, distance)
    rough = np.log(max(seen.roughness, 1e-3)) - log_chi(freedom(seen))[0]
    look = [seen.width, top, seen.log_reflectance, rough, seen.fill, seen.power_spread, seen.bulge]
    return np.array([distance, 0.0, *look])


def expected(model: Model, klass: int, seen: Features, x: Array) -> Array:
    """h(x): states (n, 12) -> measurements (n, 9)."""
    sensor = np.array([seen.pose.x, seen.pose.y])
    offset, aim = x[:, :2] - sensor, np.arctan2(*(seen.position - sensor)[::-1])
    distance = np.maximum(np.hypot(*offset.T), 1.0)
    step = distance * model.azimuth_step
    nearer = setback(model, klass, x[:, WIDTH])
    surface = surface_of(model, klass, seen, distance - nearer, x)
    outline = (front if klass == BARRIER else ball)(model, seen.pose.z, distance, x, surface)
    sure = np.maximum(surface.share * agreed(surface.share), LEAST_SHARE)
    ends = edge_share(model, seen)
    rough = np.exp(2.0 * x[:, ROUGHNESS]) + outline.roughness**2 + blur(model, seen) ** 2
    z = np.empty((len(x), MEASURED))
    z[:, RANGE] = distance - nearer
    z[:, BEARING] = wrap(np.arctan2(offset[:, 1], offset[:, 0]) - aim)
    z[:, SEEN_WIDTH] = np.maximum(outline.width - step * (2.0 / sure - 1.0), 2.0 * step)
    z[:, SEEN_TOP] = outline.top
    bright, spread = powers(model, klass, surface, outline)
    z[:, SEEN_REFLECTANCE] = x[:, REFLECTANCE] + bright
    z[:, SEEN_ROUGHNESS] = 0.5 * np.log(rough)
    z[:, SEEN_FILL] = ends + (1.0 - ends) * surface.share
    z[:, SEEN_SPREAD] = spread + x[:, SPREAD]
    z[:, SEEN_BULGE] = outline.bulge + x[:, BULGE]
    return z


def surface_of(model: Model, klass: int, seen: Features, distance: Array, x: Array) -> Surface:
    """What the sensor hears of objects x (n, 12)."""
    power = hit_power(model, distance, x[:, REFLECTANCE], seen.log_visibility)
    least, variance = level(model, distance, seen.log_visibility)
    facing = np.cos(turn(x)) if klass == BARRIER else np.exp(log_cosine(rim(power, least))[0])
    texture = (model.barrier if klass == BARRIER else model.bag).texture
    share = heard(power * facing, texture, least, variance)
    return Surface(power, least, variance, share * np.clip(x[:, FILL], 0.1, 1.0))


def powers(model: Model, klass: int, surface: Surface, outline: Outline) -> tuple[Array, Array]:
    """How much brighter the heard echoes are than ln reflectance, and the deviation of their ln power.

    Those that drown the fog are the stronger ones: p ~ N(P, s²) given p > b ~ N(least, variance) has the mean
    P + s²/S hazard((b - P)/S), S² = s² + variance.
    """
    power = surface.power * np.exp(outline.log_cosine)
    own = 1.0 + ((model.barrier if klass == BARRIER else model.bag).texture * power) ** 2
    total = np.sqrt(own + surface.variance)
    beta = np.clip((surface.least - power) / total, -30.0, 30.0)  # ln Φ and the square stay exact
    hazard = np.exp(-0.5 * beta**2 - log_ndtr(-beta)) / np.sqrt(2.0 * np.pi)
    mean = power + own / total * hazard
    variance = np.maximum(own * (1.0 - own / total**2 * hazard * (hazard - beta)), 0.1)  # far out it cancels
    return np.log(mean / surface.power), np.sqrt(variance / mean**2 + outline.uneven**2)


def noise(model: Model, klass: int, seen: Features, x: Array) -> Array:
    """R (9, 9), the white part of what a look at state x (12,) errs by; what lasts is in the prior of x.

    Each deviation is what few echoes or gaps make of it, and beside it a floor: what h leaves unexplained, as found
    side by side with simulated encounters (seeds 50000 to 50399; `tests/test_kalman_nis.py` checks it on others).
    """
    distance = np.array([max(float(np.hypot(x[X] - seen.pose.x, x[Y] - seen.pose.y)), 1.0)])
    count = max(float(np.expm1(seen.log_count)), 3.0)
    surface = surface_of(model, klass, seen, distance - setback(model, klass, x[None, WIDTH]), x[None])
    share = max(float(surface.share[0]), LEAST_SHARE)
    sure = max(share * float(agreed(np.array(share))), LEAST_SHARE)
    step = float(distance[0]) * model.azimuth_step
    edge = 1.5 * step * np.sqrt(2.0 * (1.0 - sure)) / sure  # two geometric gaps, half as much again: clusters break
    wide = np.hypot(0.05, edge)
    solid = klass == BARRIER
    rough = float(np.hypot((model.barrier if solid else model.bag).roughness, blur(model, seen)))
    uneven = 0.18 if solid else 0.4  # deviation of ln power between echoes: texture, on a ball also the incidence
    deviation = [
        0.04,
        np.hypot(0.04, 0.5 * edge) / distance[0],
        wide,
        0.03 + 0.3 * ring_step(model, float(distance[0])),  # the highest echo lies anywhere in its ring: 1 / sqrt(12)
        np.hypot(0.05, uneven / np.sqrt(count)),
        np.hypot(0.1, log_chi(freedom(seen))[1]),
        np.hypot(0.03, np.sqrt((1.0 - edge_share(model, seen)) * share * (1.0 - share) * seen.fill / count)),
        np.hypot(0.04, uneven / np.sqrt(2.0 * count)),
        np.hypot(0.02, rough * np.sqrt(PARABOLA / count)),
    ]
    return np.diag(np.square(deviation))


def edge_share(model: Model, seen: Features) -> float:
    """Share of the beams inside the outline that are its ends, which by definition echo."""
    columns = seen.width / (seen.distance * model.azimuth_step) + 1.0
    return min(2.0 / max(columns, 2.0), 1.0)


def blur(model: Model, seen: Features) -> float:
    """Range noise of the cluster's echoes, m: sigma sqrt(threshold / p)."""
    return model.optics.range_noise * float(np.sqrt(model.optics.threshold / np.exp(seen.log_power)))


def freedom(seen: Features) -> float:
    """Degrees of freedom of the roughness: echoes less a parabola's three."""
    return max(float(np.expm1(seen.log_count)) - 3.0, 0.5)


def log_chi(n: float) -> tuple[float, float]:
    """Mean and deviation of ln sqrt(chi²_n / n)."""
    return 0.5 * float(psi(0.5 * n) - np.log(0.5 * n)), 0.5 * float(np.sqrt(polygamma(1, 0.5 * n)))


def ring_step(model: Model, distance: float) -> float:
    """Height between two rings at a distance, m."""
    return distance * (model.elevation[1] - model.elevation[0])


def wrap(angle: Array) -> Array:
    """An angle in [-pi, pi)."""
    return (angle + np.pi) % (2.0 * np.pi) - np.pi
