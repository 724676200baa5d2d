"""What filters receive in an encounter, and single sweeps of a lidar at rest, for tests of perception and filters."""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pytest

from filters.models.optics import echo_table, extinction
from filters.models.shapes import BOX, ELLIPSOID, Solids
from filters.models.visibility import visibility_prior
from filters.spec import EgoMotion, Gaussian, Pose, Scan
from fogsim.followers import Followers
from fogsim.frame import POWER_UNIT, RANGE_UNIT, Frame
from fogsim.perception import tracks as tracking
from fogsim.perception.perceive import Percept, Perception, perceive
from fogsim.runner import run
from fogsim.scenario import Driver, Fog, Hazard, Scenario
from fogsim.sensors.lidar import Lidar, grid, map_surfaces, scan
from fogsim.world.setting import Road
from fogsim.world.solids import road_map

REST = Pose(0.0, 0.0, 0.9, 0.0)
LIDAR = Lidar()
NOTHING_THERE = Solids(*(np.zeros(0) for _ in Solids._fields))


class Look(NamedTuple):
    """What the followers are told at one tick; `motion` is None at the first."""

    percepts: list[Percept]
    motion: EgoMotion | None
    time: float


def encounter(kind: str = "draw", visibility: float = 40.0, **changes: Any) -> Scenario:
    """The default encounter with an object of one kind, driven through with no brake."""
    settings: dict[str, Any] = {
        "hazards": (Hazard(kind=kind),),
        "filters": ("kalman",),
        "driver": Driver(policy="open_loop"),
    }
    return Scenario(fog=Fog(visibility=visibility), **(settings | changes))


@lru_cache(maxsize=64)
def drive(scenario: Scenario, seed: int) -> tuple[list[Frame], list[Look]]:
    """The frames of a run, and copies of what its followers were told."""
    looks = []
    step = Followers.step

    def spy(self: Followers, percepts: list[Percept], motion: EgoMotion | None, dt: float, time: float) -> None:
        looks.append(Look(deepcopy(percepts), deepcopy(motion), time))
        step(self, percepts, motion, dt, time)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Followers, "step", spy)
        return list(run(scenario, seed)), looks


def box(x: float, y: float, width: float = 1.0, height: float = 0.6, reflectance: float = 0.3) -> Solids:
    """A solid box whose front stands square to the x axis, 0.4 m deep, centred at x, y."""
    return solid(BOX, x, y, 0.5 * height, (0.2, 0.5 * width, 0.5 * height), reflectance, 1.0)


def ball(x: float, y: float, radius: float = 0.35, fill: float = 0.7, reflectance: float = 0.4) -> Solids:
    """A porous ball on the ground."""
    return solid(ELLIPSOID, x, y, radius, (radius,) * 3, reflectance, fill)


def solid(kind: int, x: float, y: float, z: float, half: tuple[float, ...], reflectance: float, fill: float) -> Solids:
    """One solid with the barrier's roughness and texture."""
    return Solids(*(np.array([float(v)]) for v in (kind, x, y, z, *half, 0.0, 0.0, 0.0, reflectance, fill, 0.02, 0.15)))


def sweep(things: Solids, visibility: float, seed: int = 0, lidar: Lidar = LIDAR, pose: Pose = REST) -> Scan:
    """One sweep over the built-in road at a known pose."""
    background = map_surfaces(road_map(Road()), pose, lidar)
    returns = scan(things, background, pose, extinction(visibility), lidar, np.random.default_rng(seed))
    ranges, powers = returns.range * RANGE_UNIT, returns.power * POWER_UNIT
    return Scan(*grid(lidar), pose, ranges, powers, np.ones(background.range.shape, bool), background)


def memory_of(*places: tuple[float, float], visibility: float, spread: float = 0.5) -> Perception:
    """Perception before its first scan, told of candidates at places."""
    tracks = [tracking.start(Gaussian(np.array(p), spread**2 * np.eye(2))) for p in places]
    return Perception(tuple(tracks), visibility_prior(visibility, 0.3))


def percepts_of(seen: Scan, *places: tuple[float, float], visibility: float) -> list[Percept]:
    """What perception makes of one scan for candidates at places."""
    return perceive(memory_of(*places, visibility=visibility), seen, 0.0, echo_table(LIDAR.optics))[1]


def truth_in_odometry(frame: Frame) -> np.ndarray:
    """Where the first object truly is, seen from ego's true pose and put at its estimated one."""
    off = frame.truth_position[0] - frame.ego_pose[:2]
    turn = float(frame.odometry[2] - frame.ego_pose[2])
    c, s = np.cos(turn), np.sin(turn)
    return frame.odometry[:2] + np.array([c * off[0] - s * off[1], s * off[0] + c * off[1]])


def at_distance(frames: list[Frame], distance: float) -> Frame:
    """The first frame in which the first object is no farther than a distance."""
    return next(f for f in frames if f.distance_left[0] <= distance)
