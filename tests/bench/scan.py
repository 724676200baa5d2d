"""Time of a full scan, part by part: the road, ten things, fog, noise and labels, on one core.

python tests/bench/scan.py [ROUNDS]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

import numba
import numpy as np
from frame_time import stay_on_one_core

from filters.models.fog import fog_at, fog_rays
from filters.models.lidar_scan import Scene, sample_scan
from filters.models.optics import echo_table
from filters.models.shapes import BagPrior, BarrierPrior, Solids
from filters.streams import stream
from fogsim.sensors import lidar as lidars
from fogsim.sensors.lidar import DEPTH, Lidar, cast, grid, map_surfaces, mounted, on_road, quantise, scan
from fogsim.sensors.presets import HDL_64, VLP_16
from fogsim.world.fog import Field, draw_field, extinction_along
from fogsim.world.setting import Bank, Fog, Layer, Road, Texture
from fogsim.world.solids import join, road_map

ROUNDS = 40
ROAD = road_map(Road())
EVEN = Fog(visibility=30.0)
UNEVEN = Fog(30.0, bank=Bank((10.0, 30.0), 12.0), layer=Layer(4.0), texture=Texture(0.5), wind=(2.0, 0.5))
CASES = (  # name, sensor, fog, the house's limit in ms
    ("64 x 1800, even fog", replace(HDL_64, columns=1800, height=1.7), EVEN, 6.0),
    ("64 x 1800, uneven fog", replace(HDL_64, columns=1800, height=1.7), UNEVEN, 25.0),
    ("16 x 1800, even fog", replace(VLP_16, height=1.7), EVEN, 1.5),
)


def things() -> Solids:
    """Five barriers and five bags, 5 to 30 m ahead."""
    rng = stream(0, "things")
    places = np.column_stack([rng.uniform(5.0, 30.0, 10), rng.uniform(-4.0, 4.0, 10)])
    barriers = BarrierPrior().solids(places[:5], rng.standard_normal((5, 4)))
    return join(barriers, BagPrior().solids(places[5:], rng.standard_normal((5, 3))))


def parts(lidar: Lidar, field: Field, solids: Solids) -> dict[str, Callable[[], object]]:
    """The parts of a scan, each ready to be run alone, and the whole."""
    pose, beams, rng = mounted(lidar, 0.0, 0.0, 0.02), grid(lidar), stream(0, "lidar")
    table, background = echo_table(lidar.optics), map_surfaces(ROAD, pose, lidar)
    alpha = extinction_along(field, pose, *beams, 1.0)
    fog = fog_at(table, alpha) if field.even else fog_rays(lidar.optics, alpha)
    scene = Scene(cast(solids, pose, *beams, DEPTH, False), solids, background, on_road(background.range, pose, *beams))
    echoes = sample_scan(table, fog, scene, rng)

    def whole() -> lidars.Returns:
        along = extinction_along(field, pose, *beams, 1.0)
        return scan(solids, map_surfaces(ROAD, pose, lidar), pose, along, lidar, rng)

    return {
        "fog": lambda: extinction_along(field, pose, *beams, 1.0),
        "cast": lambda: (map_surfaces(ROAD, pose, lidar), cast(solids, pose, *beams, DEPTH, False)),
        "ground": lambda: on_road(background.range, pose, *beams),
        "sample": lambda: sample_scan(table, fog, scene, rng),
        "quantise": lambda: quantise(*echoes),
        "scan": whole,
    }


def times(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Wall times of each, ms, after a warm-up; in turns, so that a busy machine slows all."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            clock = perf_counter()
            work()
            found[name].append(1e3 * (perf_counter() - clock))
    return {name: np.array(ms[1:]) for name, ms in found.items()}


def main(rounds: int) -> None:
    """Print a line per case: the shortest time of each part, and the whole's shortest and median."""
    solids = things()
    print(f"full scans, ms, {stay_on_one_core()}, {rounds} rounds; numba {numba.__version__}, NumPy {np.__version__}")
    print("each part's shortest time; of the whole the shortest and the median")
    for name, lidar, fog, limit in CASES:
        found = times(parts(lidar, draw_field(fog, fog.visibility, stream(0, "fog")), solids), rounds)
        shortest = "".join(f"{part:>10}{ms.min():6.2f}" for part, ms in found.items())
        verdict = (
            "" if limit == np.inf else f"   limit {limit:g}: {'kept' if found['scan'].min() < limit else 'BROKEN'}"
        )
        print(f"{name:24}{shortest}{np.median(found['scan']):8.2f}{verdict}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
