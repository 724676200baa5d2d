"""Slow twins of the compiled kernels: NumPy and SciPy, written from the equations, numba nowhere."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from math import factorial, prod
from typing import NamedTuple

import numpy as np
from scipy import integrate, optimize, stats

from filters.models.optics import LOCATIONS, POWER_CEILING, STRAY, Optics

C = 299_792_458.0


# Optics


def received(optics: Optics, alpha: float, at: float) -> float:
    """I(R) in s/m²: ∫_0^{2 tau} sin²(pi t / 2 tau) exp(-2 alpha r) xi(r)/r² dt, r = R - ct/2, by quadrature."""
    near, full = optics.overlap
    length = C * optics.pulse
    if at <= near:
        return 0.0

    def integrand(u: float) -> float:  # t = 2 tau u
        r = at - length * u
        overlap = min((r - near) / (full - near), 1.0)
        return np.sin(np.pi * u) ** 2 * np.exp(-2.0 * alpha * r) * overlap / r**2

    last = min((at - near) / length, 1.0)
    kinks = [u for u in [(at - full) / length] if 0.0 < u < last]
    value, _ = integrate.quad(integrand, 0.0, last, points=kinks or None, epsabs=0.0, epsrel=1e-8, limit=200)
    return 2.0 * optics.pulse * value


def soft_power(optics: Optics, alpha: float, stop: float) -> float:
    """P_soft = A beta (c/2) max_{R < R_stop} I(R)."""
    last = min(stop, optics.overlap[1] + C * optics.pulse)
    if last <= optics.overlap[0]:
        return 0.0
    best = optimize.minimize_scalar(
        lambda r: -1e9 * received(optics, alpha, r),
        bounds=(optics.overlap[0], last),
        method="bounded",
        options={"xatol": 1e-6},
    )
    peak = max(-1e-9 * best.fun, received(optics, alpha, last))
    return optics.gain * alpha / optics.lidar_ratio * 0.5 * C * peak


# Echoes of one beam


class Surface(NamedTuple):
    """What may stop a beam; fill 1 is solid."""

    range: float = np.inf
    cosine: float = 1.0
    reflectance: float = 0.0
    fill: float = 1.0
    roughness: float = 0.02
    texture: float = 0.0


class Candidate(NamedTuple):
    """What may echo: p ~ N(power, spread²), a range density g(r | p), its quantiles, Pr(k > x) of its order key.

    `key` is the key of a surface, its own range; that of noise and fog is the range of their echo.
    """

    power: float
    spread: float
    density: Callable
    draw: Callable
    later: Callable
    key: float | None = None


class FogLaw(NamedTuple):
    """Fog along a ray: optical depth up to R, P_soft before a stop, and the echo's range density, uncut."""

    depth: Callable
    soft: Callable
    pdf: Callable
    cdf: Callable
    ppf: Callable


def even_fog(optics: Optics, alpha: float, soft: Callable, log_median: float) -> FogLaw:
    """One extinction everywhere; `soft` maps a stop to P_soft."""
    law = stats.lognorm(optics.fog_spread, scale=np.exp(log_median))
    return FogLaw(lambda r: alpha * r, soft, law.pdf, law.cdf, law.ppf)


