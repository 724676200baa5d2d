"""What the fog hides from ego: a bank is drawn where it has drifted to; a top and patches are left out."""

from __future__ import annotations

import numpy as np

from filters.spec import Array
from fogsim.frame import Frame
from fogsim.viewer.view import View

STEP = 0.25  # m, of the integral along the road


def hidden(frame: Frame, view: View, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """1 - exp(-∫ alpha ds) from ego to places at x (n,) and y (m,), m in the world: (n, m).

    alpha = alpha_0 (1 + (visibility / bank's - 1) w(x)), w 1 within the bank: so along a straight line the integral is
    alpha_0 times its length times the mean of the bracket over the x it covers.
    """
    alpha = np.log(20.0) / float(frame.visibility)
    start = frame.ego_pose[:2]
    distance = np.hypot(x[:, None] - start[0], y - start[1])
    along = np.arange(min(x.min(), start[0]) - STEP, max(x.max(), start[0]) + STEP, STEP)
    sums = np.concatenate([[0.0], np.cumsum(thickness(frame, view, along[:-1] + 0.5 * STEP) * STEP)])
    ahead = np.interp(x, along, sums) - np.interp(start[0], along, sums)
    away = x - start[0]
    level = np.abs(away) > 1e-6
    mean = np.where(level, ahead / np.where(level, away, 1.0), thickness(frame, view, start[:1]))
    return 1.0 - np.exp(-alpha * mean[:, None] * distance)


def thickness(frame: Frame, view: View, x: Array) -> Array:
    """Extinction at x (n,) over that of the fog at large."""
    begin, end = view.bank + view.wind * float(frame.time)
    within = smoothstep((x - begin) / view.bank_edge) * smoothstep((end - x) / view.bank_edge)
    return 1.0 + (view.bank_density - 1.0) * within


def smoothstep(x: Array) -> Array:
    """0 below -1/2, 1 above 1/2, and 3 y² - 2 y³ of y = x + 1/2 between, as the world has it."""
    y = np.clip(x + 0.5, 0.0, 1.0)
    return y * y * (3.0 - 2.0 * y)
