"""The slow twin of one beam's density in the mode "strongest" (README, "The model"), over many stops and fogs at once.

In NumPy from the equations: neither tables nor kernels of the filters' are used. `tests/reference.py` has the same one
number at a time, and checks it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from filters.models.optics import POWER_CEILING, POWER_LIMIT, STRAY, Optics
from tests.reference import C, composite

Array = NDArray[np.float64]
PEAK = 0.01  # m, between the ranges at which the fog's return is sought


class Fogs(NamedTuple):
    """Even fogs (V,): extinction, ln median of an echo's range, and P_soft (V, R) before a stop at R · PEAK."""

    alpha: Array
    log_median: Array
    soft: Array

    def before(self, stop: Array) -> Array:
        """P_soft (n, V) before stops (n, 1), linear in between."""
        place = np.minimum(stop[:, 0] / PEAK, self.soft.shape[1] - 1.000001)
        j = place.astype(int)
        share = (place - j)[:, None]
        return np.asarray((1.0 - share) * self.soft[:, j].T + share * self.soft[:, j + 1].T)


def fogs_of(optics: Optics, v: Array) -> Fogs:
    """P_soft = A alpha/ratio (c/2) max_{R < stop} I(R), I(R) = ∫ sin²(pi t / 2 tau) exp(-2 alpha r) xi(r)/r² dt."""
    alpha, (near, full), length = np.log(20.0) / np.exp(v), optics.overlap, C * optics.pulse
    at = PEAK * np.arange(1, round((full + length) / PEAK) + 2)
    u, w = composite(np.linspace(0.0, 1.0, 5), 8)
    last = np.clip((at - near) / length, 0.0, 1.0)[:, None]
    r = at[:, None] - length * last * u
    xi = np.clip((r - near) / (full - near), 0.0, 1.0)
    lit = 2.0 * optics.pulse * last * w * np.sin(np.pi * last * u) ** 2 * xi / r**2
    received = np.array([(lit * np.exp(-2.0 * k * r)).sum(axis=1) for k in alpha])
    top, every = np.clip(received.argmax(axis=1), 1, len(at) - 2), np.arange(len(alpha))
    a, b, c = (received[every, top + k] for k in (-1, 0, 1))
    median = np.maximum(at[top] + 0.5 * PEAK * (a - c) / (a - 2.0 * b + c) - 0.5 * length, near)  # of a parabola
    soft = (optics.gain * alpha / optics.lidar_ratio * 0.5 * C)[:, None] * np.maximum.accumulate(received, axis=1)
    return Fogs(alpha, np.log(median), np.insert(np.minimum(soft, POWER_LIMIT), 0, 0.0, axis=1))


class Stops(NamedTuple):
    """n surfaces that may stop one beam: range (inf: none), cosine of incidence (n,), and what they are made of."""

    range: Array
    cosine: Array
    reflectance: float
    roughness: float
    texture: float


def log_density(optics: Optics, fogs: Fogs, r: float, p: float, stops: Stops) -> Array:
    """ln p(echo | stop, v) (n, V) of one beam's strongest echo (r, p), p = 0 where it has none."""
    (near, full), (low, high), spread = optics.overlap, optics.range_limits, optics.fog_spread
    at = stops.range[:, None]
    there, foggy = at < high, at > near
    some = np.where(there, at, 1.0)
    xi = np.clip((some - near) / (full - near), 0.0, 1.0)
    lit = optics.gain * stops.reflectance / np.pi * stops.cosine[:, None] * xi / some**2
    hard = np.minimum(lit * np.exp(-2.0 * fogs.alpha * some), POWER_LIMIT)
    s, soft = np.hypot(1.0, stops.texture * hard), fogs.before(at)
    limit = p if p > 0.0 else optics.threshold
    missed_hard = np.where(there, ndtr((limit - hard) / s), 1.0)
    missed_soft = np.where(foggy, ndtr(limit - soft), 1.0)
    missed_noise = ndtr(limit)
    if p <= 0.0:
        sound, glitch = missed_noise * missed_hard * missed_soft, 1.0
    else:
        sigma = np.hypot(stops.roughness, optics.range_noise * np.sqrt(optics.threshold / p))
        of_hard = np.where(there, normal(p, hard, s) * normal(r, some, sigma), 0.0)
        begin, end = ndtr((np.log([[near]]) - fogs.log_median) / spread), np.log(np.maximum(at, near * 1.000001))
        mass = ndtr((end - fogs.log_median) / spread) - begin
        inside = foggy & (near <= r) & (r < at)
        of_soft = np.where(inside, normal(p, soft, 1.0) * normal(np.log(r), fogs.log_median, spread) / r / mass, 0.0)
        of_noise = normal(p, 0.0, 1.0) * (low <= r <= high) / (high - low)
        sound = of_hard * missed_noise * missed_soft + of_soft * missed_noise * missed_hard
        sound = sound + of_noise * missed_soft * missed_hard
        able = low <= r <= high + STRAY and p <= POWER_CEILING
        glitch = able / ((high + STRAY - low) * (POWER_CEILING - optics.threshold))
    return np.asarray(np.log((1.0 - optics.glitch) * sound + 0.5 * optics.glitch * glitch))


def normal(x: Array | float, mean: Array | float, deviation: Array | float) -> Array:
    """N(x; mean, deviation²)."""
    z = (x - mean) / deviation
    return np.asarray(np.exp(-0.5 * z * z) / (np.sqrt(2.0 * np.pi) * deviation))
