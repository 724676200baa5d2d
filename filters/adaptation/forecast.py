"""How thick will the fog be: forecasts of the visibility sensor by a library of compositional Bayesian networks.

    ln reading_i = f_m(t_i) + ε,  ε ~ N(0, s²),  s the sensor's;   p(ln reading | past) = Σ_m p(m | past) N(μ_m, σ_m²)

Every structure m learns the last half hour anew; its weight is its evidence, so that structure and length are averaged
over rather than picked. Those linear in their weights also learn the last minutes alone, in case the fog has become of
another kind since:

    p(change | readings) ∝ c Z(before) Z(since),   p(none | readings) ∝ (1 - c) Z(all),   Z = mean_m p(readings | m)

(Adams & MacKay 2007, arXiv 0710.3742, with one place of change; for what is linear it is no more work). Derived here:
AutoBNN trains hyperparameters as weights, and one structure or a weighted sum.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp
from scipy.stats import norm

from filters.models.visibility_sensor import VisibilitySensor
from filters.spec import Array

if TYPE_CHECKING:
    import torch

    from filters.posterior.compositional import Series
    from filters.posterior.regression import Moments

LEAST = 20  # readings to forecast from
CHANGE = 0.1  # c, the prior probability that the fog has become of another kind lately
LENGTHS = (8.0, 9.5, 11.0, 13.5, 16.0, 19.0, 22.5, 27.0, 32.0, 38.0, 45.0, 54.0, 64.0, 76.0)
# s, a quarter of an octave apart: half an hour tells such neighbours from one another, five minutes do not


class Forecast(NamedTuple):
    """A mixture of normals of ln reading: log weights, means and deviations (M,), and the instrument's limits, m."""

    log_weights: Array
    means: Array
    deviations: Array
    limits: tuple[float, float]

    def quantile(self, p: float) -> float:
        """Below which the reading will be with probability p, m, held at the limits.

        Raises
        ------
        ValueError
            If p is not between 0 and 1.
        """
        if not 0.0 < p < 1.0:
            raise ValueError(f"found a probability of {p:g}, expected one between 0 and 1")
        reach = 10.0 * self.deviations
        low, high = np.min(self.means - reach), np.max(self.means + reach)
        return float(np.clip(np.exp(brentq(lambda u: self.below(u) - p, low, high)), *self.limits))

    def below(self, log_reading: float) -> float:
        """P(ln reading < this), limits left aside."""
        return float(np.exp(self.log_weights) @ norm.cdf(log_reading, self.means, self.deviations))

    def sample(self, rng: np.random.Generator, draws: int) -> Array:
        """Readings (draws,), m."""
        which = rng.choice(len(self.means), draws, p=np.exp(self.log_weights))
        return np.clip(np.exp(rng.normal(self.means[which], self.deviations[which])), *self.limits)

    def log_density(self, reading: float) -> float:
        """ln p(ln reading) between the limits, ln of the probability at one, as the sensor's model has it."""
        u, (low, high) = np.log(reading), self.limits
        if low < reading < high:
            return float(logsumexp(self.log_weights + norm.logpdf(u, self.means, self.deviations)))
        lump = norm.logcdf if reading <= low else norm.logsf
        return float(logsumexp(self.log_weights + lump(u, self.means, self.deviations)))

    def crps(self, reading: float) -> float:
        """Continuous ranked probability score of ln reading (Grimit et al. 2006, QJRMS 132:2925, eq. 5)."""
        w = np.exp(self.log_weights)
        apart = spread(self.means[:, None] - self.means, np.hypot(self.deviations[:, None], self.deviations))
        return float(w @ spread(np.log(reading) - self.means, self.deviations) - 0.5 * w @ apart @ w)


def spread(mean: Array, deviation: Array) -> Array:
    """E|x| of x ~ N(mean, deviation²)."""
    z = mean / deviation
    return deviation * (2.0 * norm.pdf(z) + z * (2.0 * norm.cdf(z) - 1.0))


def library(span: float) -> dict[str, Series]:
    """Structures by name: a level and waves of many lengths, three strengths, rougher ones, trends, growth, a change.

    Parameters
    ----------
    span : float
        From the first reading to what is forecast, s: waves do not repeat within it, trends are of its scale.
    """
    from filters.posterior.compositional import ChangePoint, OneLayer, Periodic, Polynomial, Stationary

    level, line, short = Polynomial(0), Polynomial(1, span / 3.0), Stationary(27.0, 0.6, span=span)
    found: dict[str, Series] = {
        "linear": line,
        "quadratic": Polynomial(2, span / 3.0),
        "one layer": level + OneLayer(scale=span / 3.0),
    }
    for length, deviation in product(LENGTHS, (0.4, 0.6, 0.9)):
        found[f"waves {length:g} s, {deviation:g}"] = level + Stationary(length, deviation, span=span)
    for length in (19.0, 54.0):
        found[f"rough {length:g} s"] = level + Stationary(length, 0.6, 2.5, span)
        found[f"linear + waves {length:g} s"] = line + Stationary(length, 0.6, span=span)
    found["periodic + waves"] = level + Periodic(120.0, deviation=0.5) + short
    found["linear x waves"] = level + Polynomial(1, span / 3.0, 0.5) * Stationary(27.0, span=span)
    for time in (-90.0, -30.0):
        found[f"change at {time:g} s"] = ChangePoint(level + short, level + short, time)
    return found


