"""Solids as arrays, the two shapes that candidates have, and their priors. Where a beam meets them: `incidence.py`.

Every static latent is a standard normal u under its prior, and physical by x = low + (high - low) Φ(u):
priors are exact, moves are unconstrained.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import radians, tan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from filters.spec import Array

BOX, ELLIPSOID, CYLINDER, JERSEY = range(4)
GROUND, NOTHING = -1, -2  # what a beam hits that is no solid
BACKGROUND_ROUGHNESS, BACKGROUND_TEXTURE = 0.03, 0.15  # m and relative, of everything in the known map

# The New Jersey profile in units of half its width at the foot (12 inches) and half its height (16 inches): a toe of
# 3 inches, 55 degrees up to 13 inches, 84 degrees to the top. McDevitt 2000 (Public Roads 63:5).
TOE = 1.0, 3.0 / 16.0 - 1.0
KNEE = 1.0 - 10.0 / tan(radians(55.0)) / 12.0, 13.0 / 16.0 - 1.0
CROWN = KNEE[0] - 19.0 / tan(radians(84.0)) / 12.0, 1.0


def slope(low: tuple[float, float], high: tuple[float, float]) -> tuple[float, float, float]:
    """The line nx x + nz z = m through two points (x, z) of the profile."""
    nx, nz = high[1] - low[1], low[0] - high[0]
    return nx, nz, nx * low[0] + nz * low[1]


LOWER_SLOPE, UPPER_SLOPE = slope(TOE, KNEE), slope(KNEE, CROWN)
PROFILES = {"block": BOX, "jersey": JERSEY}


class Solids(NamedTuple):
    """Shapes on the ground or in the air as arrays (n,): what the world casts and a filter imagines.

    Centre (x, y, z), half extents (hx, hy, hz) along the solid's own axes, attitude R = Rz(yaw) Ry(pitch) Rx(roll).
    An ELLIPSOID's extents are its half axes, a CYLINDER stands along its own z, a JERSEY barrier runs along its y.
    """

    kind: Array
    x: Array
    y: Array
    z: Array
    hx: Array
    hy: Array
    hz: Array
    yaw: Array
    pitch: Array
    roll: Array
    reflectance: Array
    fill: Array
    roughness: Array
    texture: Array


class Hits(NamedTuple):
    """Surfaces in each beam, near to far, arrays (rings, columns, depth).

    Range (m, inf where there is none), cosine of incidence, and the index of the solid, GROUND or NOTHING.
    """

    range: NDArray[np.float32]
    cosine: NDArray[np.float32]
    what: NDArray[np.int32]


@dataclass(frozen=True)
class BarrierPrior:
    """A concrete barrier: solid, standing, its long side across the road give or take a yaw.

    Its profile is a "block" or "jersey"; `depth` is its width at the foot.
    """

    length: tuple[float, float] = (0.4, 2.0)
    height: tuple[float, float] = (0.35, 0.8)
    yaw: tuple[float, float] = (-0.5, 0.5)
    reflectance: tuple[float, float] = (0.15, 0.4)
    depth: float = 0.4
    roughness: float = 0.02
    texture: float = 0.15
    profile: str = "block"

    names = ("length", "height", "yaw", "reflectance")

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise ValueError(f"barrier.profile is {self.profile!r}, expected one of {', '.join(PROFILES)}")

    def physical(self, latents: Array) -> Array:
        """Map standard-normal latents (n, 4) to length, height, yaw, reflectance."""
        return uniform_from_normal(latents, self.bounds)

    @property
    def bounds(self) -> Array:
        """(4, 2) low and high of each latent."""
        return np.array([self.length, self.height, self.yaw, self.reflectance])

    def solids(self, position: Array, latents: Array) -> Solids:
        """The shapes of latents (n, 4) at positions (n, 2)."""
        # strided columns would be another type to the kernels, which are compiled for each
        length, height, yaw, reflectance = np.ascontiguousarray(self.physical(latents).T)
        n = len(position)
        return Solids(
            kind=np.full(n, float(PROFILES[self.profile])),
            x=position[:, 0].copy(),
            y=position[:, 1].copy(),
            z=0.5 * height,
            hx=np.full(n, 0.5 * self.depth),
            hy=0.5 * length,
            hz=0.5 * height,
            yaw=yaw,
            pitch=np.zeros(n),
            roll=np.zeros(n),
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
        radius, fill, reflectance = np.ascontiguousarray(self.physical(latents).T)
        n = len(position)
        return Solids(
            kind=np.full(n, float(ELLIPSOID)),
            x=position[:, 0].copy(),
            y=position[:, 1].copy(),
            z=radius,
            hx=radius,
            hy=radius,
            hz=radius,
            yaw=np.zeros(n),
            pitch=np.zeros(n),
            roll=np.zeros(n),
            reflectance=reflectance,
            fill=fill,
            roughness=np.full(n, self.roughness),
            texture=np.full(n, self.texture),
        )


def uniform_from_normal(latents: Array, bounds: Array) -> Array:
    """low + (high - low) Φ(u), column by column."""
    return bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) * ndtr(latents)
