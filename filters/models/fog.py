"""Fog along a beam: how much light it takes, how bright its own echo is, and where that echo lies.

Even fog has one extinction alpha. The median of its echo's range is the peak of its return; the density g is
lognormal, cut to (R1, R_stop). Uneven fog has one alpha_j per cell of the ray (`EDGES`) and optical depth
tau(R) = ∫ alpha ds. It is told from even fog of about the same thickness, a:

    w_j = (alpha_j / a) exp(-2 (tau(c_j) - a c_j))             how much more light cell j, about c_j, sends back
    P_soft(R) = A/ratio · a · max_{j before R} w_j S_j(a)      S_j: peak of what cell j of even fog returns
    g(r) ∝ alpha_j ∫_j LogNormal / its width in cell j         ln median: that of a, moved as the mean of ln c_j is,
                                                               weighted by (w_j S_j)²

so that fog of one alpha everywhere is even fog, up to the cells. What lies behind a stop moves g's median too: only
P_soft is cut there. Within a pulse's length alpha is taken as constant.
"""

from __future__ import annotations

from collections.abc import Callable
from math import erfc, exp, inf, log, sqrt
from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload

from filters.jit import inlined, jit
from filters.models.normal import LOG_SQRT_2PI, cdf, log_cdf
from filters.models.optics import (
    CELLS,
    CENTRES,
    EDGES,
    LOCATIONS,
    POWER_LIMIT,
    CellTable,
    EchoTable,
    Optics,
    cell_table,
)
from filters.spec import Array

BUNDLE = 8  # neighbouring columns of a scan share one ray of uneven fog: .84 m at 30 m where they are .2 degrees apart
CLEAREST = 1e-6  # 1/m: there is a little haze everywhere, so that a fog echo always has a place
WIDTHS, LOG_CENTRES = np.diff(EDGES), np.log(CENTRES)
FIRST_CELL = np.searchsorted(EDGES, np.arange(np.ceil(EDGES[-1])), side="right") - 1  # that a whole metre lies in
DEPTH, SOFT, MASS, DENSITY = range(4)  # rows of `UnevenFog.cells`
NEAR_CELLS = 16  # their mean extinction is that of the even fog that uneven fog is told from


class Fog(NamedTuple):
    """Even fog.

    Alpha, its place in the table, ln median range, saturated P_soft, ln F(threshold) of it, R1 as a deviate of the
    lognormal and the mass below it.
    """

    alpha: float
    row: int
    weight: float
    location: float
    power: float
    log_missed: float
    nearest: float
    tail: float


class UnevenFog(NamedTuple):
    """Fog along one ray, told from even fog of extinction `alpha`.

    The rows of `cells` (4, CELLS + 1) are, at the edges of the ray's cells, tau, the brightest w S so far and the mass
    of g so far, then g's density within a cell: one array, as numba pays for each.
    """

    alpha: float
    power: float
    log_missed: float
    delay: float
    cells: np.ndarray


AnyFog = Fog | UnevenFog


@jit
def fog_at(table: EchoTable, alpha: float) -> Fog:
    """Even fog; beyond the table's ends the soft-target integral is that of the end."""
    rows = table.log_median.size
    place = (log(alpha) - table.log_alpha_0) / table.log_alpha_step
    place = min(max(place, 0.0), rows - 1.000001)
    row = int(place)
    weight = place - row
    location = (1.0 - weight) * table.log_median[row] + weight * table.log_median[row + 1]
    soft = (1.0 - weight) * table.soft[row, -1] + weight * table.soft[row + 1, -1]
    power = min(table.gain * alpha * table.beta_per_alpha * soft, POWER_LIMIT)
    nearest = (log(table.near) - location) / table.fog_spread
    return Fog(alpha, row, weight, location, power, log_cdf(table.threshold - power), nearest, cdf(nearest))


class FogRays(NamedTuple):
    """The fog of a scan, ray by ray: extinction (rings, bundles, CELLS) in 1/m, the table, and room to work in."""

    extinction: np.ndarray
    cells: CellTable
    memory: np.ndarray


def fog_rays(optics: Optics, extinction: Array) -> FogRays:
    """Uneven fog for `sample_scan`; `BUNDLE` neighbouring columns share a ray."""
    return FogRays(extinction, cell_table(optics), np.zeros((4, CELLS + 1)))


