"""Frame: the one immutable record of a tick. The log's schema is derived from its type hints.

Every field is ``Annotated[np.ndarray, dtype, dims, unit, description]``; its value is an array of exactly
those dims (a NumPy scalar where there are none). Dims are fixed for a run and named in `Dims`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, NamedTuple, get_type_hints

import numpy as np

from filters.spec import BARRIER, CLASSES, FEATURES

MAX_TRACKS = 4  # candidates followed at once; id -1 marks an empty slot
KINDS = (*CLASSES, "cone", "animal", "box")  # what may stand there; filters have a class for the first ones only
CONE, ANIMAL, CARTON = range(len(CLASSES), len(KINDS))
OBSTACLES = (BARRIER, ANIMAL)  # what must not be hit: a bag, a cone or a cardboard box does a car no harm
ACTIONS = ("proceed", "slow", "change_lane", "brake")
POLICIES = ("bayes", "most_likely_label")
SENSORS = ("scan", "features", "radar", "visibility")  # what a `Measurement` may be of
JUDGE = "oracle"  # the belief that the others are scored against; costly, exact, and no member of the fused pool
POINTS = 128  # weighted points kept per belief for drawing
DETECTIONS = 128  # of one radar scan, at most
DETECTION = ("time", "range", "azimuth", "range rate", "cross-section")


class Dims(NamedTuple):
    """The axes of a run: beams, and who believes."""

    ring: int
    column: int
    echo: int
    belief: int  # the filters in order, then "fused"
    track: int = MAX_TRACKS
    sensor: int = len(SENSORS)
    klass: int = len(CLASSES)
    feature: int = len(FEATURES)
    policy: int = len(POLICIES)
    action: int = len(ACTIONS)
    outcome: int = 2  # the path is clear, a barrier stands in it
    point: int = POINTS
    xy: int = 2
    pose: int = 3
    size: int = 3
    detection: int = 1
    detected: int = len(DETECTION)


@dataclass(frozen=True, eq=False)
class Frame:
    """One tick. Poses are (x, y, yaw) of the middle of ego's front bumper; world frame unless odometry is said."""

    time: Annotated[np.ndarray, np.float64, (), "s", "simulated time"]
    ego_pose: Annotated[np.ndarray, np.float64, ("pose",), "m, m, rad", "true pose of ego"]
    ego_speed: Annotated[np.ndarray, np.float64, (), "m/s", "true speed of ego"]
    odometry: Annotated[
        np.ndarray,
        np.float64,
        ("pose",),
        "m, m, rad",
        "estimated pose of ego: the odometry frame is the filters' frame",
    ]
    action: Annotated[np.ndarray, np.int8, (), "", "what the driver does: index into ACTIONS"]
    at_decision_point: Annotated[
        np.ndarray, np.bool_, (), "", "true in the one frame in which the driver's full choice opens"
    ]
    collided: Annotated[np.ndarray, np.bool_, (), "", "ego overlaps a barrier or an animal"]
    visibility: Annotated[np.ndarray, np.float64, (), "m", "true meteorological optical range"]
    visibility_estimate: Annotated[
        np.ndarray, np.float64, (), "m", "perception's visibility: exp of its mean of ln visibility"
    ]
    outside_card: Annotated[
        np.ndarray, np.bool_, (), "", "the visibility estimated is outside of what the card was fitted in"
    ]
    track_id: Annotated[np.ndarray, np.int16, ("track",), "", "-1 marks an empty slot"]
    truth_class: Annotated[np.ndarray, np.int8, ("track",), "", "index into KINDS; -1 in an empty slot"]
    truth_position: Annotated[np.ndarray, np.float64, ("track", "xy"), "m", "centre of the object"]
    truth_velocity: Annotated[np.ndarray, np.float64, ("track", "xy"), "m/s", "velocity of the object"]
    truth_size: Annotated[np.ndarray, np.float64, ("track", "size"), "m", "full extents along, across, up"]
    truth_yaw: Annotated[np.ndarray, np.float64, ("track",), "rad", "yaw of the object"]
    distance_left: Annotated[
        np.ndarray, np.float64, ("track",), "m", "true distance along the road from ego's front to the object's centre"
    ]
    object_echoes: Annotated[np.ndarray, np.int32, ("track",), "", "echoes that truly come from the object"]
    features: Annotated[np.ndarray, np.float32, ("track", "feature"), "see FEATURES", "what perception measures"]
    log_probs: Annotated[np.ndarray, np.float64, ("belief", "track", "klass"), "nats", "log-probability of each class"]
    position_mean: Annotated[np.ndarray, np.float64, ("belief", "track", "xy"), "m", "odometry frame"]
    position_covariance: Annotated[np.ndarray, np.float64, ("belief", "track", "xy", "xy"), "m^2", "odometry frame"]
    epistemic: Annotated[
        np.ndarray, np.float32, ("belief", "track"), "nats", "mutual information of label and weights, NaN without"
    ]
    log_evidence: Annotated[
        np.ndarray, np.float64, ("belief", "track", "klass"), "nats", "of this tick, one common constant free"
    ]
    sensor_evidence: Annotated[
        np.ndarray,
        np.float64,
        ("belief", "track", "sensor", "klass"),
        "nats",
        "the share of each of SENSORS in log_evidence, which is their sum; NaN where a sensor told the filter nothing",
    ]
    ess: Annotated[np.ndarray, np.float32, ("belief", "track"), "", "effective sample size, NaN without"]
    nis: Annotated[np.ndarray, np.float32, ("belief", "track"), "", "normalised innovation squared, NaN without"]
    nis_dof: Annotated[np.ndarray, np.int8, ("belief", "track"), "", "degrees of freedom of nis"]
    status: Annotated[np.ndarray, np.int8, ("belief", "track"), "", "filters.spec.Status"]
    shadow_action: Annotated[
        np.ndarray, np.int8, ("belief", "policy"), "", "what this belief under this policy would do now"
    ]
    expected_loss: Annotated[
        np.ndarray, np.float64, ("belief", "action"), "loss", "expected loss of each action under the Bayes policy"
    ]
    in_path: Annotated[
        np.ndarray, np.float64, ("belief",), "", "P(a barrier stands in the path), which policies decide by"
    ]
    loss_table: Annotated[
        np.ndarray,
        np.float64,
        ("action", "outcome"),
        "loss",
        "of each action, when the path is clear and when it is not",
    ]
    threshold: Annotated[
        np.ndarray,
        np.float64,
        (),
        "",
        "in_path from which the driver would take the next stronger action, NaN where none would make it",
    ]
    reason: Annotated[np.ndarray, np.int8, (), "", "why the driver does it: index into REASONS"]
    points: Annotated[
        np.ndarray,
        np.float32,
        ("belief", "track", "point", "xy"),
        "m",
        "draws of the position, NaN without; odometry frame",
    ]
    range: Annotated[np.ndarray, np.uint16, ("ring", "column", "echo"), "5 mm", "0 where there was no echo"]
    power: Annotated[np.ndarray, np.uint16, ("ring", "column", "echo"), "1/64 noise", "0 where there was no echo"]
    label: Annotated[
        np.ndarray,
        np.uint8,
        ("ring", "column", "echo"),
        "",
        "truth: 0 nothing, 1 noise, 2 fog, 3 lost (no echo of what stopped the beam), 4 ground, 5 rest of the map,"
        " 6 + k track slot k",
    ]
    radar: Annotated[
        np.ndarray,
        np.float32,
        ("detection", "detected"),
        "s, m, rad, m/s, dBsm",
        "what the radar's scans that this tick delivers detected from the front: time taken first, NaN after the last",
    ]
    visibility_reading: Annotated[
        np.ndarray, np.float32, (), "m", "the visibility sensor's latest reading that this tick delivers, NaN without"
    ]
    filter_ms: Annotated[
        np.ndarray, np.float32, ("belief",), "ms", "wall time of each filter (fused: perception and decision)"
    ]
    decision_ms: Annotated[
        np.ndarray, np.float32, (), "ms", "wall time of the driver's decision, its loss table included"
    ]


