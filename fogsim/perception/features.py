"""What perception measures on a cluster: the values of `filters.spec.FEATURES`."""

from __future__ import annotations

import numpy as np

from filters.models.optics import EchoTable, extinction
from filters.spec import FEATURES, Array, Features, Gaussian, Scan
from fogsim.perception.segment import Points


def measure(
    scan: Scan, points: Points, predicted: Gaussian, speed: float, log_visibility: float, table: EchoTable
) -> Features:
    """Features of one candidate's cluster; with no points, what a look at the predicted place gives."""
    values = dict.fromkeys(FEATURES, 0.0)
    origin = np.array([scan.pose.x, scan.pose.y])
    values["log_visibility"] = log_visibility
    if len(points.range) == 0:
        values |= {"distance": float(np.hypot(*(predicted.mean - origin))), "lateral": float(predicted.mean[1])}
        nowhere = np.full(2, np.nan)
        return Features(np.array([values[k] for k in FEATURES]), nowhere, np.full((2, 2), np.nan), scan.pose)
    place = points.xyz[:, :2].mean(axis=0)
    sight = (place - origin) / np.hypot(*(place - origin))
    along = (points.xyz[:, :2] - place) @ sight
    across = (points.xyz[:, :2] - place) @ np.array([-sight[1], sight[0]])
    distance = float(np.hypot(*(place - origin)))
    values |= {
        "detected": 1.0,
        "log_count": float(np.log1p(len(along))),
        "distance": distance,
        "lateral": float(place[1]),
        "width": float(np.ptp(across)),
        "depth": float(np.ptp(along)),
        "top": float(points.xyz[:, 2].max()),
        "speed": speed,
        "log_power": float(np.log(points.power).mean()),
        "power_spread": float(np.log(points.power).std()),
        "log_reflectance": log_reflectance(points, log_visibility, table),
        **profile(along, across),
        **porosity(scan, points),
    }
    spread = np.array([[sight[0], -sight[1]], [sight[1], sight[0]]])
    variance = np.array([0.05**2 + along.var() / len(along), 0.05**2 + across.var() / len(across)])
    return Features(np.array([values[k] for k in FEATURES]), place, spread * variance @ spread.T, scan.pose)


def log_reflectance(points: Points, log_visibility: float, table: EchoTable) -> float:
    """Mean ln rho cos(theta): P_hard = A (rho cos/pi) T² xi / R² solved for it."""
    alpha = extinction(np.exp(log_visibility))
    overlap = np.clip((points.range - table.near) / (table.far - table.near), 1e-3, 1.0)
    clear = table.gain / np.pi * overlap / points.range**2
    return float(np.mean(np.log(points.power / clear) + 2.0 * alpha * points.range))


def profile(along: Array, across: Array) -> dict[str, float]:
    """Parabola of depth over width: its residual, and how far the edges lie behind the middle."""
    if len(along) < 4 or np.ptp(across) < 0.05:
        return {"roughness": float(along.std()), "bulge": 0.0}
    design = np.stack([np.ones_like(across), across, across**2], axis=1)
    coefficients = np.linalg.lstsq(design, along, rcond=None)[0]
    residual = along - design @ coefficients
    freedom = max(len(along) - 3, 1)
    half = 0.5 * np.ptp(across)
    return {"roughness": float(np.sqrt(residual @ residual / freedom)), "bulge": float(coefficients[2] * half**2)}


def porosity(scan: Scan, points: Points) -> dict[str, float]:
    """Shares of the beams inside the outline (each ring between its outermost echoes) that stop, and that pass."""
    inside = stopped = passed = 0
    for ring in np.unique(points.ring):
        columns = points.column[points.ring == ring]
        window = slice(columns.min(), columns.max() + 1)
        heard = scan.power[ring, window] > 0.0
        behind = np.abs(scan.range[ring, window] - scan.background.range[ring, window, None]) < 0.35
        inside += columns.max() + 1 - columns.min()
        stopped += len(np.unique(columns))
        passed += int((heard & behind).any(axis=-1).sum())
    return {"fill": stopped / inside, "passed": passed / inside}
