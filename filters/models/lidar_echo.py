"""The one model of a lidar echo in fog: `sample_*` draws what `log_density_*` scores.

A beam is stopped by one surface (or none). Its candidate echoes are the receiver's noise (power 0),
the fog in front of the stop, and the stop itself; candidate i has power p_i ~ N(P_i, s_i²) and a range
density g_i. In units of the receiver's noise s = 1 for noise and fog; a surface's texture k, the relative
spread of its reflectance from beam to beam, makes it s² = 1 + (k P)². With F_j(x) = Φ((x - P_j) / s_j),
D_j = 1 - F_j(threshold), and the order key k_i, a surface's own range, noise's and fog's drawn one:

    nothing     Π_j F_j(threshold)
    strongest   Σ_i N(p; P_i, s_i²) g_i(r | p) Π_{j≠i} F_j(p)
    last        Σ_i N g_i Π_{j≠i} [1 - D_j Pr(k_j > k_i)]
    dual        one echo, both strongest and last: Σ_i N g_i Π_{j≠i} B_j(p, k_i)
                two: Σ over i strongest, m last, k_i < k_m, of N_i g_i N_m g_m Π_{j≠i,m} B_j(p_i, k_m)
                B_j(x, k) = F_j(threshold) + (F_j(x) - F_j(threshold)) Pr(k_j < k)
    all         the set of echoes: Σ over injective assignments of echoes to candidates, F_j(threshold) for the rest

With a small probability e a beam's report is a glitch instead (a crossing lidar, an insect, a dropped
packet): half the time nothing, else m echoes uniform in range and power, m from 1 to as many as the mode
reports: L = (1 - e) L + e/2 [nothing] + e/2M m! U^m, which bounds what one beam can say.

Porous surfaces let a beam through with probability 1 - fill, which mixes the densities of its stops.
"""

from __future__ import annotations

from math import exp, inf, log, pi, sqrt
from typing import NamedTuple

import numpy as np

from filters.jit import inlined, jit
from filters.models.fog import (
    AnyFog,
    fog_at,
    fog_law,
    fog_power,
    log_fog_density,
    log_fog_mass,
    log_range_fog,
    optical_depth,
    sample_fog_range,
)
from filters.models.normal import LOG_SQRT_2PI, cdf, decay, log_add, log_cdf
from filters.models.optics import MODES, POWER_CEILING, POWER_LIMIT, EchoTable

REACH = 12.0  # standard deviations of power beyond which a candidate cannot have made an echo
FAINT = 0.5 * REACH**2  # nats, the same
SQRT_2PI = sqrt(2.0 * pi)
NOTHING, NOISE, FOG, LOST, GROUND, STRUCTURE, THING = range(7)  # what an echo truly is; THING + k is object k
STRONGEST, LAST, DUAL = (MODES.index(m) for m in ("strongest", "last", "dual"))


class Stop(NamedTuple):
    """The surface that stops a beam: range (m, inf: none), P_hard (negative: none), its spread s, roughness (m)."""

    range: float
    power: float
    spread: float
    roughness: float


@inlined
def hard_power(table: EchoTable, fog: AnyFog, distance: float, cosine: float, reflectance: float) -> float:
    """P_hard = A (rho/pi) cos(theta) T² xi / R², saturated; negative from the limit of range on."""
    overlap = min(max((distance - table.near) / (table.far - table.near), 0.0), 1.0)
    sent = table.gain * reflectance * cosine * overlap * decay(2.0 * optical_depth(table, fog, distance))
    power = min(sent / (pi * distance * distance), POWER_LIMIT)
    return power if distance < table.range_max else -1.0


@inlined
def stop_at(
    table: EchoTable, fog: AnyFog, distance: float, cosine: float, reflectance: float, roughness: float, texture: float
) -> Stop:
    """A surface as a beam's stop; distance inf for a beam that meets nothing."""
    power = hard_power(table, fog, distance, cosine, reflectance)
    return Stop(distance, power, sqrt(1.0 + (texture * power) ** 2), roughness)


