"""Posteriors of stories that are Gaussian, and so known exactly.

Without errors of yaw a story's places are linear in its latents and noise, given its gusts. Looks that say
N(place; z, r²) then have a Gaussian posterior over whole stories, and an evidence in closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import multivariate_normal, norm

from filters.looks import NO_ECHOES, Look
from filters.models.model import Model
from filters.models.motion import BagMotion
from filters.models.object_echo import Echoes
from filters.spec import BAG, BARRIER, EgoMotion, Gaussian, Pose, Status
from filters.stories import GUST, Cloud, Step, Stories, Told, step_of
from filters.target import Target, Weighted
from filters.waste_free import start, temper

Array = NDArray[np.float64]
ORIGIN = Gaussian(np.array([12.0, -0.3]), np.array([[0.25, 0.06], [0.06, 0.09]]))
MODEL = replace(Model(), motion=BagMotion(wander=0.2, gust_speed=2.0, gust_rate=2.0, calm_rate=2.0))
STORIES = {k: Stories(MODEL, k, ORIGIN) for k in (BAG, BARRIER)}
RIGID = STORIES[BARRIER]


def shifting(deviation: float, yaw: float = 0.0) -> Step:
    """Odometry whose errors shift the frame by this deviation in x, half of it in y, and turn it."""
    covariance = np.diag([deviation, 0.5 * deviation, yaw]) ** 2
    return step_of(EgoMotion(np.zeros(3), covariance, Pose(0.0, 0.0, 0.9, 0.0)), 0.1)


STEPS = (shifting(0.05), shifting(0.2), shifting(0.1))


class PlaceLook(NamedTuple):
    """ln N(place; z, r²), and ln N(last latent; fog, 1) where a fog is given."""

    steps: int
    z: Array
    r: float
    fog: float | None = None
    echoes: Echoes = NO_ECHOES

    def log_likelihood(self, stories: Stories, u: Array, told: Told) -> Array:
        off = (told.places[self.steps] - self.z) / self.r
        values = -0.5 * (off**2).sum(axis=1) - np.log(2.0 * np.pi * self.r**2)
        return values if self.fog is None else values + norm.logpdf(u[:, -1], self.fog)


class AnyLook(NamedTuple):
    """What a function makes of places (n, 2)."""

    steps: int
    of: Callable[[Array], Array]
    echoes: Echoes = NO_ECHOES

    def log_likelihood(self, stories: Stories, u: Array, told: Told) -> Array:
        return self.of(told.places[self.steps])


def look_at(steps: int, x: float, y: float, r: float, fog: float | None = None) -> PlaceLook:
    return PlaceLook(steps, np.array([x, y]), r, fog)


SHARP = (look_at(0, 12.5, -0.1, 0.3), look_at(1, 12.7, -0.4, 0.1, 0.7), look_at(3, 12.9, -0.3, 0.01))
MILD = (look_at(0, 12.5, -0.1, 0.4), look_at(1, 12.7, -0.4, 0.3, 0.7), look_at(3, 12.9, -0.3, 0.1))


class Exact(NamedTuple):
    """The Gaussian posterior of all standard normals of a story (d,), and ln p(looks)."""

    mean: Array
    covariance: Array
    log_evidence: float


def packed(cloud: Cloud) -> Array:
    """All standard normals of each story (n, d) but those of gusts."""
    return np.concatenate([cloud.u, cloud.start[:, :2], cloud.noise[:, :, :GUST].reshape(len(cloud.u), -1)], axis=1)


def gusts(cloud: Cloud) -> Array:
    """The normals of gusts (n, 1 + steps)."""
    return np.column_stack([cloud.start[:, 2], cloud.noise[:, :, GUST]])


def unpacked(stories: Stories, points: Array, gusts: Array, steps: tuple[Step, ...]) -> Cloud:
    """The stories of both."""
    n, at = len(points), points.shape[1] - GUST * len(steps)
    noise = np.concatenate([points[:, at:].reshape(n, len(steps), GUST), gusts[:, 1:, None]], axis=2)
    begin = np.column_stack([points[:, at - 2 : at], gusts[:, 0]])
    untold = Cloud(points[:, : at - 2], begin, noise, np.zeros((n, 2)), np.zeros((n, 2)), np.zeros(n))
    told = stories.tell(untold, steps)
    return Cloud(*untold[:3], told.places[-1], told.velocities[-1], told.gusts[-1])


Path = tuple[int, ...]  # whether there is a gust at the start and after every step


def posterior(
    looks: tuple[PlaceLook, ...],
    steps: tuple[Step, ...] = STEPS,
    power: float = 1.0,
    klass: int = BARRIER,
    path: Path = (0, 0, 0, 0),
) -> Exact:
    """Given looks, the last to a power: place = A s + c, found by telling the stories of 0 and of every unit vector."""
    stories = STORIES[klass]
    fog = 2 + len(stories.shape.names)
    d = fog + 3 + GUST * len(steps)
    blown = np.tile(np.where(path[: 1 + len(steps)], -9.0, 9.0), (d + 1, 1))
    told = stories.tell(unpacked(stories, np.eye(d + 1, d, -1), blown, steps), steps)
    H, z, R = np.zeros((0, d)), np.zeros(0), np.zeros(0)
    for look in looks:
        at, b = told.places[look.steps], power if look is looks[-1] else 1.0
        H, z = np.concatenate([H, (at[1:] - at[0]).T]), np.concatenate([z, look.z - at[0]])
        R = np.concatenate([R, np.full(2, look.r**2 / b)])
        if look.fog is not None:
            H, z, R = np.concatenate([H, np.eye(d)[[fog]]]), np.append(z, look.fog), np.append(R, 1.0 / b)
    S = H @ H.T + np.diag(R)
    K = np.linalg.solve(S, H).T
    P = np.eye(d) - K @ H
    return Exact(K @ z, 0.5 * (P + P.T), float(multivariate_normal(np.zeros(len(z)), S).logpdf(z)))


def followed(
    looks: tuple[Look, ...], n: int, length: int, rng: np.random.Generator, steps: tuple[Step, ...] = STEPS
) -> tuple[Weighted, float]:
    """A cloud that was brought through looks, one after another, and its ln evidence."""
    cloud, total, k = start(RIGID, n, rng), 0.0, 0
    for j, look in enumerate(looks):
        while k < look.steps:
            cloud = cloud._replace(cloud=RIGID.go_on(cloud.cloud, steps[k], rng))
            k += 1
        done = temper(cloud, Target(RIGID, steps[:k], looks[:j], look, length), n, rng)
        assert done.status == Status.OK
        cloud, total = done.cloud, total + done.log_evidence
    return cloud, total


def errors_of(cloud: Weighted, exact: Exact) -> Array:
    """How far (1 + d, d) the mean of all normals and their second moments about the exact mean are off."""
    off, weights = packed(cloud.cloud) - exact.mean, np.exp(cloud.log_weights)
    return np.vstack([weights @ off, (weights[:, None] * off).T @ off - exact.covariance])


def unbiased(errors: list[Array]) -> None:
    """Asserts that errors of independent clouds are nought within their own standard error, which is small."""
    error = np.std(errors, axis=0, ddof=1) / np.sqrt(len(errors))
    assert error.max() < 0.05
    assert (np.abs(np.mean(errors, axis=0)) < 4.5 * error).all()
