"""Scenario: one frozen value that names a whole encounter."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from math import inf
from typing import Any

from filters.card import Card
from filters.losses import Loss, PhysicalLoss
from filters.models.motion import BagMotion
from filters.models.odometry import Odometry
from filters.models.optics import Optics
from filters.models.radar import Radar
from filters.models.shapes import BagPrior, BarrierPrior
from filters.models.visibility_sensor import VisibilitySensor
from filters.policies import POLICIES
from fogsim.errors import UserError, are_numbers, did_you_mean, expect_positive
from fogsim.sensors.lidar import Lidar
from fogsim.sensors.presets import HDL_64, OS1_128, VLP_16
from fogsim.world.setting import Bank, Ego, Fog, Hazard, Layer, Road, Setting, Texture

__all__ = [
    "HDL_64",
    "OS1_128",
    "VLP_16",
    "Assumed",
    "BagMotion",
    "BagPrior",
    "Bank",
    "BarrierPrior",
    "Card",
    "Driver",
    "Ego",
    "Fog",
    "Hazard",
    "Layer",
    "Lidar",
    "Loss",
    "Odometry",
    "Optics",
    "PhysicalLoss",
    "Radar",
    "Road",
    "Scenario",
    "Street",
    "Texture",
    "Then",
    "VisibilitySensor",
]


@dataclass(frozen=True)
class Street:
    """A real sweep as the street: `scan` is a path, "" means the built-in road."""

    scan: str = ""
    layout: str = "auto"  # kitti, nuscenes, stf, pcd, or auto
    sensor_height: float = 1.73  # m above the road, of the sensor that made the sweep


@dataclass(frozen=True)
class Driver:
    """Which belief drives, under which policy; "open_loop" only ever proceeds.

    Parameters
    ----------
    belief : str
        A filter's name, or "fused".
    policy : str
        A key of `filters.policies.POLICIES`.
    threshold : float
        P(a barrier stands in the path) from which "conformal" brakes; assumed, until a calibration brings one.
    hysteresis : float
        By how much the expected loss of what it does must exceed that of a weaker action before it is left for it.
    """

    belief: str = "fused"
    policy: str = "bayes"
    threshold: float = 0.05
    hysteresis: float = 0.0

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise UserError(f"unknown driver.policy {self.policy!r}: {did_you_mean(self.policy, list(POLICIES))}")
        if are_numbers(self.threshold) and not 0.0 <= self.threshold <= 1.0:
            raise UserError(f"driver.threshold is {self.threshold}, expected a probability: 0.05 is 5 %")
        if are_numbers(self.hysteresis) and not 0.0 <= self.hysteresis < inf:
            raise UserError(f"driver.hysteresis is {self.hysteresis}, expected a loss >= 0 and finite; 0 is none")


@dataclass(frozen=True)
class Assumed:
    """What filters and perception assume, as a multiple of what is true; 1 everywhere is one shared model.

    Parameters
    ----------
    range_10, range_noise, lidar_ratio : float
        Of the lidar's `Optics`.
    reflectance : float
        Of the map, and of the ranges that the shapes' reflectances are drawn from.
    bag : BagPrior, optional
        What bags are taken to be; what they are if none, and then no part of the scenario's JSON.
    """

    range_10: float = 1.0
    range_noise: float = 1.0
    lidar_ratio: float = 1.0
    reflectance: float = 1.0
    bag: BagPrior | None = None

    def __post_init__(self) -> None:
        factors = dataclasses.asdict(self)
        del factors["bag"]
        expect_positive(**{f"assumed.{k}": v for k, v in factors.items()})


@dataclass(frozen=True)
class Scenario(Setting):
    """Everything that with a seed determines a run; `Setting`'s fields come first."""

    name: str = "creeping_fog"
    lidar: Lidar = field(default_factory=Lidar)
    assumed: Assumed = field(default_factory=Assumed)
    odometry: Odometry = field(default_factory=Odometry)
    radar: Radar = field(default_factory=Radar)
    visibility_sensor: VisibilitySensor = field(default_factory=VisibilitySensor)
    street: Street = field(default_factory=Street)
    driver: Driver = field(default_factory=Driver)
    loss: Loss | PhysicalLoss = field(default_factory=Loss)
    card: Card = field(default_factory=Card)
    filters: tuple[str, ...] = ("kalman", "particle", "kernel_bayes", "bnn")
    duration: float = 15.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if are_numbers(self.dt, self.duration) and not self.dt <= self.duration < 1e6:
            raise UserError(f"duration is {self.duration} s, expected at least dt = {self.dt} and finite")
        sensor = self.visibility_sensor
        if sensor.on and are_numbers(self.dt, sensor.rate) and sensor.rate * self.dt > 1.0 + 1e-9:
            raise UserError(
                f"visibility_sensor.rate is {sensor.rate}, expected at most one a tick, {1 / self.dt:g} / s"
            )

    @property
    def assumed_optics(self) -> Optics:
        """The lidar's optics as filters and perception take them to be."""
        optics, factor = self.lidar.optics, self.assumed
        return dataclasses.replace(
            optics,
            range_10=factor.range_10 * optics.range_10,
            range_noise=factor.range_noise * optics.range_noise,
            lidar_ratio=factor.lidar_ratio * optics.lidar_ratio,
        )

    @property
    def json(self) -> str:
        """The resolved scenario, canonical; what is None is left out."""
        return json.dumps(dataclasses.asdict(self, dict_factory=told), sort_keys=True)

    @property
    def hash(self) -> str:
        """sha256 of `json`."""
        return hashlib.sha256(self.json.encode()).hexdigest()


def told(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """Fields by name, less those that are None."""
    return {name: value for name, value in fields if value is not None}


@dataclass(frozen=True)
class Then:
    """What a campaign goes on with from one of its encounters on, which are counted from 0: the world has changed.

    Filters know nothing of it: `Scenario.assumed` says what they go on to assume.
    """

    encounter: int
    scenario: Scenario

    def __post_init__(self) -> None:
        if self.encounter < 1:
            raise UserError(f"THEN holds from encounter {self.encounter} on, expected 1 or later")
