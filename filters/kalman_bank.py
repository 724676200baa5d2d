"""The banks of the Kalman filter: what a class starts as, how its modes move, and what a look or a miss makes of them.

The barrier stands still, its uniform prior of width covered by a few Gaussians; the bag has calm and gust, an
interacting-multiple-model filter.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from filters.belief import mix
from filters.gaussian_update import Update, ukf_update
from filters.imm import Bank, bank_of, interact, moved, reweigh
from filters.missed_look import look_for
from filters.models import cluster
from filters.models.model import Model
from filters.models.motion import frame_drift
from filters.models.outline import STATE, TOP, VX, VY, WIDTH, X, Y
from filters.models.shapes import BagPrior, BarrierPrior
from filters.spec import BARRIER, Array, EgoMotion, Features, Gaussian, Prior

WIDTHS = 4  # Gaussians that cover the barrier's widths
SETTLED = 1e-7  # variance a look gains per scan: nothing about it changes


class BankUpdate(NamedTuple):
    """A bank after a measurement: ln p(z | past, class), and NIS of the bank as one Gaussian (NaN if unseen)."""

    bank: Bank
    log_evidence: float
    nis: float


def look(model: Model, klass: int) -> list[tuple[float, float]]:
    """Mean and deviation of a class's width, top, ln reflectance, ln roughness, fill, the two offsets, and turn.

    Where the prior is a point (a barrier's fill, roughness) or an offset, the deviation is what h leaves unexplained in
    all looks at one object alike: side by side, simulated encounters differ by so much beyond the noise of one look.
    """
    shape: BarrierPrior | BagPrior = model.barrier if klass == BARRIER else model.bag
    bright, rough = log_uniform(*shape.reflectance), float(np.log(shape.roughness))
    if klass == BARRIER:
        sizes = [uniform(*model.barrier.length), uniform(*model.barrier.height)]
        turn = uniform(0.0, max(-model.barrier.yaw[0], model.barrier.yaw[1]))
        return [*sizes, bright, (rough + 0.05, 0.15), (1.0, 0.02), (0.0, 0.03), (0.0, 0.02), turn]
    mean, deviation = uniform(*model.bag.radius)
    sizes = [(2.0 * mean, 2.0 * deviation)] * 2
    return [*sizes, bright, (rough + 0.05, 0.15), uniform(*model.bag.fill), (0.0, 0.05), (0.0, 0.03), (0.0, 1e-3)]


def start(model: Model, klass: int, prior: Prior) -> Bank:
    """A bank from the prior: moments of the shapes' uniform latents."""
    own = look(model, klass)
    mean = np.concatenate([prior.position.mean, np.zeros(2), [m for m, _ in own]])
    covariance = np.zeros((len(STATE), len(STATE)))
    covariance[:2, :2] = prior.position.covariance
    covariance[WIDTH:, WIDTH:] = np.diag([d**2 for _, d in own])
    if klass == BARRIER:
        return spread_over(mean, covariance)
    covariance[WIDTH, TOP] = covariance[TOP, WIDTH] = (1.0 - 1e-6) * covariance[WIDTH, WIDTH]  # a ball
    gusty = covariance.copy()
    gusty[VX, VX] = gusty[VY, VY] = model.motion.gust_speed**2
    share = model.motion.gust_share
    return Bank(np.log([1.0 - share, share]), np.stack([mean, mean]), np.stack([covariance, gusty]))


def spread_over(mean: Array, covariance: Array) -> Bank:
    """Even modes that cover the uniform prior of a barrier's width."""
    means, wide = np.stack([mean] * WIDTHS), np.sqrt(12.0 * covariance[WIDTH, WIDTH])
    means[:, WIDTH] += wide * ((np.arange(WIDTHS) + 0.5) / WIDTHS - 0.5)
    covariance[WIDTH, WIDTH] /= WIDTHS**2
    return Bank(np.full(WIDTHS, -np.log(WIDTHS)), means, np.stack([covariance] * WIDTHS))


def predict(model: Model, klass: int, bank: Bank, motion: EgoMotion, dt: float) -> Bank:
    """Mix the modes, then move each."""
    mixed = bank if klass == BARRIER else interact(bank, model.motion.switch(dt))
    drift = frame_drift(motion, mixed.mean[0, :2])
    steps = [step(model, klass, m, dt, drift) for m in range(1 if klass == BARRIER else len(mixed.log_probs))]
    F, Q = (np.stack(parts) for parts in zip(*steps, strict=True))  # of a barrier, one for all its modes
    return moved(mixed, F, Q)


def step(model: Model, klass: int, mode: int, dt: float, drift: Array) -> tuple[Array, Array]:
    """F and Q of a mode: a standing one keeps its place, a calm one wanders, a gusty one drifts on."""
    F, Q = np.eye(len(STATE)), np.diag([0.0] * 4 + [SETTLED] * (len(STATE) - 4))
    Q[:2, :2] = drift
    F[VX, VX] = F[VY, VY] = 0.0
    motion = model.motion
    if klass != BARRIER and mode == 0:
        Q[X, X] += motion.wander**2 * dt
        Q[Y, Y] += motion.wander**2 * dt
    elif klass != BARRIER:
        keep = motion.persistence(dt)
        fresh = (1.0 - keep**2) * motion.gust_speed**2
        for p, v in ((X, VX), (Y, VY)):
            F[v, v], F[p, v] = keep, keep * dt
            Q[np.ix_([p, v], [p, v])] += fresh * np.array([[dt**2, dt], [dt, 1.0]])
    return F, Q


def seen(model: Model, klass: int, bank: Bank, features: Features, scale: float) -> BankUpdate:
    """A bank after a cluster, taken to be its object's; `scale` is of R."""
    z = cluster.measured(features, model)
    done = [look_at(model, klass, mode, z, features, scale) for mode in bank.modes]
    chance, _ = look_for(model, klass, bank, features)
    after, log_evidence = reweigh(
        bank_of(bank.log_probs, [Gaussian(d.mean, d.covariance) for d in done]),
        np.log(chance) + np.array([d.log_evidence for d in done]),
    )
    return BankUpdate(after, log_evidence, bank_nis(bank.log_probs, done))


def look_at(model: Model, klass: int, mode: Gaussian, z: Array, features: Features, scale: float) -> Update:
    """One mode and a cluster."""
    R = scale * cluster.noise(model, klass, features, mode.mean)

    def h(x: Array) -> Array:
        return cluster.expected(model, klass, features, x)

    return ukf_update(*mode, z, h, R)


def bank_nis(log_probs: Array, done: list[Update]) -> float:
    """NIS of the innovations' mixture as one Gaussian: of a right bank its mean is d, whatever the modes."""
    y, S = mix(np.exp(log_probs), [Gaussian(d.innovation, d.S) for d in done])
    return float(y @ np.linalg.solve(S, y))


def missed(model: Model, klass: int, bank: Bank, features: Features) -> BankUpdate:
    """A bank after a look that found no cluster."""
    chance, after = look_for(model, klass, bank, features)
    return BankUpdate(*reweigh(after, np.log1p(-chance)), np.nan)


def uniform(low: float, high: float) -> tuple[float, float]:
    """Mean and deviation of a uniform variable."""
    return 0.5 * (low + high), (high - low) / np.sqrt(12.0)


def log_uniform(low: float, high: float) -> tuple[float, float]:
    """Mean and deviation of ln of a uniform variable: ∫ ln x = x ln x - x, ∫ ln² x = x ln² x - 2 (x ln x - x)."""
    ends = np.array([low, high])
    first = ends * np.log(ends) - ends
    second = ends * np.log(ends) ** 2 - 2.0 * first
    mean = np.diff(first)[0] / (high - low)
    return float(mean), float(np.sqrt(np.diff(second)[0] / (high - low) - mean**2))


def mend(bank: Bank) -> Bank:
    """The bank with its covariances symmetric and positive again: eigenvalues no less than `SETTLED`."""
    values, vectors = np.linalg.eigh(0.5 * (bank.covariance + bank.covariance.transpose(0, 2, 1)))
    mended = np.einsum("mij,mj,mkj->mik", vectors, np.maximum(values, SETTLED), vectors)
    return bank._replace(covariance=mended)
