"""The fog of Hahner et al. 2021 (ICCV, arXiv 2108.05249) over a clear scan, as their released simulator computes it.

    hard   i_h = round(i exp(-2 alpha R0))                                         their equation 9, in steps of 1/255
    soft   i_s = min(i R0² (beta/beta0) max_R I(R, R0, alpha), 255)                their equations 10 and 11
    I(R, R0, alpha) = ∫_0^{2 tau} sin²(pi t / 2 tau) exp(-2 alpha r) xi(r)/r² U(R0 - r) dt,   r = R - ct/2
    beta0 = Gamma/pi

A point whose i_s exceeds its i_h is drawn to the range of that peak. No point is ever lost, and none is drawn at
random: their jitter of the fog points is left out. The constant 2/c of the hard target's delta function is left out
and absorbed in Gamma, as they do; `filters.models.optics` has the same physics in SI units.

Their published figures come with a beta that stays at alpha = 0.06 /m (visibility 49.9 m) whatever alpha is, for it is
derived before alpha is set; `BETA` is that value, and `backscatter` what beta = 0.046 / visibility gives.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from filters.jit import jit
from filters.models.lidar_echo import FOG, STRUCTURE
from filters.models.optics import SPEED_OF_LIGHT, extinction

PULSE = 20e-9  # s, tau
OVERLAP = (0.9, 1.0)  # m, ramp of xi
PEAK_POWER = 80.0  # W, P0
GAIN = 1.8737e6  # C_A, as calibrated by them; it cancels in the intensities
REFLECTIVITY = 1e-6  # Gamma
FULL_SCALE = 255.0
GRID = np.linspace(0.0, 200.0, 2000)  # m, the ranges among which a peak is sought
STEP = 0.1  # m, of the tables over R0
REACH = 550.0  # m, their end: the farthest point in a cube of 300 m
SATURATED = 10.0  # m: no stop farther out changes the peak
BLOCK = 512  # points whose ranges fit the fastest cache

ONE, HALF, THIRD, QUARTER, FIFTH = (np.float32(v) for v in (1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5))
CELLS_PER_METRE, CELL, TOP = np.float32(1.0 / STEP), np.float32(STEP), np.float32(FULL_SCALE)
TO_WHOLE = np.float32(1.5 * 2**23)  # adding and taking it away again rounds a small float32, half to even


def backscatter(visibility: float) -> float:
    """beta = 0.046 / visibility, 1/m/sr (their equation 7)."""
    return 0.046 / visibility


BETA = backscatter(float(np.log(20.0)) / 0.06)


class HazeTable(NamedTuple):
    """What one fog fixes for every stop range, in steps of `STEP`, float32.

    clear: exp(-2 alpha R0). peak: range of the soft echo's peak, m. soft: (beta/beta0) I at it, 1/m².
    """

    twice_alpha: np.float32
    clear: np.ndarray
    peak: np.ndarray
    soft: np.ndarray


def soft_integral(alpha: float, stop: float, ranges: np.ndarray = GRID, samples: int = 2000) -> np.ndarray:
    """I(R, stop, alpha) at `ranges`, s/m², by the midpoint rule."""
    delay = (np.arange(samples) + 0.5) * 2.0 * PULSE / samples
    r = np.maximum(ranges[:, None] - 0.5 * SPEED_OF_LIGHT * delay, 1e-9)
    near, full = OVERLAP
    overlap = np.clip((r - near) / (full - near), 0.0, 1.0) * (r <= stop)
    pulse = np.sin(0.5 * np.pi * delay / PULSE) ** 2
    return (pulse * np.exp(-2.0 * alpha * r) * overlap / r**2).sum(axis=1) * 2.0 * PULSE / samples


def soft_peak(alpha: float, stop: float) -> tuple[float, float]:
    """Range (m) and height (s/m²) of the fog's peak on the grid before a stop; 0, 0 where there is no room."""
    ranges = GRID[: np.searchsorted(GRID, min(stop, SATURATED), side="right")]
    received = soft_integral(alpha, stop, ranges)
    k = int(received.argmax())
    return (float(ranges[k]), float(received[k])) if received[k] > 0.0 else (0.0, 0.0)


@lru_cache(maxsize=16)
def haze_table(alpha: float, beta: float = BETA) -> HazeTable:
    """Tabulate one fog, in memory only: any extinction will do."""
    stops = np.arange(round(REACH / STEP)) * STEP
    within = stops <= SATURATED
    peaks = np.array([soft_peak(alpha, stop) for stop in stops[within]])
    peaks = np.vstack([peaks, np.broadcast_to(peaks[-1], ((~within).sum(), 2))]).astype(np.float32)
    beta_0 = REFLECTIVITY / np.pi
    soft = (beta / beta_0 * peaks[:, 1]).astype(np.float32)
    clear = np.exp(-2.0 * alpha * stops).astype(np.float32)
    return HazeTable(np.float32(2.0 * alpha), clear, np.ascontiguousarray(peaks[:, 0]), soft)


def lay_haze(
    points: np.ndarray, intensity: np.ndarray, visibility: float, beta: float = BETA
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lay their fog over a scan.

    Parameters
    ----------
    points : (n, 3) float32
        m, each coordinate within 300 m.
    intensity : (n,) float32
        0-255.
    visibility : float
        m, > 0.
    beta : float
        Backscatter, 1/m/sr.

    Returns
    -------
    points (n, 3), intensity (n,), label (n,) uint8: FOG or STRUCTURE
    """
    moved, faded, label = np.empty_like(points), np.empty_like(intensity), np.empty(len(points), np.uint8)
    haze(haze_table(float(extinction(visibility)), beta), points, intensity, moved, faded, label)
    return moved, faded, label


@jit
def haze(
    table: HazeTable,
    points: np.ndarray,
    intensity: np.ndarray,
    moved: np.ndarray,
    faded: np.ndarray,
    label: np.ndarray,
) -> None:
    """Block by block, in short loops whose ranges stay in the fastest cache.

    exp(-2 alpha R0) is the table's at the nearest step times five terms of the series of what remains.
    """
    shift, cell = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.int32)
    for start in range(0, len(points), BLOCK):
        size = min(BLOCK, len(points) - start)
        for j in range(size):
            x, y, z = points[start + j, 0], points[start + j, 1], points[start + j, 2]
            shift[j] = np.sqrt(x * x + y * y + z * z)
            cell[j] = np.int32(shift[j] * CELLS_PER_METRE + HALF)
        for j in range(size):
            k, r, i = cell[j], shift[j], intensity[start + j]
            d = table.twice_alpha * (np.float32(k) * CELL - r)
            rest = ONE + d * (ONE + d * HALF * (ONE + d * THIRD * (ONE + d * QUARTER * (ONE + d * FIFTH))))
            hard = (i * table.clear[k] * rest + TO_WHOLE) - TO_WHOLE
            soft = min(i * (r * r) * table.soft[k], TOP)
            won = soft > hard
            shift[j] = table.peak[k] / r if won else ONE
            faded[start + j] = soft if won else hard
            label[start + j] = np.uint8(FOG) if won else np.uint8(STRUCTURE)
        for j in range(size):
            for axis in range(3):
                moved[start + j, axis] = points[start + j, axis] * shift[j]
