"""Stories of a candidate of one class: all that was random about it, as standard normals.

A story holds the latents u (place at the start, shape, a radar's material, fog), the start's velocity and gust, and the
noise of every step: odometry's error, the motion, and z by which there is a gust where Φ(z) < p(gust | gust before).
From these follow the candidate's places in the odometry frame, by the motion of `models/motion.py`, in which a barrier
is a bag that nothing moves; told again with other normals it is another story under the same prior.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from functools import cached_property
from math import cos, erfc, exp, sin, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from filters.gaussian import diffusion, predict_position
from filters.jit import jit
from filters.models.model import Model
from filters.models.motion import BagMotion
from filters.models.optics import EchoTable, echo_table
from filters.models.shapes import BagPrior, BarrierPrior, Solids
from filters.spec import BAG, BARRIER, Array, EgoMotion, Gaussian

ODOMETRY, MOTION, GUST = slice(0, 3), slice(3, 5), 5  # of a step's noise
Start = tuple[Array, Array, Array]  # places, velocities and gust flags
STANDING = BagMotion(wander=0.0, gust_speed=0.0, gust_rate=0.0)  # what a barrier does


class Step(NamedTuple):
    """Ego's motion, its dt (s), and both as `follow` takes them: pose, its cosine and sine, the errors' root, dt."""

    motion: EgoMotion
    dt: float
    row: Array


def step_of(motion: EgoMotion, dt: float) -> Step:
    """A step of the stories."""
    (a, _, _), (b, c, _), (d, e, f) = np.linalg.cholesky(motion.covariance + 1e-18 * np.eye(3)).tolist()
    x, y, _, yaw, *_ = motion.pose
    return Step(motion, dt, np.array([x, y, cos(yaw), sin(yaw), a, b, c, d, e, f, dt]))


class Cloud(NamedTuple):
    """Stories: latents (n, d), normals of the start's velocity and gust (n, 3) and of each step (n, steps, 6).

    `place`, `velocity` (n, 2) and `gust` (n,), a flag, are at the last step.
    """

    u: Array
    start: Array
    noise: Array
    place: Array
    velocity: Array
    gust: Array

    def take(self, chosen: NDArray[np.intp] | slice) -> Cloud:
        """Some of the stories."""
        return Cloud(*(part[chosen] for part in self))

    def ending(self, told: Told) -> Cloud:
        """The stories at the end of what was told of them."""
        return self._replace(place=told.places[-1], velocity=told.velocities[-1], gust=told.gusts[-1])


class Told(NamedTuple):
    """Places, velocities (steps + 1, n, 2) and gust flags (steps + 1, n) at the start and after every step; shapes."""

    places: Array
    velocities: Array
    gusts: Array
    shapes: Solids

    def take(self, chosen: NDArray[np.intp]) -> Told:
        """Some of the stories."""
        shapes = Solids(*(a[chosen] for a in self.shapes))
        return Told(self.places[:, chosen], self.velocities[:, chosen], self.gusts[:, chosen], shapes)

    def solids(self, places: Array) -> Solids:
        """The stories' shapes at places (n, 2)."""
        x, y = np.ascontiguousarray(places.T)
        return self.shapes._replace(x=x, y=y)


