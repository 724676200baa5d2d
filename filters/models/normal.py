"""Normal and log-space arithmetic for the kernels."""

from __future__ import annotations

from math import erfc, exp, log, pi, sqrt

import numpy as np

from filters.jit import jit

LOG_SQRT_2PI = 0.5 * log(2.0 * pi)


@jit
def cdf(x: float) -> float:
    """Φ(x)."""
    return 0.5 * erfc(-x / sqrt(2.0))


@jit
def log_cdf(x: float) -> float:
    """ln Φ(x), by the asymptotic series in the far tail."""
    if x > 7.0:
        return 0.0
    if x > -30.0:  # erfc is good to about -37
        return log(0.5 * erfc(-x / sqrt(2.0)))
    return -0.5 * x * x - LOG_SQRT_2PI - log(-x) + log(1.0 - 1.0 / (x * x) + 3.0 / x**4)


@jit
def log_add(a: float, b: float) -> float:
    """ln(e^a + e^b)."""
    top, gap = max(a, b), abs(a - b)
    return top + log(1.0 + exp(-gap)) if gap < 37.0 else top


@jit
def sample_tail(limit: float, rng: np.random.Generator) -> float:
    """Draw a standard normal that exceeds limit > 0 (Marsaglia 1964, Technometrics 6:101)."""
    while True:
        x = sqrt(limit * limit - 2.0 * log(1.0 - rng.random()))
        if rng.random() * x < limit:
            return x
