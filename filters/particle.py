"""Particle filter: one cloud per class, weighed by the likelihood of the lidar's raw beams and the radar's detections.

A cloud holds position, velocity, gust, the shape's latents and the fog of each particle. Measurements
enter by tempering: the likelihood's exponent rises in steps that each keep half of the effective sample
size, with resampling and rejuvenation between them (Del Moral, Doucet, Jasra 2006).
The class is static: its log-odds are sums of the clouds' log-evidence.

The fog common to all is a Gaussian in ln visibility, updated by the window's clutter and the visibility sensor; a
particle's own fog is a standard normal deviate about it, so that the cloud follows as clutter pins the fog down.

A scan of a radar is older than the cloud: each particle is put back by its velocity. What its material is to a radar
is one more latent, after those of the shape.

Approximate are: moves take the cloud before the measurement as a Gaussian; a searching cloud's positions
are taken as independent of the rest; and of near objects only every other column or fewer is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from filters.belief import log_sum_exp, mix, moments, update_log_probs
from filters.models.model import Model
from filters.models.motion import frame_drift
from filters.models.object_echo import clutter_table, object_log_ratios, unexplained, window_of
from filters.models.optics import echo_table
from filters.models.radar import object_log_ratios as radar_log_ratios
from filters.models.radar import sources_of
from filters.models.shapes import BagPrior, BarrierPrior, Solids
from filters.models.visibility import Visibility, predict_visibility, update_visibility, visibility_prior
from filters.models.visibility_sensor import update as read_visibility
from filters.resampling import ess, systematic
from filters.spec import (
    BAG,
    BARRIER,
    Array,
    Belief,
    EgoMotion,
    Gaussian,
    Info,
    Measurement,
    Particles,
    Pose,
    Prior,
    RadarScan,
    Scan,
    Status,
)

MOVES = 2  # Metropolis steps of a rejuvenation
LOOKING, REACH = 0.5, (0.1, 0.3)  # share of a searching cloud that looks where echoes are; how near along, across, m
PLAUSIBLE = 3.5  # deviations of the announced place, and of the cloud, within which an echo is worth a look
FOUND = 0.08  # m: a cloud narrower than this has found its object
DEAD, DEAD_STAGES = -9.0, 2  # a class of lower log-probability is followed with fewer steps
ENOUGH = 0.5  # effective share below which a cloud is resampled
FEWEST = 0.5  # effective share that one tempering step leaves
STAGES = 40  # tempering steps at most

LogLikelihood = Callable[["Cloud"], Array]


class Cloud(NamedTuple):
    """Particles of one class: position, velocity (n, 2), gust (n,), latents (n, d), fog deviate, log-weights (n,)."""

    position: Array
    velocity: Array
    gust: Array
    latents: Array
    fog: Array
    log_weights: Array


class ParticleState(NamedTuple):
    """Class log-probabilities (K,), a cloud per class, the fog, and the place that was announced."""

    log_probs: Array
    clouds: tuple[Cloud, ...]
    visibility: Visibility
    announced: Gaussian


class Tempered(NamedTuple):
    """A cloud after a measurement: ln p(z | past), its least effective sample size, and how it went."""

    cloud: Cloud
    log_evidence: float
    ess: float
    resampled: bool
    status: Status


@dataclass(frozen=True)
class ParticleFilter:
    """Particle filter on raw scans of lidar and radar.

    Parameters
    ----------
    model : Model
        Sensor, shapes and motion, as the simulator has them.
    particles : int
        Per class, while the cloud still searches for its object.
    followers : int
        Per class, once it has found it.
    """

    model: Model = field(default_factory=Model)
    particles: int = 1200
    followers: int = 300
    sensors = ("scan", "radar", "visibility")

    def init(self, prior: Prior, rng: np.random.Generator) -> ParticleState:
        clouds = tuple(self.draw(k, prior, rng) for k in range(len(prior.log_probs)))
        fog = visibility_prior(prior.visibility, prior.visibility_spread)
        return ParticleState(prior.log_probs, clouds, fog, prior.position)

    def draw(self, klass: int, prior: Prior, rng: np.random.Generator) -> Cloud:
        """A cloud from the prior of one class."""
        n = self.particles
        velocity, gust = self.model.motion.start(n, rng) if klass == BAG else (np.zeros((n, 2)), np.zeros(n))
        return Cloud(
            rng.multivariate_normal(prior.position.mean, prior.position.covariance, n),
            velocity,
            gust,
            rng.standard_normal((n, len(self.shape(klass).names) + self.model.radar.on)),
            rng.standard_normal(n),
            np.full(n, -np.log(n)),
        )

    def shape(self, klass: int) -> BarrierPrior | BagPrior:
        """The prior of a class's shape."""
        return self.model.barrier if klass == BARRIER else self.model.bag

    def predict(self, state: ParticleState, motion: EgoMotion, dt: float, rng: np.random.Generator) -> ParticleState:
        clouds = []
        for klass, cloud in enumerate(state.clouds):
            if klass == BAG:
                moved = self.model.motion.step(cloud.position, cloud.velocity, cloud.gust, dt, rng)
                cloud = cloud._replace(position=moved[0], velocity=moved[1], gust=moved[2])
            drift = frame_drift(motion, cloud.position.mean(axis=0))
            shift = rng.multivariate_normal(np.zeros(2), drift, len(cloud.position))
            clouds.append(cloud._replace(position=cloud.position + shift))
        fog = predict_visibility(state.visibility, self.model.fog_drift, dt)
        return state._replace(clouds=tuple(clouds), visibility=fog)

    def update(
        self, state: ParticleState, measurement: Measurement, rng: np.random.Generator
    ) -> tuple[ParticleState, Info]:
        data = measurement.data
        if isinstance(data, Scan):
            return self.look(state, data, rng)
        if isinstance(data, RadarScan):
            return self.hear(state, data, measurement.age, rng)
        assert isinstance(data, float), f"found {measurement.sensor}, expected one of {self.sensors}"
        fog = read_visibility(state.visibility, self.model.visibility_sensor, data)
        return state._replace(visibility=fog), Info(np.zeros(len(state.clouds)))

    def hear(
        self, state: ParticleState, scan: RadarScan, age: float, rng: np.random.Generator
    ) -> tuple[ParticleState, Info]:
        """Bring in a radar's scan, taken `age` s ago."""
        radar = self.model.radar

        def log_likelihood(klass: int) -> LogLikelihood:
            mean, spread = radar.material(klass)

            def of(cloud: Cloud) -> Array:
                then = cloud._replace(position=cloud.position - age * cloud.velocity)
                reflectivity = mean + spread * cloud.latents[:, -1]
                solids = self.solids(klass, then)
                seen = sources_of(radar, solids, reflectivity, cloud.velocity, scan.pose, scan.velocity)
                return radar_log_ratios(radar, scan, seen)

            return of

        return self.weigh(state, lambda cloud, alive: cloud, log_likelihood, rng)

    def look(self, state: ParticleState, scan: Scan, rng: np.random.Generator) -> tuple[ParticleState, Info]:
        """Bring in a lidar's scan, and what it says of the fog."""
        table = echo_table(self.model.optics)
        everyone = np.concatenate([c.position for c in state.clouds])
        window = window_of(scan, everyone, self.body, self.tallest)
        if window.azimuth.size < 2 or window.elevation.size < 2:
            return state, Info(np.zeros(len(state.clouds)))
        echoes = plausible(unexplained(window, self.tallest), state.announced)
        fog, clutter = update_visibility(state.visibility, table, *window.beams())
        background = clutter_table(window, clutter)

        def log_likelihood(klass: int) -> LogLikelihood:
            def of(cloud: Cloud) -> Array:
                log_visibility = fog.mean + fog.deviation * cloud.fog
                solids = self.solids(klass, cloud)
                return object_log_ratios(table, solids, log_visibility, window, clutter.nodes, background)

            return of

        def ready(cloud: Cloud, alive: bool) -> Cloud:
            return self.ready(cloud, alive, scan, echoes, rng)

        return self.weigh(state._replace(visibility=fog), ready, log_likelihood, rng)

    def weigh(
        self,
        state: ParticleState,
        ready: Callable[[Cloud, bool], Cloud],
        log_likelihood: Callable[[int], LogLikelihood],
        rng: np.random.Generator,
    ) -> tuple[ParticleState, Info]:
        """Temper each class's cloud, made ready, by its likelihood, and weigh the classes by the clouds' evidence."""
        done = [
            temper(ready(cloud, alive), log_likelihood(k), rng, STAGES if alive else DEAD_STAGES)
            for k, (cloud, alive) in enumerate(zip(state.clouds, state.log_probs > DEAD, strict=True))
        ]
        status = max(d.status for d in done)
        evidence = np.array([d.log_evidence for d in done])
        info = Info(evidence, min(d.ess for d in done), resampled=any(d.resampled for d in done), status=status)
        if status != Status.OK:
            return state, info._replace(log_evidence=np.zeros(len(done)))
        log_probs = update_log_probs(state.log_probs, evidence)
        return state._replace(log_probs=log_probs, clouds=tuple(d.cloud for d in done)), info

    def ready(self, cloud: Cloud, alive: bool, scan: Scan, echoes: Array, rng: np.random.Generator) -> Cloud:
        """A searching cloud looks where echoes are; one that has found its object, or is dead, needs fewer."""
        if alive and not found(cloud):
            searching = cloud if len(cloud.gust) == self.particles else resample(cloud, self.particles, rng)
            return look_at(searching, echoes, scan.pose, rng)
        return cloud if len(cloud.gust) == self.followers else resample(cloud, self.followers, rng)

    @property
    def body(self) -> float:
        """Largest radius of any candidate in plan, m."""
        barrier = 0.5 * np.hypot(self.model.barrier.length[1], self.model.barrier.depth)
        return max(float(barrier), self.model.bag.radius[1])

    @property
    def tallest(self) -> float:
        """Greatest height of any candidate, m."""
        return max(self.model.barrier.height[1], 2.0 * self.model.bag.radius[1])

    def solids(self, klass: int, cloud: Cloud) -> Solids:
        """The cloud as shapes."""
        shape = self.shape(klass)
        return shape.solids(cloud.position, cloud.latents[:, : len(shape.names)])

    def belief(self, state: ParticleState) -> Belief:
        weights = np.exp(state.log_probs)
        places = [moments(c.position, np.exp(c.log_weights)) for c in state.clouds]
        points = np.concatenate([c.position for c in state.clouds])
        joint = np.concatenate([c.log_weights + p for c, p in zip(state.clouds, state.log_probs, strict=True)])
        return Belief(state.log_probs, mix(weights, places), tuple(places), Particles(points, joint))


