"""Fog in space and time: one extinction, or a bank, a top and patches that drift with the wind.

    alpha(x, y, z, t) = alpha_0 · b(x - u t) · h(z) · exp(s g(x - u t, y - v t) - s²/2)

alpha_0 = ln 20 / visibility is the fog's at large, b goes from 1 to the bank's own extinction over alpha_0, h from 1 to
0 at the layer's top, both by a smoothstep. g is Gaussian with mean 0, variance 1 and covariance
exp(-d²/2l²); the lognormal factor has mean 1. All of it is carried by the wind (u, v) unchanged: Taylor's frozen
turbulence (Taylor 1938, Proc. R. Soc. A 164:476).

g is drawn on a periodic lattice by filtering white noise with the root of its spectrum (Lang and Potthoff 2011, Monte
Carlo Methods Appl. 17:195, section 3).
"""

from __future__ import annotations

from math import cos, floor, sin
from typing import NamedTuple

import numpy as np

from filters.jit import jit
from filters.models.attitude import Vector, rotation, turn
from filters.models.fog import BUNDLE
from filters.models.optics import CELLS, CENTRES, extinction
from filters.spec import Array, Pose
from fogsim.world.setting import Fog

CELLS_PER_LENGTH = 4  # lattice cells per correlation length: linear between them to some 3 % of the variance
SIDE = 256  # lattice cells, a power of two: the pattern repeats after 64 correlation lengths


class Field(NamedTuple):
    """A drawn fog as numba takes it.

    Parameters
    ----------
    alpha : float
        Extinction at large, 1/m.
    bank : (float, float, float, float)
        Begin and end, edge (m), and how many times denser than at large less one.
    layer : (float, float)
        Height and edge of its top, m; height 0: none.
    wind : (float, float)
        m/s.
    texture : (SIDE, SIDE)
        The lognormal factor on the lattice, x along the first axis; (1, 1) where there are no patches.
    spacing : float
        Of the lattice, m.
    """

    alpha: float
    bank: tuple[float, float, float, float]
    layer: tuple[float, float]
    wind: tuple[float, float]
    texture: np.ndarray
    spacing: float

    @property
    def even(self) -> bool:
        """Whether alpha is the same everywhere."""
        return self.bank[3] == 0.0 and self.layer[0] == 0.0 and self.texture.size == 1


def draw_field(fog: Fog, visibility: float, rng: np.random.Generator) -> Field:
    """Draw the patches of a fog whose true visibility at large (m) is given."""
    denser = fog.visibility / fog.bank.visibility - 1.0 if fog.bank.x[0] < fog.bank.x[1] else 0.0
    strength = fog.texture.strength
    patches = np.ones((1, 1))
    if strength > 0.0:
        patches = np.exp(strength * gaussian_lattice(rng) - 0.5 * strength**2)
    return Field(
        alpha=float(extinction(visibility)),
        bank=(float(fog.bank.x[0]), float(fog.bank.x[1]), float(fog.bank.edge), float(denser)),
        layer=(float(fog.layer.height), float(fog.layer.edge)),
        wind=(float(fog.wind[0]), float(fog.wind[1])),
        texture=patches,
        spacing=fog.texture.length / CELLS_PER_LENGTH,
    )


def gaussian_lattice(rng: np.random.Generator) -> Array:
    """Draw g (SIDE, SIDE): white noise times the root of the transformed covariance, which is that of the torus."""
    away = np.minimum(np.arange(SIDE), SIDE - np.arange(SIDE)) / CELLS_PER_LENGTH
    along = np.fft.fft(np.exp(-0.5 * away**2)).real.clip(0.0)
    spectrum = np.sqrt(np.outer(along, along))
    return np.fft.ifft2(spectrum * np.fft.fft2(rng.standard_normal((SIDE, SIDE)))).real


@jit
def smoothstep(x: float) -> float:
    """0 below -1/2, 1 above 1/2, and 3 y² - 2 y³ of y = x + 1/2 between."""
    y = min(max(x + 0.5, 0.0), 1.0)
    return y * y * (3.0 - 2.0 * y)


