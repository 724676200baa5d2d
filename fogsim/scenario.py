"""Scenario: one frozen value that names a whole encounter."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field

from filters.decision import POLICIES, Loss
from filters.models.motion import BagMotion
from filters.models.optics import Optics
from filters.models.shapes import BagPrior, BarrierPrior
from fogsim.errors import UserError, are_numbers, did_you_mean
from fogsim.sensors.lidar import LIDAR_64, Lidar
from fogsim.sensors.odometry import Odometry
from fogsim.world.setting import Ego, Fog, Hazard, Road, Setting

__all__ = [
    "LIDAR_64",
    "BagMotion",
    "BagPrior",
    "BarrierPrior",
    "Driver",
    "Ego",
    "Fog",
    "Hazard",
    "Lidar",
    "Loss",
    "Odometry",
    "Optics",
    "Road",
    "Scenario",
    "Street",
]


@dataclass(frozen=True)
class Street:
    """A real sweep as the street: `scan` is a path, "" means the built-in road."""

    scan: str = ""
    layout: str = "auto"  # kitti, stf, or auto
    sensor_height: float = 1.73  # m above the road, of the sensor that made the sweep


@dataclass(frozen=True)
class Driver:
    """Which belief drives, under which policy; "open_loop" only ever proceeds."""

    belief: str = "fused"
    policy: str = "bayes"

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise UserError(f"unknown driver.policy {self.policy!r}: {did_you_mean(self.policy, list(POLICIES))}")


@dataclass(frozen=True)
class Scenario(Setting):
    """Everything that with a seed determines a run; `Setting`'s fields come first."""

    name: str = "creeping_fog"
    lidar: Lidar = field(default_factory=Lidar)
    odometry: Odometry = field(default_factory=Odometry)
    street: Street = field(default_factory=Street)
    driver: Driver = field(default_factory=Driver)
    loss: Loss = field(default_factory=Loss)
    filters: tuple[str, ...] = ("kalman", "particle", "kernel_bayes", "bnn")
    duration: float = 15.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if are_numbers(self.dt, self.duration) and not self.dt <= self.duration < 1e6:
            raise UserError(f"duration is {self.duration} s, expected at least dt = {self.dt} and finite")

    @property
    def json(self) -> str:
        """The resolved scenario, canonical."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @property
    def hash(self) -> str:
        """sha256 of `json`."""
        return hashlib.sha256(self.json.encode()).hexdigest()