@jit
def fog_along(table: EchoTable, rays: FogRays, ring: int, bundle: int) -> UnevenFog:
    """One ray's fog; its arrays live in `rays.memory` until the next ray's."""
    extinction, cells, memory = rays.extinction, rays.cells, rays.memory
    mean = 0.0
    for j in range(NEAR_CELLS):
        mean += max(extinction[ring, bundle, j], CLEAREST) / NEAR_CELLS
    place = (log(mean) - table.log_alpha_0) / table.log_alpha_step
    row = int(min(max(place + 0.5, 0.0), table.log_median.size - 1.0))
    alpha = exp(table.log_alpha_0 + row * table.log_alpha_step)
    depth, soft, bright, moment, mass = 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(CELLS):
        here = max(extinction[ring, bundle, j], CLEAREST)
        through = here * WIDTHS[j]
        w = here / alpha * exp(min(2.0 * (alpha * CENTRES[j] - depth) - through, 300.0))
        depth += through
        light = w * cells.soft[row, j]
        bright, moment = bright + light * light, moment + light * light * LOG_CENTRES[j]
        soft = max(soft, light)
        memory[DEPTH, j + 1], memory[SOFT, j + 1] = depth, soft
    place = (cells.location[row] + moment / bright - LOCATIONS[0]) / (LOCATIONS[1] - LOCATIONS[0])
    place = min(max(place, 0.0), LOCATIONS.size - 1.000001)
    k, share = int(place), place % 1.0
    before = (1.0 - share) * cells.law[k, 0] + share * cells.law[k + 1, 0]
    for j in range(CELLS):
        after = (1.0 - share) * cells.law[k, j + 1] + share * cells.law[k + 1, j + 1]
        here = max(extinction[ring, bundle, j], CLEAREST) * (after - before)
        before, mass = after, mass + here
        memory[MASS, j + 1], memory[DENSITY, j] = mass, here * cells.per_metre[j]
    power = min(table.gain * alpha * table.beta_per_alpha * soft, POWER_LIMIT)
    return UnevenFog(alpha, power, log_cdf(table.threshold - power), cells.delay, memory)


@inlined
def cell_of(r: float) -> int:
    """The cell that r (m) lies in; the last one reaches to infinity."""
    if r >= EDGES[-1]:
        return CELLS - 1
    j = FIRST_CELL[int(r)]
    while r >= EDGES[j + 1]:
        j += 1
    return j


@inlined
def even_depth(table: EchoTable, fog: Fog, r: float) -> float:
    """alpha R."""
    return fog.alpha * r


@inlined
def uneven_depth(table: EchoTable, fog: UnevenFog, r: float) -> float:
    """∫ alpha ds over the cells."""
    j = cell_of(r)
    slope = (fog.cells[DEPTH, j + 1] - fog.cells[DEPTH, j]) / (EDGES[j + 1] - EDGES[j])
    return fog.cells[DEPTH, j] + slope * (r - EDGES[j])


@inlined
def even_power(table: EchoTable, fog: Fog, r: float) -> float:
    """From the table, bilinear in ln alpha and stop."""
    if r <= table.near:
        return -1.0
    place = r / table.stop_step - 1.0
    columns = table.soft.shape[1]
    if place >= columns - 1:
        return fog.power
    j = int(place)
    w = place - j
    low = (1.0 - w) * table.soft[fog.row, j] + w * table.soft[fog.row, j + 1]
    high = (1.0 - w) * table.soft[fog.row + 1, j] + w * table.soft[fog.row + 1, j + 1]
    soft = (1.0 - fog.weight) * low + fog.weight * high
    return min(table.gain * fog.alpha * table.beta_per_alpha * soft, POWER_LIMIT)


@inlined
def uneven_power(table: EchoTable, fog: UnevenFog, r: float) -> float:
    """The brightest cell so far, in proportion within the last from which light returns before the stop's."""
    if r <= table.near:
        return -1.0
    last = r - fog.delay
    if last >= EDGES[-1]:
        return fog.power
    j = cell_of(max(last, 0.0))
    share = (max(last, 0.0) - EDGES[j]) / (EDGES[j + 1] - EDGES[j])
    soft = (1.0 - share) * fog.cells[SOFT, j] + share * fog.cells[SOFT, j + 1]
    return min(table.gain * fog.alpha * table.beta_per_alpha * soft, POWER_LIMIT)


@jit
def even_law(table: EchoTable, fog: Fog, r: float) -> float:
    """The lognormal's mass."""
    return cdf((log(r) - fog.location) / table.fog_spread) - fog.tail


@inlined
def uneven_law(table: EchoTable, fog: UnevenFog, r: float) -> float:
    """The cells before r's, and its own up to r."""
    if r >= EDGES[-1]:
        return fog.cells[MASS, CELLS]
    j = cell_of(r)
    return fog.cells[MASS, j] + fog.cells[DENSITY, j] * (r - max(EDGES[j], table.near))


@jit
def even_log_density(table: EchoTable, fog: Fog, r: float) -> float:
    """The lognormal's."""
    log_r = log(r)
    z = (log_r - fog.location) / table.fog_spread
    return -0.5 * z * z - log_r - log(table.fog_spread) - LOG_SQRT_2PI


@jit
def uneven_log_density(table: EchoTable, fog: UnevenFog, r: float) -> float:
    """The cell's."""
    return log(fog.cells[DENSITY, cell_of(r)]) if r < EDGES[-1] else -inf


@inlined
def even_sample(table: EchoTable, fog: Fog, r: float, z: float, rng: np.random.Generator) -> float:
    """By rejection from the lognormal, from its part before the stop where that is slow."""
    for _ in range(20):
        drawn = exp(fog.location + table.fog_spread * z)
        if z > fog.nearest and drawn < r:
            return drawn
        z = rng.standard_normal()
    return sample_between(table, fog, table.near, r, rng)