@jit
def patch(texture: np.ndarray, u: float, v: float) -> float:
    """The factor at lattice coordinates, bilinear between its points, periodic: a mean of 1 stays 1."""
    i, j = floor(u), floor(v)
    a, b = u - i, v - j
    i0, j0 = int(i) & (SIDE - 1), int(j) & (SIDE - 1)
    i1, j1 = (i0 + 1) & (SIDE - 1), (j0 + 1) & (SIDE - 1)
    low = (1.0 - b) * texture[i0, j0] + b * texture[i0, j1]
    high = (1.0 - b) * texture[i1, j0] + b * texture[i1, j1]
    return (1.0 - a) * low + a * high


@jit
def fill_ray(field: Field, start: Vector, ray: Vector, distance: np.ndarray, time: float, alpha: np.ndarray) -> None:
    """Write alpha (n,) at distances (n,) from a start along a unit ray, world frame; a factor a loop, which is fast."""
    x, y, z = start[0] - field.wind[0] * time, start[1] - field.wind[1] * time, start[2]
    alpha[:] = field.alpha
    begin, end, edge, denser = field.bank
    if denser != 0.0:
        for k in range(distance.size):
            ahead = x + distance[k] * ray[0]
            alpha[k] *= 1.0 + denser * smoothstep((ahead - begin) / edge) * smoothstep((end - ahead) / edge)
    height, edge = field.layer
    if height > 0.0:
        for k in range(distance.size):
            alpha[k] *= smoothstep((height - z - distance[k] * ray[2]) / edge)
    if field.texture.size > 1:
        u, v, du, dv = x / field.spacing, y / field.spacing, ray[0] / field.spacing, ray[1] / field.spacing
        for k in range(distance.size):
            alpha[k] *= patch(field.texture, u + distance[k] * du, v + distance[k] * dv)


def extinction_along(field: Field, pose: Pose, elevation: Array, azimuth: Array, time: float) -> float | np.ndarray:
    """alpha, 1/m, along the beams of a lidar.

    Parameters
    ----------
    field : Field
        The fog.
    pose : Pose
        Of the lidar.
    elevation, azimuth : (rings,), (columns,)
        Beam directions about it, rad.
    time : float
        s.

    Returns
    -------
    float where the fog is even, else array (rings, bundles, CELLS)
        At `CENTRES` along the middle ray of each `BUNDLE` of neighbouring columns.
    """
    if field.even:
        return field.alpha
    return extinction_on_rays(field, pose, elevation, azimuth, time)


@jit
def extinction_on_rays(field: Field, pose: Pose, elevation: np.ndarray, azimuth: np.ndarray, time: float) -> np.ndarray:
    """alpha (rings, bundles, CELLS) as `extinction_along` says."""
    bundles = (azimuth.size + BUNDLE - 1) // BUNDLE
    alpha = np.empty((elevation.size, bundles, CELLS), np.float32)
    axes, start = rotation(pose.yaw, pose.pitch, pose.roll), (pose.x, pose.y, pose.z)
    ahead, left = np.empty(bundles), np.empty(bundles)
    for b in range(bundles):
        middle = azimuth[b * BUNDLE : (b + 1) * BUNDLE].mean()
        ahead[b], left[b] = cos(middle), sin(middle)
    for r in range(elevation.size):
        level, up = cos(elevation[r]), sin(elevation[r])
        for b in range(bundles):
            ray = turn(axes, level * ahead[b], level * left[b], up)
            fill_ray(field, start, ray, CENTRES, time, alpha[r, b])
    return alpha


def extinction_at(field: Field, x: float, y: float, z: float, time: float) -> float:
    """alpha (1/m) at a place (m) of the world frame and a time (s)."""
    alpha = np.empty(1)
    fill_ray(field, (float(x), float(y), float(z)), (0.0, 0.0, 0.0), np.zeros(1), float(time), alpha)
    return float(alpha[0])
