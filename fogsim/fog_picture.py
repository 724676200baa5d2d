"""A real sweep before and after fog, seen from above."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from filters.models.lidar_echo import FOG, STRUCTURE
from fogsim.errors import UserError
from fogsim.fogging import FoggedScan

AHEAD, ASIDE = 34.0, 21.0  # m shown each way
RINGS = (10, 20, 30)  # m
GROUND, EDGE, TEXT, MUTED, GHOST = "#0a0d13", "#2c3442", "#e8ecf1", "#a3acba", "#5a6577"
KEPT_COLOUR, FOG_COLOUR, NOISE_COLOUR = "#56b4e9", "#e69f00", "#cc79a7"  # of Okabe and Ito's palette
DOT = 1.1  # points squared


def draw(points: np.ndarray, fogged: FoggedScan, visibility: float, path: Path) -> None:
    """Draw a sweep (n, 3) beside what fog made of it into a new file.

    On the right, dim, is what fog took away; kept points and echoes of fog and noise lie over it.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.8, 4.9), dpi=110, facecolor=GROUND)
    FigureCanvasAgg(figure)
    before, after = figure.subplots(1, 2)
    figure.subplots_adjust(0.008, 0.085, 0.992, 0.905, wspace=0.015)
    kept, fog = fogged.label == STRUCTURE, fogged.label == FOG
    noise = ~kept & ~fog
    taken = np.delete(points, fogged.source[kept], axis=0)
    panel(before, f"Clear air: {len(points):,} points")
    scatter(before, points, KEPT_COLOUR)
    panel(after, f"Fog, visibility {visibility:g} m: {len(fogged.label):,} points")
    scatter(after, taken, GHOST, 0.6 * DOT)
    for chosen, colour, size in ((kept, KEPT_COLOUR, DOT), (fog, FOG_COLOUR, DOT), (noise, NOISE_COLOUR, 8.0 * DOT)):
        scatter(after, fogged.points[chosen], colour, size)
    silent = len(points) - len(fogged.label)
    entries = [(KEPT_COLOUR, f"kept {kept.sum():,}"), (FOG_COLOUR, f"drawn into fog {fog.sum():,}")]
    if noise.any():
        entries.append((NOISE_COLOUR, f"false alarm {noise.sum():,}"))
    legend(after, [*entries, (GHOST, f"gone {len(taken):,} ({silent:,} without any echo)")])
    try:
        figure.savefig(path, facecolor=GROUND)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): choose another place") from error


def panel(axes: Any, title: str) -> None:
    """An empty view from above, rings of range about the sensor."""
    axes.set(xlim=(-AHEAD, AHEAD), ylim=(-ASIDE, ASIDE), aspect="equal", facecolor=GROUND, xticks=[], yticks=[])
    axes.set_title(title, color=TEXT, fontsize=13, loc="left", pad=7)
    for spine in axes.spines.values():
        spine.set_color(EDGE)
    angle = np.linspace(0.0, 2.0 * np.pi, 361)
    for ring in RINGS:
        axes.plot(ring * np.cos(angle), ring * np.sin(angle), color=EDGE, linewidth=0.8, zorder=0)
        label = {"color": MUTED, "fontsize": 8, "ha": "center", "va": "center", "zorder": 5}  # over the points
        place = np.radians(318.0)
        box = {"facecolor": GROUND, "edgecolor": "none", "pad": 1.0}
        axes.text(ring * np.cos(place), ring * np.sin(place), f"{ring} m", bbox=box, **label)


def scatter(axes: Any, points: np.ndarray, colour: str, size: float = DOT) -> None:
    """Points from above, of those in view."""
    shown = points[(np.abs(points[:, 0]) < AHEAD) & (np.abs(points[:, 1]) < ASIDE)]
    axes.scatter(shown[:, 0], shown[:, 1], s=size, c=colour, linewidths=0)


def legend(axes: Any, entries: list[tuple[str, str]]) -> None:
    """Colours and what they are, below the view."""
    from matplotlib.lines import Line2D

    dots = [Line2D([], [], linestyle="", marker="o", markersize=6, color=colour) for colour, _ in entries]
    axes.legend(
        dots,
        [name for _, name in entries],
        loc="upper left",
        bbox_to_anchor=(-0.01, -0.01),
        ncols=len(entries),
        frameon=False,
        labelcolor=TEXT,
        fontsize=9.5,
        handletextpad=0.1,
        columnspacing=1.3,
    )
