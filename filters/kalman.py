"""Kalman filter: one bank of extended Kalman filters per class, on the features of the cluster.

State of a mode: x, y, vx, vy, and what the object looks like from here: width, top, ln reflectance, ln
roughness. Measurement: range, bearing, width, top, ln reflectance and ln roughness of the cluster. The barrier's bank
stands still, its uniform prior of width covered by a few Gaussians; the bag's has calm and gust, mixed in
log space as an interacting-multiple-model filter (Blom and Bar-Shalom 1988). The class is static: each
bank's log-evidence is summed, missed detections included, that of clusters tempered, since successive
scans of one cluster err alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from filterpy.kalman import ExtendedKalmanFilter

from filters.belief import log_sum_exp, mix, moments, normalise, update_log_probs
from filters.models.detection import detection_probability, expected_echoes
from filters.models.model import Model
from filters.models.motion import frame_drift
from filters.models.shapes import BagPrior, BarrierPrior
from filters.spec import (
    BAG,
    BARRIER,
    Array,
    Belief,
    EgoMotion,
    Features,
    Gaussian,
    Info,
    Measurement,
    Pose,
    Prior,
    Status,
)

X, Y, VX, VY, WIDTH, TOP, REFLECTANCE, ROUGHNESS = STATE = range(8)
MEASURED = 6
WIDTHS = 4  # Gaussians that cover the barrier's widths
MISSED, SURE = 0.001, 0.85  # least and greatest chance that perception finds a cluster
RANGE_BLUR = 0.025  # m, range noise of a clear echo
CORNERS, ROUND = 0.4, 0.2  # deviation of ln roughness: a block seen over its corner fits no parabola, a ball does
BLIND = 3.0  # m: nearer than this perception is not to be believed, seen or unseen
FALSE_CLUSTER = np.log(0.002) - np.log(10.0 * 0.3 * 2.5 * 0.9 * 4.0 * 3.0)  # ln of its chance and uniform density
HERMITE, HERMITE_WEIGHTS = np.polynomial.hermite_e.hermegauss(7)
NODES = np.stack(np.meshgrid(*[HERMITE] * 3, indexing="ij"), axis=-1).reshape(-1, 3)  # of a standard normal in space
NODE_WEIGHTS = np.einsum("i,j,k->ijk", *[HERMITE_WEIGHTS / HERMITE_WEIGHTS.sum()] * 3).ravel()
LOG_COSINE = {BARRIER: (-0.05, 0.05), BAG: (-0.4, 0.15)}  # mean and deviation of ln cos over a front


class Bank(NamedTuple):
    """Modes of one class: log-probabilities (m,), means (m, 8), covariances (m, 8, 8)."""

    log_probs: Array
    mean: Array
    covariance: Array


class KalmanState(NamedTuple):
    """Class log-probabilities (K,) and a bank per class."""

    log_probs: Array
    banks: tuple[Bank, ...]


class Update(NamedTuple):
    """A mode after a measurement: its Gaussian, ln p(z | past), NIS."""

    mean: Array
    covariance: Array
    log_evidence: float
    nis: float


class BankUpdate(NamedTuple):
    """A bank after a measurement: ln p(z | past, class), NIS of its likeliest mode (NaN without a cluster)."""

    bank: Bank
    log_evidence: float
    nis: float


@dataclass(frozen=True)
class Kalman:
    """Class-conditioned Kalman filter on features.

    Parameters
    ----------
    model : Model
        Sensor, shapes and motion.
    temper : float
        Exponent on the class evidence of a seen cluster.
    """

    model: Model = field(default_factory=Model)
    temper: float = 0.5
    sensors = ("features",)

    def init(self, prior: Prior, rng: np.random.Generator) -> KalmanState:
        return KalmanState(prior.log_probs, tuple(self.start(k, prior) for k in range(len(prior.log_probs))))

    def start(self, klass: int, prior: Prior) -> Bank:
        """A bank from the prior: moments of the shapes' uniform latents."""
        look = self.look(klass)
        mean = np.concatenate([prior.position.mean, np.zeros(2), [m for m, _ in look]])
        covariance = np.zeros((8, 8))
        covariance[:2, :2] = prior.position.covariance
        covariance[WIDTH:, WIDTH:] = np.diag([d**2 for _, d in look])
        if klass == BARRIER:
            means, covariances = np.stack([mean] * WIDTHS), np.stack([covariance] * WIDTHS)
            low, high = self.model.barrier.length
            means[:, WIDTH] = low + (high - low) * (np.arange(WIDTHS) + 0.5) / WIDTHS
            covariances[:, WIDTH, WIDTH] /= WIDTHS**2
            return Bank(np.full(WIDTHS, -np.log(WIDTHS)), means, covariances)
        gusty = covariance.copy()
        gusty[VX, VX] = gusty[VY, VY] = self.model.motion.gust_speed**2
        share = self.model.motion.gust_share
        return Bank(np.log([1.0 - share, share]), np.stack([mean, mean]), np.stack([covariance, gusty]))

    def look(self, klass: int) -> list[tuple[float, float]]:
        """Mean and deviation of width, top, ln reflectance and ln roughness of a class."""
        barrier, bag = self.model.barrier, self.model.bag
        shape: BarrierPrior | BagPrior = barrier if klass == BARRIER else bag
        mean, deviation = uniform(*bag.radius)
        ball = [(2.0 * mean, 2.0 * deviation)] * 2
        size = [uniform(*barrier.length), uniform(*barrier.height)] if klass == BARRIER else ball
        mean, deviation = uniform(*np.log(shape.reflectance))
        shift, spread = LOG_COSINE[klass]
        rough = (float(np.log(np.hypot(shape.roughness, RANGE_BLUR))), CORNERS if klass == BARRIER else ROUND)
        return [*size, (mean + shift, float(np.hypot(deviation, spread))), rough]

    def predict(self, state: KalmanState, motion: EgoMotion, dt: float, rng: np.random.Generator) -> KalmanState:
        banks = []
        for klass, bank in enumerate(state.banks):
            mixed = bank if klass == BARRIER else interact(bank, self.model.motion.switch(dt))
            drift = frame_drift(motion, mixed.mean[0, :2])
            moved = [self.move(klass, m, Gaussian(*g), dt, drift) for m, g in enumerate(zip(*mixed[1:], strict=True))]
            banks.append(
                Bank(mixed.log_probs, np.stack([g.mean for g in moved]), np.stack([g.covariance for g in moved]))
            )
        return state._replace(banks=tuple(banks))

    def move(self, klass: int, mode: int, state: Gaussian, dt: float, drift: Array) -> Gaussian:
        """Predict one mode: a standing one keeps its place, a calm one wanders, a gusty one drifts on."""
        kf = ExtendedKalmanFilter(len(STATE), MEASURED)
        kf.x, kf.P = state.mean.copy(), state.covariance.copy()
        kf.Q, kf.F = np.diag([0.0] * 4 + [1e-6] * 4), np.eye(len(STATE))
        kf.Q[:2, :2] = drift
        kf.F[VX, VX] = kf.F[VY, VY] = 0.0
        motion = self.model.motion
        if klass != BARRIER and mode == 0:
            kf.Q[X, X] += motion.wander**2 * dt
            kf.Q[Y, Y] += motion.wander**2 * dt
        elif klass != BARRIER:
            keep = motion.persistence(dt)
            fresh = (1.0 - keep**2) * motion.gust_speed**2
            for p, v in ((X, VX), (Y, VY)):
                kf.F[v, v], kf.F[p, v] = keep, keep * dt
                kf.Q[np.ix_([p, v], [p, v])] += fresh * np.array([[dt**2, dt], [dt, 1.0]])
        kf.predict()
        return Gaussian(kf.x, kf.P)

    def update(
        self, state: KalmanState, measurement: Measurement, rng: np.random.Generator
    ) -> tuple[KalmanState, Info]:
        seen = measurement.data
        assert isinstance(seen, Features)
        if seen.distance < BLIND:
            return state, Info(np.zeros(len(state.banks)))
        done = [self.seen(k, b, seen) if seen.detected else self.missed(k, b, seen) for k, b in enumerate(state.banks)]
        evidence = np.array([d.log_evidence for d in done])
        if not np.isfinite(evidence).all():
            return state, Info(np.zeros(len(done)), status=Status.DEPLETED)
        # A cluster that no class explains is not this object's: it may come from the fog.
        banks = state.banks if seen.detected and evidence.max() < FALSE_CLUSTER else tuple(d.bank for d in done)
        if seen.detected:
            evidence = self.temper * np.logaddexp(evidence, FALSE_CLUSTER)
        log_probs = update_log_probs(state.log_probs, evidence)
        return KalmanState(log_probs, banks), Info(evidence, nis=done[int(np.argmax(log_probs))].nis)

    def missed(self, klass: int, bank: Bank, seen: Features) -> BankUpdate:
        """A bank after a look that found no cluster."""
        looked = [self.look_for(klass, *g, seen) for g in zip(bank.mean, bank.covariance, strict=True)]
        joint = bank.log_probs + np.log1p([-chance for chance, _ in looked])
        means, covariances = (np.stack(a) for a in zip(*[g for _, g in looked], strict=True))
        return BankUpdate(Bank(normalise(joint), means, covariances), log_sum_exp(joint), np.nan)

    def seen(self, klass: int, bank: Bank, seen: Features) -> BankUpdate:
        """A bank after a cluster, taken to be its object's."""
        z, R = measured(seen, self.model, klass)
        modes = list(zip(bank.mean, bank.covariance, strict=True))
        done = [ekf_update(m, P, z, lambda x: look_from(x, seen.pose, *self.setback(klass)), R, turn) for m, P in modes]
        chance = [self.look_for(klass, m, P, seen)[0] for m, P in modes]
        joint = bank.log_probs + np.log(chance) + np.array([d.log_evidence for d in done])
        after = Bank(normalise(joint), np.stack([d.mean for d in done]), np.stack([d.covariance for d in done]))
        return BankUpdate(after, log_sum_exp(joint), done[int(np.argmax(joint))].nis)

    def setback(self, klass: int) -> tuple[float, float]:
        """How far in front of the object's centre its cluster lies: m, and m per m of its width."""
        return (0.5 * self.model.barrier.depth, 0.0) if klass == BARRIER else (0.0, 0.35)

    def bounds(self, klass: int) -> tuple[Array, Array]:
        """Least and greatest (top, ln reflectance) of a class."""
        barrier, bag = self.model.barrier, self.model.bag
        top = barrier.height if klass == BARRIER else (2.0 * bag.radius[0], 2.0 * bag.radius[1])
        look, (shift, _) = (barrier if klass == BARRIER else bag).reflectance, LOG_COSINE[klass]
        low, high = (np.array([top[k], np.log(look[k]) + shift]) for k in (0, 1))
        return low, high

    def look_for(self, klass: int, mean: Array, covariance: Array, seen: Features) -> tuple[float, Gaussian]:
        """P(cluster) of a mode, and the mode given that there was none.

        Both are quadratures over place ahead, top and reflectance u ~ N(m, S): a miss says the object is
        farther, between two rings or darker. Its moments m', S' move the whole state by K = P_u S⁻¹:
        x + K(m' - m), P + K(S' - S)K'.
        """
        u = [X, TOP, REFLECTANCE]
        S = covariance[np.ix_(u, u)] + 1e-9 * np.eye(3)
        nodes = mean[u] + NODES @ np.linalg.cholesky(S).T
        nodes[:, 1:] = nodes[:, 1:].clip(
            *self.bounds(klass)
        )  # a Gaussian knows no bounds, or misses would shrink it away
        aside = mean[Y] - seen.pose.y
        distance = np.maximum(np.hypot(nodes[:, 0] - seen.pose.x, aside), BLIND)
        fill = 1.0 if klass == BARRIER else float(np.mean(self.model.bag.fill))
        echoes = fill * expected_echoes(
            self.model, seen.pose.z, distance, mean[WIDTH], nodes[:, 1], nodes[:, 2], seen.log_visibility
        )
        chance = MISSED + (SURE - MISSED) * detection_probability(echoes)
        missed = NODE_WEIGHTS * (1.0 - chance)
        moved = moments(nodes, missed / missed.sum())
        K = covariance[:, u] @ np.linalg.inv(S)
        after = Gaussian(mean + K @ (moved.mean - mean[u]), covariance + K @ (moved.covariance - S) @ K.T)
        return float(NODE_WEIGHTS @ chance), after

    def belief(self, state: KalmanState) -> Belief:
        banks = [[Gaussian(m[:2], P[:2, :2]) for m, P in zip(b.mean, b.covariance, strict=True)] for b in state.banks]
        positions = tuple(mix(np.exp(b.log_probs), g) for b, g in zip(state.banks, banks, strict=True))
        return Belief(state.log_probs, mix(np.exp(state.log_probs), list(positions)), positions)


