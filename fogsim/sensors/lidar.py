"""The lidar: beams cast into the true world, echoes drawn from the model, quantised as they are logged."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import cos, isfinite, sin
from typing import NamedTuple

import numpy as np

from filters.jit import jit
from filters.models.attitude import rotation
from filters.models.fog import fog_at, fog_rays
from filters.models.lidar_echo import THING
from filters.models.lidar_scan import Scene, sample_scan
from filters.models.optics import Optics, echo_table
from filters.models.shapes import GROUND, NOTHING, Hits, Solids
from filters.spec import Array, Pose, Surfaces
from fogsim.errors import UserError, are_numbers, expect_positive
from fogsim.frame import POWER_UNIT, RANGE_UNIT
from fogsim.sensors.raycast import around, cast
from fogsim.world.solids import ASPHALT

MOST_SOLIDS = 255 - THING
DEPTH = 3  # things kept per beam: as many bags can let one through
ROAD = 0.05  # m: what the map has no higher than this is the ground

STEPS_PER_METRE, LEVELS_PER_NOISE = 1.0 / RANGE_UNIT, 1.0 / POWER_UNIT

# A scan's arrays are some 10 MB. glibc would give them back to the system and fetch them anew for every scan, in page
# faults that take as long as the echoes; it keeps as much as twice the largest block it has seen freed, up to this one.
np.empty(31 << 20, np.uint8)


@dataclass(frozen=True)
class Lidar:
    """The grid of beams, how it is mounted on ego, and its optics. Presets of real sensors: `presets.py`.

    Parameters
    ----------
    rings, lowest_deg, highest_deg
        Beams are spread evenly between the two elevations, unless the next field names each.
    elevations_deg : tuple of float
        Elevation of every ring, ascending; `rings` must be their number, the two above the first and the last.
    columns, azimuth_deg
        Columns spread evenly over the azimuths -azimuth_deg/2 to +azimuth_deg/2 about straight ahead.
    x, y, height : float
        Of the sensor: ahead and to the left of the middle of ego's front, and above ground, m.
    yaw_deg, pitch_deg, roll_deg : float
        Its attitude on ego: turned to the left, looking down, its right side lowered.
    """

    rings: int = 16
    lowest_deg: float = -15.0
    highest_deg: float = 15.0
    columns: int = 600
    azimuth_deg: float = 120.0
    height: float = 0.9
    optics: Optics = field(default_factory=Optics)
    elevations_deg: tuple[float, ...] = ()
    x: float = 0.0
    y: float = 0.0
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0

    def __post_init__(self) -> None:
        if self.rings < 2 or self.columns < 2:
            raise UserError(
                f"found {self.rings} rings and {self.columns} columns of beams, expected at least 2 of each"
            )
        if not -90.0 < self.lowest_deg < self.highest_deg < 90.0:
            raise UserError(f"rings from {self.lowest_deg} to {self.highest_deg} deg, expected the lower one first")
        expect_positive(height=self.height, range_10=self.optics.range_10, glitch=self.optics.glitch)
        if not 0.0 < self.azimuth_deg <= 360.0:
            raise UserError(f"lidar.azimuth_deg is {self.azimuth_deg}, expected above 0 and at most 360")
        for name in ("x", "y", "yaw_deg", "pitch_deg", "roll_deg"):
            value = getattr(self, name)
            if are_numbers(value) and not isfinite(value):
                raise UserError(f"lidar.{name} is {value}, expected a finite number")
        if self.elevations_deg:
            self._check_elevations()

    def _check_elevations(self) -> None:
        each = self.elevations_deg
        if any(a >= b for a, b in pairwise(each)):
            raise UserError("lidar.elevations_deg are not in order, expected ascending ones: sort them")
        if (self.rings, self.lowest_deg, self.highest_deg) != (len(each), each[0], each[-1]):
            raise UserError(
                f"found {self.rings} rings from {self.lowest_deg} to {self.highest_deg} deg, but {len(each)}"
                f" elevations_deg from {each[0]} to {each[-1]}, expected the same:"
                " set lidar.elevations_deg=() to spread rings evenly"
            )


class Returns(NamedTuple):
    """What the sensor puts out, (rings, columns, echoes) as logged, and the truth label of each echo."""

    range: np.ndarray
    power: np.ndarray
    label: np.ndarray


def grid(lidar: Lidar) -> tuple[Array, Array]:
    """Elevation (rings,) and azimuth (columns,) of the beams about the sensor, rad."""
    half = np.radians(lidar.azimuth_deg) / 2
    step = 2 * half / lidar.columns
    azimuth = -half + step * (np.arange(lidar.columns) + 0.5)
    elevations = lidar.elevations_deg or np.linspace(lidar.lowest_deg, lidar.highest_deg, lidar.rings)
    return np.radians(elevations), azimuth


def mounted(lidar: Lidar, x: float, y: float, yaw: float) -> Pose:
    """The lidar's pose on an ego whose front's middle is at (x, y), turned by yaw: ego's pose times the mounting."""
    c, s = cos(yaw), sin(yaw)
    pitch, roll = np.radians([lidar.pitch_deg, lidar.roll_deg]).tolist()
    return Pose(
        float(x + c * lidar.x - s * lidar.y),
        float(y + s * lidar.x + c * lidar.y),
        lidar.height,
        float(yaw + np.radians(lidar.yaw_deg)),
        pitch,
        roll,
    )


