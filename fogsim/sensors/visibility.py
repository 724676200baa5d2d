"""The forward-scatter visibility sensor: what it reads of the true fog about ego's front."""

from __future__ import annotations

import numpy as np

from filters.models.visibility_sensor import VisibilitySensor, sample
from fogsim.sensors.schedule import Moment
from fogsim.world.world import visibility_at


def read(moment: Moment, sensor: VisibilitySensor, rng: np.random.Generator) -> float:
    """One reading, m, as logged: in single precision."""
    here = visibility_at(moment.world, float(moment.pose[0]), float(moment.pose[1]), sensor.height)
    return float(np.float32(sample(sensor, here, rng)))
