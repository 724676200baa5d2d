"""Fog over a real scan: points per second of both models beside plain NumPy of the same mathematics, one thread.

python tests/bench/fogging.py [SCAN]

SCAN: a sweep in any layout; without it that of FOGSIM_DATA or ../shared/data if it is there, else 109,431 drawn points.
Clocked is the CPU time of this thread, in turns, so that another program on a busy machine slows both alike.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import thread_time

import numba
import numpy as np
from frame_time import stay_on_one_core

from filters.models.lidar_echo import FOG, NOISE, STRUCTURE
from filters.models.optics import POWER_LIMIT, echo_table, extinction
from filters.streams import stream
from fogsim import compatibility
from fogsim.fog_kernel import DARKEST, fog_table
from fogsim.fogging import HOUSE, fog_over
from fogsim.layouts import full_scale_of
from fogsim.scans import read_sweep

ROUNDS = 40
VISIBILITIES = (200.0, 50.0, 30.0, 15.0)
LIMITS = {"hahner": 100.0, "fogsim": 20.0}  # M points/s, of the house


def scan_of(arguments: list[str]) -> tuple[np.ndarray, np.ndarray, str]:
    """Points, intensities of 0-255, and where they are from."""
    places = [os.environ.get("FOGSIM_DATA"), Path(__file__).parents[2] / ".." / "shared" / "data"]
    found = [Path(place) / "stf_hdl64.bin" for place in places if place and (Path(place) / "stf_hdl64.bin").is_file()]
    if not arguments and not found:
        rng = stream(0, "scan")
        points = rng.standard_normal((109_431, 3)) * [12.0, 12.0, 1.0]
        return points.astype(np.float32), rng.uniform(0.0, 255.0, 109_431).astype(np.float32), "drawn points"
    path = Path(arguments[0]) if arguments else found[0]
    sweep = read_sweep(path)
    scale = np.float32(255.0 / full_scale_of(sweep.intensity))
    return sweep.points.astype(np.float32), sweep.intensity.astype(np.float32) * scale, path.name


def numpy_hahner(points: np.ndarray, intensity: np.ndarray, visibility: float) -> tuple[np.ndarray, ...]:
    """The published model, array by array; its table is ours."""
    alpha = extinction(visibility)
    table = compatibility.haze_table(float(alpha))
    distance = np.sqrt((points**2).sum(axis=1))
    cell = np.round(distance / compatibility.STEP).astype(np.int32)
    hard = np.round(intensity * np.exp(-2.0 * alpha * distance))
    soft = np.minimum(intensity * distance**2 * table.soft[cell], 255.0)
    won = soft > hard
    moved = points * np.where(won, table.peak[cell] / distance, 1.0)[:, None]
    return moved, np.where(won, soft, hard), np.where(won, FOG, STRUCTURE)


def numpy_fogsim(points: np.ndarray, intensity: np.ndarray, visibility: float, rng) -> tuple[np.ndarray, ...]:
    """The house's model, array by array; what happens once in ten thousand points is simplified."""
    alpha = float(extinction(visibility))
    table, optics = fog_table(HOUSE, alpha), echo_table(HOUSE)
    count, reach = len(points), np.arange(len(table.law)) * optics.stop_step
    distance = np.sqrt((points.astype(float) ** 2).sum(axis=1))
    overlap = np.minimum((distance - optics.near) / (optics.far - optics.near), 1.0)
    before = optics.gain / np.pi * np.maximum(intensity / 255.0, DARKEST) * overlap / distance**2
    before = np.where(distance > optics.near, np.maximum(before, optics.threshold), POWER_LIMIT)
    through = np.exp(-2.0 * alpha * distance)
    hard = through * before + np.sqrt(1.0 - through**2) * rng.standard_normal(count)
    soft = np.interp(distance, reach[: len(table.soft)], table.soft)
    soft = np.where(soft > 0.0, np.minimum(soft + rng.standard_normal(count), before), 0.0)
    noise = rng.standard_normal(count)
    power = np.maximum(np.maximum(hard, soft), noise)
    what = np.where(hard == power, STRUCTURE, np.where(soft == power, FOG, NOISE))
    source = np.flatnonzero(power > optics.threshold)
    power, what, before, distance = power[source], what[source], before[source], distance[source]
    lacking = np.maximum(1.0 / power - 1.0 / before, 0.0)
    at = distance + optics.range_noise * np.sqrt(optics.threshold * lacking) * rng.standard_normal(len(source))
    mass = rng.random(len(source)) * np.interp(distance, reach, table.law)
    at = np.where(what == FOG, np.interp(mass, table.law, reach), at)
    at = np.where(what == NOISE, rng.uniform(optics.range_min, optics.range_max, len(source)), at)
    seen = np.where(what == STRUCTURE, intensity[source] * power / before, 255.0 * np.pi / optics.gain * power * at**2)
    return points[source] * (at / distance)[:, None], np.minimum(seen, 255.0), what, source


