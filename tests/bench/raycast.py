"""Ray casting beside Open3D's RaycastingScene: one 64-ring sweep on ground and boxes, timed in turns in this process.

python tests/bench/raycast.py

Open3D is in the extra `peers`; on Debian it wants `apt install libusb-1.0-0 libgl1`.
"""

from __future__ import annotations

import os
from time import perf_counter

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numba
import numpy as np
from frame_time import stay_on_one_core

from filters.models.attitude import directions, rotation
from filters.models.shapes import BOX, GROUND, Hits, Solids
from filters.spec import Pose
from filters.streams import stream
from fogsim.sensors.raycast import cast

ROUNDS = 40
SIZES = (10, 62, 250, 1000)
STREET = 62  # boxes of one street; more are streets beside it
TARGET = 62
ELEVATION = np.radians(np.linspace(-24.8, 2.0, 64))
AZIMUTH = -np.pi + 2.0 * np.pi / 1800 * (np.arange(1800) + 0.5)
POSE = Pose(0.3, -0.2, 1.8, 0.1)
REACH = 3000.0  # m, of the peer's ground
FACES = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
TRIANGLES = FACES[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)


def town(n: int) -> Solids:
    """Houses and parked cars on both sides of a street 150 m long, about the sensor; nothing overlaps."""
    rng = stream(0, "town", n)
    rows: list[tuple[float, ...]] = []
    while len(rows) < n:
        k = len(rows) // STREET
        middle = 60.0 * (k + 1) // 2 * (-1) ** k
        row = [*lot(rng, middle, 10, (8.0, 13.0), (6.0, 11.0), (4.0, 12.0), 13.0)]
        row += lot(rng, middle, 21, (3.6, 5.0), (1.6, 1.95), (1.3, 2.2), 4.0)
        rows += row
    x, y, hx, hy, hz, yaw = np.array(rows[:n]).T.copy()
    zero, one = np.zeros(n), np.ones(n)
    return Solids(np.full(n, float(BOX)), x, y, hz, hx, hy, hz, yaw, zero, zero, 0.3 * one, one, 0.02 * one, 0.1 * one)


def lot(rng, middle, count, length, width, height, aside) -> list[tuple[float, ...]]:
    """`count` boxes (x, y, half extents, yaw) on either side of a street, nearly along it, with gaps between."""
    pitch = 150.0 / count
    return [
        (
            pitch * (k - 0.5 * (count - 1)) + rng.uniform(-0.5, 0.5),
            middle + side * (aside + 0.5 * width[1] + rng.uniform(0.0, 0.6)),
            0.5 * rng.uniform(*length),
            0.5 * rng.uniform(*width),
            0.5 * rng.uniform(*height),
            rng.uniform(-0.03, 0.03),
        )
        for side in (-1, 1)
        for k in range(count)
    ]


class Peer:
    """Open3D's scene of the same boxes as triangles, ground last, and its rays."""

    def __init__(self, library, solids: Solids) -> None:
        corners = np.array([[a, b, c] for a in (-1.0, 1.0) for b in (-1.0, 1.0) for c in (-1.0, 1.0)])
        vertices, triangles = [], []
        for i in range(len(solids.x)):
            R = np.array(rotation(solids.yaw[i], solids.pitch[i], solids.roll[i]))
            half, centre = (np.array([column[i] for column in c]) for c in (solids[4:7], solids[1:4]))
            vertices.append(corners * half @ R.T + centre)
            triangles.append(TRIANGLES + 8 * i)
        vertices.append(np.array([[-REACH, -REACH, 0], [REACH, -REACH, 0], [REACH, REACH, 0], [-REACH, REACH, 0]]))
        triangles.append(np.array([[0, 1, 2], [0, 2, 3]]) + 8 * len(solids.x))
        tensor = library.core.Tensor
        self.scene = library.t.geometry.RaycastingScene(nthreads=1)
        self.scene.add_triangles(
            tensor(np.concatenate(vertices).astype(np.float32)), tensor(np.concatenate(triangles).astype(np.uint32))
        )
        R = np.array(rotation(POSE.yaw, POSE.pitch, POSE.roll))
        ahead = directions(ELEVATION[:, None], AZIMUTH) @ R.T
        origin = np.broadcast_to(np.array(POSE[:3]), ahead.shape)
        self.rays = tensor(np.concatenate([origin, ahead], axis=-1).astype(np.float32))
        self.count = len(solids.x)

    def cast(self):
        """One sweep."""
        return self.scene.cast_rays(self.rays, nthreads=1)

    def differing(self, hits: Hits) -> float:
        """Share of beams that hit another box than ours, or the same more than 1 cm off."""
        answer = self.cast()
        box = answer["primitive_ids"].numpy().astype(np.int64) // 12
        what = np.where(box == self.count, GROUND, box)
        distance = answer["t_hit"].numpy()
        missed = np.isinf(distance) & np.isinf(hits.range[..., 0])
        with np.errstate(invalid="ignore"):
            same = (what == hits.what[..., 0]) & (np.abs(distance - hits.range[..., 0]) <= 0.01)
        return float((~(same | missed)).mean())


def best_times(*works) -> list[float]:
    """Shortest wall time of each, ms, after a warm-up; in turns, so that a busy machine slows all."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS + 1):
        for spent, work in zip(times, works, strict=True):
            clock = perf_counter()
            work()
            spent.append(1e3 * (perf_counter() - clock))
    return [min(spent[1:]) for spent in times]


def main() -> None:
    """Print a line per number of boxes, and fail where the house's limits are missed."""
    try:
        import open3d
    except ImportError as error:
        print(f"ray casting: skipped, Open3D cannot be loaded ({error}): pip install -c constraints.txt -e .[peers]")
        return
    beams = ELEVATION.size * AZIMUTH.size
    print(f"ray casting, {beams} beams, {stay_on_one_core()}, one thread, best of {ROUNDS}, ms;", end=" ")
    print(f"numba {numba.__version__}, Open3D {open3d.__version__}")
    print(f"{'boxes':>8}{'ours':>10}{'Open3D':>10}{'ratio':>10}{'ours, 3 surfaces':>20}{'hits that differ':>20}")
    for n in SIZES:
        solids = town(n)
        peer = Peer(open3d, solids)
        differing = peer.differing(cast(solids, POSE, ELEVATION, AZIMUTH, 1, True))
        ours, theirs, deep = best_times(
            lambda s=solids: cast(s, POSE, ELEVATION, AZIMUTH, 1, True),
            peer.cast,
            lambda s=solids: cast(s, POSE, ELEVATION, AZIMUTH, 3, True),
        )
        print(f"{n:8}{ours:10.3f}{theirs:10.3f}{theirs / ours:8.1f} x{deep:20.3f}{differing:20.1e}")
        assert differing <= 1e-4, f"{differing:.1e} of the hits differ"
        assert theirs > ours * (6.0 if n == TARGET else 1.0), f"only {theirs / ours:.1f} times Open3D at {n} boxes"


if __name__ == "__main__":
    main()
