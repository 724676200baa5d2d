"""The one model of a lidar echo in fog: `sample_*` draws what `log_density_*` scores.

A beam is stopped by one surface (or none). Its candidate echoes are the receiver's noise (power 0),
the fog in front of the stop, and the stop itself; candidate i has power p_i ~ N(P_i, s_i²) and a range
density g_i. In units of the receiver's noise s = 1 for noise and fog; a surface's texture k, the relative
spread of its reflectance from beam to beam, makes it s² = 1 + (k P)². With
F_j(x) = Φ((x - P_j) / s_j) what the sensor reports is

    strongest   L(r, p) = Σ_i N(p; P_i, s_i²) g_i(r | p) Π_{j≠i} F_j(p),  or nothing: Π_j F_j(threshold)
    all         the set of echoes: Σ over injective assignments of echoes to candidates,
                undetected candidates contribute F_j(threshold)

With a small probability e a beam's report is a glitch instead (a crossing lidar, an insect, a dropped
packet): half the time nothing, else m echoes uniform in range and power, m from 1 to as many as the mode
reports: L = (1 - e) L + e/2 [nothing] + e/2M m! U^m, which bounds what one beam can say.

Porous surfaces let a beam through with probability 1 - fill, which mixes the densities of its stops.
"""

from __future__ import annotations

from math import erfc, exp, inf, isinf, log, pi, sqrt
from typing import NamedTuple

import numpy as np

from filters.jit import jit
from filters.models.optics import POWER_CEILING, POWER_LIMIT, EchoTable

LOG_SQRT_2PI = 0.5 * log(2.0 * pi)
REACH = 12.0  # standard deviations of power beyond which a candidate cannot have made an echo
MAX_ECHOES = 3  # noise, fog, one surface
NOTHING, NOISE, FOG, SURFACE = 0, 1, 2, 3  # what an echo truly is; SURFACE + k is the k-th surface id


class Fog(NamedTuple):
    """What one extinction fixes for every beam.

    alpha and its place in the table, ln median range, saturated P_soft and ln F(threshold) of it, and
    the lognormal's mass below R1.
    """

    alpha: float
    row: int
    weight: float
    location: float
    power: float
    log_missed: float
    tail: float


class Stop(NamedTuple):
    """The surface that stops a beam: range (m, inf: none), P_hard (negative: none), its spread s, roughness (m)."""

    range: float
    power: float
    spread: float
    roughness: float


@jit
def log_cdf(x: float) -> float:
    """ln Φ(x), by the asymptotic series in the far tail."""
    if x > 7.0:
        return 0.0
    if x > -30.0:  # erfc is good to about -37
        return log(0.5 * erfc(-x / sqrt(2.0)))
    return -0.5 * x * x - LOG_SQRT_2PI - log(-x) + log(1.0 - 1.0 / (x * x) + 3.0 / x**4)


@jit
def log_add(a: float, b: float) -> float:
    """ln(e^a + e^b)."""
    top, gap = max(a, b), abs(a - b)
    return top + log(1.0 + exp(-gap)) if gap < 37.0 else top


@jit
def fog_at(table: EchoTable, alpha: float) -> Fog:
    """Look an extinction up in the table; beyond its ends the soft-target integral is that of the end."""
    rows = table.log_median.size
    place = (log(alpha) - table.log_alpha_0) / table.log_alpha_step
    place = min(max(place, 0.0), rows - 1.000001)
    row = int(place)
    weight = place - row
    location = (1.0 - weight) * table.log_median[row] + weight * table.log_median[row + 1]
    soft = (1.0 - weight) * table.soft[row, -1] + weight * table.soft[row + 1, -1]
    power = min(table.gain * alpha * table.beta_per_alpha * soft, POWER_LIMIT)
    tail = 0.5 * erfc(-(log(table.near) - location) / table.fog_spread / sqrt(2.0))
    return Fog(alpha, row, weight, location, power, log_cdf(table.threshold - power), tail)


