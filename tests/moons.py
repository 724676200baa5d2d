"""Two moons as batches, and what turns them."""

from math import pi

import numpy as np

from filters.posterior.spec import Data


def two_moons(n: int, rng: np.random.Generator, turn: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 2), turned by an angle about their middle, and labels (n,)."""
    angle, label = pi * rng.random(n), rng.integers(2, size=n)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    x = np.where(label[:, None] == 0, upper, np.array([1.0, 0.5]) - upper) + 0.1 * rng.standard_normal((n, 2))
    c, s = np.cos(turn), np.sin(turn)
    return (x - [0.5, 0.25]) @ np.array([[c, s], [-s, c]]), label.astype(float)


def batch(n: int, rng: np.random.Generator, turn: float = 0.0) -> Data:
    return Data.of(*two_moons(n, rng, turn))
