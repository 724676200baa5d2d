"""Bins of true visibility, by which scores are split: those of which calibration cards have a map each."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from filters.card import EDGES
from fogsim.scoring.encounters import Encounter

ALL = "all"
BETWEEN = tuple(f"{low:g} to {high:g} m" for low, high in pairwise(EDGES))
BINS = (f"below {EDGES[0]:g} m", *BETWEEN, f"above {EDGES[-1]:g} m")
VISIBILITIES = {ALL: (0.0, np.inf)} | dict(zip(BINS, pairwise((0.0, *EDGES, np.inf)), strict=True))  # m


def within(encounters: Iterable[Encounter], visibility: str) -> tuple[Encounter, ...]:
    """The encounters in a bin; its lower edge belongs to it."""
    low, high = VISIBILITIES[visibility]
    return tuple(e for e in encounters if low <= e.visibility < high)
