"""Bins of true visibility, by which scores are split."""

from __future__ import annotations

import numpy as np

from fogsim.scoring.encounters import Encounter

ALL = "all"
VISIBILITIES = {  # m, true: the default report of 25 m gives a quarter, a half and a quarter of the encounters
    ALL: (0.0, np.inf),
    "below 20 m": (0.0, 20.0),
    "20 to 30 m": (20.0, 30.0),
    "above 30 m": (30.0, np.inf),
}


def within(encounter: Encounter, visibility: str) -> bool:
    """Whether an encounter is in a bin; its lower edge belongs to it."""
    low, high = VISIBILITIES[visibility]
    return low <= encounter.visibility < high
