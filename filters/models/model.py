"""Model: everything a filter assumes of sensor, shapes and motion, in one frozen value."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import hypot

from filters.models.motion import BagMotion
from filters.models.optics import Optics
from filters.models.radar import Radar
from filters.models.shapes import BagPrior, BarrierPrior
from filters.models.visibility_sensor import VisibilitySensor


@dataclass(frozen=True)
class Model:
    """What a filter is told at construction; a scenario makes one (`fogsim.scenario.Scenario.model`).

    Parameters
    ----------
    elevation : tuple of float
        Elevation of each ring, rad.
    azimuth_step : float
        Between columns, rad.
    fog_drift : float
        Log-sd per sqrt(s) by which the visibility is taken to wander; 0 where the fog is announced as even.
    """

    optics: Optics = field(default_factory=Optics)
    barrier: BarrierPrior = field(default_factory=BarrierPrior)
    bag: BagPrior = field(default_factory=BagPrior)
    motion: BagMotion = field(default_factory=BagMotion)
    elevation: tuple[float, ...] = (-0.0873, -0.0524, -0.0175, 0.0175)
    azimuth_step: float = 0.00349
    fog_drift: float = 0.0
    radar: Radar = field(default_factory=Radar)
    visibility_sensor: VisibilitySensor = field(default_factory=VisibilitySensor)

    @property
    def body(self) -> float:
        """Largest radius of any candidate in plan, m."""
        return max(hypot(0.5 * self.barrier.length[1], 0.5 * self.barrier.depth), self.bag.radius[1])

    @property
    def tallest(self) -> float:
        """Greatest height of any candidate, m."""
        return max(self.barrier.height[1], 2.0 * self.bag.radius[1])