def uneven_fog(
    optics: Optics, alphas: np.ndarray, edges: np.ndarray, alpha: float, log_median: float, peaks: np.ndarray
) -> FogLaw:
    """Extinctions of the cells between edges, told from even fog of extinction `alpha` whose S in each is `peaks`.

    w_j = alpha_j/alpha exp(-2 (tau(c_j) - alpha c_j)); P_soft = A alpha/ratio max_j w_j S_j, linear within the last
    cell; g is even within a cell, its mass alpha_j LogNormal's, whose ln median is even
    fog's moved as the mean of ln c_j weighted by (w_j S_j)²; it is linear in between tabulated medians.
    """
    tau = np.concatenate([[0.0], np.cumsum(alphas * np.diff(edges))])
    centres = 0.5 * (edges[1:] + edges[:-1])
    w = alphas / alpha * np.exp(-2.0 * (np.interp(centres, edges, tau) - alpha * centres))
    brightest = np.concatenate([[0.0], np.maximum.accumulate(w * peaks)])
    even, light = peaks**2, (w * peaks) ** 2
    location = log_median + (light / light.sum() - even / even.sum()) @ np.log(centres)
    k = np.searchsorted(LOCATIONS, location) - 1
    share = (location - LOCATIONS[k]) / (LOCATIONS[k + 1] - LOCATIONS[k])
    clipped = np.maximum(edges, optics.overlap[0])
    low, high = (stats.norm.cdf((np.log(clipped) - v) / optics.fog_spread) for v in LOCATIONS[k : k + 2])
    mass = np.concatenate([[0.0], np.cumsum(alphas * np.diff((1.0 - share) * low + share * high))])

    def depth(r):
        return np.where(r > edges[-1], tau[-1] + alphas[-1] * (r - edges[-1]), np.interp(r, edges, tau))

    def cdf(r):
        return np.interp(r, clipped, mass)

    def pdf(r):
        j = np.clip(np.searchsorted(edges, r, side="right") - 1, 0, len(alphas) - 1)
        return np.where(
            (r > clipped[0]) & (r < edges[-1]), np.diff(mass)[j] / np.maximum(np.diff(clipped)[j], 1e-9), 0.0
        )

    def ppf(u):
        first = np.searchsorted(mass, 0.0, side="right") - 1
        return np.interp(u, mass[first:], clipped[first:])

    def soft(stop):
        return optics.gain * alpha / optics.lidar_ratio * np.interp(stop - 0.5 * C * optics.pulse, edges, brightest)

    return FogLaw(depth, soft, pdf, cdf, ppf)


def hard_power(optics: Optics, depth: float, surface: Surface) -> float:
    """A (rho/pi) cos(theta) T² xi / R², at most 500; `depth` is the optical one up to the surface."""
    if surface.range >= optics.range_limits[1]:
        return -1.0
    near, full = optics.overlap
    overlap = np.clip((surface.range - near) / (full - near), 0.0, 1.0)
    lit = optics.gain * surface.reflectance / np.pi * surface.cosine * overlap / surface.range**2
    return min(lit * np.exp(-2.0 * depth), 500.0)


def candidates(optics: Optics, fog: FogLaw, stop: Surface) -> list[Candidate]:
    """Noise, fog if it has room, and the stop if there is one."""
    low, high = optics.range_limits
    near = optics.overlap[0]
    noise = stats.uniform(low, high - low)
    found = [Candidate(0.0, 1.0, lambda r, p: noise.pdf(r), lambda p, u: noise.ppf(u), noise.sf)]
    if stop.range > near:
        below = fog.cdf(near)
        mass = fog.cdf(stop.range) - below
        found.append(
            Candidate(
                fog.soft(stop.range),
                1.0,
                lambda r, p: np.where((r > near) & (r < stop.range), fog.pdf(r), 0.0) / mass,
                lambda p, u: fog.ppf(below + mass * u),
                lambda x: 1.0 - (fog.cdf(np.clip(x, near, stop.range)) - below) / mass,
            )
        )
    if stop.range < optics.range_limits[1]:
        power = hard_power(optics, fog.depth(stop.range), stop)

        def deviation(p):
            return np.hypot(stop.roughness, optics.range_noise * np.sqrt(optics.threshold / p))

        found.append(
            Candidate(
                power,
                np.hypot(1.0, stop.texture * power),
                lambda r, p: stats.norm.pdf(r, stop.range, deviation(p)),
                lambda p, u: stats.norm.ppf(u, stop.range, deviation(p)),
                lambda x: np.where(stop.range > x, 1.0, 0.0),
                stop.range,
            )
        )
    return found


def missed(candidate: Candidate, limit: float) -> float:
    """F(limit) = Pr(p < limit)."""
    return stats.norm.cdf(limit, candidate.power, candidate.spread)


def echo(candidate: Candidate, r: float, p: float) -> float:
    """N(p; P, s²) g(r | p)."""
    return stats.norm.pdf(p, candidate.power, candidate.spread) * candidate.density(r, p)


