"""Stories of a candidate of one class: all that was random about it, as standard normals and gust flags.

A story holds the latents u (place at the start, shape, a radar's material, fog), the noise of every step (odometry's
error, the motion) and whether there was a gust. From these follow the candidate's places in the odometry frame, by the
very motion of `models/motion.py`; told again with other latents it is another story under the same prior.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from filters.models.model import Model
from filters.models.motion import frame_drift, frame_jacobian
from filters.models.shapes import BagPrior, BarrierPrior, Solids
from filters.spec import BAG, BARRIER, Array, EgoMotion, Gaussian

ODOMETRY, MOTION = slice(0, 3), slice(3, 5)  # of a step's noise
Step = tuple[EgoMotion, float]  # ego's motion and its dt, s


class Cloud(NamedTuple):
    """Stories: latents (n, d), noise of the start's velocity (n, 2) and of each step (n, steps, 5).

    `gust` (n, 1 + steps) are flags; `place` and `velocity` (n, 2) are at the last step.
    """

    u: Array
    start: Array
    noise: Array
    gust: Array
    place: Array
    velocity: Array

    def take(self, chosen: NDArray[np.intp]) -> Cloud:
        """Some of the stories."""
        return Cloud(*(part[chosen] for part in self))


class Told(NamedTuple):
    """Places and velocities (n, 2) at the start and after every step."""

    places: list[Array]
    velocities: list[Array]


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

    def draw(self, n: int, rng: np.random.Generator) -> Cloud:
        """n stories that begin."""
        latents = 3 + len(self.shape.names) + self.model.radar.on
        u, start = rng.standard_normal((n, latents)), rng.standard_normal((n, 2))
        gust = (rng.random((n, 1)) < self.model.motion.gust_share).astype(float) * (self.klass == BAG)
        return Cloud(u, start, np.zeros((n, 0, MOTION.stop)), gust, *self.begin(u, start, gust))

    def begin(self, u: Array, start: Array, gust: Array) -> tuple[Array, Array]:
        """Place and velocity (n, 2) at the start."""
        place = self.origin.mean + u[:, :2] @ self.root.T
        return place, self.model.motion.gust_speed * start * gust[:, :1]

    def go_on(self, cloud: Cloud, step: Step, rng: np.random.Generator) -> Cloud:
        """The stories one step on."""
        n = len(cloud.u)
        fresh = rng.standard_normal((n, MOTION.stop))
        gust = self.model.motion.gusts(cloud.gust[:, -1], rng.random(n), step[1]) * (self.klass == BAG)
        place, velocity = self.step(cloud.place, cloud.velocity, gust, fresh, step)
        noise = np.concatenate([cloud.noise, fresh[:, None]], axis=1)
        return cloud._replace(noise=noise, gust=np.column_stack([cloud.gust, gust]), place=place, velocity=velocity)

    def step(self, place: Array, velocity: Array, gust: Array, noise: Array, step: Step) -> tuple[Array, Array]:
        """Place and velocity (n, 2) after a step, by its noise (n, 5)."""
        motion, dt = step
        if self.klass == BAG:
            place, velocity = self.model.motion.moved(place, velocity, gust, noise[:, MOTION], dt)
        error = noise[:, ODOMETRY] @ np.linalg.cholesky(motion.covariance + 1e-18 * np.eye(3)).T
        return place + np.einsum("nij,nj->ni", frame_jacobian(motion, place), error), velocity

    def tell(self, cloud: Cloud, steps: tuple[Step, ...]) -> Told:
        """The whole stories again."""
        place, velocity = self.begin(cloud.u, cloud.start, cloud.gust)
        told = Told([place], [velocity])
        for k, step in enumerate(steps):
            place, velocity = self.step(place, velocity, cloud.gust[:, k + 1], cloud.noise[:, k], step)
            told.places.append(place)
            told.velocities.append(velocity)
        return told

    def solids(self, u: Array, place: Array) -> Solids:
        """Latents (n, d) as shapes at places (n, 2)."""
        return self.shape.solids(place, u[:, 2 : 2 + len(self.shape.names)])

    def later(self, steps: tuple[Step, ...]) -> Stories:
        """Stories that start some steps later: where the candidate may be then, as a Gaussian.

        Of a bag's gusts it has the variance 2 s² T dt that they add in the long run, for the share of time they blow.
        """
        mean, P = self.origin
        blown = self.model.motion
        restless = blown.wander**2 * (1.0 - blown.gust_share)
        restless += 2.0 * blown.gust_share * blown.gust_speed**2 * blown.gust_time
        for motion, dt in steps:
            P = P + frame_drift(motion, mean) + (self.klass == BAG) * restless * dt * np.eye(2)
        return Stories(self.model, self.klass, Gaussian(mean, P))

    def cut(self, cloud: Cloud, steps: tuple[Step, ...], now: Stories) -> Cloud:
        """The stories `now`, which start after those steps; what was before is forgotten."""
        k, told = len(steps), self.tell(cloud, steps)
        place = np.linalg.solve(now.root, (told.places[k] - now.origin.mean).T).T
        start = np.where(cloud.gust[:, k : k + 1] > 0.0, told.velocities[k] / self.model.motion.gust_speed, cloud.start)
        u = np.column_stack([place, cloud.u[:, 2:]])
        return cloud._replace(u=u, start=start, noise=cloud.noise[:, k:], gust=cloud.gust[:, k:])


def joined(clouds: list[Cloud]) -> Cloud:
    """All of the stories of several clouds."""
    return Cloud(*(np.concatenate(parts) for parts in zip(*clouds, strict=True)))


def choose(accept: NDArray[np.bool_], new: Cloud, old: Cloud) -> Cloud:
    """New stories where accepted (n,), else the old."""
    return Cloud(*(np.where(accept.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(new, old, strict=True)))