def found(cloud: Cloud) -> bool:
    """Whether the cloud's positions agree to `FOUND`."""
    P = moments(cloud.position, np.exp(cloud.log_weights)).covariance
    return float(np.linalg.det(P)) < FOUND**4


def look_at(cloud: Cloud, echoes: Array, pose: Pose, rng: np.random.Generator) -> Cloud:
    """Move half of a searching cloud to where echoes (n, 2) are, and correct the weights.

    Importance sampling from q = (1 - s) N + s E with the cloud's positions as N(m, P) and E a mixture of
    Gaussians about the echoes, narrow along the line of sight: w ∝ N / q. Without it a cloud may have no
    particle near the first echo.
    """
    mean, P = moments(cloud.position, np.exp(cloud.log_weights))
    inverse = np.linalg.inv(P)
    echoes = plausible(echoes, Gaussian(mean, P))
    if len(echoes) == 0:
        return cloud
    n = len(cloud.position)
    sight = mean - np.array([pose.x, pose.y])
    ahead = sight / np.hypot(*sight)
    turn = np.array([ahead, [-ahead[1], ahead[0]]])  # rows: along and across the line of sight
    there = echoes[rng.integers(len(echoes), size=n)] + (np.array(REACH) * rng.standard_normal((n, 2))) @ turn
    position = np.where((rng.random(n) < LOOKING)[:, None], there, cloud.position)
    log_n = -0.5 * mahalanobis(position - mean, inverse) + 0.5 * np.linalg.slogdet(inverse)[1]
    gap = (position[:, None] - echoes) @ turn.T / np.array(REACH)
    log_e = np.log(np.exp(-0.5 * (gap**2).sum(axis=2)).mean(axis=1) + 1e-300) - np.log(np.prod(REACH))
    log_q = np.logaddexp(np.log1p(-LOOKING) + log_n, np.log(LOOKING) + log_e)
    log_weights = cloud.log_weights + log_n - log_q
    return cloud._replace(position=position, log_weights=log_weights - log_sum_exp(log_weights))


