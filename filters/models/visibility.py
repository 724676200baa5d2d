"""Visibility as a latent: what a scan's own clutter says of the fog.

Every beam fires through fog, so a thousand beams' fog echoes (or their lack) and dimmed background pin
ln visibility down to a percent in one scan. The posterior is kept Gaussian in ln visibility and found
by quadrature on nodes that close in on it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from filters.models.lidar_echo import log_density_background
from filters.models.optics import EchoTable, extinction
from filters.models.shapes import BACKGROUND_ROUGHNESS, BACKGROUND_TEXTURE
from filters.spec import Array, Surfaces

NODES = 20
REACH = 4.0  # nodes span the mean +- REACH deviations
SMALLEST = 1e-3  # ln m: below this the model itself is not exact


class Visibility(NamedTuple):
    """ln visibility ~ N(mean, deviation²)."""

    mean: float
    deviation: float


class Clutter(NamedTuple):
    """ln L (nodes, beams) of each beam under the background alone, at nodes of ln visibility."""

    nodes: Array
    log_density: Array


def visibility_prior(visibility: float, spread: float) -> Visibility:
    """The weather report as a prior."""
    return Visibility(float(np.log(visibility)), max(spread, SMALLEST))


def predict_visibility(now: Visibility, drift: float, dt: float) -> Visibility:
    """A random walk of ln visibility, log-sd `drift` per sqrt(s): ego drives through uneven fog, or it drifts by."""
    return now._replace(deviation=float(np.hypot(now.deviation, drift * np.sqrt(dt))))


def update_visibility(
    prior: Visibility, table: EchoTable, ranges: Array, powers: Array, background: Surfaces, count: int = NODES
) -> tuple[Visibility, Clutter]:
    """Posterior of ln visibility given beams (n, echoes), as if only the background (n,) stood behind them.

    Quadrature: p(v | z) ∝ N(v; prior) Π_b L_b(v) on `count` nodes, re-centred until they resolve it. Few suffice where
    no one reads the beams' own densities between them.
    """
    mean, deviation = prior
    for _ in range(10):
        nodes = mean + deviation * np.linspace(-REACH, REACH, count)
        log_density = log_density_background(
            table,
            extinction(np.exp(nodes)),
            ranges,
            powers,
            background.range,
            background.cosine,
            background.reflectance,
            BACKGROUND_ROUGHNESS,
            BACKGROUND_TEXTURE,
        )
        log_weights = -0.5 * ((nodes - prior.mean) / prior.deviation) ** 2 + log_density.sum(axis=1)
        if not np.isfinite(log_weights.max()):  # no fog explains these beams: learn nothing from them
            return prior, Clutter(nodes, log_density)
        weights = np.exp(log_weights - log_weights.max())
        weights /= weights.sum()
        mean = float(weights @ nodes)
        found = float(np.sqrt(weights @ (nodes - mean) ** 2))
        spacing = nodes[1] - nodes[0]
        cut = weights[0] + weights[-1] > 1e-3  # the posterior reaches beyond the nodes
        resolved = found > 0.9 * spacing and not cut
        deviation = max(found, deviation if cut else 0.5 * spacing, SMALLEST)
        if resolved:
            break
    return Visibility(mean, deviation), Clutter(nodes, log_density)
