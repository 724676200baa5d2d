"""What a careful user would write in NumPy for the two hot kernels, whole arrays at a time, mode "strongest"."""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri

from filters.models.lidar_echo import FOG, GROUND, LOST, NOISE, NOTHING, STRUCTURE, THING
from filters.models.lidar_scan import Scene
from filters.models.object_echo import Window
from filters.models.optics import POWER_CEILING, POWER_LIMIT, EchoTable
from filters.models.shapes import BACKGROUND_ROUGHNESS, BACKGROUND_TEXTURE, BOX, Solids

LOG_SQRT_2PI = 0.5 * np.log(2.0 * np.pi)


def fog_of(table: EchoTable, alpha: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P_soft (negative: no room for fog) and ln median range of the fog in front of each stop."""
    rows, columns = table.soft.shape
    place = np.clip((np.log(alpha) - table.log_alpha_0) / table.log_alpha_step, 0.0, rows - 1.000001)
    i, w = place.astype(int), place % 1.0
    across = np.clip(stop / table.stop_step - 1.0, 0.0, columns - 1.000001)
    j, v = across.astype(int), across % 1.0
    low = (1.0 - v) * table.soft[i, j] + v * table.soft[i, j + 1]
    high = (1.0 - v) * table.soft[i + 1, j] + v * table.soft[i + 1, j + 1]
    power = table.gain * alpha * table.beta_per_alpha * ((1.0 - w) * low + w * high)
    location = (1.0 - w) * table.log_median[i] + w * table.log_median[i + 1]
    return np.where(stop > table.near, np.minimum(power, POWER_LIMIT), -1.0), location


def hard_power(
    table: EchoTable, alpha: np.ndarray, distance: np.ndarray, cosine: np.ndarray, reflectance: np.ndarray
) -> np.ndarray:
    """P_hard of surfaces; negative where there is none."""
    overlap = np.clip((distance - table.near) / (table.far - table.near), 0.0, 1.0)
    received = table.gain * reflectance / np.pi * cosine * overlap / distance**2 * np.exp(-2.0 * alpha * distance)
    return np.where(np.isinf(distance), -1.0, np.minimum(received, POWER_LIMIT))


def sample_scan(
    table: EchoTable, alpha: float, scene: Scene, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw a scan in even fog: ranges, powers and labels (beams,)."""
    things, solids, behind = scene.things, scene.solids, scene.background
    beams, depth = behind.range.size, things.range.shape[2]
    near, what = things.range.reshape(beams, depth), things.what.reshape(beams, depth)
    stops = (rng.random(near.shape) < solids.fill[what]) & (near < behind.range.reshape(beams, 1))
    which = np.arange(beams), stops.argmax(axis=1)
    met, thing = stops.any(axis=1), what[which]

    def of_stop(mine: np.ndarray, map_s: np.ndarray | float) -> np.ndarray:
        return np.where(met, mine, np.ravel(map_s))

    distance = of_stop(near[which], behind.range)
    cosine = of_stop(things.cosine.reshape(beams, depth)[which], behind.cosine)
    hard = hard_power(
        table, np.full(beams, alpha), distance, cosine, of_stop(solids.reflectance[thing], behind.reflectance)
    )
    soft, location = fog_of(table, np.full(beams, alpha), distance)
    texture = of_stop(solids.texture[thing], BACKGROUND_TEXTURE)
    expected = np.stack([np.zeros(beams), soft, hard])
    spread = np.stack([np.ones(beams), np.ones(beams), np.hypot(1.0, texture * hard)])
    drawn = np.where(expected >= 0.0, expected + spread * rng.standard_normal(expected.shape), -np.inf)
    winner, power = drawn.argmax(axis=0), drawn.max(axis=0)
    low = ndtr((np.log(table.near) - location) / table.fog_spread)
    high = ndtr((np.log(np.maximum(distance, table.near)) - location) / table.fog_spread)
    fog_range = np.exp(location + table.fog_spread * ndtri(low + (high - low) * rng.random(beams)))
    uniform = table.range_min + (table.range_max - table.range_min) * rng.random(beams)
    roughness = of_stop(solids.roughness[thing], BACKGROUND_ROUGHNESS)
    deviation = np.hypot(roughness, table.range_noise * np.sqrt(table.threshold / np.maximum(power, 1e-9)))
    ranges = np.choose(winner, [uniform, fog_range, distance + deviation * rng.standard_normal(beams)])
    surface = of_stop(THING + thing, np.where(scene.ground, GROUND, STRUCTURE))
    labels = np.choose(winner, [NOISE, FOG, surface])
    heard = power > table.threshold
    glitch, echo = rng.random(beams) < table.glitch, rng.random(beams) < 0.5
    power = np.where(glitch, table.threshold + (POWER_CEILING - table.threshold) * rng.random(beams), power)
    ranges, labels = np.where(glitch, uniform, ranges), np.where(glitch, NOISE, labels)
    heard = np.where(glitch, echo, heard)
    silent = np.where(distance < table.range_max, LOST, NOTHING)
    return np.where(heard, ranges, 0.0), np.where(heard, power, 0.0), np.where(heard, labels, silent)


def log_density(
    table: EchoTable,
    alpha: np.ndarray,
    r: np.ndarray,
    p: np.ndarray,
    distance: np.ndarray,
    hard: np.ndarray,
    rough: np.ndarray,
    texture: np.ndarray,
) -> np.ndarray:
    """ln L of the strongest echo (r, p), or of none (p = 0), of beams that a surface stops."""
    soft, location = fog_of(table, alpha, distance)
    fog = soft >= 0.0
    spread = np.hypot(1.0, texture * hard)
    limit = np.where(p > 0.0, p, table.threshold)
    with np.errstate(divide="ignore", invalid="ignore"):
        missed = log_ndtr(limit), np.where(fog, log_ndtr(limit - soft), 0.0), log_ndtr((limit - hard) / spread)
        nothing = missed[0] + missed[1] + missed[2]
        inside = (table.range_min <= r) & (r <= table.range_max)
        noise = np.where(inside, -np.log(table.range_max - table.range_min), -np.inf) - 0.5 * p * p - LOG_SQRT_2PI
        z = (np.log(r) - location) / table.fog_spread
        below, tail = ((np.log(x) - location) / table.fog_spread for x in (distance, table.near))
        density = -0.5 * z * z - np.log(r) - np.log(table.fog_spread) - LOG_SQRT_2PI - np.log(ndtr(below) - ndtr(tail))
        clutter = np.where(
            fog & (r > table.near) & (r < distance), density - 0.5 * (p - soft) ** 2 - LOG_SQRT_2PI, -np.inf
        )
        deviation = np.hypot(rough, table.range_noise * np.sqrt(table.threshold / p))
        y, x = (p - hard) / spread, (r - distance) / deviation
        surface = -0.5 * (x * x + y * y) - np.log(deviation * spread) - 2.0 * LOG_SQRT_2PI
        echo = np.logaddexp(np.logaddexp(noise - missed[0], clutter - missed[1]), surface - missed[2]) + nothing
    value = np.where(p > 0.0, echo, nothing)
    echo = np.where(inside & (p <= POWER_CEILING), table.log_glitch_nothing + table.log_uniform, -np.inf)
    glitch = np.where(p > 0.0, echo, table.log_glitch_nothing)
    return np.logaddexp(table.log_sound + value, glitch)


def meet(solids: Solids, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Range and cosine (n, rings, columns) of every beam on every solid, all of one kind; inf where it misses."""
    level, up = np.cos(window.elevation)[:, None], np.sin(window.elevation)[:, None]
    heading = window.azimuth + window.pose.yaw
    ray = level * np.cos(heading), level * np.sin(heading), np.broadcast_to(up, window.scanned.shape)
    origin = [o - s[:, None, None] for o, s in zip(window.pose[:3], (solids.x, solids.y, solids.z), strict=True)]
    if solids.kind[0] == BOX:
        return meet_box(solids, origin, ray)
    along = -sum(o * d for o, d in zip(origin, ray, strict=True))
    squared = solids.hx[:, None, None] ** 2 - (sum(o * o for o in origin) - along**2)
    half_chord = np.sqrt(np.maximum(squared, 0.0))
    met = (squared > 0.0) & (along > half_chord)
    return np.where(met, along - half_chord, np.inf), half_chord / solids.hx[:, None, None]


def meet_box(solids: Solids, origin: list, ray: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Slab test of boxes turned by their yaw."""
    c, s = np.cos(solids.yaw)[:, None, None], np.sin(solids.yaw)[:, None, None]
    origin = [c * origin[0] + s * origin[1], c * origin[1] - s * origin[0], origin[2]]
    turned = [c * ray[0] + s * ray[1], c * ray[1] - s * ray[0], np.broadcast_to(ray[2], (len(solids.x), *ray[2].shape))]
    half = [h[:, None, None] for h in (solids.hx, solids.hy, solids.hz)]
    with np.errstate(divide="ignore", invalid="ignore"):
        faces = [((-h - o) / d, (h - o) / d) for o, d, h in zip(origin, turned, half, strict=True)]
    near, far = (np.stack([f(*pair) for pair in faces]) for f in (np.minimum, np.maximum))
    enter, leave = near.max(axis=0), far.min(axis=0)
    cosine = np.abs(np.take_along_axis(np.stack(turned), near.argmax(axis=0)[None], 0)[0])
    return np.where((enter > 0.0) & (enter <= leave), enter, np.inf), cosine


def object_log_ratios(
    table: EchoTable,
    solids: Solids,
    log_visibility: np.ndarray,
    window: Window,
    nodes: np.ndarray,
    background: np.ndarray,
) -> tuple[np.ndarray, int]:
    """ln p(scan | object) - ln p(scan | background) of every object, and how many beams met one in all."""
    distance, cosine = meet(solids, window)
    i, r, k = np.nonzero(window.scanned & (distance < window.background.range))
    alpha = np.log(20.0) / np.exp(log_visibility[i])
    distance, cosine = distance[i, r, k], cosine[i, r, k]
    hard = hard_power(table, alpha, distance, cosine, solids.reflectance[i])
    echo = window.range[r, k, 0], window.power[r, k, 0]
    met = log_density(table, alpha, *echo, distance, hard, solids.roughness[i], solids.texture[i])
    place = (log_visibility[i] - nodes[0]) / (nodes[1] - nodes[0])
    node = np.clip(place.astype(int), 0, len(nodes) - 2)
    share = np.clip(place - node, 0.0, 1.0)
    passed = (1.0 - share) * background[r, k, node] + share * background[r, k, node + 1]
    with np.errstate(divide="ignore"):
        mixed = np.logaddexp(np.log(solids.fill[i]) + met, np.log(1.0 - solids.fill[i]) + passed)
    return np.bincount(i, mixed - passed, len(solids.x)), len(i)