@jit
def log_range_noise(table: EchoTable, r: float) -> float:
    """ln g_0, uniform between the range limits."""
    inside = table.range_min <= r <= table.range_max
    return -log(table.range_max - table.range_min) if inside else -inf


@inlined
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
def log_missed(limit: float, power: float, spread: float) -> float:
    """ln F(limit) of a candidate; 0 where it is not there (negative power)."""
    return log_cdf((limit - power) / spread) if power >= 0.0 else 0.0


@jit
def below(limit: float, power: float, spread: float) -> float:
    """F(limit) of a candidate, 1e-150 at least; 1 where it is not there (negative power)."""
    return max(cdf((limit - power) / spread), 1e-150) if power >= 0.0 else 1.0


@jit
def log_nothing(table: EchoTable, fog: AnyFog, soft: float, stop: Stop) -> float:
    """ln Π_j F_j(threshold): no candidate was heard."""
    of_fog = fog.log_missed if soft == fog.power else log_missed(table.threshold, soft, 1.0)
    return table.log_quiet + of_fog + log_missed(table.threshold, stop.power, stop.spread)


@jit
def log_density_strongest(table: EchoTable, fog: AnyFog, r: float, p: float, stop: Stop) -> float:
    """ln L of the strongest echo (r, p), or of none (p = 0), of a beam with this stop."""
    if p <= 0.0:
        return log_nothing(table, fog, fog_power(table, fog, stop.range), stop)
    exponent, factor = strongest(table, fog, r, p, stop)
    return exponent + log(factor) if factor > 0.0 else -inf


@inlined
def strongest(table: EchoTable, fog: AnyFog, r: float, p: float, stop: Stop) -> tuple[float, float]:
    """L of the strongest echo (r, p), as exponent and factor: L = factor e^exponent.

    Terms below e^-72 of their peak or of the largest are left out: this is the innermost loop of the particle filter.
    """
    soft = fog_power(table, fog, stop.range)
    below_noise, below_fog, below_stop = cdf(p), below(p, soft, 1.0), below(p, stop.power, stop.spread)
    of_noise, of_fog, of_stop, deviation = -inf, -inf, -inf, 1.0
    if p < REACH and table.range_min <= r <= table.range_max:
        of_noise = -0.5 * p * p
    if abs(p - soft) < REACH and table.near <= r < stop.range:
        of_fog = log_fog_density(table, fog, r) - 0.5 * (p - soft) ** 2
    if stop.power >= 0.0:
        deviation = range_deviation(table, p, stop.roughness)
        z, y = (r - stop.range) / deviation, (p - stop.power) / stop.spread
        of_stop = -0.5 * (z * z + y * y)
    top = max(of_noise, of_fog, of_stop)
    if top == -inf:
        return top, 0.0
    total = 0.0  # in units of e^top / sqrt(2 pi): logs are dear
    if of_noise > top - FAINT:
        total += exp(of_noise - top) / (table.range_max - table.range_min) * below_fog * below_stop
    if of_fog > top - FAINT:
        total += exp(of_fog - top) / max(fog_law(table, fog, stop.range), 1e-300) * below_noise * below_stop
    if of_stop > top - FAINT:
        total += exp(of_stop - top) / (deviation * stop.spread * SQRT_2PI) * below_noise * below_fog
    return top - LOG_SQRT_2PI, total


@inlined
def log_strongest_or_glitch(table: EchoTable, fog: AnyFog, r: float, p: float, stop: Stop) -> float:
    """ln L of what one beam reported where a glitch may have made it: by one log."""
    if p > 0.0:
        exponent, factor = strongest(table, fog, r, p, stop)
        return log(exp(exponent + table.log_sound) * factor + exp(table.log_glitch_nothing + table.log_uniform))
    soft = fog_power(table, fog, stop.range)
    of_fog = fog.log_missed if soft == fog.power else log_missed(table.threshold, soft, 1.0)
    quiet = exp(table.log_sound + table.log_quiet + of_fog) * below(table.threshold, stop.power, stop.spread)
    return log(quiet + exp(table.log_glitch_nothing))


