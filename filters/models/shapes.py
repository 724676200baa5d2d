"""The two shapes, their priors, and where a beam meets them: (range, cosine of incidence).

Every static latent is a standard normal u under its prior, and physical by x = low + (high - low) Φ(u):
priors are exact, moves are unconstrained.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from filters.jit import jit
from filters.spec import Array

BOX, SPHERE = 0, 1
BACKGROUND_ROUGHNESS, BACKGROUND_TEXTURE = 0.03, 0.15  # m and relative, of everything in the known map


class Solids(NamedTuple):
    """Shapes on the ground or in the air as arrays (n,): what the world casts and a filter imagines.

    A box has half extents (hx, hy, hz) about its centre and a yaw; a sphere has radius hx.
    """

    kind: Array
    x: Array
    y: Array
    z: Array
    hx: Array
    hy: Array
    hz: Array
    yaw: Array
    reflectance: Array
    fill: Array
    roughness: Array
    texture: Array


@dataclass(frozen=True)
class BarrierPrior:
    """A concrete block: solid, standing, its long side across the road give or take a yaw."""

    length: tuple[float, float] = (0.4, 2.0)
    height: tuple[float, float] = (0.35, 0.8)
    yaw: tuple[float, float] = (-0.5, 0.5)
    reflectance: tuple[float, float] = (0.15, 0.4)
    depth: float = 0.4
    roughness: float = 0.02
    texture: float = 0.15

    names = ("length", "height", "yaw", "reflectance")

    def physical(self, latents: Array) -> Array:
        """Map standard-normal latents (n, 4) to length, height, yaw, reflectance."""
        return uniform_from_normal(latents, self.bounds)

    @property
    def bounds(self) -> Array:
        """(4, 2) low and high of each latent."""
        return np.array([self.length, self.height, self.yaw, self.reflectance])

    def solids(self, position: Array, latents: Array) -> Solids:
        """The shapes of latents (n, 4) at positions (n, 2)."""
        length, height, yaw, reflectance = self.physical(latents).T
        n = len(position)
        return Solids(
            kind=np.full(n, float(BOX)),
            x=position[:, 0].copy(),
            y=position[:, 1].copy(),
            z=0.5 * height,
            hx=np.full(n, 0.5 * self.depth),
            hy=0.5 * length,
            hz=0.5 * height,
            yaw=yaw,
            reflectance=reflectance,
            fill=np.ones(n),
            roughness=np.full(n, self.roughness),
            texture=np.full(n, self.texture),
        )


@dataclass(frozen=True)
class BagPrior:
    """A plastic bag: a porous, fluttering sphere on the ground."""

    radius: tuple[float, float] = (0.18, 0.35)
    fill: tuple[float, float] = (0.6, 0.98)
    reflectance: tuple[float, float] = (0.2, 0.6)
    roughness: float = 0.06
    texture: float = 0.25

    names = ("radius", "fill", "reflectance")

    def physical(self, latents: Array) -> Array:
        """Map standard-normal latents (n, 3) to radius, fill, reflectance."""
        return uniform_from_normal(latents, self.bounds)

    @property
    def bounds(self) -> Array:
        """(3, 2) low and high of each latent."""
        return np.array([self.radius, self.fill, self.reflectance])

    def solids(self, position: Array, latents: Array) -> Solids:
        """The shapes of latents (n, 3) at positions (n, 2)."""
        radius, fill, reflectance = self.physical(latents).T
        n = len(position)
        return Solids(
            kind=np.full(n, float(SPHERE)),
            x=position[:, 0].copy(),
            y=position[:, 1].copy(),
            z=radius,
            hx=radius,
            hy=radius,
            hz=radius,
            yaw=np.zeros(n),
            reflectance=reflectance,
            fill=fill,
            roughness=np.full(n, self.roughness),
            texture=np.full(n, self.texture),
        )


def uniform_from_normal(latents: Array, bounds: Array) -> Array:
    """low + (high - low) Φ(u), column by column."""
    return bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) * ndtr(latents)


@jit
def meet_box(
    ox: float,
    oy: float,
    oz: float,
    dx: float,
    dy: float,
    dz: float,
    hx: float,
    hy: float,
    hz: float,
    c: float,
    s: float,
) -> tuple[float, float]:
    """Slab test of a ray from o (relative to the box's centre) along unit d: (range, cosine), (inf, 0) if missed.

    c and s are the cosine and sine of the box's yaw.

    A ray that starts inside meets nothing.
    """
    origin = (c * ox + s * oy, -s * ox + c * oy, oz)
    direction = (c * dx + s * dy, -s * dx + c * dy, dz)
    half = (hx, hy, hz)
    enter, leave, cosine = -inf, inf, 0.0
    for k in range(3):
        if direction[k] == 0.0:
            if abs(origin[k]) > half[k]:
                return inf, 0.0
            continue
        a = (-half[k] - origin[k]) / direction[k]
        b = (half[k] - origin[k]) / direction[k]
        if min(a, b) > enter:
            enter, cosine = min(a, b), abs(direction[k])
        leave = min(leave, max(a, b))
    return (enter, cosine) if 0.0 < enter <= leave else (inf, 0.0)


@jit
def meet_sphere(ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, radius: float) -> tuple[float, float]:
    """Ray from o (relative to the centre) along unit d against a sphere: (range, cosine), (inf, 0) if missed."""
    along = -(ox * dx + oy * dy + oz * dz)
    half_chord_squared = radius * radius - (ox * ox + oy * oy + oz * oz - along * along)
    if half_chord_squared <= 0.0:
        return inf, 0.0
    half_chord = sqrt(half_chord_squared)
    distance = along - half_chord
    return (distance, half_chord / radius) if distance > 0.0 else (inf, 0.0)


@jit
def meet(
    solids: Solids, i: int, c: float, s: float, ox: float, oy: float, oz: float, dx: float, dy: float, dz: float
) -> tuple[float, float]:
    """Ray from o along unit d against solid i of yaw cosine c and sine s: (range, cosine), (inf, 0) if missed."""
    px, py, pz = ox - solids.x[i], oy - solids.y[i], oz - solids.z[i]
    if solids.kind[i] == BOX:
        return meet_box(px, py, pz, dx, dy, dz, solids.hx[i], solids.hy[i], solids.hz[i], c, s)
    return meet_sphere(px, py, pz, dx, dy, dz, solids.hx[i])
