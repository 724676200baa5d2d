"""A real sweep as the street: its points re-projected into a lidar's beams as ego moves.

World frame: the sweep's sensor stands over x = 0, y = 0 and looks along x; the road ahead is z = 0.

A point is a small disc, a *surfel*, as large as the spacing of the real sensor's rays at its range; a beam
meets the nearest surfel that covers its direction. A surfel near the road's plane lies flat, so a beam meets
it where it pierces its height; any other faces the beam. A narrow gap between surfels at like ranges, such as
opens in a wall as ego comes near, is bridged. Nothing lies below the road's plane, so what no surfel covers is
road below the horizon and nothing above it: shadows of the real sweep fill with road.
Surfels: Pfister et al. 2000 (SIGGRAPH), without blending.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import asin, atan2, cos, inf, pi, sqrt

import numpy as np

from filters.jit import jit
from filters.models.attitude import directions, rotation, turn_back
from filters.spec import Array, Pose, Surfaces
from fogsim.errors import UserError
from fogsim.world.road_fit import fit_road, level_rotation

# Half the angle between neighbouring rays of an HDL-64 (rings .33-.5 degrees, columns .17-.21 degrees apart),
# a quarter more so that discs overlap.
HALF_RING = np.radians(0.27)
HALF_COLUMN = np.radians(0.13)
LARGEST = 10.0  # a disc seen from near grows no more than this, so that its cost is bounded
GAP = np.radians(1.6)  # widest gap in a ring that is bridged
ALIKE = 0.1  # share by which the ranges on its two sides may differ
FLAT = 0.2  # m: points no farther from the road's plane lie flat
NEAREST = 0.5  # m: nearer points would cover the whole view
ROAD_REACH = 100.0  # m: the plane is not believed beyond
OWN_CAR = 2.5  # m about the sensor's axis that the recording car fills
ASPHALT, DARK, BRIGHT = 0.15, 0.05, 0.9  # reflectances the intensities are tied to


@dataclass(frozen=True, eq=False)
class RealScan:
    """One sweep as its sensor saw it: x ahead, y left, z up, about the sensor.

    Parameters
    ----------
    points : (n, 3)
        m.
    intensity : (n,)
        In [0, 1].
    layout : str
        Of the file it came from.
    dropped : int
        Rows of the file that held no return.
    """

    points: Array
    intensity: Array
    layout: str
    dropped: int


@dataclass(frozen=True, eq=False)
class StreetMap:
    """A sweep in the world frame, ready to be re-projected.

    Parameters
    ----------
    points : (n, 3)
        m, without the recording car and what is below the road: ditches, and mirror images in wet asphalt.
    sampled_at : (n,)
        Distance from the real sensor, m: a disc's size per angle between its rays.
    reflectance : (n,)
        In [0.05, 0.9].
    height : float
        Of the real sensor above the road, m, as fitted.
    tilt : (float, float)
        The road's rise per metre ahead and per metre to the left, in the sensor's frame.
    """

    points: Array
    sampled_at: Array
    reflectance: Array
    height: float
    tilt: tuple[float, float]


def real_street(scan: RealScan, sensor_height: float) -> StreetMap:
    """Stand a sweep on its road.

    Parameters
    ----------
    scan : RealScan
        The sweep.
    sensor_height : float
        Of its sensor above the road, m: checked against the fitted road, which is what is used.

    Raises
    ------
    UserError
        If no road is found ahead, or more than 0.4 m off `sensor_height`.
    """
    offset, ahead, left = (float(v) for v in fit_road(scan.points))
    if abs(-offset - sensor_height) > 0.4:
        raise UserError(
            f"found the road {-offset:.2f} m below the sweep's sensor, expected {sensor_height:.2f} m:"
            f" set street.sensor_height={-offset:.2f}"
        )
    level = level_rotation(ahead, left)
    height = -offset * float(level[2, 2])
    world = scan.points @ level.T + [0.0, 0.0, height]
    distance = np.linalg.norm(scan.points, axis=1)
    keep = (np.hypot(world[:, 0], world[:, 1]) > OWN_CAR) & (world[:, 2] > -FLAT)
    on_road = keep & (world[:, 2] < FLAT) & (np.abs(world[:, 1]) < 4.0) & (world[:, 0] > 0.0)
    reflectance = reflectances(scan.intensity, float(np.median(scan.intensity[on_road])))
    return StreetMap(world[keep], distance[keep], reflectance[keep], height, (ahead, left))


def reflectances(intensity: Array, road: float) -> Array:
    """Piecewise linear from intensity: 0 is 0.05, the road's median is asphalt's 0.15, the 99th percentile 0.9.

    The sensors behind both layouts take range out of the intensity themselves, and any scale cancels here.
    """
    road = max(road, 1e-3)
    bright = max(float(np.percentile(intensity, 99.0)), 1.5 * road)
    return np.interp(intensity, [0.0, road, bright], [DARK, ASPHALT, BRIGHT])


def street_surfaces(street: StreetMap, pose: Pose, elevation: Array, azimuth: Array) -> Surfaces:
    """What the beams of a lidar at `pose` (world frame) meet in the street.

    Parameters
    ----------
    street : StreetMap
        The sweep, stood on its road.
    pose : Pose
        Of the lidar; its height is above the road.
    elevation, azimuth : (rings,), (columns,)
        Beam directions about the lidar, rad, each ascending.

    Returns
    -------
    Surfaces
        Arrays (rings, columns); range inf where there is nothing. The cosine is how steeply a beam falls where it meets
        the road or a disc that lies flat, and 1 elsewhere: what faces the beam has it in its intensity.

    Raises
    ------
    ValueError
        If directions do not ascend.
    """
    if (np.diff(elevation) <= 0.0).any() or (np.diff(azimuth) <= 0.0).any():
        raise ValueError("found beam directions out of order, expected ascending elevation and azimuth: sort them")
    rise = rises(pose, elevation, azimuth)
    seen = splat(street.points, street.sampled_at, street.reflectance, pose, elevation, azimuth, rise)
    bridge(seen, azimuth)
    lay_road(seen, pose.z, rise)
    return seen


def rises(pose: Pose, elevation: Array, azimuth: Array) -> Array:
    """How far each beam (rings, columns) climbs in the world per metre: its own sine of elevation if nothing tilts."""
    down = np.array(rotation(pose.yaw, pose.pitch, pose.roll)[2])
    return directions(elevation[:, None], azimuth) @ down


@jit
def splat(
    points: np.ndarray,
    sampled_at: np.ndarray,
    reflectance: np.ndarray,
    pose: Pose,
    elevation: np.ndarray,
    azimuth: np.ndarray,
    rise: np.ndarray,
) -> Surfaces:
    """Range, cosine and reflectance (rings, columns) of the nearest disc over each beam; inf, 1, asphalt without."""
    rings, columns = elevation.size, azimuth.size
    distance, cosine = np.full((rings, columns), inf), np.ones((rings, columns))
    colour = np.full((rings, columns), ASPHALT)
    axes = rotation(pose.yaw, pose.pitch, pose.roll)
    widest = max(abs(azimuth[0]), abs(azimuth[-1])) + LARGEST * HALF_COLUMN * 2.0
    behind = cos(widest) if widest < pi else -1.0
    for i in range(points.shape[0]):
        drop = points[i, 2] - pose.z
        along, across, dz = turn_back(axes, points[i, 0] - pose.x, points[i, 1] - pose.y, drop)
        level = sqrt(along * along + across * across)
        if along < behind * level or level < NEAREST:
            continue
        r = sqrt(level * level + dz * dz)
        size = min(sampled_at[i] / r, LARGEST)
        up, half = asin(dz / r), size * HALF_RING
        first = np.searchsorted(elevation, up - half)
        if first == rings or elevation[first] > up + half:
            continue
        bearing, half_column = atan2(across, along), size * HALF_COLUMN * r / level
        start = np.searchsorted(azimuth, bearing - half_column)
        for j in range(first, rings):
            if elevation[j] > up + half:
                break
            for k in range(start, columns):
                if azimuth[k] > bearing + half_column:
                    break
                meets, incidence = r, 1.0
                if abs(points[i, 2]) <= FLAT and rise[j, k] < 0.0 and drop < 0.0:
                    meets, incidence = drop / rise[j, k], -rise[j, k]
                if meets < distance[j, k]:
                    distance[j, k], cosine[j, k], colour[j, k] = meets, incidence, reflectance[i]
    return Surfaces(distance, cosine, colour)


@jit
def bridge(seen: Surfaces, azimuth: np.ndarray) -> None:
    """Interpolate in azimuth, in place, over gaps (inf) up to `GAP` wide whose two sides are at like ranges."""
    distance = seen.range
    for j in range(distance.shape[0]):
        left = -1
        for k in range(azimuth.size):
            if distance[j, k] == inf:
                continue
            near, far = distance[j, left], distance[j, k]
            if 0 <= left < k - 1 and azimuth[k] - azimuth[left] <= GAP and abs(far - near) <= ALIKE * min(near, far):
                for m in range(left + 1, k):
                    share = (azimuth[m] - azimuth[left]) / (azimuth[k] - azimuth[left])
                    distance[j, m] = near + share * (far - near)
                    for values in (seen.cosine, seen.reflectance):
                        values[j, m] = values[j, left] + share * (values[j, k] - values[j, left])
            left = k


def lay_road(seen: Surfaces, z: float, rise: Array) -> None:
    """Let no beam pass the road's plane, in place: range at most z / -rise, cosine -rise there."""
    road = np.divide(-z, rise, out=np.full(rise.shape, inf), where=rise < 0.0)
    lies = (road <= ROAD_REACH) & (seen.range >= road)
    seen.range[lies], seen.cosine[lies] = road[lies], -rise[lies]


def clear_corridor(street: StreetMap, x0: float, x1: float, y0: float, y1: float) -> int:
    """How many points stand between 0.3 and 2.5 m above the road within x0..x1, y0..y1 (m); 0 is a clear corridor."""
    x, y, z = street.points.T
    return int(((x > x0) & (x < x1) & (y > y0) & (y < y1) & (z > 0.3) & (z < 2.5)).sum())