@jit
def log_terms(
    table: EchoTable, fog: AnyFog, r: float, p: float, soft: float, mass: float, stop: Stop
) -> tuple[float, float, float]:
    """ln N(p; P_i, s_i²) g_i(r | p) of noise, fog and surface; mass is `log_fog_mass`."""
    return (
        log_range_noise(table, r) - 0.5 * p * p - LOG_SQRT_2PI,
        log_range_fog(table, fog, r, stop.range, mass) - 0.5 * (p - soft) ** 2 - LOG_SQRT_2PI if soft >= 0.0 else -inf,
        log_surface(table, r, p, stop) - LOG_SQRT_2PI if stop.power >= 0.0 else -inf,
    )


@jit
def later(table: EchoTable, fog: AnyFog, stop: Stop, mass: float, j: int, key: float) -> float:
    """Pr(k_j > key) for noise (j = 0), fog (1) and surface (2)."""
    if j == 0:
        return min(max((table.range_max - key) / (table.range_max - table.range_min), 0.0), 1.0)
    if j == 2:
        return 1.0 if stop.range > key else 0.0
    if key <= table.near:
        return 1.0
    return max(1.0 - fog_law(table, fog, key) / exp(mass), 0.0) if key < stop.range else 0.0


@jit
def log_density_last(table: EchoTable, fog: AnyFog, r: float, p: float, stop: Stop) -> float:
    """ln L of the last echo (r, p), or of none (p = 0)."""
    soft = fog_power(table, fog, stop.range)
    if p <= 0.0:
        return log_nothing(table, fog, soft, stop)
    mass = log_fog_mass(table, fog, stop.range) if soft >= 0.0 else 0.0
    terms = log_terms(table, fog, r, p, soft, mass, stop)
    powers, spreads, keys = (0.0, soft, stop.power), (1.0, 1.0, stop.spread), (r, r, stop.range)
    total = -inf
    for i in range(3):
        value = terms[i]
        for j in range(3):
            if j != i and value > -inf:
                heard = 1.0 - exp(log_missed(table.threshold, powers[j], spreads[j]))
                value += log(1.0 - heard * later(table, fog, stop, mass, j, keys[i]))
        total = log_add(total, value)
    return total


@jit
def log_hidden(
    table: EchoTable, fog: AnyFog, soft: float, stop: Stop, mass: float, j: int, limit: float, key: float
) -> float:
    """ln B_j(limit, key): candidate j is not heard, or weaker than limit and not after key."""
    powers, spreads = (0.0, soft, stop.power), (1.0, 1.0, stop.spread)
    if powers[j] < 0.0:
        return 0.0
    unheard = exp(log_missed(table.threshold, powers[j], spreads[j]))
    weaker = exp(log_missed(limit, powers[j], spreads[j]))
    return log(unheard + (weaker - unheard) * (1.0 - later(table, fog, stop, mass, j, key)))


@jit
def log_density_dual(table: EchoTable, fog: AnyFog, ranges: np.ndarray, powers: np.ndarray, stop: Stop) -> float:
    """ln L of the strongest and the last echo: two, one where they are the same, or none (powers 0)."""
    soft = fog_power(table, fog, stop.range)
    strong, weak = (0, 1) if powers[0] >= powers[1] else (1, 0)
    r, p = ranges[strong], powers[strong]
    if p <= 0.0:
        return log_nothing(table, fog, soft, stop)
    mass = log_fog_mass(table, fog, stop.range) if soft >= 0.0 else 0.0
    terms, keys = log_terms(table, fog, r, p, soft, mass, stop), (r, r, stop.range)
    total = -inf
    if powers[weak] <= 0.0:
        for i in range(3):
            if terms[i] > -inf:
                value = terms[i]
                for j in range(3):
                    if j != i:
                        value += log_hidden(table, fog, soft, stop, mass, j, p, keys[i])
                total = log_add(total, value)
        return total
    last_r, last_p = ranges[weak], powers[weak]
    last_terms, last_keys = log_terms(table, fog, last_r, last_p, soft, mass, stop), (last_r, last_r, stop.range)
    for i in range(3):
        for m in range(3):
            if m != i and keys[i] < last_keys[m] and terms[i] > -inf and last_terms[m] > -inf:
                hidden = log_hidden(table, fog, soft, stop, mass, 3 - i - m, p, last_keys[m])
                total = log_add(total, terms[i] + last_terms[m] + hidden)
    return total