@jit
def fog_power(table: EchoTable, fog: Fog, stop: float) -> float:
    """P_soft in front of a stop (m); negative where there is no room for fog to echo."""
    if stop <= table.near:
        return -1.0
    place = stop / table.stop_step - 1.0
    columns = table.soft.shape[1]
    if place >= columns - 1:
        return fog.power
    j = int(place)
    w = place - j
    low = (1.0 - w) * table.soft[fog.row, j] + w * table.soft[fog.row, j + 1]
    high = (1.0 - w) * table.soft[fog.row + 1, j] + w * table.soft[fog.row + 1, j + 1]
    soft = (1.0 - fog.weight) * low + fog.weight * high
    return min(table.gain * fog.alpha * table.beta_per_alpha * soft, POWER_LIMIT)


@jit
def hard_power(table: EchoTable, fog: Fog, distance: float, cosine: float, reflectance: float) -> float:
    """P_hard = A (rho/pi) cos(theta) T² xi / R², saturated; negative where there is no surface (inf)."""
    if isinf(distance):
        return -1.0
    overlap = min(max((distance - table.near) / (table.far - table.near), 0.0), 1.0)
    received = table.gain * reflectance / pi * cosine * overlap / (distance * distance)
    return min(received * exp(-2.0 * fog.alpha * distance), POWER_LIMIT)


@jit
def stop_at(
    table: EchoTable, fog: Fog, distance: float, cosine: float, reflectance: float, roughness: float, texture: float
) -> Stop:
    """A surface as a beam's stop; distance inf for a beam that meets nothing."""
    power = hard_power(table, fog, distance, cosine, reflectance)
    return Stop(distance, power, sqrt(1.0 + (texture * power) ** 2), roughness)


@jit
def log_fog_mass(table: EchoTable, fog: Fog, stop: float) -> float:
    """ln of the lognormal's mass between R1 and the stop: what the truncation divides by."""
    below = 1.0
    if not isinf(stop):
        below = 0.5 * erfc(-(log(stop) - fog.location) / table.fog_spread / sqrt(2.0))
    return log(max(below - fog.tail, 1e-300))


@jit
def log_range_noise(table: EchoTable, r: float) -> float:
    """ln g_0, uniform between the range limits."""
    inside = table.range_min <= r <= table.range_max
    return -log(table.range_max - table.range_min) if inside else -inf


@jit
def log_range_fog(table: EchoTable, fog: Fog, r: float, stop: float, log_mass: float) -> float:
    """ln of the truncated lognormal density of a fog echo's range."""
    if r <= table.near or r >= stop:
        return -inf
    log_r = log(r)
    z = (log_r - fog.location) / table.fog_spread
    return -0.5 * z * z - log_r - log(table.fog_spread) - LOG_SQRT_2PI - log_mass


@jit
def range_deviation(table: EchoTable, power: float, roughness: float) -> float:
    """sigma_r(p) = hypot(sigma_surface, sigma_0 sqrt(threshold / p)), m."""
    return sqrt(roughness * roughness + table.range_noise * table.range_noise * table.threshold / power)


@jit
def log_surface(table: EchoTable, r: float, p: float, stop: Stop) -> float:
    """ln N(p; P, s²) + ln N(r; range, sigma_r(p)²), less one ln sqrt(2 pi) that all candidates share."""
    deviation = range_deviation(table, p, stop.roughness)
    z = (r - stop.range) / deviation
    y = (p - stop.power) / stop.spread
    return -0.5 * (z * z + y * y) - log(deviation * stop.spread) - LOG_SQRT_2PI


@jit
def log_missed(limit: float, stop: Stop) -> float:
    """ln F(limit) of the surface; 0 where there is none."""
    return log_cdf((limit - stop.power) / stop.spread) if stop.power >= 0.0 else 0.0


