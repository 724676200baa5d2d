"""Layouts of real lidar sweeps in files, and what keeps bytes from being one: size, values, unit of intensity.

    kitti     float32 x, y, z, intensity (0-1)                        Geiger et al. 2013 (IJRR 32:1231)
    stf       float32 x, y, z, intensity (0-255), laser number        SeeingThroughFog: Bijelic et al. 2020 (CVPR)
    nuscenes  float32 x, y, z, intensity (0-255), ring                Caesar et al. 2020 (CVPR)
    pcd       a header that names x, y, z, intensity and any others   Point Cloud Library; see `fogsim.pcd`

Little endian, metres, x ahead, y left, z up from the sensor (nuScenes: x right, y ahead, which fog does not mind).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

FARTHEST = 300.0  # m: no such sensor sees farther, so a larger coordinate is not one
NUMBERS = ("x", "y", "z", "intensity")  # every point has them


class Layout(NamedTuple):
    """Fields of a row of float32, the intensity that means full scale, and how an error describes it."""

    fields: tuple[str, ...]
    full_scale: float
    words: str

    @property
    def dtype(self) -> np.dtype:
        """One record per point."""
        return np.dtype([(name, "<f4") for name in self.fields])


LAYOUTS = {
    "kitti": Layout(NUMBERS, 1.0, "4 float32 per point: x, y, z, intensity 0-1"),
    "stf": Layout((*NUMBERS, "laser"), 255.0, "5 float32 per point: x, y, z, intensity 0-255, laser number"),
    "nuscenes": Layout((*NUMBERS, "ring"), 255.0, "5 float32 per point: x, y, z, intensity 0-255, ring"),
}
NAMES = (*LAYOUTS, "pcd")


def fault(data: bytes, layout: str, drop: bool) -> str:
    """What keeps the bytes from being a sweep in a layout of rows: found, expected, remedy; "" if nothing.

    Points that are not finite are a fault unless they are to be dropped.
    """
    kind = LAYOUTS[layout]
    if len(data) % kind.dtype.itemsize:
        return (
            f"found {len(data)} bytes, expected a multiple of {kind.dtype.itemsize} ({kind.words}):"
            " truncated or another layout; copy it again or set the layout"
        )
    rows = np.frombuffer(data, kind.dtype)
    return fault_of_rows(rows, drop, kind.words) or fault_of_scale(rows[finite(rows)], layout)


def finite(rows: np.ndarray) -> np.ndarray:
    """Which rows have finite coordinates and intensity."""
    return np.logical_and.reduce([np.isfinite(rows[name]) for name in NUMBERS])


def fault_of_rows(rows: np.ndarray, drop: bool, words: str) -> str:
    """As `fault`, for values that no layout allows: not finite, or too far."""
    good = finite(rows)
    if not drop and not good.all():
        return (
            f"found values that are not finite in {(~good).sum()} of {len(rows)} points (first: point"
            f" {good.argmin()}), expected numbers: export it without NaN or infinity"
            " (fogsim fog drops them with --nan drop)"
        )
    farthest = max((float(np.abs(rows[name][good]).max(initial=0.0)) for name in "xyz"), default=0.0)
    if farthest > FARTHEST:
        return (
            f"found a coordinate of {farthest:.3g} m, expected within {FARTHEST:.0f} m ({words}):"
            " another layout or unit; convert it to metres or set the layout"
        )
    return ""


def fault_of_scale(rows: np.ndarray, layout: str) -> str:
    """As `fault`, for intensities and numbers of lasers, of finite rows."""
    if not len(rows):
        return ""
    laser = LAYOUTS[layout].fields[4:]
    return fault_of_intensity(rows["intensity"], layout) or (fault_of_laser(rows[laser[0]]) if laser else "")


def fault_of_intensity(intensity: np.ndarray, layout: str) -> str:
    """As `fault`, for the unit of intensity: 0-1 (kitti) or 0-255 (stf, nuscenes)."""
    low, high = float(intensity.min()), float(intensity.max())
    full = LAYOUTS[layout].full_scale
    if low < 0.0:
        return f"found negative intensity {low:.3g}, expected 0-{full:.0f}: another layout, or shift the values"
    if full == 1.0 and high > 1.0:
        return f"found intensities up to {high:.4g}, expected 0-1: divide them by their full scale, often 255"
    if full == 255.0 and high > 255.0:
        return f"found intensities up to {high:.4g}, expected 0-255: rescale them to 255"
    if full == 255.0 and high <= 1.0:
        return f"found no intensity above {high:.3g}, expected 0-255: multiply them by 255"
    return ""


def full_scale_of(intensity: np.ndarray) -> float:
    """1 or 255, whichever unit the intensities are in; 0 if neither. Without points, 1."""
    low, high = float(intensity.min(initial=0.0)), float(intensity.max(initial=0.0))
    if low < 0.0 or high > 255.0:
        return 0.0
    return 1.0 if high <= 1.0 else 255.0


def fault_of_laser(laser: np.ndarray) -> str:
    """As `fault`, for the fifth column: the number of the laser, of its ring or its power level, small integers."""
    odd = ~((laser >= 0.0) & (laser <= 255.0) & (laser == np.round(laser)))
    if not odd.any():
        return ""
    return f"found {laser[odd][0]:.4g} in column 5, expected a laser number, an integer of 0-255: set the layout"


def why_no_layout(size: int, faults: dict[str, str]) -> str:
    """The one line for a file that fits no layout: about its size, or about the layouts whose size fits."""
    fitting = [name for name in faults if size % LAYOUTS[name].dtype.itemsize == 0]
    if not fitting:
        return (
            f"found {size} bytes, expected a multiple of 16 (kitti) or 20 (stf, nuscenes): truncated or another format;"
            " copy it again or convert it to one of these"
        )
    return "; ".join(f"as {name}: {faults[name]}" for name in fitting)
