"""Objects that no filter has a class for: a traffic cone, an animal, a cardboard box. They are solid, and stand.

Each is a set of solids in its own axes: x ahead, y to the left, z up from the road, the middle of the footprint at 0.
Latents are standard normal, and physical as in `filters.models.shapes`; the yaw is one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise, product
from math import cos, pi, sin
from typing import NamedTuple

import numpy as np

from filters.models.attitude import Vector
from filters.models.shapes import BOX, CYLINDER, ELLIPSOID, Solids, uniform_from_normal
from filters.spec import Array
from fogsim.frame import ANIMAL, CARTON, CONE

PLATE = 0.55, 0.05  # a cone's base plate: its side and its thickness, in heights
FOOT, TIP = 0.19, 0.045  # radii of the cone at the road and at its top, in heights
RINGS = 9  # cylinders that the cone is made of
COLLAR = 0.66, 0.88  # the white band, in heights
WHITE = 0.85  # reflectance of the band; as a retroreflector it is taken for no more than that


class Part(NamedTuple):
    """One solid of an object: its kind, centre and half extents in the object's axes, m, and reflectance."""

    kind: int
    centre: Vector
    half: Vector
    reflectance: float


def cone(height: float, reflectance: float) -> list[Part]:
    """A square plate and a stack of cylinders that tapers, those of the collar brighter.

    Proportions are those of a 28 inch cone on a base of 15 inches, with a band of 6 inches that begins 3 to 4 inches
    below the top (MUTCD 2009, section 6F.64, which also asks for at least 18 inches of height).
    """
    side, thick = PLATE
    edges = np.linspace(thick, 1.0, RINGS + 1).tolist()
    plate = part(BOX, (0.0, 0.0, 0.5 * thick), (0.5 * side, 0.5 * side, 0.5 * thick), height, reflectance)
    return [plate, *(ring(low, high, height, reflectance) for low, high in pairwise(edges))]


def ring(low: float, high: float, height: float, reflectance: float) -> Part:
    """The cylinder of a cone from one share of its height to another, as wide as the cone is halfway."""
    middle = 0.5 * (low + high)
    radius = FOOT + (TIP - FOOT) * middle
    bright = WHITE if COLLAR[0] < middle < COLLAR[1] else reflectance
    return part(CYLINDER, (0.0, 0.0, middle), (radius, radius, 0.5 * (high - low)), height, bright)


def animal(shoulder: float, reflectance: float) -> list[Part]:
    """A dog or a young deer, broadside at a yaw of 90 degrees: body, head just above the back, and four thin legs.

    In units of the height of its shoulders: 1.28 long, 0.3 wide, 1.05 high, the belly at 0.54, and 0.12 between left
    and right legs. A Labrador's shoulders stand at 0.54 to 0.57 m, a roe deer's at 0.65 to 0.75 m.
    """
    body = part(ELLIPSOID, (-0.09, 0.0, 0.77), (0.55, 0.15, 0.23), shoulder, reflectance)
    head = part(ELLIPSOID, (0.45, 0.0, 0.95), (0.19, 0.08, 0.1), shoulder, reflectance)
    feet = product((-0.45, 0.27), (-0.09, 0.09))
    legs = [part(CYLINDER, (x, y, 0.385), (0.03, 0.03, 0.385), shoulder, reflectance) for x, y in feet]
    return [body, head, *legs]


def carton(length: float, width: float, height: float, reflectance: float) -> list[Part]:
    """A closed cardboard box on the road."""
    half = 0.5 * length, 0.5 * width, 0.5 * height
    return [Part(BOX, (0.0, 0.0, half[2]), half, reflectance)]


def part(kind: int, centre: Vector, half: Vector, unit: float, reflectance: float) -> Part:
    """A part measured in a unit of so many m."""
    x, y, z = (unit * v for v in centre)
    hx, hy, hz = (unit * v for v in half)
    return Part(kind, (x, y, z), (hx, hy, hz), reflectance)


class Unseen(NamedTuple):
    """What one kind is drawn from, used as the priors of `filters.models.shapes` are.

    Parameters
    ----------
    ranges : mapping
        Lowest and highest value of each latent, each even in between; one is the yaw.
    parts : callable
        From the other latents to the parts.
    roughness, texture : float
        Of its surface: m, and relative, as in `Solids`.
    """

    ranges: Mapping[str, tuple[float, float]]
    parts: Callable[..., list[Part]]
    roughness: float
    texture: float

    @property
    def names(self) -> tuple[str, ...]:
        """Of the latents."""
        return tuple(self.ranges)

    def physical(self, latents: Array) -> dict[str, float]:
        """Map standard-normal latents (n,) to what they stand for."""
        bounds = np.array(list(self.ranges.values()))
        return dict(zip(self.ranges, uniform_from_normal(latents[None], bounds)[0].tolist(), strict=True))

    def solids(self, position: Array, latents: Array) -> Solids:
        """The parts of latents (1, n) at a position (1, 2)."""
        values = self.physical(latents[0])
        yaw = values.pop("yaw")
        return placed(self.parts(**values), position[0], yaw, self.roughness, self.texture)


def placed(parts: list[Part], position: Array, yaw: float, roughness: float, texture: float) -> Solids:
    """Parts turned by a yaw and put at a position (2,)."""
    n, (kind, centre, half, reflectance) = len(parts), zip(*parts, strict=True)
    # strided columns would be another type to the kernels, which are compiled for each
    x, y, z = np.ascontiguousarray(np.array(centre).T)
    hx, hy, hz = np.ascontiguousarray(np.array(half).T)
    return Solids(
        kind=np.array(kind, float),
        x=position[0] + cos(yaw) * x - sin(yaw) * y,
        y=position[1] + sin(yaw) * x + cos(yaw) * y,
        z=z,
        hx=hx,
        hy=hy,
        hz=hz,
        yaw=np.full(n, yaw),
        pitch=np.zeros(n),
        roll=np.zeros(n),
        reflectance=np.array(reflectance),
        fill=np.ones(n),
        roughness=np.full(n, roughness),
        texture=np.full(n, texture),
    )


# Cones from 18 inches to 75 cm, animals from a spaniel to a young red deer, boxes as parcels come in. Reflectances at
# 905 nm are assumed, wide: orange plastic and cardboard are bright in the near infrared, fur is from dark to fair.
ANY_YAW = -pi, pi
UNSEEN = {
    CONE: Unseen({"height": (0.45, 0.75), "reflectance": (0.3, 0.6), "yaw": ANY_YAW}, cone, 0.01, 0.1),
    ANIMAL: Unseen({"shoulder": (0.4, 0.9), "reflectance": (0.3, 0.6), "yaw": ANY_YAW}, animal, 0.03, 0.25),
    CARTON: Unseen(
        {
            "length": (0.25, 0.6),
            "width": (0.25, 0.6),
            "height": (0.25, 0.6),
            "reflectance": (0.4, 0.6),
            "yaw": ANY_YAW,
        },
        carton,
        0.01,
        0.1,
    ),
}
