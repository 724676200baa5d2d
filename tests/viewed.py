"""Frames and logs made up for the viewer's tests."""

from __future__ import annotations

import json

import numpy as np

from fogsim.frame import DETECTION, MAX_TRACKS, Dims, Frame, schema
from fogsim.scenario import Lidar, Scenario
from fogsim.viewer import style

pygame = style.pygame
BELIEFS = ("kalman", "particle", "kernel_bayes", "bnn", "fused")
DIMS = Dims(ring=4, column=60, echo=1, belief=len(BELIEFS))
LIDAR = Lidar(rings=4, columns=60, lowest_deg=-6.0, highest_deg=2.0)
SCENARIO = Scenario(lidar=LIDAR)


def slots(values, empty) -> np.ndarray:
    """Values of the candidates in an array of all slots."""
    values = np.asarray(values, float)
    return np.concatenate([values, np.full((MAX_TRACKS - len(values), *values.shape[1:]), empty)])


def frame(**given) -> Frame:
    """A plausible frame: ego 5 m down the road, one barrier 20 m ahead, even beliefs; `given` replaces fields."""
    values = {c.name: np.zeros(c.shape(DIMS), c.dtype) for c in schema()}
    rng = np.random.default_rng(0)
    barrier = np.array([25.0, -0.6])
    values |= {
        "time": 0.7,
        "ego_pose": np.array([5.0, 0.0, 0.0]),
        "ego_speed": 7.2,
        "odometry": np.array([5.0, 0.0, 0.0]),
        "radar": np.full((1, len(DETECTION)), np.nan),
        "loss_table": [[0.0, 100.0], [1.0, 40.0], [3.0, 5.0], [6.0, 1.0]],
        "threshold": np.nan,
        "visibility": 25.0,
        "track_id": slots([0], -1),
        "truth_class": slots([1], -1),
        "truth_position": slots([barrier], 0.0),
        "truth_size": slots([[0.6, 1.8, 0.9]], 0.0),
        "distance_left": slots([20.0], np.nan),
        "log_probs": beliefs_of(0.5),
        "position_mean": np.tile(barrier, (5, MAX_TRACKS, 1)),
        "position_covariance": np.tile(np.diag([0.8, 0.3]), (5, MAX_TRACKS, 1, 1)),
        "epistemic": np.repeat([np.nan, np.nan, np.nan, 0.05, np.nan], MAX_TRACKS).reshape(5, -1),
        "expected_loss": np.tile([50.0, 20.5, 4.0, 3.5], (5, 1)),
        "points": rng.normal([25.0, -0.6], [0.8, 0.3], (5, MAX_TRACKS, DIMS.point, 2)).astype(np.float32),
    }
    scan = rng.integers(600, 3000, (4, 60, 1)).astype(np.uint16)  # 3 to 15 m
    values |= {"range": scan, "power": np.full_like(scan, 640), "label": np.full(scan.shape, 2, np.uint8)}
    values |= given
    dtypes = {c.name: c.dtype for c in schema()}
    return Frame(**{name: np.asarray(value, dtypes[name]) for name, value in values.items()})


def beliefs_of(p: float) -> np.ndarray:
    """log_probs of all beliefs saying P(barrier) = p."""
    return np.broadcast_to(np.log([1.0 - p, p]), (5, MAX_TRACKS, 2))


class Memory:
    """A log in memory: as much of `Replay` as a viewer reads."""

    def __init__(self, frames: list[Frame], scenario: Scenario = SCENARIO) -> None:
        self.frames, self.seed, self.beliefs = frames, 7, BELIEFS
        self.scenario = json.loads(scenario.json)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        return self.frames[index]

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_) -> None: ...

    def column(self, name: str, or_absent: bool = False, start: int = 0) -> np.ndarray:
        return np.array([getattr(f, name) for f in self.frames[start:]])


def drive(n: int = 30) -> Memory:
    """A log of n frames, 0.1 s apart, at 7 m/s."""
    return Memory([frame(time=0.1 * k, ego_pose=[0.7 * k, 0, 0], odometry=[0.7 * k, 0, 0]) for k in range(n)])


def pixels(surface) -> np.ndarray:
    """Colours (width, height, 3) of a picture."""
    return pygame.surfarray.array3d(surface).astype(int)


def near(image: np.ndarray, at, colour, reach: int = 2, tolerance: int = 90) -> bool:
    """Whether a colour is found within `reach` pixels of a place."""
    x, y = at
    patch = image[x - reach : x + reach + 1, y - reach : y + reach + 1]
    return bool((np.abs(patch - colour).sum(axis=2) < tolerance).any())


def said(monkeypatch, drawing) -> list[str]:
    """The words that are written while something is drawn."""
    found, write = [], style.write

    def noted(surface, words, *given, **named):
        found.append(words)
        return write(surface, words, *given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(style, "write", noted)
        drawing()
    return found
