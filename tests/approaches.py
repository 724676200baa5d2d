"""Logs of an approach, made up frame by frame, in memory or on disk."""

import json

import numpy as np

from fogsim.frame import Dims, Frame, schema
from fogsim.log import Recorder
from fogsim.scenario import Scenario

PROCEED, SLOW, CHANGE_LANE, BRAKE = range(4)
BELIEFS = ("kalman", "fused")
DIMS = Dims(ring=2, column=3, echo=1, belief=2)


def frame(**given) -> Frame:
    """A frame of an approach to a barrier at y = -0.6; `given` replaces fields."""
    values = {c.name: np.zeros(c.shape(DIMS), c.dtype) for c in schema()}
    values |= {
        "track_id": [0, -1],
        "truth_class": [1, -1],
        "truth_position": [[32.0, -0.6], [0.0, 0.0]],
        "truth_size": [[0.5, 1.6, 0.9], [0.0, 0.0, 0.0]],
        "distance_left": [30.0, np.nan],
        "ego_speed": 8.0,
        "log_probs": np.full((2, 2, 2), np.log(0.5)),
    }
    values |= given
    return Frame(**{c.name: in_slots(c, values[c.name]) for c in schema()})


def in_slots(column, value) -> np.ndarray:
    """The value in the column's dtype, with empty slots behind the candidates that it has."""
    value = np.asarray(value, column.dtype)
    if "track" not in column.dims:
        return value
    room = [(0, full - found) for full, found in zip(column.shape(DIMS), value.shape, strict=True)]
    empty = np.nan if column.dtype.kind == "f" else -1 if column.name in ("track_id", "truth_class") else 0
    return np.pad(value, room, constant_values=empty)


def approach(p=0.8, actions=(PROCEED, SLOW, BRAKE), shadow=((BRAKE, BRAKE), (SLOW, PROCEED)), **given) -> list[Frame]:
    """32 to 5 m left in steps of .9 m; kalman's P(barrier) falls in even steps to 1 - p while fused's rises to p.

    First object echo 25 m away, decision at the first frame within 13 m, last action from there on.
    """
    left = np.arange(32.0, 5.0, -0.9)
    rise = np.linspace(0.5, p, len(left))
    decision = int(np.argmax(left <= 13.0))
    frames = []
    for k, metres in enumerate(left):
        log_probs = np.log([[[1 - q, q]] * 2 for q in (1 - rise[k], rise[k])])
        fields = {
            "time": 0.1 * k,
            "distance_left": [metres, np.nan],
            "object_echoes": [3 * (metres <= 25.0), 0],
            "log_probs": log_probs,
            "at_decision_point": k == decision,
            "shadow_action": shadow if k == decision else np.zeros((2, 2)),
            "action": actions[-1] if k >= decision else actions[k % (len(actions) - 1) if len(actions) > 1 else 0],
        }
        frames.append(frame(**(fields | given)))
    return frames


class Memory:
    """A log in memory: as much of `Replay` as a score reads."""

    def __init__(self, frames, seed=3, complete=True, scenario=None):
        self.frames, self.seed, self.complete, self.beliefs = frames, seed, complete, BELIEFS
        self.scenario = json.loads((scenario or Scenario()).json)

    def __len__(self):
        return len(self.frames)

    def column(self, name, or_absent=False):
        return np.array([getattr(f, name) for f in self.frames])


def record(path, frames, seed=1, level="beliefs", fail=False):
    header = {"seed": seed, "scenario": Scenario().json, "beliefs": BELIEFS}
    with Recorder(path, DIMS, header, level) as recorder:
        for f in frames:
            recorder.append(f)
        if fail:
            raise KeyboardInterrupt
