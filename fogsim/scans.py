"""Real lidar sweeps in and out of files, checked for size, finite values, layout and the unit of intensity."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fogsim import pcd
from fogsim.errors import UserError
from fogsim.layouts import LAYOUTS, NAMES, NUMBERS, fault, fault_of_rows, finite, full_scale_of, why_no_layout
from fogsim.world.street import RealScan

FLOATS = (np.dtype("<f4"), np.dtype("<f8"))


class Sweep(NamedTuple):
    """A sweep as its file has it.

    rows: one record per point, with fields x, y, z, intensity and the layout's others. layout: its name. full_scale:
    the intensity of a full-scale echo, 1 or 255. header: of a .pcd file. places: the rows' indices in the file, int32,
    if some were dropped. not_finite, without_return: how many those were.
    """

    rows: np.ndarray
    layout: str
    full_scale: float
    header: pcd.Header | None = None
    places: np.ndarray | None = None
    not_finite: int = 0
    without_return: int = 0

    @property
    def points(self) -> np.ndarray:
        """Coordinates (n, 3), m, in the file's own precision."""
        return np.stack([self.rows[name] for name in "xyz"], axis=1)

    @property
    def intensity(self) -> np.ndarray:
        """Intensity (n,), 0 to full scale; whole numbers, which fog would cut, become float32."""
        intensity = np.ascontiguousarray(self.rows["intensity"])
        return intensity if intensity.dtype in FLOATS else intensity.astype(np.float32)


def read_scan(path: str | Path, layout: str = "auto") -> RealScan:
    """Read a real sweep as the simulator takes it.

    Parameters
    ----------
    path : str or Path
        A file in one of the layouts.
    layout : {"auto", "kitti", "stf", "nuscenes", "pcd"}
        "auto" takes the one layout that the file's name, size and values fit.

    Returns
    -------
    RealScan
        Points (n, 3) in m, intensity (n,) in [0, 1], the layout, and how many rows held no return.

    Raises
    ------
    UserError
        As `read_sweep`, or if there is no point.
    """
    sweep = read_sweep(path, layout)
    if not len(sweep.rows):
        raise UserError(f"scan {path} has no points, expected a sweep of the road: copy it again")
    intensity = sweep.intensity.astype(np.float64) / sweep.full_scale
    return RealScan(sweep.points.astype(np.float64), intensity, sweep.layout, sweep.without_return)


def read_sweep(path: str | Path, layout: str = "auto", drop: bool = False) -> Sweep:
    """Read a real sweep as it is; rows at the origin, rays without return, are left out and counted.

    Parameters
    ----------
    path : str or Path
        A file in one of the layouts.
    layout : str
        As of `read_scan`.
    drop : bool
        Leave points that are not finite out too, instead of refusing them.

    Raises
    ------
    UserError
        If the file is missing, unreadable, empty or truncated, does not fit the layout, or holds values
        that are not finite, coordinates beyond 300 m or intensities in another unit.
    """
    path = Path(path)
    if layout != "auto" and layout not in NAMES:
        raise UserError(f"scan layout is {layout!r}, expected one of auto, {', '.join(NAMES)}")
    data = read_bytes(path)
    if not data and layout == "auto":
        raise UserError(
            f"scan {path} is empty, expected points of 16 (kitti) or 20 (stf, nuscenes) bytes: copy it again,"
            " or name the layout if it is a sweep without points"
        )
    if layout == "auto":
        layout = "pcd" if pcd.is_pcd(data) else detected(path, data, drop)
    sweep = parse_pcd(path, data, drop) if layout == "pcd" else parse_rows(path, data, layout, drop)
    good = finite(sweep.rows)
    returned = good & np.logical_or.reduce([sweep.rows[name] != 0.0 for name in "xyz"])
    if returned.all():
        return sweep
    lost = int((~good).sum())
    return sweep._replace(
        rows=sweep.rows[returned],
        places=np.flatnonzero(returned).astype(np.int32),
        not_finite=lost,
        without_return=int((~returned).sum()) - lost,
    )


def read_bytes(path: Path) -> bytes:
    """The file's bytes, or a UserError that names near matches, the folder's nature or the system's reason."""
    if path.is_dir():
        raise UserError(f"{path} is a folder, expected one sweep's file: name a file in it")
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"scan {path} not found{near_matches(path)}; check the path") from error
    except OSError as error:
        raise UserError(f"scan {path} cannot be read ({error.strerror}): check its permissions") from error