def best_times(ours: Callable[[], object], peer: Callable[[], object]) -> tuple[float, float]:
    """Shortest CPU time of each, s, after a warm-up; in turns."""
    seconds: list[list[float]] = [[], []]
    for _ in range(ROUNDS + 1):
        for times, work in zip(seconds, (ours, peer), strict=True):
            clock = thread_time()
            work()
            times.append(thread_time() - clock)
    return min(seconds[0][1:]), min(seconds[1][1:])


def main(arguments: list[str]) -> None:
    """Print a line per model and visibility."""
    points, intensity, source = scan_of(arguments)
    where = stay_on_one_core()
    print(f"fog over {source}, {len(points):,} points, {where}, best of {ROUNDS}", end="; ")
    print(f"numba {numba.__version__}, NumPy {np.__version__}")
    print(f"{'M points/s':36}{'ours':>8}{'NumPy':>8}{'ratio':>10}")
    rng, peers = stream(0, "ours"), stream(0, "peer")
    for visibility in VISIBILITIES:
        ours = fog_over(points, intensity, 255.0, visibility, rng, "hahner")
        twin = numpy_hahner(points, intensity, visibility)
        assert (ours.label != twin[2]).sum() <= 2, "not the same mathematics"
        show(
            "hahner",
            visibility,
            len(points),
            *best_times(
                lambda v=visibility: fog_over(points, intensity, 255.0, v, rng, "hahner"),
                lambda v=visibility: numpy_hahner(points, intensity, v),
            ),
        )
    for visibility in VISIBILITIES:
        drawn = (
            fog_over(points, intensity, 255.0, visibility, rng).label,
            numpy_fogsim(points, intensity, visibility, peers)[2],
        )
        counts = np.array([np.bincount(labels, minlength=STRUCTURE + 1) for labels in drawn])
        apart = np.abs(counts[0] - counts[1]) / np.sqrt(counts.sum(axis=0) + 1.0)
        assert (apart < 6.0).all(), f"not the same law: {counts}"
        show(
            "fogsim",
            visibility,
            len(points),
            *best_times(
                lambda v=visibility: fog_over(points, intensity, 255.0, v, rng),
                lambda v=visibility: numpy_fogsim(points, intensity, v, peers),
            ),
        )


def show(model: str, visibility: float, count: int, ours: float, peer: float) -> None:
    """One line: our rate, the peer's, their ratio, and whether the house's limit is kept."""
    rate = count / ours / 1e6
    verdict = "kept" if rate >= LIMITS[model] else "BROKEN"
    print(
        f"{f'{model}, visibility {visibility:g} m':36}{rate:8.1f}{count / peer / 1e6:8.2f}{peer / ours:8.1f} x", end=""
    )
    print(f"   house limit {LIMITS[model]:.0f}: {verdict}")


if __name__ == "__main__":
    main(sys.argv[1:])