def density_strongest(optics: Optics, found: list[Candidate], echoes: list[tuple[float, float]]) -> float:
    """Σ_i N_i g_i Π_{j≠i} F_j(p), or Π_j F_j(threshold) of nothing."""
    if not echoes:
        return prod(missed(c, optics.threshold) for c in found)
    ((r, p),) = echoes
    return sum(echo(c, r, p) * prod(missed(d, p) for d in found if d is not c) for c in found)


def density_all(optics: Optics, found: list[Candidate], echoes: list[tuple[float, float]]) -> float:
    """Sum over every injective assignment of echoes to candidates; the others were missed."""
    total = 0.0
    for chosen in permutations(range(len(found)), len(echoes)):
        made = prod(echo(found[i], r, p) for i, (r, p) in zip(chosen, echoes, strict=True))
        total += made * prod(missed(c, optics.threshold) for i, c in enumerate(found) if i not in chosen)
    return total


def order_key(c: Candidate, r: float) -> float:
    """k of an echo at r: the surface's own range, else r."""
    return r if c.key is None else c.key


def density_last(optics: Optics, found: list[Candidate], echoes: list[tuple[float, float]]) -> float:
    """Σ_i N_i g_i Π_{j≠i} [1 - D_j Pr(k_j > k_i)]."""
    if not echoes:
        return prod(missed(c, optics.threshold) for c in found)
    ((r, p),) = echoes
    return sum(
        echo(c, r, p)
        * prod(1.0 - (1.0 - missed(d, optics.threshold)) * d.later(order_key(c, r)) for d in found if d is not c)
        for c in found
    )


def hidden(optics: Optics, c: Candidate, power: float, key: float) -> float:
    """B: not heard, or weaker than `power` and not after `key`."""
    unheard = missed(c, optics.threshold)
    return unheard + (missed(c, power) - unheard) * (1.0 - c.later(key))


def density_dual(optics: Optics, found: list[Candidate], echoes: list[tuple[float, float]]) -> float:
    """The strongest and the last: one echo that is both, or a weaker one behind the strongest."""
    if len(echoes) == 0:
        return prod(missed(c, optics.threshold) for c in found)
    if len(echoes) == 1:
        ((r, p),) = echoes
        return sum(
            echo(c, r, p) * prod(hidden(optics, d, p, order_key(c, r)) for d in found if d is not c) for c in found
        )
    (r, p), (last_r, last_p) = sorted(echoes, key=lambda e: -e[1])
    total = 0.0
    for strong, last in permutations(found, 2):
        key = order_key(last, last_r)
        if order_key(strong, r) < key:
            others = prod(hidden(optics, d, p, key) for d in found if d is not strong and d is not last)
            total += echo(strong, r, p) * echo(last, last_r, last_p) * others
    return total


DENSITIES = {"strongest": density_strongest, "last": density_last, "dual": density_dual, "all": density_all}


def density(optics: Optics, found: list[Candidate], echoes: list[tuple[float, float]]) -> float:
    """The mode's density with glitches: (1 - e) L + e/2 [nothing] + e/2M m! U^m for m echoes of at most M."""
    sound = DENSITIES[optics.mode](optics, found, echoes)
    low, high = optics.range_limits
    glitch = 0.0
    if not echoes:
        glitch = 1.0
    elif all(low <= r <= high + STRAY and p <= POWER_CEILING for r, p in echoes):
        most = {"strongest": 1, "last": 1, "dual": 2, "all": 3}[optics.mode]
        glitch = (
            factorial(len(echoes)) / ((high + STRAY - low) * (POWER_CEILING - optics.threshold)) ** len(echoes) / most
        )
    return (1.0 - optics.glitch) * sound + 0.5 * optics.glitch * glitch


def section_3(threshold: float, powers: list[float], ranges: list[Callable], r: float, p: float) -> float:
    """The reference's formula as it stands, unit spreads: Σ_i N(p; P_i, 1) g_i(r) Π_{j≠i} Φ(p - P_j)."""
    if p == 0.0:
        return prod(stats.norm.cdf(threshold - q) for q in powers)
    total = 0.0
    for i, (power, g) in enumerate(zip(powers, ranges, strict=True)):
        others = [stats.norm.cdf(p - q) for j, q in enumerate(powers) if j != i]
        total += stats.norm.pdf(p - power) * g(r) * prod(others)
    return total


