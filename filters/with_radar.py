"""What a radar says of the class, added to a filter that reads none.

The inner filter tells where the object of each class is, a Gaussian; what its material is to a radar is a standard
normal deviate on `NODES` nodes, per class, updated by quadrature:

    w_cm ← w_cm L_cm / Σ_m w_cm L_cm        ln p(Z | c) = ln Σ_m w_cm L_cm

with L_cm the exact likelihood ratio of an object of the class's middling shape, widened by the uncertainty of its
place. The class is static, so its evidence is summed, and added to the inner filter's log-probabilities.

Approximate are: the place is not sharpened by the radar, nor kept from scan to scan; any object may move like a bag in
a gust, so the range rate says little; and the shape's spread is put into the material's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from filters.belief import log_sum_exp, normalise
from filters.models.model import Model
from filters.models.radar import RATE, object_log_ratios, sources_of
from filters.spec import BAG, BARRIER, Array, Belief, EgoMotion, Filter, Gaussian, Info, Measurement, Prior, RadarScan

NODES = np.linspace(-3.0, 3.0, 25)  # of a standard normal
SIZE = {BAG: 1.8, BARRIER: 2.0}  # dB, spread of a class's cross-section by its shape


class HeardState(NamedTuple):
    """The inner filter's state, the radar's evidence (K,), and log-weights of the material's nodes (K, m)."""

    inner: Any
    evidence: Array
    log_weights: Array


@dataclass(frozen=True)
class WithRadar:
    """A filter, and the radar's evidence of the class."""

    filter: Filter[Any]
    model: Model

    @property
    def sensors(self) -> tuple[str, ...]:
        return (*self.filter.sensors, "radar")

    def init(self, prior: Prior, rng: np.random.Generator) -> HeardState:
        weights = normalise(-0.5 * NODES**2)
        classes = len(prior.log_probs)
        return HeardState(self.filter.init(prior, rng), np.zeros(classes), np.tile(weights, (classes, 1)))

    def predict(self, state: HeardState, motion: EgoMotion, dt: float, rng: np.random.Generator) -> HeardState:
        return state._replace(inner=self.filter.predict(state.inner, motion, dt, rng))

    def update(self, state: HeardState, measurement: Measurement, rng: np.random.Generator) -> tuple[HeardState, Info]:
        if not isinstance(measurement.data, RadarScan):
            inner, info = self.filter.update(state.inner, measurement, rng)
            return state._replace(inner=inner), info
        where = self.filter.belief(state.inner)
        ratios = np.array(
            [self.log_ratios(k, where.position_of(k), measurement.data) for k in range(len(state.evidence))]
        )
        joint = state.log_weights + ratios
        added = np.array([log_sum_exp(row) for row in joint])
        return HeardState(state.inner, state.evidence + added, joint - added[:, None]), Info(added)

    def log_ratios(self, klass: int, place: Gaussian, scan: RadarScan) -> Array:
        """Log-likelihood ratio of an object of a class to none, for each of the material's nodes: (m,)."""
        radar, shape = self.model.radar, self.model.barrier if klass == BARRIER else self.model.bag
        n = len(NODES)
        solids = shape.solids(np.tile(place.mean, (n, 1)), np.zeros((n, len(shape.names))))
        mean, spread = radar.material(klass)
        reflectivity = mean + np.hypot(spread, SIZE[klass]) * NODES
        blur = np.tile(place.covariance, (n, 1, 1))
        seen = sources_of(radar, solids, reflectivity, np.zeros((n, 2)), scan.pose, scan.velocity, blur)
        seen.deviation[:, RATE] = np.hypot(radar.rate_noise, self.model.motion.gust_speed)
        return object_log_ratios(radar, scan, seen)

    def belief(self, state: HeardState) -> Belief:
        inner = self.filter.belief(state.inner)
        log_probs = normalise(inner.log_probs + state.evidence)
        return Belief(log_probs, inner.position, inner.positions, inner.points, inner.epistemic)
