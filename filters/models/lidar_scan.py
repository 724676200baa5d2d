"""A lidar's scan, drawn from the echo model: what stops each beam, and what it then reports."""

from __future__ import annotations

from math import floor, log
from typing import NamedTuple

import numpy as np

from filters.jit import jit
from filters.models.fog import Fog, FogRays, columns_a_ray, fog_on
from filters.models.lidar_echo import (
    GROUND,
    LOST,
    NOISE,
    STRONGEST,
    STRUCTURE,
    THING,
    Stop,
    sample_glitch,
    sample_several,
    sample_strongest,
    stop_at,
)
from filters.models.normal import sample_tail
from filters.models.optics import EchoTable
from filters.models.shapes import BACKGROUND_ROUGHNESS, BACKGROUND_TEXTURE, Hits, Solids
from filters.spec import Surfaces


class Scene(NamedTuple):
    """What the beams of a scan meet: objects, their materials, and the known map; arrays (rings, columns, ...)."""

    things: Hits
    solids: Solids
    background: Surfaces
    ground: np.ndarray


class Echoes(NamedTuple):
    """Arrays (rings, columns, echoes): ranges (m), powers (0: no echo) and labels."""

    range: np.ndarray
    power: np.ndarray
    label: np.ndarray


@jit
def sample_scan(table: EchoTable, fog: Fog | FogRays, scene: Scene, rng: np.random.Generator) -> Echoes:
    """Draw a scan in even fog (`fog_at`) or uneven fog (`fog_rays`).

    Labels are NOTHING, NOISE, FOG, LOST, GROUND, STRUCTURE or THING + k.
    """
    # In one piece: handed to a function beam by beam, the scene's arrays cost five times what they are drawn for.
    things, behind, ground = scene.things, scene.background, scene.ground
    reflectance, fill = scene.solids.reflectance, scene.solids.fill
    roughness, texture = scene.solids.roughness, scene.solids.texture
    rings, columns = ground.shape
    shape = (rings, columns, table.echoes)
    ranges, powers, labels = np.zeros(shape), np.zeros(shape), np.zeros(shape, np.uint8)
    to_glitch, to_noise = beams_until(table.log_sound, rng), beams_until(table.log_quiet, rng)
    power, spread, span = np.empty(columns), np.empty(columns), columns_a_ray(table, fog, columns)
    for ring in range(rings):
        normals = rng.standard_normal((columns, 3))
        reach, facing, colour = behind.range[ring], behind.cosine[ring], behind.reflectance[ring]
        for first in range(0, columns, span):
            ray, last = fog_on(table, fog, ring, first // span), min(first + span, columns)
            for c in range(first, last):  # of the known map, apart from the draws: a vector loop
                stop = stop_at(table, ray, reach[c], facing[c], colour[c], BACKGROUND_ROUGHNESS, BACKGROUND_TEXTURE)
                power[c], spread[c] = stop.power, stop.spread
            for c in range(first, last):
                z = normals[c, 0], normals[c, 1], normals[c, 2]
                distance, cosine, bright = behind.range[ring, c], behind.cosine[ring, c], behind.reflectance[ring, c]
                rough, textured = BACKGROUND_ROUGHNESS, BACKGROUND_TEXTURE
                surface = GROUND if ground[ring, c] else STRUCTURE
                for k in range(things.range.shape[2]):
                    if things.range[ring, c, k] >= distance:
                        break
                    i = things.what[ring, c, k]
                    if fill[i] >= 1.0 or rng.random() < fill[i]:
                        distance, cosine, bright = things.range[ring, c, k], things.cosine[ring, c, k], reflectance[i]
                        rough, textured, surface = roughness[i], texture[i], THING + i
                        break
                if surface < THING:
                    stop = Stop(distance, power[c], spread[c], rough)
                else:
                    stop = stop_at(table, ray, distance, cosine, bright, rough, textured)
                noise = 0.0
                if to_noise == 0:
                    noise, to_noise = sample_tail(table.threshold, rng), 1 + beams_until(table.log_quiet, rng)
                if to_glitch > 0 and table.mode == STRONGEST:
                    r, p, i = sample_strongest(table, ray, stop, noise, z, rng)
                    if p > 0.0:
                        ranges[ring, c, 0], powers[ring, c, 0] = r, p
                        labels[ring, c, 0] = surface if i == 2 else NOISE + i
                    elif distance < table.range_max:
                        labels[ring, c, 0] = LOST
                else:
                    slots = ranges[ring, c], powers[ring, c], labels[ring, c]
                    if to_glitch > 0:
                        sample_several(table, ray, stop, noise, surface, z, rng, *slots)
                    else:
                        to_glitch = 1 + beams_until(table.log_sound, rng)
                        sample_glitch(table, rng, *slots)
                    if distance < table.range_max:
                        mark_lost(surface, *slots[1:])
                to_glitch, to_noise = to_glitch - 1, to_noise - 1
    return Echoes(ranges, powers, labels)


@jit
def beams_until(log_spared: float, rng: np.random.Generator) -> int:
    """Beams until the next rare event (geometric), ln Pr(none in a beam) given."""
    return int(min(floor(log(1.0 - rng.random()) / log_spared), 1e18)) if log_spared < 0.0 else 1 << 60


@jit
def mark_lost(surface: int, powers: np.ndarray, labels: np.ndarray) -> None:
    """Label a beam's first free slot LOST where the stopping surface has no echo."""
    free = -1
    for k in range(labels.size - 1, -1, -1):
        if labels[k] == surface:
            return
        if powers[k] == 0.0:
            free = k
    if free >= 0:
        labels[free] = LOST
