"""The known map: what stands on the street whatever the encounter."""

from __future__ import annotations

import numpy as np

from filters.models.shapes import BACKGROUND_ROUGHNESS, BACKGROUND_TEXTURE, BOX, Solids
from fogsim.world.setting import Road

ASPHALT, CONCRETE, STEEL, LEAVES, PAINT = 0.12, 0.3, 0.4, 0.25, 0.3  # reflectances at 905 nm


def boxes(rows: list[tuple[float, ...]]) -> Solids:
    """Solid boxes from rows (x, y, z, length, width, height, reflectance), z of the lower face."""
    table = np.array(rows, dtype=float)
    # strided columns would be another type to the kernels, which are compiled for each
    x, y, z, length, width, height, reflectance = np.ascontiguousarray(table.T)
    n = len(table)
    return Solids(
        kind=np.full(n, float(BOX)),
        x=x,
        y=y,
        z=z + 0.5 * height,
        hx=0.5 * length,
        hy=0.5 * width,
        hz=0.5 * height,
        yaw=np.zeros(n),
        pitch=np.zeros(n),
        roll=np.zeros(n),
        reflectance=reflectance,
        fill=np.ones(n),
        roughness=np.full(n, BACKGROUND_ROUGHNESS),
        texture=np.full(n, BACKGROUND_TEXTURE),
    )


def road_map(road: Road) -> Solids:
    """Kerb, lamp posts and a hedge on the right, a wall on the left, a parked car where the next lane ends."""
    lamps = [(x, road.kerb_y - 1.2, 0.0, 0.16, 0.16, 5.0, STEEL) for x in (6.0, 31.0, 56.0)]
    return boxes(
        [
            (70.0, road.kerb_y - 0.1, 0.0, 180.0, 0.2, 0.12, CONCRETE),
            (40.0, road.kerb_y - 4.0, 0.0, 60.0, 0.8, 1.1, LEAVES),
            (60.0, road.lane_width * 1.5 + 2.5, 0.0, 120.0, 0.3, 2.2, CONCRETE),
            (road.next_lane_gap + 2.1, road.lane_width, 0.0, 4.2, 1.8, 1.5, PAINT),
            *lamps,
        ]
    )


def box_about(parts: Solids) -> Solids:
    """The one solid box about solids that stand upright at one yaw; a single solid is its own."""
    if len(parts.x) == 1:
        return parts
    yaw = float(parts.yaw[0])
    turn = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
    centre = np.column_stack([np.column_stack([parts.x, parts.y]) @ turn.T, parts.z])
    half = np.column_stack([parts.hx, parts.hy, parts.hz])
    low, high = (centre - half).min(axis=0), (centre + half).max(axis=0)
    (hx, hy, hz), (x, y, z) = 0.5 * (high - low), 0.5 * (high + low)
    at = turn.T @ (x, y)
    box = {"kind": BOX, "x": at[0], "y": at[1], "z": z, "hx": hx, "hy": hy, "hz": hz}
    return Solids(*(column[:1] for column in parts))._replace(**{name: np.array([float(v)]) for name, v in box.items()})


def join(*parts: Solids) -> Solids:
    """All solids of several sets, in order."""
    return Solids(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
