"""One Gaussian meets one measurement: FilterPy's linear, extended and unscented Kalman updates, with evidence and NIS.

    S = H P H' + R,   y = z - h(x),   NIS = y' S⁻¹ y,   ln p(z) = -(NIS + ln det S + d ln 2 pi) / 2

Where h is linear the three are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from filterpy.kalman import ExtendedKalmanFilter, MerweScaledSigmaPoints, UnscentedKalmanFilter

from filters.spec import Array


class Update(NamedTuple):
    """A Gaussian after a measurement: mean, covariance, ln p(z | past), NIS, innovation y and its covariance S."""

    mean: Array
    covariance: Array
    log_evidence: float
    nis: float
    innovation: Array
    S: Array


def ekf_update(
    mean: Array,
    covariance: Array,
    z: Array,
    look: Callable[[Array], tuple[Array, Array]],
    R: Array,
) -> Update:
    """FilterPy's extended Kalman update. `look(x)` gives h(x) and its Jacobian H."""
    kf = ExtendedKalmanFilter(len(mean), len(z))
    kf.x, kf.P = mean.copy(), covariance.copy()
    h, H = look(mean)
    kf.update(z, lambda x: H, lambda x: h, R)
    return finish(kf)


def ukf_update(
    mean: Array,
    covariance: Array,
    z: Array,
    h: Callable[[Array], Array],
    R: Array,
) -> Update:
    """FilterPy's unscented Kalman update, `h` taking points (n, d) to measurements (n, m).

    Sigma points are Merwe's with alpha 1, beta 0, kappa 0: 2d points at sqrt(d) deviations of equal weight, none
    negative, so that S stays positive definite.
    """
    points = MerweScaledSigmaPoints(len(mean), 1.0, 0.0, 0.0)
    kf = UnscentedKalmanFilter(len(mean), len(z), 1.0, None, None, points)
    kf.x, kf.P = mean.copy(), covariance.copy()
    kf.sigmas_f = points.sigma_points(mean, covariance + 1e-12 * np.eye(len(mean)))
    looks = iter(h(kf.sigmas_f))
    kf.update(z, R, hx=lambda x: next(looks))
    return finish(kf)


def finish(kf: ExtendedKalmanFilter | UnscentedKalmanFilter) -> Update:
    """Evidence and NIS of FilterPy's last update; its `log_likelihood` costs three times as much."""
    nis = float(kf.y @ kf.SI @ kf.y)
    log_evidence = -0.5 * (nis + np.linalg.slogdet(kf.S)[1] + len(kf.y) * np.log(2.0 * np.pi))
    return Update(kf.x, 0.5 * (kf.P + kf.P.T), float(log_evidence), nis, kf.y, kf.S)