@jit
def log_density_all(table: EchoTable, fog: AnyFog, ranges: np.ndarray, powers: np.ndarray, stop: Stop) -> float:
    """ln L of the set of echoes with power > 0, a sum over which candidate made which echo.

    `best[mask]` is ln Σ over assignments of the echoes seen so far to exactly the candidates in mask.
    """
    soft = fog_power(table, fog, stop.range)
    mass = log_fog_mass(table, fog, stop.range) if soft >= 0.0 else 0.0
    best = np.full(8, -inf)
    best[0] = 0.0
    for k in range(ranges.size):
        if powers[k] <= 0.0:
            continue
        terms = log_terms(table, fog, ranges[k], powers[k], soft, mass, stop)
        for mask in range(7, -1, -1):
            total = -inf
            for i in range(3):
                if mask & (1 << i):
                    total = log_add(total, best[mask ^ (1 << i)] + terms[i])
            best[mask] = total
    result = -inf
    for mask in range(8):
        missed = 0.0 if mask & 1 else table.log_quiet
        if not mask & 2:
            missed += log_missed(table.threshold, soft, 1.0)
        if not mask & 4:
            missed += log_missed(table.threshold, stop.power, stop.spread)
        result = log_add(result, best[mask] + missed)
    return result


@jit
def log_glitch(table: EchoTable, ranges: np.ndarray, powers: np.ndarray) -> float:
    """ln of e times a glitch's density: half nothing, else 1 to M echoes uniform in range and power."""
    total, echoes = table.log_glitch_nothing, 0
    for k in range(powers.size):
        if powers[k] > 0.0:
            if not table.range_min <= ranges[k] <= table.glitch_max or powers[k] > POWER_CEILING:
                return -inf
            echoes += 1
            total += log(echoes) + table.log_uniform
    return total if echoes == 0 else total - log(table.echoes)


@inlined
def log_density_one(table: EchoTable, fog: AnyFog, r: float, p: float, stop: Stop) -> float:
    """ln L of what one beam reported (power 0: nothing) in a mode of one echo, given what stops it."""
    glitches = p <= 0.0 or (table.range_min <= r <= table.glitch_max and p <= POWER_CEILING)
    if table.mode == STRONGEST and glitches and table.glitch > 0.0:
        return log_strongest_or_glitch(table, fog, r, p, stop)
    if table.mode == STRONGEST:
        value = log_density_strongest(table, fog, r, p, stop)
    else:
        value = log_density_last(table, fog, r, p, stop)
    if not glitches:
        return table.log_sound + value
    glitch = table.log_glitch_nothing + (table.log_uniform if p > 0.0 else 0.0)
    return log_add(table.log_sound + value, glitch)


@jit
def log_density(table: EchoTable, fog: AnyFog, ranges: np.ndarray, powers: np.ndarray, stop: Stop) -> float:
    """ln L of what one beam reported, in the table's mode, given what stops it."""
    if table.echoes == 1:
        return log_density_one(table, fog, ranges[0], powers[0], stop)
    if table.mode == DUAL:
        value = log_density_dual(table, fog, ranges, powers, stop)
    else:
        value = log_density_all(table, fog, ranges, powers, stop)
    return log_add(table.log_sound + value, log_glitch(table, ranges, powers))


