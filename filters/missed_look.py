"""A look that found no cluster as evidence: how likely that was, and where it leaves the object.

The chance of a cluster depends on class and fog: see `filters.models.detection`.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from filters.imm import Bank
from filters.models.detection import detection_probability, expected_echoes
from filters.models.model import Model
from filters.models.outline import LEAST_WIDTH, REFLECTANCE, TOP, WIDTH, X, Y, setback
from filters.spec import BARRIER, Array, Features

# Chance of a cluster where no echo is expected (.002 to .01 in simulated encounters), and where many are: all were
# found there, but misses of one object are not independent, so that each is worth ln 100 at most.
MISSED, SURE = 0.003, 0.99
NEAREST = 3.0  # m: a node of the quadrature nearer than this is as likely seen as there


def lattice(pairs: int) -> Array:
    """Points (2 pairs, 3) of a standard normal, mean 0 and covariance 1 exactly: a lattice and its mirror image.

    u_i = frac(1/2 + i / g^k), g the root of g⁴ = g + 1 (Roberts 2018): no two points share a coordinate, so that the
    steps in the chance of a cluster, where a ring rises above the top, are met as often as they should; on a grid of
    Gauss-Hermite nodes whole planes of points cross a step at once.
    """
    g = 1.2207440846057596
    half = ndtri((0.5 + np.outer(np.arange(1.0, pairs + 1.0), g ** -np.arange(1.0, 4.0))) % 1.0)
    points = np.concatenate([half, -half])
    spread = np.linalg.cholesky(points.T @ points / len(points))
    return np.asarray(np.linalg.solve(spread, points.T).T)


NODES = lattice(128)
NODE_WEIGHTS = np.full(len(NODES), 1.0 / len(NODES))


def bounds(model: Model, klass: int) -> tuple[Array, Array]:
    """Least and greatest (top, ln reflectance) of a class."""
    barrier, bag = model.barrier, model.bag
    top = barrier.height if klass == BARRIER else (2.0 * bag.radius[0], 2.0 * bag.radius[1])
    bright = (barrier if klass == BARRIER else bag).reflectance
    low, high = (np.array([top[k], np.log(bright[k])]) for k in (0, 1))
    return low, high


def look_for(model: Model, klass: int, bank: Bank, features: Features) -> tuple[Array, Bank]:
    """P(cluster) of every mode (m,), and the bank given that there was none, its modes' probabilities as they were.

    Both are quadratures over place ahead, top and reflectance u ~ N(m, S): a miss says the object is
    farther, between two rings or darker. Its moments m', S' move the whole state by K = P_u S⁻¹:
    x + K(m' - m), P + K(S' - S)K'. What may echo is the near side, by `setback` nearer than the place. A node beyond
    the class's bounds is as likely seen as one at them, so that a miss that tells nothing changes nothing, and one
    after another cannot shrink the object away.
    """
    u = [X, TOP, REFLECTANCE]
    S = bank.covariance[:, u][:, :, u] + 1e-9 * np.eye(3)
    nodes = bank.mean[:, None, u] + NODES @ np.linalg.cholesky(S).transpose(0, 2, 1)
    chance = chances(model, klass, bank.mean, nodes, features)
    unseen = NODE_WEIGHTS * (1.0 - chance)
    unseen = unseen / unseen.sum(axis=1, keepdims=True)
    mean = np.einsum("mn,mni->mi", unseen, nodes)
    spread = nodes - mean[:, None]
    moved = (unseen[:, :, None] * spread).transpose(0, 2, 1) @ spread
    K = bank.covariance[:, :, u] @ np.linalg.inv(S)
    shift = np.einsum("mij,mj->mi", K, mean - bank.mean[:, u])
    after = bank.covariance + K @ (moved - S) @ K.transpose(0, 2, 1)
    return chance @ NODE_WEIGHTS, bank._replace(mean=bank.mean + shift, covariance=after)


def chances(model: Model, klass: int, mean: Array, nodes: Array, features: Features) -> Array:
    """P(cluster) at nodes (m, n, 3) of the modes' place ahead, top and reflectance; the rest is at their means."""
    low, high = bounds(model, klass)
    top, bright = np.moveaxis(nodes[:, :, 1:].clip(low, high), -1, 0)
    width = np.maximum(mean[:, WIDTH, None], LEAST_WIDTH)
    distance = np.hypot(nodes[:, :, 0] - features.pose.x, mean[:, Y, None] - features.pose.y)
    distance = np.maximum(distance - setback(model, klass, width), NEAREST)
    echoes = expected_echoes(model, klass, features.pose.z, distance, width, top, bright, features.log_visibility)
    return MISSED + (SURE - MISSED) * detection_probability(echoes)
