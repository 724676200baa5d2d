"""Forward-scatter visibility sensor: a lognormal reading of the fog about it, held at the instrument's limits.

ln reading ~ N(ln v, s²), and a reading at a limit says no more than "there or beyond".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr

from filters.models.visibility import Visibility


@dataclass(frozen=True)
class VisibilitySensor:
    """A present-weather detector's figures (Vaisala PWD22: 10 m to 20 km, ±10 % to 10 km), read out once a second.

    Stationary instruments average over 15 s to minutes; here each reading errs afresh by the whole accuracy.

    Parameters
    ----------
    on : bool
        Whether the car has one.
    rate, latency : float
        Readings per second; s from a reading to its delivery.
    spread : float
        Standard deviation of ln reading.
    limits : (float, float)
        m.
    height : float
        Of the sensor above the road, m.
    """

    on: bool = False
    rate: float = 1.0
    latency: float = 0.2
    spread: float = 0.1
    limits: tuple[float, float] = (10.0, 20000.0)
    height: float = 0.9

    def __post_init__(self) -> None:
        for name in ("rate", "spread"):
            value = getattr(self, name)
            if isinstance(value, int | float) and not 0.0 < value < np.inf:
                raise ValueError(f"visibility_sensor.{name} is {value}, expected a finite number above 0")
        for name in ("latency", "height"):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise ValueError(f"visibility_sensor.{name} is {getattr(self, name)}, expected a finite number >= 0")
        if not 0.0 < self.limits[0] < self.limits[1] < np.inf:
            raise ValueError(f"visibility_sensor.limits is {self.limits} m, expected two numbers, the smaller first")


def sample(sensor: VisibilitySensor, visibility: float, rng: np.random.Generator) -> float:
    """Draw a reading, m."""
    return float(np.clip(visibility * np.exp(sensor.spread * rng.standard_normal()), *sensor.limits))


def log_density(sensor: VisibilitySensor, reading: float, visibility: float) -> float:
    """ln p(ln reading | visibility) between the limits, ln of the probability at one: a density and two lumps."""
    off = (np.log(reading) - np.log(visibility)) / sensor.spread
    low, high = sensor.limits
    if low < reading < high:
        return float(-0.5 * off**2 - np.log(sensor.spread * np.sqrt(2.0 * np.pi)))
    return float(log_ndtr(off if reading <= low else -off))


def update(prior: Visibility, sensor: VisibilitySensor, reading: float) -> Visibility:
    """ln visibility given a reading: conjugate between the limits, by the exact first two moments at one.

    At a limit L the likelihood is Φ(t (ln v - ln L) / s), t = 1 above and -1 below. With u = t (m - ln L) / S,
    S² = P + s², r = φ(u) / Φ(u):   m' = m + t r P / S,   P' = P - r (r + u) P² / S²
    (Rasmussen and Williams 2006, section 3.9).
    """
    mean, P = prior.mean, prior.deviation**2
    S = np.hypot(prior.deviation, sensor.spread)
    low, high = sensor.limits
    off = np.log(reading) - mean
    if low < reading < high:
        return Visibility(float(mean + P / S**2 * off), float(prior.deviation * sensor.spread / S))
    t = 1.0 if reading >= high else -1.0
    u = -t * off / S
    r = np.exp(-0.5 * u**2 - 0.5 * np.log(2.0 * np.pi) - log_ndtr(u))
    return Visibility(float(mean + t * r * P / S), float(np.sqrt(max(P - r * (r + u) * P**2 / S**2, 1e-12))))