def plausible(places: Array, where: Gaussian) -> Array:
    """Those of the places (n, 2) that lie within `PLAUSIBLE` deviations."""
    return places[mahalanobis(places - where.mean, np.linalg.inv(where.covariance)) < PLAUSIBLE**2]


def mahalanobis(off: Array, inverse: NDArray[np.floating]) -> Array:
    """Squared Mahalanobis lengths of offsets (n, 2)."""
    return np.einsum("ni,ij,nj->n", off, inverse, off)


def temper(
    cloud: Cloud, log_likelihood: Callable[[Cloud], Array], rng: np.random.Generator, stages: int = STAGES
) -> Tempered:
    """Bring a measurement in by steps of its exponent, each as large as the effective sample size allows.

    ln p(z) = Σ ln Σ_i w_i exp(step · ln L_i). When one step does it this is the bootstrap filter's update.
    The last of `stages` steps takes what is left of the exponent, however few particles survive it.
    """
    prior = Statics.of(cloud)
    values = log_likelihood(cloud)
    done, log_evidence, least, resampled = 0.0, 0.0, np.inf, False
    for stage in range(stages):
        if not np.isfinite(values).all():
            return Tempered(cloud, 0.0, 0.0, resampled, Status.DEPLETED)
        rest = 1.0 - done
        step = largest_step(cloud.log_weights, values, rest) if stage < stages - 1 else rest
        log_weights = cloud.log_weights + step * values
        total = log_sum_exp(log_weights)
        cloud = cloud._replace(log_weights=log_weights - total)
        log_evidence, done = log_evidence + total, done + step
        size = ess(log_weights)
        least = min(least, size)
        if step < rest or size < ENOUGH * len(values):
            cloud, values = rejuvenate(cloud, values, done, prior, log_likelihood, rng)
            resampled = True
        if step == rest:
            break
    return Tempered(cloud, log_evidence, least, resampled, Status.OK)


