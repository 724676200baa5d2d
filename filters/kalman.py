"""Kalman filter: one bank of Kalman filters per class, on the features of the cluster.

The class is static, so it is no mode: each bank sums its own log-evidence, missed detections included,

    L_t = L_0 + Σ ln p(z_t | Z_{t-1}, class)

What a cluster measures is in `filters.models.cluster`, what the banks do in `filters.kalman_bank`, how a bag's calm
and gust mix in `filters.imm`, what a miss says in `filters.missed_look`, how large R is in `filters.noise_scale`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from filters import kalman_bank as banking
from filters.belief import mix, update_log_probs
from filters.imm import Bank
from filters.kalman_bank import BankUpdate
from filters.models.cluster import MEASURED
from filters.models.model import Model
from filters.noise_scale import update_log_scale
from filters.spec import Belief, EgoMotion, Features, Gaussian, Info, Measurement, Prior, Status

BLIND = 5.0  # m: nine in ten of the fog's echoes lie nearer than this (median 1.8 m, log-sd .78) and join clusters
# A cluster that is not the object's: ln of its chance, 2 in a thousand clusters beyond BLIND (7 of 4177, simulated),
# and of its uniform density over 10 m, .3 rad, 2.5 m, .9 m, 4 and 3 nats, all fills, spreads below 1, bulges +-.25 m.
FALSE_CLUSTER = float(np.log(0.002) - np.log(10.0 * 0.3 * 2.5 * 0.9 * 4.0 * 3.0 * 1.0 * 1.0 * 0.5))


class KalmanState(NamedTuple):
    """Class log-probabilities (K,), a bank per class, and ln of how much larger R is than the model says."""

    log_probs: np.ndarray
    banks: tuple[Bank, ...]
    log_scale: float = 0.0


@dataclass(frozen=True)
class Kalman:
    """Class-conditioned Kalman filter on features.

    Parameters
    ----------
    model : Model
        Sensor, shapes and motion.
    """

    model: Model = field(default_factory=Model)
    sensors = ("features",)

    def init(self, prior: Prior, rng: np.random.Generator) -> KalmanState:
        classes = range(len(prior.log_probs))
        return KalmanState(prior.log_probs, tuple(banking.start(self.model, k, prior) for k in classes))

    def predict(self, state: KalmanState, motion: EgoMotion, dt: float, rng: np.random.Generator) -> KalmanState:
        moved = [banking.predict(self.model, k, b, motion, dt) for k, b in enumerate(state.banks)]
        return state._replace(banks=tuple(moved))

    def update(
        self, state: KalmanState, measurement: Measurement, rng: np.random.Generator
    ) -> tuple[KalmanState, Info]:
        seen = measurement.data
        assert isinstance(seen, Features)
        nothing = np.zeros(len(state.banks))
        if not sound(seen):
            return state, Info(nothing, status=Status.DEPLETED)
        if seen.distance < BLIND:
            return state, Info(nothing)
        try:
            done = [self.look(k, b, seen, state.log_scale) for k, b in enumerate(state.banks)]
        except np.linalg.LinAlgError:
            return state._replace(banks=tuple(banking.mend(b) for b in state.banks)), Info(
                nothing, status=Status.NOT_POSITIVE
            )
        if not np.isfinite([d.log_evidence for d in done]).all():
            return state, Info(nothing, status=Status.DEPLETED)
        return seen_by_all(state, done) if seen.detected else missed_by_all(state, done)

    def look(self, klass: int, bank: Bank, seen: Features, log_scale: float = 0.0) -> BankUpdate:
        """One bank after one look: its evidence and NIS are that class's alone."""
        if seen.detected:
            return banking.seen(self.model, klass, bank, seen, float(np.exp(log_scale)))
        return banking.missed(self.model, klass, bank, seen)

    def belief(self, state: KalmanState) -> Belief:
        places = [[Gaussian(m[:2], P[:2, :2]) for m, P in b.modes] for b in state.banks]
        positions = tuple(mix(np.exp(b.log_probs), g) for b, g in zip(state.banks, places, strict=True))
        return Belief(state.log_probs, mix(np.exp(state.log_probs), list(positions)), positions)


def seen_by_all(state: KalmanState, done: list[BankUpdate]) -> tuple[KalmanState, Info]:
    """Bayes' rule on a cluster. One that no class explains is not this object's: it says nothing but that R may err."""
    evidence = np.array([d.log_evidence for d in done])
    log_scale = update_log_scale(state.log_scale, min(d.nis for d in done), MEASURED)
    if evidence.max() < FALSE_CLUSTER:
        return state._replace(log_scale=log_scale), Info(np.full(len(done), FALSE_CLUSTER))
    evidence = np.logaddexp(evidence, FALSE_CLUSTER)
    log_probs = update_log_probs(state.log_probs, evidence)
    likeliest = done[int(np.argmax(log_probs))]
    return KalmanState(log_probs, tuple(d.bank for d in done), log_scale), Info(
        evidence, nis=likeliest.nis, dof=MEASURED
    )


def missed_by_all(state: KalmanState, done: list[BankUpdate]) -> tuple[KalmanState, Info]:
    """Bayes' rule on a look without a cluster."""
    evidence = np.array([d.log_evidence for d in done])
    log_probs = update_log_probs(state.log_probs, evidence)
    return state._replace(log_probs=log_probs, banks=tuple(d.bank for d in done)), Info(evidence)


def sound(seen: Features) -> bool:
    """Whether the features are numbers."""
    return bool(np.isfinite(seen.values).all() and (not seen.detected or np.isfinite(seen.position).all()))