@inlined
def uneven_sample(table: EchoTable, fog: UnevenFog, r: float, z: float, rng: np.random.Generator) -> float:
    """The cell by its mass, then evenly within it."""
    target = uneven_law(table, fog, r) * rng.random()
    j = 0
    while j < CELLS - 1 and fog.cells[MASS, j + 1] <= target:
        j += 1
    return max(EDGES[j], table.near) + (target - fog.cells[MASS, j]) / fog.cells[DENSITY, j]


@jit
def sample_between(table: EchoTable, fog: Fog, low: float, high: float, rng: np.random.Generator) -> float:
    """Draw the lognormal between two ranges: ln r uniform and accepted by its density, else by bisection."""
    low, high = log(low), log(min(high, 1e4))
    top = (min(max(fog.location, low), high) - fog.location) / table.fog_spread
    for _ in range(20):
        middle = low + (high - low) * rng.random()
        z = (middle - fog.location) / table.fog_spread
        if rng.random() < exp(0.5 * (top * top - z * z)):
            return exp(middle)
    scale = table.fog_spread * sqrt(2.0)
    tail_low, tail_high = erfc((low - fog.location) / scale), erfc((high - fog.location) / scale)
    target = tail_low + (tail_high - tail_low) * rng.random()
    for _ in range(50):
        middle = 0.5 * (low + high)
        if erfc((middle - fog.location) / scale) > target:
            low = middle
        else:
            high = middle
    return exp(low)


def optical_depth(table: EchoTable, fog: AnyFog, r: float) -> float:
    """tau = ∫ alpha ds from the sensor to r (m)."""
    return (even_depth if isinstance(fog, Fog) else uneven_depth)(table, fog, r)


def fog_power(table: EchoTable, fog: AnyFog, r: float) -> float:
    """P_soft before a stop at r (m); negative where there is no room for fog to echo."""
    return (even_power if isinstance(fog, Fog) else uneven_power)(table, fog, r)


def fog_law(table: EchoTable, fog: AnyFog, r: float) -> float:
    """Mass of the uncut g between R1 and r (m), r >= R1."""
    return (even_law if isinstance(fog, Fog) else uneven_law)(table, fog, r)


def log_fog_density(table: EchoTable, fog: AnyFog, r: float) -> float:
    """ln of the uncut g at r (m)."""
    return (even_log_density if isinstance(fog, Fog) else uneven_log_density)(table, fog, r)


def sample_fog_range(table: EchoTable, fog: AnyFog, r: float, z: float, rng: np.random.Generator) -> float:
    """Draw the range (m) of a fog echo before a stop at r (m), from a standard normal z and more if need be."""
    return (even_sample if isinstance(fog, Fog) else uneven_sample)(table, fog, r, z, rng)


def by_type(function: Callable[..., Any], even: Any, uneven: Any) -> None:
    """Let kernels call a function of fog: which of the two is settled by the fog's type when they are compiled.

    A NamedTuple with arrays for both costs even fog, the particle filter's, half its speed.
    """

    def choose(table: Any, fog: Any, *rest: Any) -> Any:
        return even.py_func if fog.instance_class is Fog else uneven.py_func

    overload(function, strict=False)(choose)


@jit
def same_fog(table: EchoTable, fog: Fog, ring: int, bundle: int) -> Fog:
    """Even fog is the same on every ray."""
    return fog


def fog_on(table: EchoTable, fog: Fog | FogRays, ring: int, bundle: int) -> AnyFog:
    """The fog on one ray of a scan."""
    return same_fog(table, fog, ring, bundle) if isinstance(fog, Fog) else fog_along(table, fog, ring, bundle)


@jit
def all_columns(table: EchoTable, fog: Fog, columns: int) -> int:
    """Even fog is the same on every ray."""
    return columns


@jit
def bundle_of_columns(table: EchoTable, fog: FogRays, columns: int) -> int:
    """As the world's fog was integrated."""
    return BUNDLE


def columns_a_ray(table: EchoTable, fog: Fog | FogRays, columns: int) -> int:
    """How many neighbouring columns of a scan share a ray of its fog."""
    return (all_columns if isinstance(fog, Fog) else bundle_of_columns)(table, fog, columns)


by_type(columns_a_ray, all_columns, bundle_of_columns)
by_type(fog_on, same_fog, fog_along)
by_type(optical_depth, even_depth, uneven_depth)
by_type(fog_power, even_power, uneven_power)
by_type(fog_law, even_law, uneven_law)
by_type(log_fog_density, even_log_density, uneven_log_density)
by_type(sample_fog_range, even_sample, uneven_sample)


@jit
def log_fog_mass(table: EchoTable, fog: AnyFog, stop: float) -> float:
    """ln of g's mass between R1 and the stop: what the truncation divides by."""
    return log(max(fog_law(table, fog, stop), 1e-300))


@jit
def log_range_fog(table: EchoTable, fog: AnyFog, r: float, stop: float, log_mass: float) -> float:
    """ln of the density of a fog echo's range."""
    inside = table.near <= r < stop  # a range that was rounded may lie on R1
    return log_fog_density(table, fog, r) - log_mass if inside else -inf
