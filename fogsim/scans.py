"""Real lidar sweeps from files, checked for size, finite values, layout and the unit of intensity.

    kitti   float32 x, y, z, intensity (0-1)                        Geiger et al. 2013 (IJRR 32:1231)
    stf     float32 x, y, z, intensity (0-255), laser number        SeeingThroughFog: Bijelic et al. 2020 (CVPR)

Little endian, metres, x ahead, y left, z up from the sensor.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from filters.spec import Array
from fogsim.errors import UserError
from fogsim.world.street import RealScan

FARTHEST = 300.0  # m: no such sensor sees farther, so a larger coordinate is not one


class Layout(NamedTuple):
    """Columns of a row of float32, the intensity that means full scale, and how an error describes it."""

    columns: int
    full_scale: float
    words: str

    @property
    def row(self) -> int:
        """Bytes of one point."""
        return 4 * self.columns


LAYOUTS = {
    "kitti": Layout(4, 1.0, "4 float32 per point: x, y, z, intensity 0-1"),
    "stf": Layout(5, 255.0, "5 float32 per point: x, y, z, intensity 0-255, laser number"),
}


def read_scan(path: str | Path, layout: str = "auto") -> RealScan:
    """Read a real sweep.

    Parameters
    ----------
    path : str or Path
        A file in one of the `LAYOUTS`.
    layout : {"auto", "kitti", "stf"}
        "auto" takes the one layout that the file's size and values fit.

    Returns
    -------
    RealScan
        Points (n, 3) in m, intensity (n,) in [0, 1], the layout, and how many rows held no return.

    Raises
    ------
    UserError
        If the file is missing, unreadable, empty or truncated, does not fit the layout, or holds values
        that are not finite, coordinates beyond 300 m or intensities in another unit.
    """
    if layout != "auto" and layout not in LAYOUTS:
        raise UserError(f"scan layout is {layout!r}, expected one of auto, {', '.join(LAYOUTS)}")
    path = Path(path)
    data = read_bytes(path)
    faults = {name: fault(data, name) for name in LAYOUTS}
    if layout == "auto":
        layout = next((name for name in LAYOUTS if not faults[name]), "auto")
    if layout == "auto":
        raise UserError(f"{path}: {why_no_layout(len(data), faults)}")
    if faults[layout]:
        other = next((name for name in LAYOUTS if not faults[name]), None)
        hint = f"; it reads well as {other}: use layout {other}" if other else ""
        raise UserError(f"{path} read as {layout}: {faults[layout]}{hint}")
    return parse(data, layout)


def read_bytes(path: Path) -> bytes:
    """The file's bytes, or a UserError that names near matches, the folder's nature or the system's reason."""
    if path.is_dir():
        raise UserError(f"{path} is a folder, expected one sweep's .bin file: name a file in it")
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"scan {path} not found{near_matches(path)}; check the path") from error
    except OSError as error:
        raise UserError(f"scan {path} cannot be read ({error.strerror}): check its permissions") from error
    if not data:
        raise UserError(f"scan {path} is empty, expected points of 16 (kitti) or 20 (stf) bytes: copy it again")
    return data


def near_matches(path: Path) -> str:
    """Names in the folder that resemble the missing one, as the middle of an error."""
    if not path.parent.is_dir():
        return f", nor its folder {path.parent}"
    close = difflib.get_close_matches(path.name, sorted(p.name for p in path.parent.iterdir()), 3)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def parse(data: bytes, layout: str) -> RealScan:
    """Bytes that `fault` found nothing wrong with, as a RealScan; rows at the origin are rays without return."""
    columns, full_scale, _ = LAYOUTS[layout]
    rows = np.frombuffer(data, "<f4").reshape(-1, columns).astype(np.float64)
    returned = rows[:, :3].any(axis=1)
    rows = rows[returned]
    return RealScan(rows[:, :3].copy(), rows[:, 3] / full_scale, layout, int((~returned).sum()))


def fault(data: bytes, layout: str) -> str:
    """What keeps the bytes from being a sweep in a layout: found, expected, remedy; "" if nothing."""
    kind = LAYOUTS[layout]
    if len(data) % kind.row:
        return (
            f"found {len(data)} bytes, expected a multiple of {kind.row} ({kind.words}):"
            " truncated or another layout; copy it again or set the layout"
        )
    rows = np.frombuffer(data, "<f4").reshape(-1, kind.columns)
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        return (
            f"found values that are not finite in {bad.sum()} of {len(rows)} points (first: point {bad.argmax()}),"
            " expected numbers: export it without NaN or infinity"
        )
    farthest = float(np.abs(rows[:, :3]).max())
    if farthest > FARTHEST:
        return (
            f"found a coordinate of {farthest:.3g} m, expected within {FARTHEST:.0f} m ({kind.words}):"
            " another layout or unit; convert it to metres or set the layout"
        )
    return fault_of_intensity(rows[:, 3], layout) or (fault_of_laser(rows[:, 4]) if layout == "stf" else "")


def fault_of_intensity(intensity: Array, layout: str) -> str:
    """As `fault`, for the unit of intensity: 0-1 (kitti) or 0-255 (stf)."""
    low, high = float(intensity.min()), float(intensity.max())
    if low < 0.0:
        return f"found negative intensity {low:.3g}, expected {scale_of(layout)}: another layout, or shift the values"
    if layout == "kitti" and high > 1.0:
        return f"found intensities up to {high:.4g}, expected 0-1: divide them by their full scale, often 255"
    if layout == "stf" and high > 255.0:
        return f"found intensities up to {high:.4g}, expected 0-255: rescale them to 255"
    if layout == "stf" and high <= 1.0:
        return f"found no intensity above {high:.3g}, expected 0-255: multiply them by 255"
    return ""


def scale_of(layout: str) -> str:
    """The layout's unit of intensity in words."""
    return f"0-{LAYOUTS[layout].full_scale:.0f}"


def fault_of_laser(laser: Array) -> str:
    """As `fault`, for the fifth column of stf: the number of the laser or its power level, small integers."""
    odd = (laser < 0.0) | (laser > 255.0) | (laser != np.round(laser))
    if not odd.any():
        return ""
    return f"found {laser[odd][0]:.4g} in column 5, expected a laser number, an integer of 0-255: set the layout"


def why_no_layout(size: int, faults: dict[str, str]) -> str:
    """The one line for a file that fits no layout: about its size, or about the layouts whose size fits."""
    fitting = [name for name in faults if size % LAYOUTS[name].row == 0]
    if not fitting:
        return (
            f"found {size} bytes, expected a multiple of 16 (kitti) or 20 (stf): truncated or another format;"
            " copy it again or convert it to one of these"
        )
    return "; ".join(f"as {name}: {faults[name]}" for name in fitting)
