"""THE SPEC: what a filter is given, what it returns, and the protocol between.

Positions and velocities are in the odometry frame (x ahead at start, y left, z up; metres, seconds,
radians). Truth is in none of these types.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CLASSES = ("bag", "barrier")
BAG, BARRIER = 0, 1

# What perception measures on one candidate in one scan; the order is the contract.
FEATURES = (
    "detected",  # 1 when a cluster was assigned to the candidate, else 0 (and the shape is 0 too)
    "log_count",  # ln(1 + echoes)
    "distance",  # m, sensor to cluster, or to the predicted candidate when nothing was seen
    "lateral",  # m, left of the lane's centre
    "width",  # m, across the line of sight
    "depth",  # m, along the line of sight
    "top",  # m above ground
    "speed",  # m/s between this cluster and the last
    "log_power",  # mean ln(power / noise)
    "power_spread",  # standard deviation of ln(power)
    "roughness",  # m, residual of a parabola through range against bearing
    "bulge",  # m, depth of that parabola between the middle and the edges
    "fill",  # share of the beams inside the outline that echo from the cluster
    "passed",  # share of them that echo from the known background behind it
    "log_reflectance",  # power with range and fog taken out
    "log_visibility",  # ln m, from the scan's own clutter
)


class Gaussian(NamedTuple):
    """Mean (d,) and covariance (d, d)."""

    mean: Array
    covariance: Array


class Particles(NamedTuple):
    """Points (n, d) and normalised log-weights (n,)."""

    points: Array
    log_weights: Array


class Pose(NamedTuple):
    """A sensor's pose: p_world = R p_sensor + (x, y, z), R = Rz(yaw) Ry(pitch) Rx(roll)."""

    x: float
    y: float
    z: float
    yaw: float
    pitch: float = 0.0
    roll: float = 0.0


class Surfaces(NamedTuple):
    """What each beam would meet in the known map: arrays (rings, columns), range inf where nothing."""

    range: Array
    cosine: Array
    reflectance: Array


class Scan(NamedTuple):
    """One sweep on a grid of beams.

    `range` and `power` are (rings, columns, echoes), power in units of the receiver's noise and 0
    where there was no echo; `scanned` (rings, columns) is False where the beam says nothing about
    this candidate: not fired, or claimed by another track. Fired without echo is evidence.
    """

    elevation: Array
    azimuth: Array
    pose: Pose
    range: Array
    power: Array
    scanned: NDArray[np.bool_]
    background: Surfaces


class Features(NamedTuple):
    """`FEATURES` of one candidate, and where its cluster is; position and covariance are NaN if unseen."""

    values: Array
    position: Array
    covariance: Array
    pose: Pose

    def __getattr__(self, name: str) -> float:
        if name in FEATURES:
            return float(self.values[FEATURES.index(name)])
        raise AttributeError(name)


class RadarScan(NamedTuple):
    """Detections (n, 4) of a radar: range (m), azimuth (rad), range rate (m/s), cross-section (dBsm).

    `pose` and `velocity` (2,) are the radar's as odometry estimates them; `background` (n,) is the intensity of
    detections expected there of the known map and of clutter. None detected is evidence.
    """

    pose: Pose
    velocity: Array
    detections: Array
    background: Array


@dataclass(frozen=True)
class Measurement:
    """What one sensor said of one candidate at one time.

    Parameters
    ----------
    time : float
        When it was taken, s.
    sensor : {"scan", "features", "radar", "visibility"}
        What `data` is: a Scan, Features, a RadarScan, or the visibility about the sensor, m.
    age : float
        How long before the filter's last `predict` it was taken, s.
    """

    time: float
    sensor: str
    data: Scan | Features | RadarScan | float
    age: float = 0.0


@dataclass(frozen=True)
class EgoMotion:
    """Odometry: `delta` (dx, dy, dyaw) in the body frame since the last call, its covariance, the new pose."""

    delta: Array
    covariance: Array
    pose: Pose


@dataclass(frozen=True)
class Prior:
    """What is known of a candidate before it is seen: class, place (x, y), and the weather report.

    The visibility is lognormal: `visibility` m is its median, `visibility_spread` its log-sd.
    """

    log_probs: Array
    position: Gaussian
    visibility: float
    visibility_spread: float


class Status(IntEnum):
    """How an update went; anything but OK left the belief finite but is a reason to look."""

    OK = 0
    DEPLETED = 1  # no particle, pair or mode explains the measurement: the update was not applied
    NOT_POSITIVE = 2  # a covariance lost positive definiteness and was restored


class Info(NamedTuple):
    """What may be thrown away after an update. `log_evidence` (K,) in nats, one common constant free; `nis` ~ χ² with
    `dof` degrees of freedom, the length of the innovation, where the filter is right.
    """

    log_evidence: Array
    ess: float = np.nan
    nis: float = np.nan
    resampled: bool = False
    status: Status = Status.OK
    dof: int = 2


@dataclass(frozen=True)
class Belief:
    """Log-probabilities over `CLASSES`, the position over all of them, and the split of uncertainty.

    `positions` are those given each class, where a filter tells them apart. `epistemic` is the mutual
    information between label and weights in nats (NaN where a filter has no such split); `points` are at
    most a few thousand draws for drawing.
    """

    log_probs: Array
    position: Gaussian
    positions: tuple[Gaussian, ...] | None = None
    points: Particles | None = None
    epistemic: float = np.nan

    def position_of(self, klass: int) -> Gaussian:
        """Position given a class, or over all of them where the filter does not tell."""
        return self.positions[klass] if self.positions else self.position

    @property
    def barrier(self) -> float:
        """P(barrier)."""
        return float(np.exp(self.log_probs[BARRIER]))


S = TypeVar("S")


class Filter(Protocol[S]):
    """Follows ONE candidate. Implementations are frozen dataclasses whose fields are all their configuration."""

    @property
    def sensors(self) -> tuple[str, ...]:
        """Which `Measurement.sensor` this filter reads; it is given no other."""

    def init(self, prior: Prior, rng: np.random.Generator) -> S: ...

    def predict(self, state: S, motion: EgoMotion, dt: float, rng: np.random.Generator) -> S: ...

    def update(self, state: S, measurement: Measurement, rng: np.random.Generator) -> tuple[S, Info]: ...

    def belief(self, state: S) -> Belief: ...
