"""Stories of a candidate of one class: all that was random about it, as standard normals.

A story holds the latents u (place at the start, shape, a radar's material, fog), the start's velocity and gust, and the
noise of every step: odometry's error, the motion, and z by which there is a gust where Φ(z) < p(gust | gust before).
From these follow the candidate's places in the odometry frame, by the very motion of `models/motion.py`; told again
with other normals it is another story under the same prior.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from filters.gaussian import diffusion, predict_position
from filters.models.model import Model
from filters.models.motion import frame_jacobian
from filters.models.shapes import BagPrior, BarrierPrior, Solids
from filters.spec import BAG, BARRIER, Array, EgoMotion, Gaussian

ODOMETRY, MOTION, GUST = slice(0, 3), slice(3, 5), 5  # of a step's noise
Step = tuple[EgoMotion, float]  # ego's motion and its dt, s


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

    def take(self, chosen: NDArray[np.intp]) -> Cloud:
        """Some of the stories."""
        return Cloud(*(part[chosen] for part in self))


class Told(NamedTuple):
    """Places, velocities (n, 2) and gust flags (n,) at the start and after every step."""

    places: list[Array]
    velocities: list[Array]
    gusts: list[Array]


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

    @property
    def root(self) -> Array:
        """Cholesky root of the origin's covariance."""
        return np.asarray(np.linalg.cholesky(self.origin.covariance))

    @property
    def blown(self) -> float:
        """Probability of a gust when the stories start."""
        return self.model.motion.gust_share if self.klass == BAG else 0.0

    def draw(self, n: int, rng: np.random.Generator) -> Cloud:
        """n stories that begin."""
        latents = 3 + len(self.shape.names) + self.model.radar.on
        u, start = rng.standard_normal((n, latents)), rng.standard_normal((n, 3))
        return Cloud(u, start, np.zeros((n, 0, GUST + 1)), *self.begin(u, start))

    def begin(self, u: Array, start: Array) -> tuple[Array, Array, Array]:
        """Place, velocity (n, 2) and gust flag (n,) at the start."""
        gust = (ndtr(start[:, 2]) < self.blown).astype(float)
        place = self.origin.mean + u[:, :2] @ self.root.T
        return place, self.model.motion.gust_speed * start[:, :2] * gust[:, None], gust

    def go_on(self, cloud: Cloud, step: Step, rng: np.random.Generator) -> Cloud:
        """The stories one step on."""
        fresh = rng.standard_normal((len(cloud.u), GUST + 1))
        place, velocity, gust = self.step(cloud.place, cloud.velocity, cloud.gust, fresh, step)
        noise = np.concatenate([cloud.noise, fresh[:, None]], axis=1)
        return cloud._replace(noise=noise, place=place, velocity=velocity, gust=gust)

    def step(self, place: Array, velocity: Array, gust: Array, noise: Array, step: Step) -> tuple[Array, Array, Array]:
        """Place, velocity (n, 2) and gust flag (n,) after a step, by its noise (n, 6)."""
        motion, dt = step
        if self.klass == BAG:
            gust = self.model.motion.gusts(gust, ndtr(noise[:, GUST]), dt)
            place, velocity = self.model.motion.moved(place, velocity, gust, noise[:, MOTION], dt)
        error = noise[:, ODOMETRY] @ np.linalg.cholesky(motion.covariance + 1e-18 * np.eye(3)).T
        return place + np.einsum("nij,nj->ni", frame_jacobian(motion, place), error), velocity, gust

    def tell(self, cloud: Cloud, steps: tuple[Step, ...]) -> Told:
        """The whole stories again."""
        now = self.begin(cloud.u, cloud.start)
        told = [now]
        for k, step in enumerate(steps):
            now = self.step(*now, cloud.noise[:, k], step)
            told.append(now)
        return Told(*(list(parts) for parts in zip(*told, strict=True)))

    def solids(self, u: Array, place: Array) -> Solids:
        """Latents (n, d) as shapes at places (n, 2)."""
        return self.shape.solids(place, u[:, 2 : 2 + len(self.shape.names)])

    def later(self, steps: tuple[Step, ...]) -> Stories:
        """Stories that start some steps later: where the candidate may be then, as a Gaussian."""
        rate = diffusion(self.model.motion) if self.klass == BAG else 0.0
        origin = self.origin
        for motion, dt in steps:
            origin = predict_position(origin, motion, dt, rate)
        return Stories(self.model, self.klass, origin)

    def cut(self, cloud: Cloud, steps: tuple[Step, ...], now: Stories) -> Cloud:
        """The stories `now`, which start after those steps; what was before is forgotten."""
        k, told = len(steps), self.tell(cloud, steps)
        place = np.linalg.solve(now.root, (told.places[k] - now.origin.mean).T).T
        gust, speed = told.gusts[k], self.model.motion.gust_speed
        start = cloud.start.copy()
        if speed > 0.0:
            start[:, :2] = np.where(gust[:, None] > 0.0, told.velocities[k] / speed, start[:, :2])
        if k > 0 and self.klass == BAG:
            before = self.model.motion.switch(steps[-1][1])[told.gusts[k - 1].astype(int), 1]
            start[:, 2] = ndtri(rescaled(ndtr(cloud.noise[:, k - 1, GUST]), before, now.blown))
        u = np.column_stack([place, cloud.u[:, 2:]])
        return cloud._replace(u=u, start=start, noise=cloud.noise[:, k:])


def rescaled(uniform: Array, old: Array, new: float) -> Array:
    """Uniforms (n,) mapped so that those below `old` are, evenly, those below `new`."""
    low = uniform / np.maximum(old, 1e-12) * new
    high = new + (uniform - old) / np.maximum(1.0 - old, 1e-12) * (1.0 - new)
    return np.clip(np.where(uniform < old, low, high), 1e-12, 1.0 - 1e-12)


def joined(clouds: Iterable[Cloud]) -> Cloud:
    """All of the stories of several clouds."""
    return Cloud(*(np.concatenate(parts) for parts in zip(*clouds, strict=True)))


def choose(accept: NDArray[np.bool_], new: Cloud, old: Cloud) -> Cloud:
    """New stories where accepted (n,), else the old."""
    return Cloud(*(np.where(accept.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(new, old, strict=True)))
