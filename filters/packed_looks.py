"""A lidar's past looks end to end, so that one call tells stories through all of them: few stories, many looks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from filters.jit import jit
from filters.looks import FogLook, LidarLook, Look
from filters.models.object_echo import Window, object_log_ratios
from filters.models.optics import EchoTable
from filters.models.shapes import Solids
from filters.spec import Array, Pose, Surfaces
from filters.stories import Stories, Told

LARGE = 30_000  # numbers of a look from which on to copy it costs more than to call for it


class Beams(NamedTuple):
    """Windows one after another: poses (looks, 6), rings and columns (looks, 2) of each; all beams (beams, ...)."""

    pose: Array
    size: NDArray[np.intp]
    elevation: Array
    azimuth: Array
    range: Array
    power: Array
    scanned: NDArray[np.bool_]
    background: Surfaces


class LidarLooks(NamedTuple):
    """Several of `LidarLook`: steps (looks,), nodes (looks, nodes), background (beams, nodes), fog (2, looks, 1)."""

    steps: NDArray[np.intp]
    beams: Beams
    nodes: Array
    background: Array
    fog: Array

    def log_likelihood(self, stories: Stories, u: Array, told: Told) -> Array:
        """ln p(scan | story) (n, looks) less that of the background."""
        mean, deviation = self.fog
        places = np.ascontiguousarray(np.moveaxis(told.places[self.steps], 2, 0))
        v = mean + deviation * u[:, -1]
        return log_ratios_of_looks(stories.table, told.shapes, places, v, self.beams, self.nodes, self.background)


def packed(looks: Sequence[Look | FogLook]) -> tuple[Look | FogLook | LidarLooks, ...]:
    """The looks in their order, small ones of a lidar that follow each other as one."""
    result: list[Look | FogLook | LidarLooks] = []
    for small, group in groupby(looks, lambda look: isinstance(look, LidarLook) and look.background.size < LARGE):
        some = tuple(group)
        result += [end_to_end(cast("tuple[LidarLook, ...]", some))] if small else some
    return tuple(result)


def end_to_end(looks: Sequence[LidarLook]) -> LidarLooks:
    """Several looks, at least one, as one; all have as many nodes, and their beams as many echoes."""
    windows = [look.window for look in looks]

    def joined(parts: Sequence[np.ndarray], axes: int) -> np.ndarray:
        return np.concatenate([a.reshape(-1, *a.shape[axes:]) for a in parts])

    beams = Beams(
        np.array([w.pose for w in windows]),
        np.array([w.scanned.shape for w in windows]),
        joined([w.elevation for w in windows], 1),
        joined([w.azimuth for w in windows], 1),
        joined([w.range for w in windows], 2),
        joined([w.power for w in windows], 2),
        joined([w.scanned for w in windows], 2),
        Surfaces(*(joined(of, 2) for of in zip(*(w.background for w in windows), strict=True))),
    )
    return LidarLooks(
        np.array([look.steps for look in looks]),
        beams,
        np.array([look.nodes for look in looks]),
        joined([look.background for look in looks], 2),
        np.array([(look.fog.mean, look.fog.deviation) for look in looks]).T[..., None],
    )


@jit
def log_ratios_of_looks(
    table: EchoTable,
    shapes: Solids,
    places: Array,
    log_visibility: Array,
    beams: Beams,
    nodes: Array,
    background: Array,
) -> Array:
    """`object_log_ratios` (n, looks) of solids at places (2, looks, n), each look in a fog (looks, n) of its own."""
    s, b = shapes, beams
    result = np.empty((s.x.size, beams.size.shape[0]))
    ring = column = beam = 0
    for k in range(beams.size.shape[0]):
        rings, columns = beams.size[k]
        up, across = slice(ring, ring + rings), slice(column, column + columns)
        of, grid = slice(beam, beam + rings * columns), (rings, columns)
        x, y, z, yaw, pitch, roll = beams.pose[k]
        surfaces = Surfaces(
            b.background.range[of].reshape(grid),
            b.background.cosine[of].reshape(grid),
            b.background.reflectance[of].reshape(grid),
        )
        window = Window(
            Pose(x, y, z, yaw, pitch, roll),
            b.elevation[up],
            b.azimuth[across],
            b.range[of].reshape((rings, columns, b.range.shape[1])),
            b.power[of].reshape((rings, columns, b.power.shape[1])),
            b.scanned[of].reshape(grid),
            surfaces,
        )
        solids = Solids(
            s.kind, places[0, k], places[1, k], s.z, s.hx, s.hy, s.hz, s.yaw, s.pitch, s.roll,
            s.reflectance, s.fill, s.roughness, s.texture,
        )  # fmt: skip
        passed = background[of].reshape((rings, columns, background.shape[1]))
        result[:, k] = object_log_ratios(table, solids, log_visibility[k], window, nodes[k], passed)
        ring, column, beam = ring + rings, column + columns, beam + rings * columns
    return result
