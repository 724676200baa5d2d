"""Waste-free sequential Monte Carlo against posteriors that are Gaussian, and so known exactly.

Without errors of yaw a story's places are linear in its latents and noise, given its gusts. Looks that say
N(place; z, r²) then have a Gaussian posterior over whole stories, and an evidence in closed form.
"""

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from filters.belief import moments
from filters.models.model import Model
from filters.models.motion import BagMotion
from filters.models.object_echo import Echoes
from filters.spec import BAG, BARRIER, EgoMotion, Gaussian, Pose, Status
from filters.stories import Cloud, Stories, Told
from filters.streams import stream
from filters.waste_free import (
    Target,
    Tempered,
    start,
    temper,
)

Array = NDArray[np.float64]
ORIGIN = Gaussian(np.array([12.0, -0.3]), np.array([[0.25, 0.06], [0.06, 0.09]]))
NO_ECHOES = Echoes(np.zeros((0, 2)), np.zeros(0))
MODEL = replace(Model(), motion=BagMotion(wander=0.2))
STORIES = {k: Stories(MODEL, k, ORIGIN) for k in (BAG, BARRIER)}


def shifting(deviation, yaw=0.0):
    """Odometry whose errors shift the frame by this deviation in x, half of it in y, and turn it."""
    return EgoMotion(np.zeros(3), np.diag([deviation, 0.5 * deviation, yaw]) ** 2, Pose(0.0, 0.0, 0.9, 0.0)), 0.1


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
        return values if self.fog is None else values - 0.5 * (u[:, -1] - self.fog) ** 2 - 0.5 * np.log(2.0 * np.pi)


class MixedLook(NamedTuple):
    """ln Σ w N(place; z, r²)."""

    steps: int
    z: Array
    log_shares: Array
    r: float
    echoes: Echoes

    def log_likelihood(self, stories: Stories, u: Array, told: Told) -> Array:
        off = (told.places[self.steps][:, None] - self.z) / self.r
        return logsumexp(self.log_shares - 0.5 * (off**2).sum(axis=2), axis=1) - np.log(2.0 * np.pi * self.r**2)


class AnyLook(NamedTuple):
    """Whatever a function of places makes of it."""

    steps: int
    of: object
    echoes: Echoes = NO_ECHOES

    def log_likelihood(self, stories: Stories, u: Array, told: Told) -> Array:
        return self.of(told.places[self.steps])


def look_at(steps, x, y, r, fog=None):
    return PlaceLook(steps, np.array([x, y]), r, fog)


SHARP = (look_at(0, 12.5, -0.1, 0.3), look_at(1, 12.7, -0.4, 0.1, 0.7), look_at(3, 12.9, -0.3, 0.01))


# The exact posterior


class Exact(NamedTuple):
    """The Gaussian posterior of all latents and noise of a story (d,), and ln p(looks)."""

    mean: Array
    covariance: Array
    log_evidence: float


def packed(cloud: Cloud) -> Array:
    """All standard normals of each story (n, d)."""
    return np.concatenate([cloud.u, cloud.start, cloud.noise.reshape(len(cloud.u), -1)], axis=1)


def unpacked(stories: Stories, points: Array, gust: Array, steps) -> Cloud:
    """The stories of such (n, d), of the same gusts (1 + steps,)."""
    n, at = len(points), points.shape[1] - 5 * len(steps)
    u, begin, noise = points[:, : at - 2], points[:, at - 2 : at], points[:, at:].reshape(n, len(steps), 5)
    cloud = Cloud(u, begin, noise, np.tile(gust, (n, 1)), np.zeros((n, 2)), np.zeros((n, 2)))
    told = stories.tell(cloud, steps)
    return cloud._replace(place=told.places[-1], velocity=told.velocities[-1])


def posterior(stories: Stories, steps, looks, powers, gust) -> Exact:
    """Given looks, each to a power: place = A s + c by telling the stories of 0 and of every unit vector."""
    d = 3 + len(stories.shape.names) + 2 + 5 * len(steps)
    told = stories.tell(unpacked(stories, np.eye(d + 1, d, -1), gust, steps), steps)
    rows, z, noise = [], [], []
    for look, power in zip(looks, powers, strict=True):
        at = told.places[look.steps]
        rows += list((at[1:] - at[0]).T)
        z += list(look.z - at[0])
        noise += [look.r**2 / power] * 2
        if look.fog is not None:
            rows.append(np.eye(d)[d - 5 * len(steps) - 3])
            z.append(look.fog)
            noise.append(1.0 / power)
    H, z, R = np.array(rows), np.array(z), np.diag(noise)
    S = H @ H.T + R
    K = np.linalg.solve(S, H).T
    P = np.eye(d) - K @ H
    return Exact(K @ z, 0.5 * (P + P.T), float(multivariate_normal(np.zeros(len(z)), S).logpdf(z)))


def resting(steps):
    return np.zeros(1 + len(steps))


def followed(stories, steps, looks, n, length, rng) -> tuple[Tempered, float]:
    """A cloud that was brought through looks, one after another, and its ln evidence."""
    cloud, total, k = start(stories, n, rng), 0.0, 0
    for j, look in enumerate(looks):
        while k < look.steps:
            cloud = cloud._replace(cloud=stories.go_on(cloud.cloud, steps[k], rng))
            k += 1
        done = temper(cloud, Target(stories, steps[:k], tuple(looks[:j]), look, length), n, rng)
        assert done.status == Status.OK
        cloud, total = done.cloud, total + done.log_evidence
    return done, total


@lru_cache
def repeated(n, length, runs):
    """(evidence over exact, mean, covariance of the standard normals) of each of many runs through `SHARP`."""
    stories = STORIES[BARRIER]
    exact = posterior(stories, STEPS, SHARP, np.ones(3), resting(STEPS))
    found = []
    for seed in range(runs):
        done, log_evidence = followed(stories, STEPS, SHARP, n, length, stream(seed, "repeated", n, length))
        spread = moments(packed(done.cloud.cloud), np.exp(done.cloud.log_weights))
        found.append((np.exp(log_evidence - exact.log_evidence), *spread))
    return [np.array(part) for part in zip(*found, strict=True)], exact


CLOUDS = pytest.mark.parametrize(("n", "length", "runs"), [(1200, 4, 40), (600, 12, 60), (1200, 24, 40)])


@CLOUDS
def test_the_evidence_is_unbiased(n, length, runs):
    """Three looks, the last so sharp that it takes many stages: the mean of Z / exact is 1 within its error."""
    (ratio, _, _), _ = repeated(n, length, runs)
    error = ratio.std(ddof=1) / np.sqrt(runs)
    print(n, length, ratio.mean(), error, ratio.std())
    assert error < 0.15
    assert ratio.mean() == pytest.approx(1.0, abs=3.5 * error)


@CLOUDS
def test_a_cloud_has_the_exact_moments(n, length, runs):
    (_, means, covariances), exact = repeated(n, length, runs)
    error = means.std(axis=0, ddof=1) / np.sqrt(runs)
    print((means.mean(axis=0) - exact.mean)/error, error)
    c = covariances.mean(axis=0) - exact.covariance
    e = covariances.std(axis=0, ddof=1)/np.sqrt(runs)
    print(np.abs(c/e).max(), np.abs(c).max(), e.max())
