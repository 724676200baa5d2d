"""The lidar: beams cast into the true world, echoes drawn from the model, quantised as they are logged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from filters.models.lidar_echo import SURFACE, BeamSurfaces, sample_scan
from filters.models.optics import Optics, echo_table, extinction
from filters.models.shapes import BACKGROUND_ROUGHNESS, BACKGROUND_TEXTURE, Solids
from filters.spec import Pose, Surfaces
from fogsim.errors import UserError, expect_positive
from fogsim.frame import POWER_UNIT, RANGE_UNIT
from fogsim.sensors.raycast import GROUND, NOTHING, cast
from fogsim.world.solids import ASPHALT

DEPTH = 4  # surfaces kept per beam


@dataclass(frozen=True)
class Lidar:
    """The grid of beams, how it is mounted, and its optics.

    Parameters
    ----------
    rings, lowest_deg, highest_deg
        Beams are spread evenly between the two elevations.
    columns, azimuth_deg
        Columns spread evenly over the azimuths -azimuth_deg/2 to +azimuth_deg/2 about straight ahead.
    height : float
        Of the sensor above ground, m; it sits at ego's front.
    """

    rings: int = 16
    lowest_deg: float = -15.0
    highest_deg: float = 15.0
    columns: int = 600
    azimuth_deg: float = 120.0
    height: float = 0.9
    optics: Optics = field(default_factory=Optics)

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


LIDAR_64 = Lidar(rings=64, lowest_deg=-24.8, highest_deg=2.0)


class Returns(NamedTuple):
    """What the sensor puts out, (rings, columns, echoes) as logged, and the truth label of each echo."""

    range: np.ndarray
    power: np.ndarray
    label: np.ndarray


def grid(lidar: Lidar) -> tuple[np.ndarray, np.ndarray]:
    """Elevation (rings,) and azimuth (columns,) of the beams, rad."""
    half = np.radians(lidar.azimuth_deg) / 2
    step = 2 * half / lidar.columns
    azimuth = -half + step * (np.arange(lidar.columns) + 0.5)
    return np.radians(np.linspace(lidar.lowest_deg, lidar.highest_deg, lidar.rings)), azimuth


def map_surfaces(solids: Solids, pose: Pose, lidar: Lidar) -> Surfaces:
    """The first surface of the known map in each beam of a lidar at `pose`."""
    elevation, azimuth = grid(lidar)
    hits = cast(solids, *pose, elevation, azimuth, 1, True)
    index = hits.what[..., 0]
    reflectance = np.append(solids.reflectance, [0.0, ASPHALT])[index]  # NOTHING = -2, GROUND = -1
    return Surfaces(hits.range[..., 0], hits.cosine[..., 0], reflectance)


def scan(
    things: Solids, background: Surfaces, pose: Pose, visibility: float, lidar: Lidar, rng: np.random.Generator
) -> Returns:
    """Draw one sweep of a lidar truly at `pose`: things in front of, behind or within a background.

    Labels: 0 nothing, 1 noise, 2 fog, 3 background, 4 + k thing k.
    """
    elevation, azimuth = grid(lidar)
    hits = cast(things, *pose, elevation, azimuth, DEPTH - 1, False)
    distance = np.concatenate([hits.range, background.range[..., None]], axis=-1)
    order = np.argsort(distance, axis=-1, kind="stable")
    last = np.full_like(background.range, -1, dtype=np.int64)[..., None]
    index = np.take_along_axis(np.concatenate([np.where(hits.what == NOTHING, 0, hits.what), last], -1), order, -1)

    def surface(of_things: np.ndarray, of_background: np.ndarray | float) -> np.ndarray:
        values = np.append(of_things, 0.0)[index]
        return np.where(index < 0, np.broadcast_to(of_background, background.range.shape)[..., None], values)

    cosines = np.concatenate([hits.cosine, background.cosine[..., None]], -1)
    surfaces = (
        np.take_along_axis(distance, order, -1),
        np.take_along_axis(cosines, order, -1),
        surface(things.reflectance, background.reflectance),
        surface(things.fill, 1.0),
        surface(things.roughness, BACKGROUND_ROUGHNESS),
        surface(things.texture, BACKGROUND_TEXTURE),
        np.where(index < 0, 0, index + 1),
    )
    flat = BeamSurfaces(*(np.ascontiguousarray(a).reshape(-1, DEPTH) for a in surfaces))
    ranges, powers, labels = sample_scan(echo_table(lidar.optics), float(extinction(visibility)), flat, rng)
    return quantise(ranges, powers, labels, (elevation.size, azimuth.size, -1))


def quantise(ranges: np.ndarray, powers: np.ndarray, labels: np.ndarray, shape: tuple[int, ...]) -> Returns:
    """Round to 5 mm and 1/64 before anyone reads it, so that a log is lossless."""
    heard = powers > 0.0
    step = np.where(heard, np.clip(np.rint(ranges / RANGE_UNIT), 1, 65535), 0)
    level = np.where(heard, np.clip(np.rint(powers / POWER_UNIT), 1, 65535), 0)
    return Returns(
        step.astype(np.uint16).reshape(shape),
        level.astype(np.uint16).reshape(shape),
        labels.astype(np.uint8).reshape(shape),
    )


assert (GROUND, NOTHING, SURFACE) == (-1, -2, 3)  # the indexing above and the log's labels rest on these
