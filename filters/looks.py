"""What a candidate was seen or heard in: one scan, kept so that any story can be weighed by it, now and later."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

from filters.models.object_echo import Echoes, Window, object_log_ratios
from filters.models.radar import object_log_ratios as radar_log_ratios
from filters.models.radar import sources_of
from filters.models.visibility import Visibility
from filters.spec import Array, RadarScan
from filters.stories import Stories, Told

NO_ECHOES = Echoes(np.zeros((0, 2)), np.zeros(0))


class LidarLook(NamedTuple):
    """A lidar's scan, with what it would be of the background alone.

    Parameters
    ----------
    steps : int
        How many steps of the stories came before it.
    nodes : array (nodes,)
        ln visibility.
    background : array (rings, columns, nodes)
        ln p(beam | background, v).
    fog : Visibility
        In whose deviations a story's last latent tells ln visibility v.
    echoes : Echoes
        Where a candidate's centre may be, of which the map knows nothing.
    """

    steps: int
    window: Window
    nodes: Array
    background: Array
    fog: Visibility
    echoes: Echoes

    def log_likelihood(self, stories: Stories, u: Array, told: Told) -> Array:
        """ln p(scan | story) (n,) less that of the background."""
        v = self.fog.mean + self.fog.deviation * u[:, -1]
        solids = told.solids(told.places[self.steps])
        return object_log_ratios(stories.table, solids, v, self.window, self.nodes, self.background)


class RadarLook(NamedTuple):
    """A radar's scan, taken `age` s before the last of the steps that came before it."""

    steps: int
    scan: RadarScan
    age: float
    echoes: Echoes = NO_ECHOES

    def log_likelihood(self, stories: Stories, u: Array, told: Told) -> Array:
        """ln p(scan | story) (n,) less that of the background."""
        radar, velocity = stories.model.radar, told.velocities[self.steps]
        solids = told.solids(told.places[self.steps] - self.age * velocity)
        mean, spread = radar.material(stories.klass)
        seen = sources_of(radar, solids, mean + spread * u[:, -2], velocity, self.scan.pose, self.scan.velocity)
        return radar_log_ratios(radar, self.scan, seen)


class FogLook(NamedTuple):
    """What the background's beams of all scans say of v = ln visibility, beyond N(fog), as which stories draw it.

    `moments` are what they say as mean and deviation.
    `log_density` is ln p(v, scans | background), up to a constant; outside of its knots it is taken as -inf.
    """

    fog: Visibility
    moments: Visibility
    log_density: CubicSpline

    def log_likelihood(self, stories: Stories, u: Array, told: Told) -> Array:
        """ln p(v, scans) - ln N(v; fog) (n,) up to a constant."""
        v = self.fog.mean + self.fog.deviation * u[:, -1]
        inside = (self.log_density.x[0] < v) & (v < self.log_density.x[-1])
        return np.where(inside, self.log_density(v) + 0.5 * u[:, -1] ** 2, -np.inf)


Look = LidarLook | RadarLook
