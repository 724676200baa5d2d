"""A candidate's place as one Gaussian in the odometry frame: what filters of the class alone carry beside it."""

from __future__ import annotations

import numpy as np

from filters.models.motion import BagMotion, frame_drift
from filters.spec import Array, EgoMotion, Gaussian, Status


def diffusion(bag: BagMotion) -> float:
    """Rate q (m²/s, per axis) at which a bag's position spreads, gusts averaged in.

    A share g of the time it is blown by an Ornstein-Uhlenbeck velocity that rises from rest and is forgotten when the
    gust ends, at rate c; else it wanders. In the long run

        q = (1 - g) wander² + g 2 s² T / ((1 + c T) (1 + c T / 2))
    """
    share, ended = bag.gust_share, bag.calm_rate * bag.gust_time
    blown = 2.0 * bag.gust_speed**2 * bag.gust_time / ((1.0 + ended) * (1.0 + 0.5 * ended))
    return (1.0 - share) * bag.wander**2 + share * blown


def predict_position(position: Gaussian, motion: EgoMotion, dt: float, rate: float) -> Gaussian:
    """P' = P + drift of the odometry frame + rate dt I; the mean stays, for the object stands or wanders.

    `rate` (m²/s) is P(bag) times `diffusion`, for a barrier does not move; `dt` is in s.
    """
    noise = frame_drift(motion, position.mean) + rate * dt * np.eye(2)
    return Gaussian(position.mean, position.covariance + noise)


def update_position(position: Gaussian, z: Array, R: Array) -> tuple[Gaussian, float, Status]:
    """Kalman update by a cluster at z ~ N(x, R), in Joseph's form; z is NaN when nothing was seen.

        S = P + R,  K = P S⁻¹,  x' = x + K (z - x),  P' = (I - K) P (I - K)' + K R K'

    Returns
    -------
    tuple
        The posterior, NIS = (z - x)' S⁻¹ (z - x) (NaN if unseen), and NOT_POSITIVE, with the position
        as it was, where S is not positive definite.
    """
    if not (np.isfinite(z).all() and np.isfinite(R).all()):
        return position, float("nan"), Status.OK
    x, P = position
    S = P + R
    try:
        np.linalg.cholesky(S)
    except np.linalg.LinAlgError:
        return position, float("nan"), Status.NOT_POSITIVE
    K = np.linalg.solve(S, P).T
    innovation = z - x
    rest = np.eye(2) - K
    covariance = rest @ P @ rest.T + K @ R @ K.T
    nis = float(innovation @ np.linalg.solve(S, innovation))
    return Gaussian(x + K @ innovation, 0.5 * (covariance + covariance.T)), nis, Status.OK