@jit
def log_density_strongest(table: EchoTable, fog: Fog, r: float, p: float, stop: Stop) -> float:
    """ln L of the strongest echo (r, p), or of none (p = 0), of a beam with this stop.

    Terms below e^-72 of their peak are left out: this is the innermost loop of the particle filter.
    """
    soft = fog_power(table, fog, stop.range)
    if p <= 0.0:
        fogless = soft < 0.0
        missed = 0.0 if fogless else fog.log_missed if soft == fog.power else log_cdf(table.threshold - soft)
        return table.log_quiet + missed + log_missed(table.threshold, stop)
    total = -inf
    miss_noise = log_cdf(p)
    miss_fog = log_cdf(p - soft) if soft >= 0.0 else 0.0
    if stop.power >= 0.0:
        total = log_surface(table, r, p, stop) + miss_noise + miss_fog
    if p < REACH:
        total = log_add(total, log_range_noise(table, r) - 0.5 * p * p + miss_fog + log_missed(p, stop))
    if soft >= 0.0 and abs(p - soft) < REACH:
        g = log_range_fog(table, fog, r, stop.range, log_fog_mass(table, fog, stop.range))
        total = log_add(total, g - 0.5 * (p - soft) ** 2 + miss_noise + log_missed(p, stop))
    return total - LOG_SQRT_2PI


@jit
def log_density_all(table: EchoTable, fog: Fog, ranges: np.ndarray, powers: np.ndarray, stop: Stop) -> float:
    """ln L of the set of echoes with power > 0, a sum over which candidate made which echo.

    `best[mask]` is ln Σ over assignments of the echoes seen so far to exactly the candidates in mask.
    """
    soft = fog_power(table, fog, stop.range)
    mass = log_fog_mass(table, fog, stop.range) if soft >= 0.0 else 0.0
    best = np.full(8, -inf)
    best[0] = 0.0
    for k in range(ranges.size):
        r, p = ranges[k], powers[k]
        if p <= 0.0:
            continue
        terms = (
            log_range_noise(table, r) - 0.5 * p * p,
            log_range_fog(table, fog, r, stop.range, mass) - 0.5 * (p - soft) ** 2 if soft >= 0.0 else -inf,
            log_surface(table, r, p, stop) if stop.power >= 0.0 else -inf,
        )
        for mask in range(7, -1, -1):
            total = -inf
            for i in range(3):
                if mask & (1 << i):
                    total = log_add(total, best[mask ^ (1 << i)] + terms[i] - LOG_SQRT_2PI)
            best[mask] = total
    result = -inf
    for mask in range(8):
        missed = 0.0 if mask & 1 else log_cdf(table.threshold)
        if not mask & 2 and soft >= 0.0:
            missed += log_cdf(table.threshold - soft)
        if not mask & 4:
            missed += log_missed(table.threshold, stop)
        result = log_add(result, best[mask] + missed)
    return result


@jit
def log_glitch(table: EchoTable, ranges: np.ndarray, powers: np.ndarray) -> float:
    """ln of e times a glitch's density: half nothing, else 1 to M echoes uniform in range and power."""
    total, echoes = table.log_glitch_nothing, 0
    for k in range(powers.size):
        if powers[k] > 0.0:
            if not table.range_min <= ranges[k] <= table.range_max or powers[k] > POWER_CEILING:
                return -inf
            echoes += 1
            total += log(echoes) + table.log_uniform
    return total if echoes == 0 or table.strongest else total - log(MAX_ECHOES)


@jit
def log_density(table: EchoTable, fog: Fog, ranges: np.ndarray, powers: np.ndarray, stop: Stop) -> float:
    """ln L of what one beam reported, in the table's mode, given what stops it."""
    if table.strongest:
        value = log_density_strongest(table, fog, ranges[0], powers[0], stop)
    else:
        value = log_density_all(table, fog, ranges, powers, stop)
    return log_add(table.log_sound + value, log_glitch(table, ranges, powers))


@jit
def sample_fog_range(table: EchoTable, fog: Fog, stop: float, rng: np.random.Generator) -> float:
    """Draw from the truncated lognormal: by rejection, by bisection of its distribution where that is slow."""
    for _ in range(20):
        r = exp(fog.location + table.fog_spread * rng.standard_normal())
        if table.near < r < stop:
            return r
    low, high = log(table.near), log(min(stop, 1e4))
    scale = table.fog_spread * sqrt(2.0)
    tail_low, tail_high = erfc((low - fog.location) / scale), erfc((high - fog.location) / scale)
    target = tail_low + (tail_high - tail_low) * rng.random()
    for _ in range(50):
        middle = 0.5 * (low + high)
        if erfc((middle - fog.location) / scale) > target:
            low = middle
        else:
            high = middle
    return exp(low)


