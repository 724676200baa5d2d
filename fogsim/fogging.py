"""Fog over a real scan: points are lost, drawn into the fog or kept, each with a label.

Beams without a return are not in a scan, so fog cannot echo in them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from filters.models.optics import Optics, extinction
from filters.streams import stream
from fogsim.compatibility import FULL_SCALE, lay_haze
from fogsim.errors import UserError
from fogsim.fog_kernel import fog_table, lay_fog
from fogsim.layouts import FARTHEST, full_scale_of

MODELS = ("fogsim", "hahner")
HOUSE = Optics()


class FoggedScan(NamedTuple):
    """A scan in fog, in the order of the points it came from; lost points are not in it.

    points: (m, 3), m. intensity: (m,), in the unit it came in. label: (m,) uint8, the echo model's constants:
    NOISE 1, FOG 2, STRUCTURE 5 for a kept point. source: (m,) int32, index of the point whose beam this is.
    """

    points: np.ndarray
    intensity: np.ndarray
    label: np.ndarray
    source: np.ndarray


def add_fog(
    points: ArrayLike,
    visibility: float,
    seed: int | np.random.Generator,
    *,
    model: str = "fogsim",
    full_scale: float | None = None,
    drop: bool = False,
    optics: Optics = HOUSE,
) -> FoggedScan:
    """Lay fog over a clear scan.

    Parameters
    ----------
    points : (n, 4 or more)
        x, y, z about the sensor in m, intensity, and what else there is, which stays with `source`. float32 stays so.
    visibility : float
        Meteorological optical range, m, > 0; inf is clear air, in which the house's model gives the scan back (the
        published one rounds intensities and has fog, for its backscatter stays).
    seed : int or Generator
        >= 0; the same one gives the same fog.
    model : {"fogsim", "hahner"}
        The house's stochastic model, or the published one of Hahner et al. 2021 without jitter, in which no point is
        lost (see `fogsim.compatibility`).
    full_scale : float
        Intensity of full scale; without it 1 or 255, told by the largest one.
    drop : bool
        Leave points that are not finite out instead of refusing them.
    optics : Optics
        Of the lidar, for the house's model.

    Raises
    ------
    UserError
        For another shape, values that are not finite, coordinates beyond 300 m, intensities in another unit, or a
        visibility, seed or full scale that is not a number it may be.
    """
    check(visibility, model)
    check_seed(seed)
    rows = np.asarray(points)
    if rows.ndim != 2 or rows.shape[1] < 4:
        raise UserError(f"points have shape {rows.shape}, expected (n, 4 or more): x, y, z, intensity per row")
    rows = rows if rows.dtype == np.float32 else rows.astype(np.float64, copy=False)
    kept = usable(rows, drop)
    xyz, intensity = np.ascontiguousarray(rows[kept, :3]), np.ascontiguousarray(rows[kept, 3])
    fogged = fog_over(xyz, intensity, scale_of(intensity, full_scale), visibility, seed, model, optics)
    return (
        fogged
        if len(xyz) == len(rows)
        else fogged._replace(source=np.flatnonzero(kept).astype(np.int32)[fogged.source])
    )


def scale_of(intensity: np.ndarray, full_scale: float | None) -> float:
    """Intensity of full scale, told by the largest one if it is not given; refuses intensities beyond it."""
    if full_scale is not None and not (is_number(full_scale) and 0.0 < full_scale < np.inf):
        raise UserError(f"full_scale is {full_scale!r}, expected a number above 0: the intensity of full scale")
    scale = full_scale_of(intensity) if full_scale is None else full_scale
    if not scale or (intensity < 0.0).any() or (intensity > scale).any():
        raise UserError(
            f"found intensities of {intensity.min():.4g} to {intensity.max():.4g}, expected 0 to"
            f" {full_scale or '1 or 255'}: rescale them, or set full_scale"
        )
    return scale


def usable(rows: np.ndarray, drop: bool) -> np.ndarray:
    """Which rows are points: not at the origin (a ray without return) and, if `drop`, finite; else that is demanded."""
    good = np.isfinite(rows[:, :4]).all(axis=1)
    if not drop and not good.all():
        raise UserError(
            f"found values that are not finite in {(~good).sum()} of {len(rows)} points (first: point {good.argmin()}),"
            " expected numbers: remove them, or set drop=True"
        )
    if (np.abs(rows[good, :3]) > FARTHEST).any():
        raise UserError(f"found a coordinate beyond {FARTHEST:.0f} m, expected metres about the sensor: convert them")
    return good & rows[:, :3].any(axis=1)


def fog_over(
    points: np.ndarray,
    intensity: np.ndarray,
    full_scale: float,
    visibility: float,
    seed: int | np.random.Generator,
    model: str = "fogsim",
    optics: Optics = HOUSE,
) -> FoggedScan:
    """As `add_fog`, of points (n, 3) and intensities (n,) known to be sound."""
    check(visibility, model)
    if model == "hahner":
        return published(points, intensity, full_scale, visibility)
    rng = seed if isinstance(seed, np.random.Generator) else stream(seed, "fog")
    alpha = float(extinction(visibility))
    moved, faded = np.empty_like(points), np.empty_like(intensity)
    label, source = np.empty(len(points), np.uint8), np.empty(len(points), np.int32)
    m = lay_fog(fog_table(optics, alpha), points, intensity, full_scale, rng, moved, faded, label, source)
    return FoggedScan(moved[:m], faded[:m], label[:m], source[:m])


def published(points: np.ndarray, intensity: np.ndarray, full_scale: float, visibility: float) -> FoggedScan:
    """As `fog_over`, by the model of Hahner et al., which counts intensity in steps of 1/255."""
    unit = np.float32(FULL_SCALE / full_scale)
    scaled = intensity if unit == 1.0 else intensity * unit
    given = points.astype(np.float32, copy=False), scaled.astype(np.float32, copy=False)
    moved, faded, label = lay_haze(*given, visibility)
    faded = faded if unit == 1.0 else faded / unit
    source = np.arange(len(points), dtype=np.int32)
    return FoggedScan(moved.astype(points.dtype, copy=False), faded.astype(intensity.dtype, copy=False), label, source)


def check(visibility: float, model: str) -> None:
    """Refuse a visibility that is not a number above 0, and a model that is not known."""
    if not is_number(visibility):
        raise UserError(f"visibility is {visibility!r}, expected a number of metres: thick fog has 30, haze 2000")
    if not visibility > 0.0:
        raise UserError(f"visibility is {visibility} m, expected more than 0: thick fog has 30, haze 2000")
    if model not in MODELS:
        raise UserError(f"fog model is {model!r}, expected one of {', '.join(MODELS)}")


def check_seed(seed: object) -> None:
    """Refuse a seed that is neither an integer >= 0 nor a generator."""
    if isinstance(seed, np.random.Generator) or (isinstance(seed, int | np.integer) and seed >= 0):
        return
    raise UserError(f"seed is {seed!r}, expected an integer of 0 or more, or a numpy Generator")


def is_number(value: object) -> bool:
    """Whether a value is one real number, of Python or numpy."""
    return np.ndim(value) == 0 and np.asarray(value).dtype.kind in "fiu"  # type: ignore[arg-type]
