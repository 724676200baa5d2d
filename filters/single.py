"""Elementary functions in single precision without calls or branches: LLVM turns loops of them into vector loops.

Each is a polynomial through the Chebyshev nodes of a small interval, after the argument is brought there by its bits
or by symmetry (Cody and Waite 1980, Software Manual for the Elementary Functions). Errors are those of float32's last
two digits; all constants are float32, since a double among them would double the width of every loop.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial

from filters.jit import inlined
from filters.spec import Array

f32, i32 = np.float32, np.int32
Coefficients = tuple[np.float32, ...]


def fitted(f: Callable[[Array], Array], low: float, high: float, degree: int) -> Coefficients:
    """Coefficients c_k of Σ c_k x^k, which meets f at the Chebyshev nodes of [low, high]."""
    fit = Chebyshev.interpolate(f, degree, [low, high]).convert(kind=Polynomial, domain=[-1, 1], window=[-1, 1])
    return tuple(f32(c) for c in fit.coef)


LOWEST = f32(-87.0)  # e^-87 is about the smallest normal float32
LOG2_E, LN_2 = f32(1.0 / log(2.0)), f32(log(2.0))
LN_2_HIGH = f32(0.693359375)  # few bits, so that its multiples are exact
LN_2_LOW = f32(log(2.0) - 0.693359375)
SQRT_HALF_BITS = int(np.sqrt(f32(0.5)).view(i32))
TWO_PI = 2.0 * np.pi
HALF, ONE, ZERO, TINY = f32(0.5), f32(1.0), f32(0.0), f32(1e-30)
PI, HALF_PI = f32(np.pi), f32(0.5 * np.pi)

EXP = fitted(np.exp, -0.36, 0.36, 6)
LN = fitted(lambda f: np.log1p(f) / f, -0.2929, 0.4143, 9)  # of ln(1 + f) / f
SIN = fitted(lambda s: np.sin(TWO_PI * np.sqrt(s)) / np.sqrt(s), 0.0, 0.25, 6)  # of sin(2π√s) / √s
COS = fitted(lambda s: np.cos(TWO_PI * np.sqrt(s)), 0.0, 0.25, 7)
ATAN = fitted(lambda s: np.arctan(np.sqrt(s)) / np.sqrt(s), 0.0, 1.0, 8)


@inlined
def horner(c: Coefficients, x: np.float32) -> np.float32:
    """Σ c_k x^k."""
    value = c[-1]
    for k in range(len(c) - 2, -1, -1):
        value = value * x + c[k]
    return value


@inlined
def exp_of_negative(x: np.float32) -> np.float32:
    """e^x for x <= 0; 0 below -87, -inf and NaN included."""
    y = max(x, LOWEST)
    n = i32(y * LOG2_E - HALF)  # the nearest whole number: the cast cuts towards zero
    m = f32(n)
    r = (y - m * LN_2_HIGH) - m * LN_2_LOW
    value = horner(EXP, r) * i32((n + 127) << 23).view(f32)
    return value if x > LOWEST else ZERO


@inlined
def ln(u: np.float32) -> np.float32:
    """ln u for a normal positive u."""
    bits = f32(u).view(i32)
    n = i32(bits - SQRT_HALF_BITS) >> 23
    f = i32(bits - (n << 23)).view(f32) - ONE  # u = 2^n (1 + f), 1 + f in [√½, √2)
    return f32(n) * LN_2 + f * horner(LN, f)


@inlined
def sin_cos(turn: np.float32) -> tuple[np.float32, np.float32]:
    """sin and cos of 2π turn, |turn| <= 1/2."""
    s = turn * turn
    return turn * horner(SIN, s), horner(COS, s)


@inlined
def arctan2(y: np.float32, x: np.float32) -> np.float32:
    """Angle of (x, y) in [-π, π]; 0 at the origin."""
    across, along = abs(y), abs(x)
    t = min(across, along) / max(max(across, along), TINY)
    angle = t * horner(ATAN, t * t)
    angle = HALF_PI - angle if across > along else angle
    angle = PI - angle if x < ZERO else angle
    return -angle if y < ZERO else angle
