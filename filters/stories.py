"""Stories of a candidate of one class: all that was random about it until now, as standard normals and gust flags.

A story holds the latents u (place at the start, shape, visibility), the noise of every step (odometry's error, the
motion) and whether there was a gust. From these follow the candidate's places in the odometry frame, by the very
motion of `models/motion.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from filters.history import History
from filters.importance import differences
from filters.models.model import Model
from filters.models.motion import frame_jacobian
from filters.models.shapes import BagPrior, BarrierPrior
from filters.spec import BAG, BARRIER, Array, EgoMotion, Prior

ODOMETRY, MOTION = slice(0, 3), slice(3, 5)  # of a step's noise
JUMPS = 0.25  # share of proposals
ECHO = 0.25  # m, deviation of a candidate's centre about an echo of it


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


@dataclass(frozen=True)
class Stories:
    """How the stories of one class go."""

    model: Model
    prior: Prior
    klass: int

    @property
    def shape(self) -> BarrierPrior | BagPrior:
        """The prior of the shape."""
        return self.model.barrier if self.klass == BARRIER else self.model.bag

    def draw(self, n: int, rng: np.random.Generator) -> Cloud:
        """n stories that begin."""
        u, start = rng.standard_normal((n, 3 + len(self.shape.names))), rng.standard_normal((n, 2))
        gust = (rng.random((n, 1)) < self.model.motion.gust_share).astype(float) * (self.klass == BAG)
        return Cloud(u, start, np.zeros((n, 0, MOTION.stop)), gust, *self.origin(u, start, gust))

    def origin(self, u: Array, start: Array, gust: Array) -> tuple[Array, Array]:
        """Place and velocity (n, 2) at the start."""
        root = np.linalg.cholesky(self.prior.position.covariance)
        place = self.prior.position.mean + u[:, :2] @ root.T
        return place, self.model.motion.gust_speed * start * gust[:, :1]

    def go_on(self, cloud: Cloud, motion: EgoMotion, dt: float, rng: np.random.Generator) -> Cloud:
        """The stories one step on."""
        n = len(cloud.u)
        fresh = rng.standard_normal((n, MOTION.stop))
        gust = self.model.motion.gusts(cloud.gust[:, -1], rng.random(n), dt) * (self.klass == BAG)
        place, velocity = self.step(cloud.place, cloud.velocity, gust, fresh, motion, dt)
        noise = np.concatenate([cloud.noise, fresh[:, None]], axis=1)
        return cloud._replace(noise=noise, gust=np.column_stack([cloud.gust, gust]), place=place, velocity=velocity)

    def step(
        self, place: Array, velocity: Array, gust: Array, noise: Array, motion: EgoMotion, dt: float
    ) -> tuple[Array, Array]:
        """Place and velocity (n, 2) after a step, by its noise (n, 5)."""
        if self.klass == BAG:
            place, velocity = self.model.motion.moved(place, velocity, gust, noise[:, MOTION], dt)
        root = np.linalg.cholesky(motion.covariance + 1e-18 * np.eye(3))
        error = noise[:, ODOMETRY] @ root.T
        return place + np.einsum("nij,nj->ni", frame_jacobian(motion, place), error), velocity

    def places(self, cloud: Cloud, history: History) -> tuple[list[Array], Array]:
        """Places (n, 2) before the first step and after each, and the last velocity: the whole story told again."""
        place, velocity = self.origin(cloud.u, cloud.start, cloud.gust)
        told = [place]
        for k, (motion, dt) in enumerate(history.motions):
            place, velocity = self.step(place, velocity, cloud.gust[:, k + 1], cloud.noise[:, k], motion, dt)
            told.append(place)
        return told, velocity

    def propose(
        self, cloud: Cloud, history: History, echoes: Array, rng: np.random.Generator
    ) -> tuple[Cloud, list[Array], Array]:
        """Other stories, their places, and ln of the Metropolis ratio but for the likelihood.

        A quarter jump, so that the last place lies about one of the echoes (m, 2): no random walk goes there from
        elsewhere. The rest walk: latents in the cloud's covariance, from 2.38/sqrt(d) of it to
        a fiftieth of that, as a cloud has a narrow part where an echo is explained and a wide one elsewhere; noise by
        x' = sqrt(1 - b²) x + b N(0, 1), which leaves N(0, 1) as it is, b being 0 for half of them.
        """
        n, d = cloud.u.shape
        echoes = echoes if len(echoes) else self.prior.position.mean[None]
        jump = np.less(rng.random(n), JUMPS)
        u = differences(cloud.u, rng)
        b = np.where((rng.random(n) < 0.5) & ~jump, rng.random(n) ** 3, 0.0)
        start, noise = (autoregress(x, b, rng) for x in (cloud.start, cloud.noise))
        there = echoes[rng.integers(len(echoes), size=n)] + ECHO * rng.standard_normal((n, 2))
        shift = (there - cloud.place) @ np.linalg.inv(np.linalg.cholesky(self.prior.position.covariance)).T
        u = np.where(jump[:, None], cloud.u + np.pad(shift, ((0, 0), (0, d - 2))), u)
        other = cloud._replace(u=u, start=start, noise=noise)
        told, velocity = self.places(other, history)
        other = other._replace(place=told[-1], velocity=velocity)
        ratio = 0.5 * ((cloud.u**2).sum(axis=1) - (u**2).sum(axis=1))
        ratio += np.where(jump, log_about(echoes, cloud.place) - log_about(echoes, other.place), 0.0)
        return other, told, ratio


def log_about(echoes: Array, place: Array) -> Array:
    """ln of the density (n,) by which a jump goes to a place (n, 2), up to a constant."""
    gap = ((place[:, None] - echoes) ** 2).sum(axis=2) / (2.0 * ECHO**2)
    least = gap.min(axis=1)
    return np.asarray(np.log(np.exp(least[:, None] - gap).sum(axis=1)) - least)


def autoregress(x: Array, b: Array, rng: np.random.Generator) -> Array:
    """sqrt(1 - b²) x + b N(0, 1) with b (n,) for each of x (n, ...)."""
    b = b.reshape(-1, *[1] * (x.ndim - 1))
    return np.asarray(np.sqrt(1.0 - b * b) * x + b * rng.standard_normal(x.shape))


def choose(accept: Array, new: Cloud, old: Cloud) -> Cloud:
    """New stories where accepted (n,), else the old."""
    return Cloud(*(np.where(accept.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(new, old, strict=True)))
