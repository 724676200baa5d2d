"""What fog makes of the echoes of a clear scan: the house's echo model, tabulated over range for one fog.

A point at range R with intensity rho (of full scale: reflectance times the cosine of incidence) came back in clear air
with power p0 = P = A rho/pi xi/R², its receiver's noise in it; where P is below the threshold, p0 ~ N(P, 1) above it,
for it was heard. In fog the strongest wins of

    surface   p = T² p0 + sqrt(1 - T⁴) z      T² = exp(-2 alpha R); p0 ~ N(P, 1) becomes the model's N(T² P, 1)
    fog       p = P_soft(alpha, R) + z        its range is drawn from the lognormal cut to (R1, R)
    noise     p = z                           its range is uniform

if it passes the threshold; else the point is lost. Fog's and noise's z stay below p0, or they had been the echo in
clear air already. A surface's range gets what noise it lacks, variance sigma_0² threshold (1/p - 1/p0). In clear air
(T = 1) all of that leaves every point as it was, to the last bit. Intensity is reflectance: of a surface it falls by
p/p0, and an echo of fog or noise looks like a surface of rho = pi p r² / A.

Source of the model: `filters.models.lidar_echo` and `filters.models.fog`.
"""

from __future__ import annotations

from functools import lru_cache
from math import pi, sqrt
from typing import NamedTuple

import numpy as np

from filters.jit import jit
from filters.models.fog import fog_at, fog_law, fog_power
from filters.models.lidar_echo import FOG, NOISE, REACH, STRUCTURE
from filters.models.lidar_scan import beams_until
from filters.models.normal import sample_tail
from filters.models.optics import POWER_LIMIT, STOP_STEP, EchoTable, Optics, echo_table

DARKEST = 0.05  # reflectance: what a sensor reports as darker is black paint or a slanting surface, and was seen
FARTHEST_STOP = 550.0  # m, end of the tables: the farthest point in a cube of 300 m
PER_METRE = 1.0 / STOP_STEP  # entries of the tables over range
QUANTILES = 4096
IN_TAIL = QUANTILES - 64  # from this one on they are too far apart to interpolate
BLOCK = 512  # points whose ranges fit the fastest cache
HALF, THIRD, QUARTER, FIFTH = 1 / 2, 1 / 3, 1 / 4, 1 / 5


class Receiver(NamedTuple):
    """The optics' scalars; apart from the tables, for numba counts references to arrays at every call."""

    near: float
    ramp: float  # 1/m, slope of xi
    gain: float
    threshold: float
    range_noise: float
    range_min: float
    range_max: float
    log_quiet: float


class FogTable(NamedTuple):
    """What one fog fixes for every point, over range in steps of `STOP_STEP`.

    soft: P_soft before a stop, as in the echo model linear between, saturated at the end. clear: exp(-2 alpha R).
    law: mass of the fog echo's uncut lognormal between R1 and R. quantile: ranges at equal steps of that mass.
    """

    receiver: Receiver
    alpha: float
    soft: np.ndarray
    clear: np.ndarray
    law: np.ndarray
    quantile: np.ndarray


@lru_cache(maxsize=16)
def fog_table(optics: Optics, alpha: float) -> FogTable:
    """Tabulate the echo model at one extinction, 1/m."""
    table = echo_table(optics)
    ranges = np.arange(0.0, FARTHEST_STOP, STOP_STEP)
    soft, law = tabulate(table, alpha, ranges)
    fine = np.geomspace(table.near, FARTHEST_STOP, 40 * QUANTILES)
    mass = np.linspace(0.0, law[-1], QUANTILES)
    receiver = Receiver(
        near=table.near,
        ramp=1.0 / (table.far - table.near),
        gain=table.gain,
        threshold=table.threshold,
        range_noise=table.range_noise,
        range_min=table.range_min,
        range_max=table.range_max,
        log_quiet=table.log_quiet,
    )
    return FogTable(
        receiver,
        alpha,
        soft=soft[: table.soft.shape[1] + 1],
        clear=np.exp(-2.0 * alpha * ranges),
        law=law,
        quantile=np.interp(mass, tabulate(table, alpha, fine)[1], fine),
    )


