"""The problem of `bearing_range.py`, and its bootstrap filter as NumPy and other libraries have it.

Each is given the number of particles, a seed and the track's measurements; `step` is what is timed, `look` says the
mean and ln p(z | before) of the last step. All are resampled at every step, systematically.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from importlib import import_module
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
from scipy.special import logsumexp

from filters.spec import Array

DT = 1.0  # s
PUSH = 0.05  # m²/s³, spectral density of the acceleration
SPREAD = np.array([0.01, 1.0])  # rad and m of a measurement
MEAN, COVARIANCE = np.array([200.0, 100.0, -2.0, 1.0]), np.diag([5.0, 5.0, 1.0, 1.0]) ** 2  # x, y (m), their rates
F = np.eye(4) + DT * np.eye(4, k=2)
Q = PUSH * np.kron([[DT**3 / 3.0, DT**2 / 2.0], [DT**2 / 2.0, DT]], np.eye(2))
START = datetime(2000, 1, 1)


class Tracker(Protocol):
    """One filter on one track."""

    def __init__(self, n: int, seed: int, zs: Array) -> None: ...

    def step(self, z: Array) -> None: ...

    def look(self) -> tuple[Array, float]: ...


class NumPy:
    """Plain NumPy in double precision, with FilterPy's systematic resampler."""

    name = f"NumPy, FilterPy {version('filterpy')}'s resampler"

    def __init__(self, n: int, seed: int, zs: Array) -> None:
        self.resample = import_module("filterpy.monte_carlo").systematic_resample
        np.random.seed(seed)  # FilterPy's resampler draws from the global stream
        self.rng = np.random.default_rng(seed)
        self.points = self.rng.multivariate_normal(MEAN, COVARIANCE, n)
        self.weights, self.root = np.full(n, 1.0 / n), np.linalg.cholesky(Q)

    def step(self, z: Array) -> None:
        noise = self.rng.standard_normal(self.points.shape)
        chosen = self.resample(self.weights)
        self.points = self.points[chosen] @ F.T + noise @ self.root.T
        x, y = self.points[:, 0], self.points[:, 1]
        off = (z - np.column_stack([np.arctan2(y, x), np.hypot(x, y)])) / SPREAD
        log_w = -0.5 * (off**2).sum(axis=1) - np.log(2.0 * np.pi * np.prod(SPREAD))
        top = log_w.max()
        w = np.exp(log_w - top)
        self.log_evidence = top + np.log(w.mean())
        self.weights = w / w.sum()

    def look(self) -> tuple[Array, float]:
        return self.weights @ self.points, self.log_evidence


class Particles:
    """The bootstrap filter of `particles` (Chopin, Papaspiliopoulos 2020)."""

    name = "particles"

    def __init__(self, n: int, seed: int, zs: Array) -> None:
        import particles
        from particles import distributions, state_space_models

        class Model(state_space_models.StateSpaceModel):  # type: ignore[misc]
            """Its first measurement is one move after the prior, as in the others."""

            def PX0(self) -> Any:  # noqa: N802
                P = F @ COVARIANCE @ F.T + Q
                return distributions.MvNormal(loc=F @ MEAN, cov=P)

            def PX(self, t: int, xp: Array) -> Any:  # noqa: N802
                return distributions.MvNormal(loc=xp @ F.T, cov=Q)

            def PY(self, t: int, xp: Array, x: Array) -> Any:  # noqa: N802
                bearing, distance = np.arctan2(x[:, 1], x[:, 0]), np.hypot(x[:, 0], x[:, 1])
                each = zip((bearing, distance), SPREAD, strict=True)
                return distributions.IndepProd(*(distributions.Normal(m, s) for m, s in each))

        np.random.seed(seed)
        bootstrap = state_space_models.Bootstrap(ssm=Model(), data=list(zs[:, None]))
        self.smc = particles.SMC(fk=bootstrap, N=n, resampling="systematic", ESSrmin=1.0)
        self.before = 0.0

    def step(self, z: Array) -> None:
        self.before = self.smc.logLt
        next(self.smc)

    def look(self) -> tuple[Array, float]:
        return self.smc.W @ self.smc.X, self.smc.logLt - self.before


class StoneSoup:
    """Stone Soup's particle predictor and updater; it gives no evidence, which `look` takes from its likelihood."""

    name = "Stone Soup"

    def __init__(self, n: int, seed: int, zs: Array) -> None:
        from stonesoup.models.measurement.nonlinear import CartesianToBearingRange
        from stonesoup.models.transition.linear import CombinedLinearGaussianTransitionModel, ConstantVelocity
        from stonesoup.predictor.particle import ParticlePredictor
        from stonesoup.resampler.particle import SystematicResampler
        from stonesoup.types.array import StateVectors
        from stonesoup.types.state import ParticleState
        from stonesoup.updater.particle import ParticleUpdater

        np.random.seed(seed)
        axis = ConstantVelocity(PUSH)
        self.predictor = ParticlePredictor(CombinedLinearGaussianTransitionModel([axis, axis]))
        self.sensor = CartesianToBearingRange(4, (0, 2), np.diag(SPREAD**2))
        self.updater, self.resampler = ParticleUpdater(self.sensor), SystematicResampler()
        points = np.random.multivariate_normal(MEAN, COVARIANCE, n).T[[0, 2, 1, 3]]
        self.state = ParticleState(StateVectors(points), log_weight=np.full(n, -np.log(n)), timestamp=START)
        self.after = self.state

    def step(self, z: Array) -> None:
        from stonesoup.types.detection import Detection
        from stonesoup.types.hypothesis import SingleHypothesis

        when = self.state.timestamp + timedelta(seconds=DT)
        self.detection = Detection(z[:, None], timestamp=when, measurement_model=self.sensor)
        self.predicted = self.predictor.predict(self.state, timestamp=when)
        self.after = self.updater.update(SingleHypothesis(self.predicted, self.detection))
        self.state = self.resampler.resample(self.after)

    def look(self) -> tuple[Array, float]:
        log_w = np.asarray(self.predicted.log_weight + self.sensor.logpdf(self.detection, self.predicted), float)
        mean = np.asarray(self.after.state_vector, float) @ np.exp(np.asarray(self.after.log_weight, float))
        return mean[[0, 2, 1, 3]], float(logsumexp(log_w))


def installed() -> list[type[Tracker]]:
    """Those whose library is here, and a line for each that is not."""
    there: list[type[Tracker]] = [NumPy]
    for tracker, module, line in (
        (Particles, "particles", "pip install joblib scikit-learn && pip install --no-deps particles==0.4"),
        (StoneSoup, "stonesoup", "pip install stonesoup==1.9.1"),
    ):
        try:
            import_module(module)
        except ImportError:
            print(f"{tracker.name} is not installed: {line}")
        else:
            tracker.name = f"{tracker.name} {version(module)}"
            there.append(tracker)
    return there