@dataclass(frozen=True)
class Stories:
    """How the stories of one class go, of a candidate that was at `origin` when they start."""

    model: Model
    klass: int
    origin: Gaussian

    @property
    def shape(self) -> BarrierPrior | BagPrior:
        """The prior of the shape."""
        return self.model.barrier if self.klass == BARRIER else self.model.bag

    @cached_property
    def root(self) -> Array:
        """Cholesky root of the origin's covariance."""
        return np.asarray(np.linalg.cholesky(self.origin.covariance))

    @property
    def motion(self) -> BagMotion:
        """How the candidate moves."""
        return self.model.motion if self.klass == BAG else STANDING

    @cached_property
    def table(self) -> EchoTable:
        """The lidar's."""
        return echo_table(self.model.optics)

    @cached_property
    def moves(self) -> tuple[float, ...]:
        """The numbers of the motion, for `follow`."""
        return astuple(self.motion)

    def draw(self, n: int, rng: np.random.Generator) -> Cloud:
        """n stories that begin."""
        latents = 3 + len(self.shape.names) + self.model.radar.on
        u, start = rng.standard_normal((n, latents)), rng.standard_normal((n, 3))
        return Cloud(u, start, np.zeros((n, 0, GUST + 1)), *self.begin(u, start))

    def begin(self, u: Array, start: Array) -> Start:
        """Place, velocity (n, 2) and gust flag (n,) at the start."""
        gust = (ndtr(start[:, 2]) < self.motion.gust_share).astype(float)
        place = self.origin.mean + u[:, :2] @ self.root.T
        return place, self.motion.gust_speed * start[:, :2] * gust[:, None], gust

    def go_on(self, cloud: Cloud, step: Step, rng: np.random.Generator) -> Cloud:
        """The stories one step on."""
        fresh = rng.standard_normal((len(cloud.u), 1, GUST + 1))
        places, velocities, gusts = self.go((cloud.place, cloud.velocity, cloud.gust), fresh, (step,))
        noise = np.concatenate([cloud.noise, fresh], axis=1)
        return cloud._replace(noise=noise, place=places[1], velocity=velocities[1], gust=gusts[1])

    def tell(self, cloud: Cloud, steps: tuple[Step, ...]) -> Told:
        """The whole stories again."""
        places, velocities, gusts = self.go(self.begin(cloud.u, cloud.start), cloud.noise, steps)
        return Told(places, velocities, gusts, self.solids(cloud.u, places[-1]))

    def last(self, cloud: Cloud, steps: int) -> Told:
        """Stories that are at their last place and have been there for so many steps: for looks at that place."""

        def stay(part: Array) -> Array:
            return np.broadcast_to(part, (steps + 1, *part.shape))

        shapes = self.solids(cloud.u, cloud.place)
        return Told(stay(cloud.place), stay(cloud.velocity), stay(cloud.gust), shapes)

    def go(self, start: Start, noise: Array, steps: tuple[Step, ...]) -> Start:
        """Places, velocities and gust flags of `Told` from a start on, by the noise (n, steps, 6) of steps."""
        places, velocities, gusts = (np.empty((len(steps) + 1, *part.shape)) for part in start)
        places[0], velocities[0], gusts[0] = start
        if steps:
            follow(places, velocities, gusts, noise, np.array([step.row for step in steps]), self.moves)
        return places, velocities, gusts

    def solids(self, u: Array, place: Array) -> Solids:
        """Latents (n, d) as shapes at places (n, 2)."""
        return self.shape.solids(place, u[:, 2 : 2 + len(self.shape.names)])

    def later(self, steps: tuple[Step, ...]) -> Stories:
        """Stories that start some steps later: where the candidate may be then, as a Gaussian."""
        origin, rate = self.origin, diffusion(self.motion)
        for motion, dt, _ in steps:
            origin = predict_position(origin, motion, dt, rate)
        return Stories(self.model, self.klass, origin)

    def cut(self, cloud: Cloud, steps: tuple[Step, ...], now: Stories) -> Cloud:
        """The stories `now`, which start after those steps; what was before is forgotten."""
        k, told = len(steps), self.tell(cloud, steps)
        place = np.linalg.solve(now.root, (told.places[k] - now.origin.mean).T).T
        gust, speed = told.gusts[k], self.motion.gust_speed
        start = cloud.start.copy()
        if speed > 0.0:
            start[:, :2] = np.where(gust[:, None] > 0.0, told.velocities[k] / speed, start[:, :2])
        if k > 0 and self.motion.gust_share > 0.0:
            before = self.motion.switch(steps[-1].dt)[told.gusts[k - 1].astype(int), 1]
            start[:, 2] = ndtri(rescaled(ndtr(cloud.noise[:, k - 1, GUST]), before, self.motion.gust_share))
        u = np.column_stack([place, cloud.u[:, 2:]])
        return cloud._replace(u=u, start=start, noise=cloud.noise[:, k:])


def stories_of(model: Model, origins: Iterable[Gaussian]) -> tuple[Stories, ...]:
    """How the stories of each class go, of a candidate that was at its class's origin."""
    return tuple(Stories(model, k, origin) for k, origin in enumerate(origins))


@jit
def follow(
    places: np.ndarray,
    velocities: np.ndarray,
    gusts: np.ndarray,
    noise: np.ndarray,
    rows: np.ndarray,
    motion: tuple[float, float, float, float, float],
) -> None:
    """Fill what stories (n) come to, from what is at 0 on: `BagMotion.step` by given normals, then odometry's error."""
    wander, gust_speed, gust_time, gust_rate, calm_rate = motion
    for k in range(rows.shape[0]):
        x, y, ahead, aside, a, b, c, d, e, f, dt = rows[k]
        keep, enter, stay = exp(-dt / gust_time), 1.0 - exp(-gust_rate * dt), exp(-calm_rate * dt)
        push, stray = sqrt(1.0 - keep * keep) * gust_speed, wander * sqrt(dt)
        for i in range(noise.shape[0]):
            dx, dy, turn, p, q, z = noise[i, k]
            blown = stay if gusts[k, i] > 0.0 else enter
            u, v, gust = 0.0, 0.0, 0.0
            if blown > 0.0 and 0.5 * erfc(-z * sqrt(0.5)) < blown:
                u, v, gust = keep * velocities[k, i, 0] + push * p, keep * velocities[k, i, 1] + push * q, 1.0
                p, q = 0.0, 0.0
            px, py = places[k, i, 0] + u * dt + stray * p, places[k, i, 1] + v * dt + stray * q
            dx, dy, turn = a * dx, b * dx + c * dy, d * dx + e * dy + f * turn
            places[k + 1, i, 0] = px + ahead * dx - aside * dy - (py - y) * turn
            places[k + 1, i, 1] = py + aside * dx + ahead * dy + (px - x) * turn
            velocities[k + 1, i, 0], velocities[k + 1, i, 1], gusts[k + 1, i] = u, v, gust


def rescaled(uniform: Array, old: Array, new: float) -> Array:
    """Uniforms (n,) mapped so that those below `old` are, evenly, those below `new`."""
    low = uniform / np.maximum(old, 1e-12) * new
    high = new + (uniform - old) / np.maximum(1.0 - old, 1e-12) * (1.0 - new)
    return np.clip(np.where(uniform < old, low, high), 1e-12, 1.0 - 1e-12)


def joined(clouds: Iterable[Cloud]) -> Cloud:
    """All of the stories of several clouds."""
    return Cloud(*(np.concatenate(parts) for parts in zip(*clouds, strict=True)))


def take_back(rejected: NDArray[np.bool_], new: Cloud, old: Cloud) -> None:
    """Make new stories, in place, the old ones where they were rejected (n,)."""
    k = np.flatnonzero(rejected)
    for part, before in zip(new, old, strict=True):
        part[k] = before[k]