def near_matches(path: Path) -> str:
    """Names in the folder that resemble the missing one, as the middle of an error."""
    if not path.parent.is_dir():
        return f", nor its folder {path.parent}"
    close = difflib.get_close_matches(path.name, sorted(p.name for p in path.parent.iterdir()), 3)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def candidates(path: Path) -> tuple[str, ...]:
    """Layouts of rows, likeliest first: nuScenes differs from stf by its name only, .pcd.bin."""
    return ("nuscenes", "kitti", "stf") if path.name.endswith(".pcd.bin") else ("kitti", "stf", "nuscenes")


def detected(path: Path, data: bytes, drop: bool) -> str:
    """The layout that the values fit."""
    faults: dict[str, str] = {}
    for name in candidates(path):
        faults[name] = fault(data, name, drop)
        if not faults[name]:
            return name
    if path.name.endswith(".pcd"):
        raise UserError(f"{path}: found no header of a .pcd file: export it again, or set the layout")
    faults.pop("nuscenes" if candidates(path)[0] == "kitti" else "stf")  # says what the other one says
    raise UserError(f"{path}: {why_no_layout(len(data), faults)}")


def parse_rows(path: Path, data: bytes, layout: str, drop: bool) -> Sweep:
    """Bytes in a layout of rows."""
    found = fault(data, layout, drop)
    if found:
        other = next((name for name in candidates(path) if name != layout and not fault(data, name, drop)), None)
        hint = f"; it reads well as {other}: use layout {other}" if other else ""
        raise UserError(f"{path} read as {layout}: {found}{hint}")
    return Sweep(np.frombuffer(data, LAYOUTS[layout].dtype), layout, LAYOUTS[layout].full_scale)


def parse_pcd(path: Path, data: bytes, drop: bool) -> Sweep:
    """Bytes of a .pcd file."""
    try:
        rows, header = pcd.parse(data)
    except UserError as error:
        raise UserError(f"{path} read as pcd: {error}") from error
    missing = [name for name in NUMBERS if header.fields.count(name) != 1 or rows[name].ndim != 1]
    if missing:
        raise UserError(
            f"{path} read as pcd: found fields {' '.join(header.fields)}, expected x y z intensity, each once:"
            f" add or rename {', '.join(missing)}"
        )
    cut = [name for name in "xyz" if rows.dtype[name] not in FLOATS]
    if cut:
        raise UserError(
            f"{path} read as pcd: found {', '.join(cut)} of type {rows.dtype[cut[0]]}, expected TYPE F of SIZE 4 or 8,"
            " metres: export it with these"
        )
    found = fault_of_rows(rows, drop, "metres")
    if found:
        raise UserError(f"{path} read as pcd: {found}")
    intensity = rows["intensity"][finite(rows)]
    full_scale = full_scale_of(intensity)
    if not full_scale:
        raise UserError(
            f"{path} read as pcd: found intensities of {intensity.min():.4g} to {intensity.max():.4g},"
            " expected 0-1 or 0-255: rescale them"
        )
    return Sweep(rows, "pcd", full_scale, header)


def with_points(sweep: Sweep, source: np.ndarray, points: np.ndarray, intensity: np.ndarray) -> Sweep:
    """A sweep of changed rows: row k is `source[k]` of the old one, moved, with another intensity."""
    rows = sweep.rows[source]
    for k, name in enumerate("xyz"):
        rows[name] = points[:, k]
    kind = rows.dtype["intensity"]
    whole = np.issubdtype(kind, np.integer)
    rows["intensity"] = np.round(intensity).clip(max=np.iinfo(kind).max) if whole else intensity
    return sweep._replace(rows=rows)


def write_sweep(sweep: Sweep, path: Path) -> None:
    """Write a sweep in its layout, whole or not at all."""
    write_bytes(pcd.render(sweep.rows, sweep.header) if sweep.header else sweep.rows.tobytes(), path)


def write_bytes(data: bytes, path: Path) -> None:
    """Write a file under a passing name and give it its own when it is whole.

    Raises
    ------
    UserError
        If it exists already, or cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    if path.exists():
        raise UserError(f"{path} exists already and is never overwritten: choose another name")
    try:
        with part.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.rename(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UserError(f"cannot write {path} ({error.strerror}): choose another place") from error
