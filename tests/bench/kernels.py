"""Rates of the two hot kernels beside a NumPy peer of the same mathematics, timed in turns in this process.

python tests/bench/kernels.py
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numba
import numpy as np
import numpy_peers
from frame_time import stay_on_one_core

from filters.models import lidar_scan, object_echo
from filters.models.fog import fog_at
from filters.models.optics import echo_table
from filters.models.shapes import Hits, Solids
from filters.models.visibility import update_visibility, visibility_prior
from filters.particle import ParticleFilter
from filters.spec import BAG, BARRIER, CLASSES, Pose, Scan, Surfaces
from filters.stories import Stories
from filters.streams import stream
from fogsim import runner
from fogsim.background import background_of
from fogsim.followers import model_of
from fogsim.runner import prior_of, sweep
from fogsim.scenario import Hazard, Scenario
from fogsim.world import ego, world

ROUNDS = 15
BEAMS = 9600
TABLE = echo_table(Scenario().lidar.optics)


def best_times(ours: Callable[[], object], peer: Callable[[], object]) -> tuple[float, float]:
    """Shortest wall time of each, s, after a warm-up; in turns, so that a busy machine slows both."""
    seconds: list[list[float]] = [[], []]
    for _ in range(ROUNDS + 1):
        for times, work in zip(seconds, (ours, peer), strict=True):
            clock = perf_counter()
            work()
            times.append(perf_counter() - clock)
    return min(seconds[0][1:]), min(seconds[1][1:])


def scene_of(rng: np.random.Generator) -> lidar_scan.Scene:
    """Beams that meet a porous thing before a wall."""
    shape = (1, BEAMS, 1)
    things = Hits(rng.uniform(3.0, 30.0, shape), rng.uniform(0.1, 1.0, shape), np.zeros(shape, np.int64))
    solids = Solids(**{f: np.array([{"fill": 0.8, "reflectance": 0.3}.get(f, 0.1)]) for f in Solids._fields})
    behind = Surfaces(*(rng.uniform(low, high, shape[:2]) for low, high in ((20.0, 60.0), (0.1, 1.0), (0.1, 0.6))))
    return lidar_scan.Scene(things, solids, behind, np.zeros(shape[:2], bool))


def sampling() -> None:
    """Beams per second of `sample_scan`."""
    scene, alpha = scene_of(stream(0, "beams")), float(np.log(20.0) / 25.0)
    fog, rngs = fog_at(TABLE, alpha), (stream(0, "ours"), stream(0, "peer"))
    drawn = [lidar_scan.sample_scan(TABLE, fog, scene, rngs[0]).label.ravel() for _ in range(20)]
    peers = [numpy_peers.sample_scan(TABLE, alpha, scene, rngs[1])[2] for _ in range(20)]
    counts = np.array([np.bincount(np.concatenate(labels), minlength=8) for labels in (drawn, peers)])
    apart = np.abs(counts[0] - counts[1]) / np.sqrt(counts.sum(axis=0) + 1.0)
    assert (apart < 5.0).all(), f"not the same law: {counts}"
    ours, peer = best_times(
        lambda: lidar_scan.sample_scan(TABLE, fog, scene, rngs[0]),
        lambda: numpy_peers.sample_scan(TABLE, alpha, scene, rngs[1]),
    )
    show("sample_scan, M beams/s", BEAMS / 1e6, ours, peer)


def scan_of(scenario: Scenario, seed: int) -> Scan:
    """The first scan of a run."""
    start = world.start(scenario, seed)
    pose = ego.front(scenario.ego, start.ego)
    estimate = Pose(float(pose[0]), float(pose[1]), 0.0, float(pose[2]))
    background = background_of(scenario)
    returns = sweep(start, pose, scenario, background, stream(seed, "lidar"))
    return runner.scan_of(returns, estimate, scenario, background)


def weighing(klass: int) -> None:
    """Particle-beam evaluations per second of `object_log_ratios`: pairs of a particle and a beam that meets it."""
    scenario = Scenario(hazards=(Hazard(kind=CLASSES[klass], x=12.0, x_spread=0.5, y=0.0, y_spread=0.3),))
    scan, followed = scan_of(scenario, 3), ParticleFilter(model_of(scenario))
    stories = Stories(followed.model, klass, prior_of(scenario, scenario.hazards[0]).position)
    cloud = stories.draw(followed.particles, stream(0, "cloud", klass))
    window = object_echo.window_of(scan, cloud.place, followed.model.body, beams=32)
    report = visibility_prior(scenario.fog.visibility, scenario.fog.spread)
    fog, clutter = update_visibility(report, TABLE, *window.beams())
    log_visibility, solids = fog.mean + fog.deviation * cloud.u[:, -1], stories.solids(cloud.u, cloud.place)
    given = (TABLE, solids, log_visibility, window, clutter.nodes, object_echo.clutter_table(window, clutter))
    expected, pairs = numpy_peers.object_log_ratios(*given)
    np.testing.assert_allclose(object_echo.object_log_ratios(*given), expected, rtol=1e-4, atol=1e-3)
    ours, peer = best_times(
        lambda: object_echo.object_log_ratios(*given), lambda: numpy_peers.object_log_ratios(*given)
    )
    show(f"object_log_ratios, {CLASSES[klass]}, M pairs/s", pairs / 1e6, ours, peer)


def show(name: str, millions: float, ours: float, peer: float) -> None:
    """One line: our rate, the peer's, their ratio."""
    print(f"{name:44}{millions / ours:10.2f}{millions / peer:10.2f}{peer / ours:9.1f} x")


if __name__ == "__main__":
    print(f"kernels, {stay_on_one_core()}, best of {ROUNDS}; numba {numba.__version__}, NumPy {np.__version__}")
    print(f"{'':44}{'ours':>10}{'NumPy':>10}{'ratio':>11}")
    sampling()
    weighing(BARRIER)
    weighing(BAG)