@jit
def tabulate(table: EchoTable, alpha: float, ranges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P_soft before stops at `ranges`, and the mass of the fog echo's uncut range law between R1 and them."""
    fog = fog_at(table, alpha)
    soft, law = np.zeros(ranges.size), np.zeros(ranges.size)
    for k in range(ranges.size):
        if ranges[k] > table.near:
            soft[k] = fog_power(table, fog, ranges[k])
            law[k] = fog_law(table, fog, ranges[k])
    return soft, law


@jit
def lay_fog(
    table: FogTable,
    points: np.ndarray,
    intensity: np.ndarray,
    full_scale: float,
    rng: np.random.Generator,
    moved: np.ndarray,
    faded: np.ndarray,
    label: np.ndarray,
    source: np.ndarray,
) -> int:
    """Write the scan in fog into the last four arrays; returns how many points it has."""
    lidar, soft, law, quantile = table.receiver, table.soft, table.law, table.quantile
    count, noisy = 0, beams_until(lidar.log_quiet, rng)
    distance, through, clear = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    for start in range(0, len(points), BLOCK):
        size = min(BLOCK, len(points) - start)
        part = slice(start, start + size)
        clear_echoes(table, points[part], intensity[part], full_scale, distance, through, clear)
        for i in range(size):
            j, r, before = start + i, distance[i], clear[i]
            if before < lidar.threshold:
                before += normal_above(lidar.threshold - before, rng)
            t = through[i]
            power, what = t * before + sqrt(1.0 - t * t) * rng.standard_normal(), STRUCTURE
            fogged = between(soft, r * PER_METRE)
            if fogged > 0.0 and fogged + REACH > power:
                fogged += normal_below(before, rng)
                power, what = (fogged, FOG) if fogged > power else (power, what)
            if j == noisy:
                noise = sample_tail(lidar.threshold, rng)
                power, what = (noise, NOISE) if power < noise < before else (power, what)
                noisy += 1 + beams_until(lidar.log_quiet, rng)
            if power < lidar.threshold:
                continue
            if what == STRUCTURE:
                at = r + range_lack(lidar, power, before) * rng.standard_normal()
                seen = intensity[j] * (power / before)
            else:
                u = rng.random()
                at = fog_range(law, quantile, r, u) if what == FOG else noise_range(lidar, u)
                seen = full_scale * pi / lidar.gain * power * at * at
            faded[count], label[count], source[count] = min(seen, full_scale), what, j
            shift = at / r
            for axis in range(3):
                moved[count, axis] = points[j, axis] * shift
            count += 1
    return count


@jit
def clear_echoes(
    table: FogTable,
    points: np.ndarray,
    intensity: np.ndarray,
    full_scale: float,
    distance: np.ndarray,
    through: np.ndarray,
    power: np.ndarray,
) -> None:
    """R, T² and P of some points: without branches, so that it becomes vector instructions.

    A point nearer than R1 was seen by other means, and well. T² is the table's at the nearest step times five terms of
    the series of what remains.
    """
    lidar, step = table.receiver, 2.0 * table.alpha
    scale, darkest = lidar.gain / pi / full_scale, DARKEST * full_scale
    for j in range(len(points)):
        x, y, z = points[j, 0], points[j, 1], points[j, 2]
        square = x * x + y * y + z * z
        r = sqrt(square)
        overlap = min((r - lidar.near) * lidar.ramp, 1.0)
        received = scale * max(intensity[j], darkest) * overlap / square
        power[j] = received if r > lidar.near else POWER_LIMIT
        k = np.int32(r * PER_METRE + HALF)
        d = step * (k * STOP_STEP - r)
        rest = 1.0 + d * (1.0 + d * HALF * (1.0 + d * THIRD * (1.0 + d * QUARTER * (1.0 + d * FIFTH))))
        through[j] = table.clear[k] * rest
        distance[j] = r


@jit
def range_lack(lidar: Receiver, power: float, before: float) -> float:
    """Standard deviation that a surface's range has at this power and lacks from the one before, m."""
    lack = lidar.threshold * (before - power) / (power * before)
    return lidar.range_noise * sqrt(lack) if lack > 0.0 else 0.0


@jit
def noise_range(lidar: Receiver, u: float) -> float:
    """Where a false alarm appears, m, of a uniform u."""
    return lidar.range_min + (lidar.range_max - lidar.range_min) * u


@jit
def fog_range(law: np.ndarray, quantile: np.ndarray, stop: float, u: float) -> float:
    """Where fog appears before a stop, m: the lognormal's distribution inverted at a uniform u."""
    mass = u * between(law, stop * PER_METRE)
    place = mass / law[law.size - 1] * (QUANTILES - 1.0)
    at = between(quantile, place) if place < IN_TAIL else inverse(law, mass)
    return min(at, stop)


@jit
def between(values: np.ndarray, place: float) -> float:
    """A table's value between two entries; beyond its end, that of the end."""
    k = int(place)
    if k >= values.size - 1:
        return values[values.size - 1]
    return values[k] + (place - k) * (values[k + 1] - values[k])


@jit
def inverse(law: np.ndarray, mass: float) -> float:
    """The range at which an ascending table over range passes a mass."""
    k = min(max(int(np.searchsorted(law, mass)), 1), law.size - 1)
    step = law[k] - law[k - 1]
    return (k - 1 + ((mass - law[k - 1]) / step if step > 0.0 else 0.0)) * STOP_STEP


@jit
def normal_above(limit: float, rng: np.random.Generator) -> float:
    """A standard normal that exceeds a limit >= 0."""
    if limit > 1.0:
        return sample_tail(limit, rng)
    z = abs(rng.standard_normal())
    while z <= limit:
        z = abs(rng.standard_normal())
    return z


@jit
def normal_below(limit: float, rng: np.random.Generator) -> float:
    """A standard normal below a limit that it rarely meets."""
    z = rng.standard_normal()
    while z >= limit:
        z = rng.standard_normal()
    return z
