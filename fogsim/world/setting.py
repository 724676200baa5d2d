"""What the world is told: fog, road, ego, hazards and the priors their shapes and motion are drawn from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from filters.models.motion import BagMotion
from filters.models.shapes import BagPrior, BarrierPrior
from fogsim.errors import UserError, are_numbers, did_you_mean, expect_positive
from fogsim.frame import KINDS

UNEVEN_DRIFT = 0.5  # an announced bank changes the visibility by a factor of two or three within a few seconds
STRONGEST_TEXTURE = 3.0  # beyond it a lattice holds too few patches that matter to keep the mean


@dataclass(frozen=True)
class Bank:
    """A denser slab of fog across the road; it drifts with the wind. A bank of no length is none.

    Parameters
    ----------
    x : (float, float)
        Where it begins and ends at the start, m ahead.
    visibility : float
        Within it, m, where that about it is `Fog.visibility`; the truth is off the report by one factor in both.
    edge : float
        Over which its visibility goes over into that about it, m, centred on each end: a bank shorter than this is
        nowhere as thick as it says.
    """

    x: tuple[float, float] = (0.0, 0.0)
    visibility: float = 10.0
    edge: float = 5.0

    def __post_init__(self) -> None:
        if are_numbers(*self.x) and not -math.inf < self.x[0] <= self.x[1] < math.inf:
            raise UserError(f"fog.bank.x is {self.x} m, expected two finite numbers, the smaller first")
        expect_positive(**{"fog.bank.visibility": self.visibility, "fog.bank.edge": self.edge})


@dataclass(frozen=True)
class Layer:
    """Fog that ends at a height, m above the road, over `edge` m; a height of 0 is fog without a top."""

    height: float = 0.0
    edge: float = 1.0

    def __post_init__(self) -> None:
        if are_numbers(self.height) and not 0.0 <= self.height < math.inf:
            raise UserError(f"fog.layer.height is {self.height} m, expected >= 0 and finite; 0 is fog without a top")
        expect_positive(**{"fog.layer.edge": self.edge})


@dataclass(frozen=True)
class Texture:
    """Patches: a lognormal factor of mean 1 on the extinction, correlated over the ground; strength 0 is none.

    Parameters
    ----------
    strength : float
        Standard deviation of the factor's log.
    length : float
        Over which the log's correlation falls to exp(-1/2), m.
    """

    strength: float = 0.0
    length: float = 10.0

    def __post_init__(self) -> None:
        if are_numbers(self.strength) and not 0.0 <= self.strength <= STRONGEST_TEXTURE:
            raise UserError(
                f"fog.texture.strength is {self.strength}, expected 0 to {STRONGEST_TEXTURE:g}; 0 is even fog"
            )
        expect_positive(**{"fog.texture.length": self.length})


@dataclass(frozen=True)
class Fog:
    """Even fog, or with a bank, a top and patches. The truth is drawn lognormal about the report the filters are told.

    Parameters
    ----------
    visibility : float
        The report: median meteorological optical range, m.
    spread : float
        Log-standard deviation of the truth about it; 0 makes the report exact.
    wind : (float, float)
        Velocity at which banks and patches drift, m/s ahead and to the left.
    """

    visibility: float = 25.0
    spread: float = 0.3
    bank: Bank = field(default_factory=Bank)
    layer: Layer = field(default_factory=Layer)
    texture: Texture = field(default_factory=Texture)
    wind: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if not 0.0 < self.visibility < math.inf:
            raise UserError(f"fog.visibility is {self.visibility} m, expected > 0 and finite; clear air is about 10000")
        if not 0.0 <= self.spread < math.inf:
            raise UserError(f"fog.spread is {self.spread}, expected >= 0 and finite")
        if are_numbers(*self.wind) and not all(map(math.isfinite, self.wind)):
            raise UserError(f"fog.wind is {self.wind} m/s, expected two finite numbers")

    @property
    def even(self) -> bool:
        """Whether it is the same everywhere."""
        bank = self.bank.x[0] < self.bank.x[1] and self.bank.visibility != self.visibility
        return not bank and self.layer.height == 0.0 and self.texture.strength == 0.0

    @property
    def drift(self) -> float:
        """Log-sd per sqrt(s) by which filters take the visibility to wander: they know whether the fog is even."""
        return 0.0 if self.even else UNEVEN_DRIFT


@dataclass(frozen=True)
class Hazard:
    """A shape ahead, announced with an uncertain place. The filters are told all of this but `kind`'s outcome.

    Parameters
    ----------
    kind : {"draw", "bag", "barrier", "cone", "animal", "box"}
        "draw" tosses a coin of `barrier_probability` for a bag or a barrier. No filter has a class for the last three
        (`fogsim.world.unseen`).
    x, y : float
        Announced place, m ahead of ego's start and left of the own lane's centre.
    x_spread, y_spread : float
        Standard deviations of the truth about it, m.
    """

    kind: str = "draw"
    barrier_probability: float = 0.5
    x: float = 34.0
    x_spread: float = 1.5
    y: float = -0.6
    y_spread: float = 0.6

    def __post_init__(self) -> None:
        if self.kind not in ("draw", *KINDS):
            raise UserError(f"unknown hazard kind {self.kind!r}: {did_you_mean(str(self.kind), ['draw', *KINDS])}")
        place = (self.x, self.y, self.x_spread, self.y_spread)
        if are_numbers(*place) and not (all(map(math.isfinite, place)) and min(place[2:]) >= 0.0):
            raise UserError(
                f"hazard at x={self.x}, y={self.y} +- {self.x_spread}, {self.y_spread}: expected finite, spreads >= 0"
            )
        if not 0.0 < self.barrier_probability < 1.0:
            raise UserError(f"barrier_probability is {self.barrier_probability}, expected between 0 and 1")


@dataclass(frozen=True)
class Ego:
    """Speed is drawn uniformly from `speed` (m/s); the rest is physics of the car on a wet road.

    Parameters
    ----------
    reaction : float
        Time from a decision to the brakes, s.
    deceleration : float
        Of full braking, m/s².
    margin : float
        Distance to keep when stopped, m.
    slow_factor : float
        `slow` drives at this share of the approach speed; its square is the share of impact energy left.
    """

    speed: tuple[float, float] = (6.0, 8.5)
    reaction: float = 1.0
    deceleration: float = 3.0
    margin: float = 2.0
    slow_factor: float = 0.63
    width: float = 1.9
    length: float = 4.4
    wheelbase: float = 2.7

    def __post_init__(self) -> None:
        expect_positive(deceleration=self.deceleration, width=self.width, length=self.length, wheelbase=self.wheelbase)
        if not 0.0 < self.speed[0] <= self.speed[1]:
            raise UserError(f"ego.speed is {self.speed} m/s, expected two numbers above 0, the smaller first")


@dataclass(frozen=True)
class Road:
    """Own lane centred on y = 0, the next lane to its left, kerb and verge to its right."""

    lane_width: float = 3.5
    kerb_y: float = -2.2
    next_lane_gap: float = 200.0  # m ahead before a parked car closes the next lane


@dataclass(frozen=True)
class Setting:
    """The world's part of a `Scenario`."""

    fog: Fog = field(default_factory=Fog)
    hazards: tuple[Hazard, ...] = (Hazard(),)
    barrier: BarrierPrior = field(default_factory=BarrierPrior)
    bag: BagPrior = field(default_factory=BagPrior)
    motion: BagMotion = field(default_factory=BagMotion)
    road: Road = field(default_factory=Road)
    ego: Ego = field(default_factory=Ego)
    dt: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 < self.dt <= 1.0:
            raise UserError(f"dt is {self.dt} s, expected above 0 and at most 1")
