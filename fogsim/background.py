"""The known map as the lidar sees it: the built-in road, or a real sweep."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from filters.spec import Pose, Surfaces
from fogsim.errors import UserError
from fogsim.scans import read_scan
from fogsim.scenario import Hazard, Scenario
from fogsim.sensors.lidar import grid, map_surfaces
from fogsim.world.solids import road_map
from fogsim.world.street import OWN_CAR, StreetMap, clear_corridor, real_street, street_surfaces

Background = Callable[[Pose], Surfaces]

HALF_WIDTH = 0.7  # m, of the corridor that must be free for a hazard
IN_LANE = 1.3  # m: a place with room is looked for no farther from the lane's centre
STRAY = 3  # points in it that are no thing: rain, spray


def background_of(scenario: Scenario) -> Background:
    """A function from the lidar's pose to the first surface of the known map in each beam.

    Raises
    ------
    UserError
        If a real sweep is named and cannot be read, has no road, or has no room for the hazards.
    """
    if scenario.street.scan:
        street = real_street(read_scan(scenario.street.scan, scenario.street.layout), scenario.street.sensor_height)
        check_room(street, scenario.hazards)
        elevation, azimuth = grid(scenario.lidar)
        return lambda pose: street_surfaces(street, pose, elevation, azimuth)
    solids = road_map(scenario.road)
    return lambda pose: map_surfaces(solids, pose, scenario.lidar)


def check_room(street: StreetMap, hazards: tuple[Hazard, ...]) -> None:
    """Refuse hazards that would stand behind or within something real, naming the nearest lateral place with room.

    Free must be the corridor of `HALF_WIDTH` about a hazard's y, from the recording car to two standard deviations
    beyond its x.

    Raises
    ------
    UserError
        If more than `STRAY` points stand in it.
    """
    for i, hazard in enumerate(hazards):
        needed = hazard.x + 2.0 * hazard.x_spread
        free = free_until(street, hazard.y, needed)
        if free >= needed:
            continue
        places = (hazard.y + np.arange(-2.1, 2.2, 0.3)).round(2)
        rooms = {y: free_until(street, y, needed) for y in places[np.abs(places) < IN_LANE].tolist()}
        y = max(rooms, key=lambda y: (rooms[y], -abs(y - hazard.y)))
        x = np.floor(10.0 * max(rooms[y] - 2.0 * hazard.x_spread, OWN_CAR)) / 10.0
        raise UserError(
            f"hazard {i} at x={hazard.x:g}, y={hazard.y:g}: in the sweep something real stands in front of it from"
            f" x={free:.1f} m, expected a free way to x={needed:g}:"
            f" set the hazard before it, --set hazards.{i}.x={x:g} --set hazards.{i}.y={y:g}, or choose another sweep"
        )


def free_until(street: StreetMap, y: float, needed: float) -> float:
    """How far the corridor about y is free, m, at most `needed`."""
    steps = np.arange(OWN_CAR, needed, 0.1)
    blocked = (x for x in steps if clear_corridor(street, OWN_CAR, x, y - HALF_WIDTH, y + HALF_WIDTH) > STRAY)
    return float(next(blocked, needed))