def mixed(fits: list[list[Moments]]) -> Array:
    """Rows of moments: without a change, of all structures, then with one, of those learnt before and since too."""
    every = np.array([fit[0] for fit in fits])
    halves = np.array([fit[1:] for fit in fits if fit[1:]])
    if not len(halves):
        return every
    before, since = halves.swapaxes(0, 1)
    every[:, 0] += np.log(1.0 - CHANGE) - np.log(len(every))
    since[:, 0] += np.log(CHANGE) - 2.0 * np.log(len(halves)) + logsumexp(before[:, 0])
    return np.concatenate([every, since])


@dataclass(frozen=True)
class Forecaster:
    """Learns the last `window` s of readings by every structure, and the last `lately` s alone by the linear ones.

    Parameters
    ----------
    sensor : VisibilitySensor
        Its spread is the noise, its limits hold.
    window, lately : float
        s; the longer the window, the better known are length and strength. `lately` is how long ago the fog may have
        become of another kind.
    structures : tuple of str
        Of the library, by their names; empty: all.
    """

    sensor: VisibilitySensor = field(default_factory=VisibilitySensor)
    window: float = 1800.0
    lately: float = 300.0
    structures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 < self.lately <= self.window:
            raise ValueError(f"found {self.lately:g} of {self.window:g} s, expected more than 0 and no more than all")
        unknown = set(self.structures) - set(library(self.window))
        if unknown:
            raise ValueError(f"found structures {', '.join(sorted(unknown))}, expected some of `library`")

    def forecast(self, times: Array, readings: Array, ahead: float, rng: torch.Generator) -> Forecast:
        """The reading `ahead` s after the last time.

        Parameters
        ----------
        times, readings : (n,), (n,)
            s, increasing, and m; what is NaN is no reading, as in a log's `visibility_reading`.
        ahead : float
            s.
        rng : torch.Generator
            Where structures that are not linear in their weights start from.

        Raises
        ------
        ValueError
            In one line, if there are too few readings, or one is not above 0, or times do not increase, or `ahead` is
            not above 0.
        """
        if not 0.0 < ahead < np.inf:
            raise ValueError(f"found a forecast {ahead:g} s ahead, expected a finite time above 0")
        times, logs = self.recent(times, readings)
        level = float(logs.mean())
        known = library(ahead - times[0])
        chosen = [known[name] for name in self.structures or known]
        late = times > -self.lately
        halves = [(times[part], logs[part] - level) for part in (~late, late)]
        rows = mixed([self.learnt(each, halves, ahead, rng) for each in chosen])
        evidence, means, variances = rows.T
        deviations = np.sqrt(variances + self.sensor.spread**2)
        return Forecast(evidence - logsumexp(evidence), means + level, deviations, self.sensor.limits)

    def recent(self, times: Array, readings: Array) -> tuple[Array, Array]:
        """Times before the last reading and ln readings of the window."""
        times, readings = np.asarray(times, float), np.asarray(readings, float)
        if times.ndim != 1 or times.shape != readings.shape:
            raise ValueError(f"found times {times.shape} and readings {readings.shape}, expected two of (n,)")
        seen = ~np.isnan(readings)
        times, readings = times[seen], readings[seen]
        if not (readings > 0.0).all() or not np.isfinite(readings).all() or not (np.diff(times) > 0.0).all():
            raise ValueError("found readings that are not above 0, or times that do not increase; leave out such rows")
        late = times > times[-1] - self.window if len(times) else seen[:0]
        if late.sum() < LEAST:
            raise ValueError(f"found {late.sum()} readings in the last {self.window:g} s, expected {LEAST} or more")
        return times[late] - times[-1], np.log(readings[late])

    def learnt(self, series: Series, halves: list[tuple], ahead: float, rng: torch.Generator) -> list[Moments]:
        """By all readings, and, where it takes no descent, by those before a change and by those since."""
        import torch

        from filters.posterior import regression

        if not regression.linear(series):
            times, logs = np.concatenate(halves, axis=1)
            return [self.descended(series, times, logs, ahead, rng)]
        before, since = (
            regression.sums(series, torch.as_tensor(times), torch.as_tensor(logs), self.sensor.spread**2)
            for times, logs in halves
        )
        return [regression.learnt(series, each, ahead) for each in (before.plus(since), before, since)]

    def descended(self, series: Series, times: Array, logs: Array, ahead: float, rng: torch.Generator) -> Moments:
        """By Newton's steps, what is not linear in its weights."""
        from filters.posterior import newton
        from filters.posterior.kalman_network import KnownNoise
        from filters.posterior.laplace import Laplace
        from filters.posterior.regression import Moments
        from filters.posterior.spec import Data

        data = Data.of(times[:, None], logs)
        engine = Laplace(series, KnownNoise(self.sensor.spread**2), device="cpu")  # type: ignore[arg-type]
        prior = engine.init(rng)
        posterior = newton.update(engine, prior, data, rng)
        mean, variance = newton.moments(engine, posterior, data[0].new_tensor([[ahead]]))
        return Moments(newton.log_evidence(engine, prior, posterior, data), float(mean), float(variance))
