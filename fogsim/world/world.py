"""The world: ego, the objects, the fog; `start` draws it from a setting and a seed, `step` moves it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from filters.models.fog import CLEAREST
from filters.models.shapes import BagPrior, BarrierPrior, Solids
from filters.spec import BAG, BARRIER, Array
from filters.streams import stream
from fogsim.frame import KINDS, OBSTACLES
from fogsim.world import ego as car
from fogsim.world.fog import Field, draw_field, extinction_at
from fogsim.world.setting import Hazard, Setting
from fogsim.world.solids import box_about, join
from fogsim.world.unseen import UNSEEN, Unseen


class Thing(NamedTuple):
    """One object: its kind (index into KINDS), where it is and how it moves, and the latents of its shape."""

    kind: int
    position: np.ndarray  # (2,)
    velocity: np.ndarray  # (2,)
    gust: np.ndarray  # (1,)
    latents: np.ndarray

    def solids(self, setting: Setting) -> Solids:
        """Its shape: one solid of a bag or a barrier, else the object's parts."""
        return shape_of(self.kind, setting).solids(self.position[None], self.latents[None])

    def box(self, setting: Setting) -> Solids:
        """The one solid that it takes up as a whole."""
        return box_about(self.solids(setting))


class World(NamedTuple):
    """The truth at one time; `visibility` is that of the fog at large, m, `field` the fog as it is drawn."""

    time: float
    ego: car.EgoState
    things: tuple[Thing, ...]
    visibility: float
    field: Field


def shape_of(kind: int, setting: Setting) -> BarrierPrior | BagPrior | Unseen:
    """What a kind's shape is drawn from."""
    if kind in UNSEEN:
        return UNSEEN[kind]
    return setting.barrier if kind == BARRIER else setting.bag


def start(setting: Setting, seed: int) -> World:
    """Draw the truth from the very priors that the filters are told, but for shapes that they know nothing of."""
    rng = stream(seed, "world")
    visibility = setting.fog.visibility * float(np.exp(setting.fog.spread * rng.standard_normal()))
    ego = car.start(setting.ego, rng)
    things = tuple(draw_thing(setting, h, stream(seed, "hazard", i)) for i, h in enumerate(setting.hazards))
    return World(0.0, ego, things, visibility, draw_field(setting.fog, visibility, stream(seed, "fog")))


def draw_thing(setting: Setting, hazard: Hazard, rng: np.random.Generator) -> Thing:
    """Kind, place and shape of one hazard."""
    coin = int(rng.random() < hazard.barrier_probability)
    kind = coin if hazard.kind == "draw" else KINDS.index(hazard.kind)
    position = rng.normal([hazard.x, hazard.y], [hazard.x_spread, hazard.y_spread])
    latents = rng.standard_normal(len(shape_of(kind, setting).names))
    velocity, gust = setting.motion.start(1, rng)
    if kind != BAG:
        velocity, gust = np.zeros((1, 2)), np.zeros(1)
    return Thing(kind, position, velocity[0], gust, latents)


def step(world: World, action: int, setting: Setting, rng: np.random.Generator) -> World:
    """Move ego by its action and bags by the wind."""
    things = tuple(move(t, setting, rng) for t in world.things)
    ego = car.step(world.ego, action, setting.ego, setting.road, setting.dt)
    return world._replace(time=world.time + setting.dt, ego=ego, things=things)


def move(thing: Thing, setting: Setting, rng: np.random.Generator) -> Thing:
    """One step of a bag; all else stands."""
    if thing.kind != BAG:
        return thing
    position, velocity, gust = setting.motion.step(
        thing.position[None], thing.velocity[None], thing.gust, setting.dt, rng
    )
    return thing._replace(position=position[0], velocity=velocity[0], gust=gust)


def visibility_at(world: World, x: float, y: float, z: float) -> float:
    """Local visibility, m: ln 20 over the extinction at a place, finite in a layer's clear air too."""
    return float(np.log(20.0) / max(extinction_at(world.field, x, y, z, world.time), CLEAREST))


def solids_of(world: World, setting: Setting) -> Solids:
    """All things as solids, in slot order; which is whose, `slots_of` says."""
    return join(*(t.solids(setting) for t in world.things))


def slots_of(world: World, setting: Setting) -> Array:
    """The slot of the thing that each of `solids_of` belongs to."""
    return np.repeat(np.arange(len(world.things)), [len(t.solids(setting).x) for t in world.things])


def boxes_of(world: World, setting: Setting) -> Solids:
    """All things as one solid each, in slot order: a bag or a barrier as it is, of others the box about them."""
    return join(*(t.box(setting) for t in world.things))


def collided(world: World, setting: Setting) -> bool:
    """Whether moving ego overlaps the footprint of a barrier or an animal.

    To drive over a bag, a cone or a cardboard box is no collision. An animal's footprint is the box about it.
    """
    if world.ego.speed < 0.1:
        return False
    x, y, yaw = car.front(setting.ego, world.ego)
    half = 0.5 * setting.ego.length
    centre = np.array([x - half * np.cos(yaw), y - half * np.sin(yaw)])
    for thing in world.things:
        if thing.kind in OBSTACLES:
            s = thing.box(setting)
            box = (thing.position, float(s.yaw[0]), float(s.hx[0]), float(s.hy[0]))
            if rectangles_overlap((centre, yaw, half, 0.5 * setting.ego.width), box):
                return True
    return False


Rectangle = tuple[np.ndarray, float, float, float]  # centre, yaw, half length, half width


def rectangles_overlap(a: Rectangle, b: Rectangle) -> bool:
    """Separating-axis test of two rectangles."""
    axes = [np.array([np.cos(t), np.sin(t)]) for yaw in (a[1], b[1]) for t in (yaw, yaw + np.pi / 2)]
    return all(abs(axis @ (a[0] - b[0])) <= reach(a, axis) + reach(b, axis) for axis in axes)


def reach(rectangle: Rectangle, axis: np.ndarray) -> float:
    """Half extent of a rectangle along a unit axis."""
    _, yaw, half_length, half_width = rectangle
    forward = np.array([np.cos(yaw), np.sin(yaw)])
    left = np.array([-forward[1], forward[0]])
    return half_length * abs(float(axis @ forward)) + half_width * abs(float(axis @ left))


def farthest_left(world: World, setting: Setting) -> float:
    """Distance along the road from ego's front to the last object's centre: negative once all are passed."""
    x = car.front(setting.ego, world.ego)[0]
    return max(float(t.position[0] - x) for t in world.things)