def uniform(low: float, high: float) -> tuple[float, float]:
    """Mean and deviation of a uniform variable."""
    return 0.5 * (low + high), (high - low) / np.sqrt(12.0)


def interact(bank: Bank, switch: Array) -> Bank:
    """IMM mixing: mode j starts from the mixture of modes i with weights p(i) switch[i, j] / p(j)."""
    joint = np.exp(bank.log_probs)[:, None] * switch
    arriving = joint.sum(axis=0)
    modes = [Gaussian(m, P) for m, P in zip(bank.mean, bank.covariance, strict=True)]
    mixed = [mix(joint[:, j] / arriving[j], modes) for j in range(len(arriving))]
    return Bank(np.log(arriving), np.stack([g.mean for g in mixed]), np.stack([g.covariance for g in mixed]))


def measured(seen: Features, model: Model, klass: int) -> tuple[Array, Array]:
    """The cluster as (range, bearing, width, top, ln reflectance, ln roughness) and its covariance.

    Missing beams shorten a cluster: a gap g between heard beams biases the width by -g and blurs it, and
    near the threshold whole edges fall silent; the top lies up to a ring above the highest echo; the
    roughness of n echoes about a parabola has relative variance 1 / 2(n - 3).
    """
    away = seen.position - np.array([seen.pose.x, seen.pose.y])
    distance = float(np.hypot(*away))
    gap = distance * model.azimuth_step / max(seen.fill, 0.15)
    ring = distance * (model.elevation[1] - model.elevation[0])
    loud = (np.exp(seen.log_power) - model.optics.threshold) / (2.0 * model.optics.threshold)
    edge = gap + 0.4 * float(np.clip(1.0 - loud, 0.0, 1.0))
    bearing = wrap(np.arctan2(away[1], away[0]) - seen.pose.yaw)
    count = np.expm1(seen.log_count)
    rough = np.log(max(seen.roughness, 1e-3))
    z = np.array([distance, bearing, seen.width + gap, seen.top + 0.5 * ring, seen.log_reflectance, rough])
    deviation = [
        0.12,
        (0.08 + 0.5 * edge) / distance,
        0.05 + edge + (0.0 if klass == BARRIER else 0.08),
        0.05 + 0.3 * ring,
        np.hypot(0.25, 0.5 / np.sqrt(count)),
        np.sqrt(0.25**2 + 0.5 / (count - 3.0)) if count > 4.5 else 3.0,
    ]
    return z, np.diag(np.square(deviation))


