"""What a lidar's data sheet and the fog fix about received power, in units of the receiver's noise.

    P_hard = A (rho/pi) cos(theta) T²(R) xi(R) / R²           T²(R) = exp(-2 alpha R)
    P_soft = A beta S(alpha, R_stop),   S = max_{R < R_stop} (c/2) I(R)
    I(R)   = ∫_0^{2 tau} sin²(pi t / 2 tau) exp(-2 alpha r) xi(r)/r² dt,   r = R - ct/2

The fog's peak is sought before R_stop, where the return of the surface behind it begins.

Source: Rasshofer et al. 2011 (Adv. Radio Sci. 9:49); Hahner et al. 2021 (arXiv 2108.05249), in SI form.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.special import log_ndtr, ndtr

from filters.spec import Array

SPEED_OF_LIGHT = 299_792_458.0
Number = TypeVar("Number", float, Array)
POWER_LIMIT = 500.0  # expected power saturates here ...
POWER_CEILING = 1024.0  # ... so that with its spread it stays below this, which is 16 bits at 1/64
FARTHEST = 320.0  # m: a log's range has 16 bits of 5 mm
LONGEST = 50.0  # m: of a pulse, and of the overlap, which are tabulated
MODES = ("strongest", "last", "dual", "all")
MOST_ECHOES = {"strongest": 1, "last": 1, "dual": 2, "all": 3}  # noise, fog and one surface can echo
# Cells of a ray through uneven fog, m: .75 m (half a pulse) to 12 m, then 15 % longer each.
EDGES = np.concatenate([np.linspace(0.0, 12.0, 17), np.geomspace(12.0, 120.0, 17)[1:]])
CENTRES = 0.5 * (EDGES[1:] + EDGES[:-1])
CELLS = len(CENTRES)
LOCATIONS = np.log(np.geomspace(0.5, 120.0, 64))  # medians that a fog echo's range may have there


@dataclass(frozen=True)
class Optics:
    """A lidar's optics and receiver; the defaults are the house sensor.

    Parameters
    ----------
    mode : {"strongest", "last", "dual", "all"}
        Which echoes of a beam the sensor reports; dual is the strongest and the last.
    pulse : float
        Half-power width tau_H, s.
    overlap : (float, float)
        Ranges R1, R2 (m) between which the receiver's view closes over the beam: xi = 0 to 1.
    range_10 : float
        Range at 10 % reflectance in clear air, m: the data sheet's figure, which fixes the gain.
    lidar_ratio : float
        alpha / beta in sr; 65.1 reproduces beta = 0.046 / visibility (Hahner), Mie water fog has about 20.
    threshold : float
        Detection threshold in standard deviations of noise.
    range_noise : float
        Standard deviation of range at threshold, m; it falls as 1/sqrt(power).
    range_limits : (float, float)
        Nearest and farthest false alarm of the noise, m; no surface is heard from the second on.
    fog_spread : float
        Standard deviation of the log of a fog echo's range.
    glitch : float
        Probability that a beam's report has nothing to do with the scene.
    """

    mode: str = "strongest"
    pulse: float = 5e-9
    overlap: tuple[float, float] = (1.0, 10.0)
    range_10: float = 50.0
    lidar_ratio: float = 65.1
    threshold: float = 4.0
    range_noise: float = 0.03
    range_limits: tuple[float, float] = (0.5, 120.0)
    fog_spread: float = 0.78
    glitch: float = 1e-4

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"optics.mode is {self.mode!r}, expected one of {', '.join(MODES)}")
        for name in ("pulse", "range_10", "lidar_ratio", "threshold", "fog_spread"):
            if not 0.0 < getattr(self, name) < np.inf:
                raise ValueError(f"optics.{name} is {getattr(self, name)}, expected a finite number above 0")
        if not 0.0 <= self.range_noise < np.inf or not 0.0 <= self.glitch < 1.0:
            raise ValueError(
                f"optics.range_noise is {self.range_noise}, optics.glitch {self.glitch}: expected >= 0 m, and 0 to 1"
            )
        if SPEED_OF_LIGHT * self.pulse > LONGEST:
            raise ValueError(f"optics.pulse is {self.pulse} s, expected at most {LONGEST / SPEED_OF_LIGHT:.0e}")
        for name, most in (("overlap", LONGEST), ("range_limits", FARTHEST)):
            low, high = getattr(self, name)
            if not 0.0 < low < high <= most:
                raise ValueError(f"optics.{name} is {low}, {high} m, expected 0 < first < second <= {most:g}")

    @property
    def gain(self) -> float:
        """A, from threshold = A (0.1/pi) / R10²."""
        return self.threshold * self.range_10**2 * np.pi / 0.1


def extinction(visibility: Number) -> Number:
    """alpha = ln 20 / visibility, 1/m (meteorological optical range at 5 % contrast)."""
    return np.log(20.0) / visibility


def waveform(optics: Optics, alpha: float, far: float, step: float = 0.01) -> tuple[Array, Array]:
    """Received fog waveform I(R), s/m², on a grid of R up to `far`, `step` m apart."""
    length = SPEED_OF_LIGHT * optics.pulse  # the pulse covers r in (R - length, R)
    near, full = optics.overlap
    cells = np.arange(step / 2, far, step)
    response = np.exp(-2.0 * alpha * cells) * np.clip((cells - near) / (full - near), 0.0, 1.0) / cells**2
    delay = np.arange(step / 2, length, step)
    received = np.convolve(response, np.sin(np.pi * delay / length) ** 2)[: cells.size]
    return np.arange(1.0, cells.size + 1.0) * step, received * step * 2.0 / SPEED_OF_LIGHT


def peak(ranges: Array, received: Array) -> float:
    """Where a waveform is highest, by a parabola through the highest sample and its neighbours, m."""
    k = min(max(int(received.argmax()), 1), len(received) - 2)
    a, b, c = received[k - 1 : k + 2]
    bent = a - 2.0 * b + c
    return float(ranges[k] + (0.5 * (a - c) / bent * (ranges[1] - ranges[0]) if bent < 0.0 else 0.0))


class EchoTable(NamedTuple):
    """`Optics` as numba takes them, the soft-target integral tabulated over ln alpha and stop range."""

    mode: int  # index into MODES
    echoes: int  # a beam reports at most
    gain: float
    beta_per_alpha: float
    near: float
    far: float
    threshold: float
    range_noise: float
    range_min: float
    range_max: float
    fog_spread: float
    log_quiet: float  # ln Φ(threshold): noise alone stays below it
    log_sound: float  # ln(1 - glitch)
    log_glitch_nothing: float
    glitch_max: float  # m
    log_uniform: float  # of a glitch's echo over range and power
    glitch: float
    log_alpha_0: float
    log_alpha_step: float
    stop_step: float
    soft: Array  # (alphas, stops) S, column j for a stop at (j + 1) STOP_STEP
    log_median: Array  # (alphas,) ln of the fog echo's median range


LOG_ALPHA = np.linspace(np.log(2e-4), np.log(4.0), 640)  # visibility 15 km to .75 m
STOP_STEP = 0.05
STRAY = 2.0  # m by which the echo of a surface at the limit may stray beyond it: glitches reach as far


@lru_cache(maxsize=32)
def echo_table(optics: Optics) -> EchoTable:
    """Tabulate an optics once; beyond the last stop range the integral is saturated."""
    near, far = optics.overlap
    step = 0.01
    saturated = far + SPEED_OF_LIGHT * optics.pulse
    soft, median = [], []
    for alpha in np.exp(LOG_ALPHA):
        ranges, received = waveform(optics, alpha, saturated, step)
        soft.append(
            0.5
            * SPEED_OF_LIGHT
            * np.maximum.accumulate(received)[round(STOP_STEP / step) - 1 :: round(STOP_STEP / step)]
        )
        # A receiver that reports peak - c tau/2 puts a wall at the wall; fog is reported the same way.
        median.append(peak(ranges, received) - 0.5 * SPEED_OF_LIGHT * optics.pulse)
    range_min, range_max = optics.range_limits
    half_glitch = float(np.log(0.5 * optics.glitch)) if optics.glitch > 0.0 else -np.inf
    return EchoTable(
        mode=MODES.index(optics.mode),
        echoes=MOST_ECHOES[optics.mode],
        gain=optics.gain,
        beta_per_alpha=1.0 / optics.lidar_ratio,
        near=near,
        far=far,
        threshold=optics.threshold,
        range_noise=optics.range_noise,
        range_min=range_min,
        range_max=range_max,
        fog_spread=optics.fog_spread,
        log_quiet=float(log_ndtr(optics.threshold)),
        log_sound=float(np.log1p(-optics.glitch)),
        log_glitch_nothing=half_glitch,
        glitch_max=range_max + STRAY,
        log_uniform=-float(np.log((range_max + STRAY - range_min) * (POWER_CEILING - optics.threshold))),
        glitch=optics.glitch,
        log_alpha_0=float(LOG_ALPHA[0]),
        log_alpha_step=float(LOG_ALPHA[1] - LOG_ALPHA[0]),
        stop_step=STOP_STEP,
        soft=np.array(soft),
        log_median=np.log(np.maximum(median, near)),
    )


class CellTable(NamedTuple):
    """What uneven fog is told from, over ln alpha and a ray's cells; apart from `EchoTable`, which kernels copy.

    soft (alphas, CELLS): the peak of what a cell returns. location (alphas,): ln median of even fog's echo less the
    mean of ln c_j weighted by soft². law (LOCATIONS, CELLS + 1): a lognormal's distribution at the cells' edges, those
    before R1 taken as R1, for each ln median. per_metre: one over a cell's width beyond R1, 0 before it, 1/m.
    delay: c tau/2, m.
    """

    soft: Array
    location: Array
    law: Array
    per_metre: Array
    delay: float


@lru_cache(maxsize=32)
def cell_table(optics: Optics) -> CellTable:
    """Tabulate an optics over the cells of a ray: what returns at R was sent back about c tau/2 before it."""
    soft, delay = [], 0.5 * SPEED_OF_LIGHT * optics.pulse
    for alpha in np.exp(LOG_ALPHA):
        ranges, received = waveform(optics, alpha, EDGES[-1] + 2.0 * delay, STOP_STEP)
        sent = ranges - delay
        within = np.maximum.reduceat(received, np.searchsorted(sent, EDGES[:-1]))
        edge = np.interp(EDGES, sent, received)
        soft.append(0.5 * SPEED_OF_LIGHT * np.maximum(within, np.maximum(edge[:-1], edge[1:])))
    bright = np.array(soft) ** 2
    location = echo_table(optics).log_median - bright @ np.log(CENTRES) / bright.sum(axis=1)
    beyond = np.maximum(EDGES, optics.overlap[0])
    width = np.diff(beyond)
    per_metre = np.divide(1.0, width, out=np.zeros(CELLS), where=width > 0.0)
    law = ndtr((np.log(beyond) - LOCATIONS[:, None]) / optics.fog_spread)
    return CellTable(np.array(soft), location, law, per_metre, delay)
