"""The radar at ego's front: the true street as sources, detections drawn from the model, the scan as filters get it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from filters.models.radar import Radar, Sources, background, sample, sources_of
from filters.models.shapes import Solids
from filters.spec import Array, Pose, RadarScan
from filters.streams import stream
from fogsim.frame import ANIMAL, CARTON, CONE
from fogsim.sensors.schedule import Motion
from fogsim.world import world as worlds
from fogsim.world.setting import Road, Setting
from fogsim.world.solids import join, road_map

PIECE = 4.0  # m: longer boxes of the map are cut into pieces, each a source
# Reflectivities, dB. Concrete as in `filters.models.radar.Radar`; the others are assumed, so that a car of 3 m² comes
# to 10 dBsm and leaves scatter a thirtieth; flesh reflects as concrete does, but an animal fills half of the box about
# it, and plastic or cardboard lets most through.
CONCRETE, LEAVES, METAL = -12.0, -15.0, 0.0
UNSEEN = {ANIMAL: (-15.0, 6.0), CONE: (-18.0, 6.0), CARTON: (-16.0, 6.0)}  # of objects, and the spread: as `material`
MAP = (CONCRETE, LEAVES, CONCRETE, METAL, METAL, METAL, METAL)  # in the order of `road_map`


class Reflectors(NamedTuple):
    """What stands on the street for good: solids (m,) and their reflectivity (m,), dB."""

    solids: Solids
    reflectivity: Array

    def seen_from(self, radar: Radar, pose: Pose, velocity: Array) -> Sources:
        """As sources for a radar at a pose and velocity (2,)."""
        still = np.zeros((len(self.reflectivity), 2))
        return sources_of(radar, self.solids, self.reflectivity, still, pose, velocity)


def reflectors(road: Road) -> Reflectors:
    """The built-in road's."""
    solids = road_map(road)
    parts = [pieces(Solids(*(column[[i]] for column in solids))) for i in range(len(solids.x))]
    return Reflectors(join(*parts), np.repeat(MAP, [len(p.x) for p in parts]))


def no_reflectors() -> Reflectors:
    """Those of a real sweep's street, of which no radar has told."""
    return Reflectors(Solids(*(np.zeros(0) for _ in Solids._fields)), np.zeros(0))


def pieces(solid: Solids) -> Solids:
    """One box cut along its own x into pieces of at most `PIECE`."""
    n = int(np.ceil(2.0 * solid.hx[0] / PIECE))
    half = np.repeat(solid.hx / n, n)
    along = (2.0 * np.arange(n) - n + 1.0) * half
    cut = Solids(*(np.repeat(column, n) for column in solid))
    return cut._replace(x=cut.x + along * np.cos(cut.yaw), y=cut.y + along * np.sin(cut.yaw), hx=half)


def offsets(seed: int, candidates: int) -> Array:
    """What each object's material truly is, in deviations of its kind's offset: (candidates,)."""
    return np.array([stream(seed, "radar", "material", k).standard_normal() for k in range(candidates)])


def material(radar: Radar, kind: int) -> tuple[float, float]:
    """Reflectivity and the spread of one object's offset, dB, of a kind."""
    return UNSEEN[kind] if kind in UNSEEN else radar.material(kind)


def things_seen(motion: Motion, setting: Setting, radar: Radar, offset: Array) -> Sources:
    """The true objects as sources, one each."""
    world, pose = motion.moment.world, motion.moment.pose
    mean, spread = np.array([material(radar, t.kind) for t in world.things]).T
    velocity = np.array([t.velocity for t in world.things])
    where = Pose(float(pose[0]), float(pose[1]), 0.0, float(pose[2]))
    return sources_of(radar, worlds.boxes_of(world, setting), mean + spread * offset, velocity, where, motion.velocity)


def detect(
    motion: Motion, setting: Setting, radar: Radar, mapped: Reflectors, offset: Array, rng: np.random.Generator
) -> Array:
    """Draw one scan's detections (n, 4) of the true street, as logged: in single precision."""
    pose = motion.moment.pose
    where = Pose(float(pose[0]), float(pose[1]), 0.0, float(pose[2]))
    things, rest = things_seen(motion, setting, radar, offset), mapped.seen_from(radar, where, motion.velocity)
    everything = Sources(*(np.concatenate(parts) for parts in zip(things, rest, strict=True)))
    return sample(radar, everything, where, motion.velocity, rng).astype(np.float32).astype(float)


def scan_of(detections: Array, motion: Motion, radar: Radar, mapped: Reflectors) -> RadarScan:
    """Detections as filters get them: at the estimated pose and velocity, beside the known map there."""
    pose, velocity = motion.moment.estimate, motion.estimated_velocity
    rest = mapped.seen_from(radar, pose, velocity)
    return RadarScan(pose, velocity, detections, background(radar, rest, pose, velocity, detections))