def largest_step(log_weights: Array, values: Array, limit: float) -> float:
    """The largest step <= limit that leaves `FEWEST` of the effective particles effective, by bisection."""
    enough = FEWEST * ess(log_weights)
    if ess(log_weights + limit * values) >= enough:
        return limit
    low, high = 0.0, limit
    for _ in range(20):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if ess(log_weights + middle * values) >= enough else (low, middle)
    return max(low, 1e-6 * limit)


def resample(cloud: Cloud, n: int, rng: np.random.Generator) -> Cloud:
    """Draw n equally weighted particles from a cloud, systematically."""
    chosen = systematic(np.exp(cloud.log_weights), rng.random(), n)
    return Cloud(*(part[chosen] for part in cloud))._replace(log_weights=np.full(n, -np.log(n)))


class Statics(NamedTuple):
    """What a cloud knows of the parts that rejuvenation moves (position, latents, fog), as a Gaussian."""

    mean: Array
    root: Array  # P = root root'

    @staticmethod
    def of(cloud: Cloud) -> Statics:
        """Moments of a weighted cloud, the covariance kept positive definite."""
        mean, covariance = moments(statics_of(cloud), np.exp(cloud.log_weights))
        scale = np.sqrt(np.diag(covariance).clip(1e-12))
        correlation = covariance / np.outer(scale, scale) + 1e-6 * np.eye(len(scale))
        return Statics(mean, scale[:, None] * np.linalg.cholesky(correlation))

    def log_density(self, points: Array) -> Array:
        """ln N(points; mean, P) up to a constant."""
        z = solve_triangular(self.root, (points - self.mean).T, lower=True)
        return -0.5 * np.einsum("ij,ij->j", z, z)


def statics_of(cloud: Cloud) -> Array:
    """Position, latents and fog of each particle (n, d)."""
    return np.column_stack([cloud.position, cloud.latents, cloud.fog])


def with_statics(cloud: Cloud, statics: Array) -> Cloud:
    """The cloud with those parts replaced."""
    return cloud._replace(position=statics[:, :2], latents=statics[:, 2:-1], fog=statics[:, -1])


def rejuvenate(
    cloud: Cloud,
    values: Array,
    exponent: float,
    prior: Statics,
    log_likelihood: Callable[[Cloud], Array],
    rng: np.random.Generator,
) -> tuple[Cloud, Array]:
    """Resample systematically, then move what is static by Metropolis steps.

    The target is prior(u) L(u)^exponent, the prior being the cloud before this measurement as a Gaussian;
    proposals are the cloud's own covariance, scaled by 2.38/sqrt(d) and less. Returns the cloud and its ln L.
    """
    spread = Statics.of(cloud)
    n = len(cloud.gust)
    chosen = systematic(np.exp(cloud.log_weights), rng.random())
    cloud = Cloud(*(part[chosen] for part in cloud))._replace(log_weights=np.full(n, -np.log(n)))
    values, statics = values[chosen], statics_of(cloud)
    density = prior.log_density(statics)
    for _ in range(MOVES):
        scale = 2.38 / np.sqrt(statics.shape[1]) * rng.uniform(0.1, 1.0, (n, 1))
        proposal = statics + scale * (rng.standard_normal(statics.shape) @ spread.root.T)
        proposed_values, proposed_density = log_likelihood(with_statics(cloud, proposal)), prior.log_density(proposal)
        gain = proposed_density - density + exponent * (proposed_values - values)
        accept = np.log(rng.random(n)) < gain
        statics = np.where(accept[:, None], proposal, statics)
        values, density = np.where(accept, proposed_values, values), np.where(accept, proposed_density, density)
    return with_statics(cloud, statics), values