# Left out of logs at level "beliefs".
SCAN_FIELDS = ("range", "power", "label", "points", "radar")
# Fields that logs of an earlier schema lack, and the schema that brought them.
SINCE = {
    "sensor_evidence": 3,
    **dict.fromkeys(("in_path", "loss_table", "threshold", "reason", "decision_ms"), 4),
    **dict.fromkeys(("visibility_estimate", "outside_card", "nis_dof"), 5),
}
# Wall time is no part of what a seed determines: kept apart and left out of the content hash.
TIMING_FIELDS = ("filter_ms", "decision_ms")

RANGE_UNIT = 0.005  # m
POWER_UNIT = 1.0 / 64.0  # standard deviations of noise


class Column(NamedTuple):
    """One field of Frame as a dataset: its name, dtype, dims, unit and description."""

    name: str
    dtype: np.dtype
    dims: tuple[str, ...]
    unit: str
    description: str

    def shape(self, dims: Dims) -> tuple[int, ...]:
        return tuple(getattr(dims, d) for d in self.dims)


@cache
def schema() -> tuple[Column, ...]:
    """The columns of a log, in the order of Frame's fields."""
    hints: dict[str, Any] = get_type_hints(Frame, include_extras=True)
    return tuple(column(f.name, *hints[f.name].__metadata__) for f in fields(Frame))


def column(name: str, dtype: type, dims: tuple[str, ...], unit: str, description: str) -> Column:
    """A field's annotation as a Column."""
    return Column(name, np.dtype(dtype), dims, unit, description)
