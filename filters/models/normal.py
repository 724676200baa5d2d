"""Normal and log-space arithmetic for the kernels."""

from __future__ import annotations

from math import erfc, exp, factorial, floor, log, pi, sqrt

import numpy as np
from scipy.special import ndtr

from filters.jit import inlined, jit

LOG_SQRT_2PI = 0.5 * log(2.0 * pi)
TABLED, DENSE = 7.0, 128  # Φ and its density are tabled from -7 to 7, at so many nodes in 1
CDF = ndtr(np.arange(round(2 * TABLED * DENSE) + 1) / DENSE - TABLED)
PDF = np.exp(-0.5 * (np.arange(round(2 * TABLED * DENSE) + 1) / DENSE - TABLED) ** 2) / sqrt(2.0 * pi)
TAYLOR = tuple(1.0 / factorial(k) for k in range(14))  # of e^r, |r| <= ln 2 / 2, to the last bit
LN_2_HIGH, LN_2_LOW = float.fromhex("0x1.62e42fefa0000p-1"), float.fromhex("0x1.cf79abc9e3b39p-40")


@inlined
def decay(x: float) -> float:
    """e^-x for x >= 0, right to 1 ulp. Unlike math's exp it is no call, so that loops of it become vector loops.

    2^n e^r with n the nearest to -x / ln 2, which is taken off in two parts (Cody and Waite 1980); 1e-304 and less
    count as that.
    """
    x = max(-x, -700.0)
    n = floor(x / (LN_2_HIGH + LN_2_LOW) + 0.5)
    r = (x - n * LN_2_HIGH) - n * LN_2_LOW
    value = TAYLOR[13]
    for k in range(12, -1, -1):
        value = value * r + TAYLOR[k]
    return value * np.int64((np.int64(n) + 1023) << 52).view(np.float64)


@inlined
def cdf(x: float) -> float:
    """Φ(x), to 2e-10 of itself: a Taylor series about the nearest node, which unlike erfc is no call."""
    if not -TABLED < x < TABLED:
        return 0.5 * erfc(-x * sqrt(0.5))
    k = int((x + TABLED) * DENSE + 0.5)
    node = k / DENSE - TABLED
    d = x - node
    series = 1.0 - d * (node / 2.0 - d * ((node * node - 1.0) / 6.0 - d * node * (node * node - 3.0) / 24.0))
    return CDF[k] + PDF[k] * d * series


@jit
def log_cdf(x: float) -> float:
    """ln Φ(x), by the asymptotic series in the far tail."""
    if x > 7.0:
        return 0.0
    if x > -30.0:  # erfc is good to about -37
        return log(cdf(x))
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