# Integration


def composite(edges: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss-Legendre on every panel between the sorted edges."""
    edges = np.unique(edges)
    x, w = np.polynomial.legendre.leggauss(order)
    half, middle = 0.5 * np.diff(edges)[:, None], 0.5 * (edges[1:] + edges[:-1])[:, None]
    return (middle + half * x).ravel(), (half * w).ravel()


def chi_square(observed: np.ndarray, probability: np.ndarray, error: np.ndarray | float = 0.0) -> float:
    """p-value of counts given cells' probabilities and standard errors; cells of fewer than 10 expected are pooled."""
    n = observed.sum()
    expected, variance = n * probability, (n * np.broadcast_to(error, probability.shape)) ** 2
    small = expected < 10.0
    pooled = [np.append(a[~small], a[small].sum()) for a in (observed, expected, variance)]
    if pooled[1][-1] < 10.0:  # too few even so
        pooled = [a[:-1] for a in pooled]
    o, e, v = pooled
    return float(stats.chi2.sf(np.sum((o - e) ** 2 / (e + v)), len(o) - 1))


# Shapes


def meet_box(origin: np.ndarray, direction: np.ndarray, half: np.ndarray, yaw: float) -> tuple[float, float]:
    """Nearest of the six faces, each a plane cut and a point-in-rectangle test; a ray from inside meets nothing."""
    turn = np.array([[np.cos(yaw), np.sin(yaw), 0.0], [-np.sin(yaw), np.cos(yaw), 0.0], [0.0, 0.0, 1.0]])
    o, d = turn @ origin, turn @ direction
    if (np.abs(o) < half).all():
        return np.inf, 0.0
    best = (np.inf, 0.0)
    for axis in range(3):
        for side in (-half[axis], half[axis]):
            if d[axis] == 0.0:
                continue
            t = (side - o[axis]) / d[axis]
            others = [k for k in range(3) if k != axis]
            if t > 0.0 and (np.abs(o + t * d)[others] <= half[others]).all() and t < best[0]:
                best = (t, abs(d[axis]))
    return best


def meet_sphere(origin: np.ndarray, direction: np.ndarray, radius: float) -> tuple[float, float]:
    """Smallest root of |o + t d|² = radius², the cosine from the normal there; none from inside."""
    roots = np.roots([direction @ direction, 2.0 * origin @ direction, origin @ origin - radius**2])
    if np.iscomplex(roots).any() or roots.real.min() <= 0.0:
        return np.inf, 0.0
    t = float(roots.real.min())
    return t, abs(float((origin + t * direction) @ direction)) / radius


def meet(solids, i: int, origin: np.ndarray, direction: np.ndarray) -> tuple[float, float]:
    """Ray against solid i: kind 0 is a box, 1 a sphere."""
    relative = origin - np.array([solids.x[i], solids.y[i], solids.z[i]])
    if solids.kind[i] == 0:
        return meet_box(relative, direction, np.array([solids.hx[i], solids.hy[i], solids.hz[i]]), solids.yaw[i])
    return meet_sphere(relative, direction, solids.hx[i])


def direction_of(elevation: float, azimuth: float) -> np.ndarray:
    """Unit vector, x ahead, y left, z up."""
    return np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])


def cast(solids, pose, elevation: float, azimuth: float, ground: bool) -> list[tuple[float, float, int]]:
    """All surfaces (range, cosine, index) in one beam, near to far; the ground z = 0 is -1."""
    origin, d = np.array([pose.x, pose.y, pose.z]), direction_of(elevation, azimuth + pose.yaw)
    hits = [(*meet(solids, i, origin, d), i) for i in range(len(solids.x))]
    if ground and elevation < 0.0:
        hits.append((pose.z / np.sin(-elevation), np.sin(-elevation), -1))
    return sorted(h for h in hits if np.isfinite(h[0]))