def map_surfaces(solids: Solids, pose: Pose, lidar: Lidar) -> Surfaces:
    """The first surface of the known map in each beam of a lidar at `pose`."""
    return first_of(cast(solids, pose, *grid(lidar), 1, True), solids.reflectance)


@jit
def first_of(hits: Hits, reflectance: np.ndarray) -> Surfaces:
    """The nearest surface of each beam with its reflectance: the ground's is asphalt's."""
    shape = hits.range.shape[:2]
    distance, cosine, colour = np.empty(shape), np.empty(shape), np.zeros(shape)
    for r in range(shape[0]):
        for c in range(shape[1]):
            distance[r, c], cosine[r, c], what = hits.range[r, c, 0], hits.cosine[r, c, 0], hits.what[r, c, 0]
            if what != NOTHING:
                colour[r, c] = ASPHALT if what == GROUND else reflectance[what]
    return Surfaces(distance, cosine, colour)


def scan(
    things: Solids,
    background: Surfaces,
    pose: Pose,
    alpha: float | np.ndarray,
    lidar: Lidar,
    rng: np.random.Generator,
    slots: np.ndarray | None = None,
) -> Returns:
    """Draw one sweep of a lidar truly at `pose`: things in front of, behind or within a background.

    `alpha` is the extinction, 1/m, as `fogsim.world.fog.extinction_along` gives it. Labels are those of
    `filters.models.lidar_echo`: 0 nothing, 1 noise, 2 fog, 3 lost, 4 ground, 5 the rest of the map, 6 + k thing k.
    `slots` (n,) tells which thing each solid is of; by default each is one of its own.
    """
    if len(things.x) > MOST_SOLIDS:
        raise UserError(f"found {len(things.x)} solids in a scan, expected at most {MOST_SOLIDS}: labels have 8 bits")
    elevation, azimuth = grid(lidar)
    hits = cast(things, pose, elevation, azimuth, DEPTH, False)
    scene = Scene(hits, things, background, on_road(background.range, pose, elevation, azimuth))
    table = echo_table(lidar.optics)
    fog = fog_at(table, alpha) if isinstance(alpha, float) else fog_rays(lidar.optics, alpha)
    steps, levels, labels = quantise(*sample_scan(table, fog, scene, rng))
    return Returns(steps, levels, labels if slots is None else slot_labels(slots)[labels])


def slot_labels(slots: np.ndarray) -> np.ndarray:
    """From labels that count solids to labels that count things: what stands for each, uint8."""
    return np.concatenate([np.arange(THING), THING + slots]).astype(np.uint8)


@jit
def on_road(distance: np.ndarray, pose: Pose, elevation: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """Which beams meet the map (rings, columns) below `ROAD`."""
    rings, columns = distance.shape
    result = np.empty((rings, columns), np.bool_)
    ahead, left, above = rotation(pose.yaw, pose.pitch, pose.roll)[2]
    forward, leftward = around(azimuth)
    slant = ahead * forward + left * leftward
    for r in range(rings):
        level, up = cos(elevation[r]), above * sin(elevation[r])
        for c in range(columns):
            result[r, c] = distance[r, c] * (level * slant[c] + up) < ROAD - pose.z
    return result


@jit
def quantise(ranges: np.ndarray, powers: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Round to 5 mm and 1/64 before anyone reads it, so that a log is lossless: uint16, uint16, uint8."""
    shape = ranges.shape
    steps, levels, kinds = np.empty(shape, np.uint16), np.empty(shape, np.uint16), np.empty(shape, np.uint8)
    r, p, label = ranges.ravel(), powers.ravel(), labels.ravel()
    a, b, kind = steps.ravel(), levels.ravel(), kinds.ravel()
    for i in range(r.size):  # flat and without branches: a vector loop
        heard = 1.0 if p[i] > 0.0 else 0.0
        a[i] = int(heard * min(max(r[i] * STEPS_PER_METRE + 0.5, 1.0), 65535.0))
        b[i] = int(heard * min(max(p[i] * LEVELS_PER_NOISE + 0.5, 1.0), 65535.0))
        kind[i] = label[i]
    return steps, levels, kinds