def look_from(x: Array, pose: Pose, setback: float, slope: float) -> tuple[Array, Array]:
    """Measurement function h(x) and its Jacobian (6, 8); the cluster lies setback + slope width before the centre."""
    dx, dy = x[X] - pose.x, x[Y] - pose.y
    distance = float(np.hypot(dx, dy))
    H = np.zeros((MEASURED, len(STATE)))
    H[0, :2] = dx / distance, dy / distance
    H[0, WIDTH] = -slope
    H[1, :2] = -dy / distance**2, dx / distance**2
    H[2, WIDTH] = H[3, TOP] = H[4, REFLECTANCE] = H[5, ROUGHNESS] = 1.0
    bearing = wrap(np.arctan2(dy, dx) - pose.yaw)
    return np.array([distance - setback - slope * x[WIDTH], bearing, x[WIDTH], x[TOP], x[REFLECTANCE], x[ROUGHNESS]]), H


def ekf_update(
    mean: Array,
    covariance: Array,
    z: Array,
    look: Callable[[Array], tuple[Array, Array]],
    R: Array,
    residual: Callable[[Array, Array], Array] = np.subtract,
) -> Update:
    """FilterPy's extended Kalman update, with ln N(z - h; 0, S) and the NIS of it. `look(x)` gives h(x), H."""
    kf = ExtendedKalmanFilter(len(mean), len(z))
    kf.x, kf.P = mean.copy(), covariance.copy()
    kf.update(z, lambda x: look(x)[1], lambda x: look(x)[0], R, residual=residual)
    nis = float(kf.y @ kf.SI @ kf.y)
    log_evidence = -0.5 * (nis + np.linalg.slogdet(kf.S)[1] + len(z) * np.log(2.0 * np.pi))
    return Update(kf.x, 0.5 * (kf.P + kf.P.T), float(log_evidence), nis)


def turn(z: Array, h: Array) -> Array:
    """Difference z - h of measurements, the bearing's across the seam at pi."""
    off = z - h
    off[1] = wrap(off[1])
    return off


def wrap(angle: float) -> float:
    """An angle in [-pi, pi)."""
    return float((angle + np.pi) % (2.0 * np.pi) - np.pi)
