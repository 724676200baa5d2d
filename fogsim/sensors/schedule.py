"""When a sensor's shots reach the filters, and how the world stood when they were taken.

Shot k = 1, 2, ... of a sensor is taken at k / rate and delivered at the first tick at or after k / rate + latency.
Between two ticks ego and the objects move evenly.
"""

from __future__ import annotations

from math import floor
from typing import NamedTuple

import numpy as np

from filters.spec import Pose
from fogsim.world.world import World

ROUNDING = 1e-9  # of a period or a second: ticks are sums of dt


class Moment(NamedTuple):
    """One time: the world, ego's true pose (x, y, yaw) and the estimated one."""

    world: World
    pose: np.ndarray
    estimate: Pose


class Motion(NamedTuple):
    """A moment between two ticks, and ego's true and estimated velocity then, (2,) each."""

    moment: Moment
    velocity: np.ndarray
    estimated_velocity: np.ndarray


def delivered(rate: float, latency: float, before: float, now: float) -> range:
    """Numbers k of the shots that a tick at `now` delivers, those of the tick at `before` being known already."""
    first, last = (floor((time - latency) * rate + ROUNDING) for time in (before, now))
    return range(max(first, 0) + 1, last + 1)


def moment_at(past: list[Moment], time: float) -> Motion:
    """How things stood at a time within (the first tick, the last].

    Raises
    ------
    ValueError
        If the time lies outside of the past.
    """
    later = next((i for i in range(1, len(past)) if past[i].world.time > time - ROUNDING), 0)
    if not later or time < past[0].world.time + ROUNDING:
        raise ValueError(f"found time {time}, expected one after the first of {len(past)} ticks and up to the last")
    before, after = past[later - 1], past[later]
    span = after.world.time - before.world.time
    share = (time - before.world.time) / span
    poses = [np.array([p.x, p.y, p.yaw]) for p in (before.estimate, after.estimate)]
    x, y, yaw = (1.0 - share) * poses[0] + share * poses[1]
    moment = Moment(
        world_between(before.world, after.world, share, time),
        (1.0 - share) * before.pose + share * after.pose,
        after.estimate._replace(x=float(x), y=float(y), yaw=float(yaw)),
    )
    return Motion(moment, (after.pose - before.pose)[:2] / span, (poses[1] - poses[0])[:2] / span)


def world_between(before: World, after: World, share: float, time: float) -> World:
    """The world at a share of the way between two ticks; velocities are those that lead to the later one."""
    things = tuple(
        b._replace(position=(1.0 - share) * a.position + share * b.position)
        for a, b in zip(before.things, after.things, strict=True)
    )
    return after._replace(time=time, things=things)