@inlined
def sample_range(
    table: EchoTable, fog: AnyFog, i: int, p: float, stop: Stop, z: float, rng: np.random.Generator
) -> float:
    """Draw g_i(. | p) of noise (0), fog (1) or surface (2), from a standard normal z and more if need be."""
    if i == 0:
        return table.range_min + (table.range_max - table.range_min) * rng.random()
    if i == 1:
        return sample_fog_range(table, fog, stop.range, z, rng)
    return stop.range + range_deviation(table, p, stop.roughness) * z


@jit
def report(r: float, p: float, label: int, ranges: np.ndarray, powers: np.ndarray, labels: np.ndarray) -> None:
    """Insert an echo, near to far, into a beam's slots; power 0 marks a free one."""
    k = 0
    while powers[k] > 0.0 and ranges[k] <= r:
        k += 1
    for j in range(powers.size - 1, k, -1):
        ranges[j], powers[j], labels[j] = ranges[j - 1], powers[j - 1], labels[j - 1]
    ranges[k], powers[k], labels[k] = r, p, label


@inlined
def sample_strongest(
    table: EchoTable,
    fog: AnyFog,
    stop: Stop,
    noise: float,
    z: tuple[float, float, float],
    rng: np.random.Generator,
) -> tuple[float, float, int]:
    """Draw a sound beam's strongest echo: range, power (0: none), and its candidate, noise 0, fog 1 or surface 2.

    `noise` is the noise's power where it passes the threshold, else 0; z are standard normals.
    """
    soft = fog_power(table, fog, stop.range)
    power, i = noise, 0
    if soft >= 0.0:
        fogged = soft + z[0]
        power, i = (fogged, 1) if fogged > power else (power, i)
    if stop.power >= 0.0:
        hard = stop.power + stop.spread * z[1]
        power, i = (hard, 2) if hard > power else (power, i)
    if power <= table.threshold:
        return 0.0, 0.0, 0
    return sample_range(table, fog, i, power, stop, z[2], rng), power, i


@jit
def sample_several(
    table: EchoTable,
    fog: AnyFog,
    stop: Stop,
    noise: float,
    surface: int,
    z: tuple[float, float, float],
    rng: np.random.Generator,
    ranges: np.ndarray,
    powers: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Draw a sound beam's echoes in the other modes into its empty slots; `surface` labels the stop's."""
    soft = fog_power(table, fog, stop.range)
    fogged = soft + z[0] if soft >= 0.0 else 0.0
    hard = stop.power + stop.spread * z[1] if stop.power >= 0.0 else 0.0
    drawn, names = (noise, fogged, hard), (NOISE, FOG, surface)
    places = (
        sample_range(table, fog, 0, noise, stop, 0.0, rng) if noise > table.threshold else -inf,
        sample_range(table, fog, 1, fogged, stop, rng.standard_normal(), rng) if fogged > table.threshold else -inf,
        sample_range(table, fog, 2, hard, stop, z[2], rng) if hard > table.threshold else -inf,
    )
    keys = (places[0], places[1], stop.range if hard > table.threshold else -inf)
    for i in range(3):
        if drawn[i] > table.threshold:
            last = keys[i] == max(keys[0], keys[1], keys[2])
            strongest = drawn[i] == max(noise, fogged, hard)
            if last or (strongest and table.mode == DUAL) or table.mode > DUAL:
                report(places[i], drawn[i], names[i], ranges, powers, labels)


@jit
def sample_glitch(
    table: EchoTable, rng: np.random.Generator, ranges: np.ndarray, powers: np.ndarray, labels: np.ndarray
) -> None:
    """Draw a glitch into a beam's empty slots: half the time nothing."""
    if rng.random() < 0.5:
        return
    for _ in range(1 + int(rng.random() * table.echoes)):
        r = table.range_min + (table.glitch_max - table.range_min) * rng.random()
        p = table.threshold + (POWER_CEILING - table.threshold) * rng.random()
        report(r, p, NOISE, ranges, powers, labels)


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
            if table.echoes == 1:  # to slice the arrays costs half as much as the density
                result[g, b] = log_density_one(table, fog, ranges[b, 0], powers[b, 0], stop)
            else:
                result[g, b] = log_density(table, fog, ranges[b], powers[b], stop)
    return result
