"""Which cluster is which candidate: gated, assigned jointly, each track a Gaussian in the odometry frame."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from filters.models.motion import frame_drift
from filters.spec import Array, EgoMotion, Gaussian
from fogsim.perception.segment import Points, clusters

GATE = 13.8  # squared Mahalanobis distance that 99.9 % of true clusters in the plane stay below
BODY = 0.3  # m, how far a cluster's centre may lie from the object's
RESTLESS = 0.5  # m/s, how fast a candidate may move: a bag in a gust
NEVER = 1e6  # cost of an assignment outside the gate


class Track(NamedTuple):
    """One candidate as perception follows it; `seen` is where its last cluster was, NaN before the first."""

    position: Gaussian
    seen: Array
    seen_at: float


def start(position: Gaussian) -> Track:
    """A candidate as announced."""
    return Track(position, np.full(2, np.nan), np.nan)


def predict(track: Track, motion: EgoMotion, dt: float) -> Track:
    """Let the candidate wander and the frame drift."""
    mean, covariance = track.position
    return track._replace(
        position=Gaussian(mean, covariance + (RESTLESS * dt) ** 2 * np.eye(2) + frame_drift(motion, mean))
    )


def update(track: Track, place: Array, echoes: int, time: float) -> Track:
    """Kalman update of the place by a cluster's centre."""
    mean, P = track.position
    R = (BODY**2 / echoes + 0.1**2) * np.eye(2)
    K = P @ np.linalg.inv(P + R)
    return Track(Gaussian(mean + K @ (place - mean), (np.eye(2) - K) @ P), place, time)


def distance(track: Track, places: Array) -> Array:
    """Squared Mahalanobis distances of places (n, 2) from where the track may be."""
    S = track.position.covariance + BODY**2 * np.eye(2)
    off = places - track.position.mean
    return np.einsum("ni,ij,nj->n", off, np.linalg.inv(S), off)


def assign(tracks: list[Track], points: Points) -> list[np.ndarray]:
    """Indices into points of each track's cluster, empty where it has none.

    Cost of a pairing: squared distance less 2 ln(echoes), so that of two clusters in the gate the fuller wins.
    """
    if not tracks:
        return []
    near = np.flatnonzero(np.any([distance(t, points.xyz[:, :2]) < GATE for t in tracks], axis=0))
    groups = [near[g] for g in clusters(points.take(near))]
    result = [np.array([], int) for _ in tracks]
    if not groups:
        return result
    centres = np.array([points.xyz[g, :2].mean(axis=0) for g in groups])
    far = np.array([distance(t, centres) for t in tracks])
    cost = np.where(far < GATE, far - 2.0 * np.log([len(g) for g in groups]), NEVER)
    for t, g in zip(*linear_sum_assignment(cost), strict=True):
        if cost[t, g] < NEVER:
            result[t] = groups[g]
    return result
