"""The world: ego, the objects, the fog; `start` draws it from a setting and a seed, `step` moves it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from filters.models.fog import CLEAREST
from filters.models.shapes import Solids
from filters.spec import BAG, BARRIER, CLASSES
from filters.streams import stream
from fogsim.world import ego as car
from fogsim.world.fog import Field, draw_field, extinction_at
from fogsim.world.setting import Hazard, Setting
from fogsim.world.solids import join


class Thing(NamedTuple):
    """One object: its class, where it is and how it moves, and the latents of its shape."""

    kind: int
    position: np.ndarray  # (2,)
    velocity: np.ndarray  # (2,)
    gust: np.ndarray  # (1,)
    latents: np.ndarray

    def solids(self, setting: Setting) -> Solids:
        """Its shape as a set of one solid."""
        prior = setting.barrier if self.kind == BARRIER else setting.bag
        return prior.solids(self.position[None], self.latents[None])


class World(NamedTuple):
    """The truth at one time; `visibility` is that of the fog at large, m, `field` the fog as it is drawn."""

    time: float
    ego: car.EgoState
    things: tuple[Thing, ...]
    visibility: float
    field: Field


def start(setting: Setting, seed: int) -> World:
    """Draw the truth from the very priors that the filters are told."""
    rng = stream(seed, "world")
    visibility = setting.fog.visibility * float(np.exp(setting.fog.spread * rng.standard_normal()))
    ego = car.start(setting.ego, rng)
    things = tuple(draw_thing(setting, h, stream(seed, "hazard", i)) for i, h in enumerate(setting.hazards))
    return World(0.0, ego, things, visibility, draw_field(setting.fog, visibility, stream(seed, "fog")))


def draw_thing(setting: Setting, hazard: Hazard, rng: np.random.Generator) -> Thing:
    """Class, place and shape of one hazard."""
    coin = int(rng.random() < hazard.barrier_probability)
    kind = coin if hazard.kind == "draw" else CLASSES.index(hazard.kind)
    position = rng.normal([hazard.x, hazard.y], [hazard.x_spread, hazard.y_spread])
    prior = setting.barrier if kind == BARRIER else setting.bag
    latents = rng.standard_normal(len(prior.names))
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
    """One step of a bag; a barrier stands."""
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
    """All things as solids, in slot order."""
    return join(*(t.solids(setting) for t in world.things))


def collided(world: World, setting: Setting) -> bool:
    """Whether moving ego overlaps a barrier's footprint."""
    if world.ego.speed < 0.1:
        return False
    x, y, yaw = car.front(setting.ego, world.ego)
    half = 0.5 * setting.ego.length
    centre = np.array([x - half * np.cos(yaw), y - half * np.sin(yaw)])
    for thing in world.things:
        if thing.kind == BARRIER:
            s = thing.solids(setting)
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
