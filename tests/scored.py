"""Encounters as scored, made up: each belief named says one P(barrier) at every moment."""

import math

import numpy as np

from fogsim.scoring.course import COURSE, Course
from fogsim.scoring.encounters import MOMENTS, Encounter


def encounter(seed, truth, visibility=25.0, given=None, **p) -> Encounter:
    """An open-loop encounter on one street; `given` sets other fields."""
    log_probs = np.log([[1.0 - q, q] for q in p.values()]).reshape(-1, 2)
    n, nan = len(p), np.full((len(MOMENTS), len(p)), np.nan)
    values = {
        "name": f"{seed}.h5",
        "seed": seed,
        "setting": "street",
        "driver": "fused, open_loop",
        "complete": True,
        "frames": 30,
        "beliefs": tuple(p),
        "truth": truth,
        "visibility": visibility,
        "in_path": bool(truth),
        "decision_left": 15.0,
        "reached": np.full(len(MOMENTS), True),
        "log_probs": np.broadcast_to(log_probs, (len(MOMENTS), n, 2)),
        "in_path_belief": np.broadcast_to(np.exp(log_probs[:, 1]), (len(MOMENTS), n)),
        "visibility_estimate": np.full(len(MOMENTS), visibility),
        "outside_card": False,
        "card": "",
        "nees": nan,
        "crps": np.full((len(MOMENTS), n, 2), np.nan),
        "nis": nan,
        "nis_dof": nan,
        "course": Course(
            np.broadcast_to(np.exp(log_probs[:, 1]), (len(COURSE), n)),
            *np.full((2, n), np.nan),
            np.zeros(n, int),
            np.full(n, np.nan),
        ),
        "duration": 3.0,
        "shadow_action": np.full((n, 2), 3),
        "expected_cost": np.full((n, 2), 6.0),
        "loss": np.array([[0.0, 100.0], [1.0, 40.0], [3.0, 5.0], [6.0, 1.0]]),
        "collided": False,
        "impact_speed": math.nan,
        "actions": (True, False, False, False),
        "approach_speed": 8.0,
        "distance_left": -1.0,
    }
    return Encounter(**values | (given or {}))