@jit
def sample_beam(
    table: EchoTable,
    fog: Fog,
    stop: Stop,
    rng: np.random.Generator,
    ranges: np.ndarray,
    powers: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Draw one beam's echoes into ranges, powers and labels (NOISE, FOG or SURFACE), nearest first."""
    if rng.random() < table.glitch:
        if rng.random() < 0.5:
            count = 1 if table.strongest else 1 + int(rng.random() * MAX_ECHOES)
            for k in range(count):
                ranges[k] = table.range_min + (table.range_max - table.range_min) * rng.random()
                powers[k] = table.threshold + (POWER_CEILING - table.threshold) * rng.random()
                labels[k] = NOISE
            ranges[:count].sort()
        return
    expected = (0.0, fog_power(table, fog, stop.range), stop.power)
    count = 0
    for i in range(3):
        if expected[i] < 0.0:
            continue
        p = expected[i] + (stop.spread if i == 2 else 1.0) * rng.standard_normal()
        if p <= table.threshold or (table.strongest and p <= powers[0]):
            continue
        slot = 0 if table.strongest else count
        if i == 0:
            r = table.range_min + (table.range_max - table.range_min) * rng.random()
        elif i == 1:
            r = sample_fog_range(table, fog, stop.range, rng)
        else:
            r = stop.range + range_deviation(table, p, stop.roughness) * rng.standard_normal()
        ranges[slot], powers[slot], labels[slot] = r, p, i + 1
        count += 1
    if not table.strongest and count > 1:
        order = np.argsort(ranges[:count])
        ranges[:count], powers[:count], labels[:count] = (
            ranges[:count][order],
            powers[:count][order],
            labels[:count][order],
        )


class BeamSurfaces(NamedTuple):
    """The surfaces in each beam, arrays (beams, depth) from near to far; range inf where there is none."""

    range: np.ndarray
    cosine: np.ndarray
    reflectance: np.ndarray
    fill: np.ndarray
    roughness: np.ndarray
    texture: np.ndarray
    identity: np.ndarray


@jit
def sample_scan(
    table: EchoTable, alpha: float, surfaces: BeamSurfaces, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw a scan in fog of extinction alpha.

    Returns ranges and powers (beams, echoes), power 0 where there was no echo, and labels: NOTHING,
    NOISE, FOG, or SURFACE + identity of the surface.
    """
    beams, depth = surfaces.range.shape
    echoes = 1 if table.strongest else MAX_ECHOES
    ranges, powers = np.zeros((beams, echoes)), np.zeros((beams, echoes))
    labels = np.zeros((beams, echoes), np.int64)
    fog = fog_at(table, alpha)
    for b in range(beams):
        what, k = 0, 0
        while k < depth and surfaces.fill[b, k] < 1.0 and rng.random() >= surfaces.fill[b, k]:
            k += 1
        if k < depth and not isinf(surfaces.range[b, k]):
            what = surfaces.identity[b, k]
            stop = stop_at(
                table,
                fog,
                surfaces.range[b, k],
                surfaces.cosine[b, k],
                surfaces.reflectance[b, k],
                surfaces.roughness[b, k],
                surfaces.texture[b, k],
            )
        else:
            stop = stop_at(table, fog, inf, 0.0, 0.0, 0.0, 0.0)
        sample_beam(table, fog, stop, rng, ranges[b], powers[b], labels[b])
        for e in range(echoes):
            if labels[b, e] == SURFACE:
                labels[b, e] = SURFACE + what
    return ranges, powers, labels


@jit
def log_density_background(
    table: EchoTable,
    alphas: np.ndarray,
    ranges: np.ndarray,
    powers: np.ndarray,
    distance: np.ndarray,
    cosine: np.ndarray,
    reflectance: np.ndarray,
    roughness: float,
    texture: float,
) -> np.ndarray:
    """ln L (alphas, beams) of each beam (echo arrays (beams, echoes)) as if only the known background were there."""
    result = np.empty((alphas.size, distance.size))
    for g in range(alphas.size):
        fog = fog_at(table, alphas[g])
        for b in range(distance.size):
            stop = stop_at(table, fog, distance[b], cosine[b], reflectance[b], roughness, texture)
            result[g, b] = log_density(table, fog, ranges[b], powers[b], stop)
    return result
