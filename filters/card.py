"""The calibration card: what a campaign taught of how far beliefs can be trusted, and where that holds.

Of every belief it has a map of log-odds for each bin of visibility (`filters.calibration`), a threshold with its
guarantee (`filters.conformal`), and how fast it learns (`filters.stopping`). Bins are of the visibility that perception
estimates: what no filter may know cannot choose its map.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass, replace

import numpy as np

from filters.belief import mix, normalise
from filters.calibration import Calibrator
from filters.conformal import Threshold
from filters.spec import Belief
from filters.stopping import Rate

EDGES = (20.0, 30.0)  # m, between the bins of visibility: of the default report of 25 m a quarter, a half, a quarter


@dataclass(frozen=True)
class Recalibration:
    """Of one belief: a map for each bin of visibility, λ for P(a barrier stands in the path), and nats per metre.

    `rate` is None where log-odds did not drift towards the truth.
    """

    belief: str
    calibrators: tuple[Calibrator, ...]
    threshold: Threshold
    rate: Rate | None = None


@dataclass(frozen=True)
class Card:
    """What was learnt, of how many encounters, and the conditions under which it holds; the default is none of it.

    Parameters
    ----------
    setting : str
        Hash of the world it was fitted in.
    filters : tuple of str
        Which filters followed: the fused belief is of all of them.
    seeds : str
        sha256 of the seeds, which the card's file lists: no other run of them may be driven or scored by it.
    encounters : int
        That count.
    visibility : (float, float)
        m, the least and greatest that perception estimated in them.
    recalibrations : tuple of Recalibration
        One a belief.
    """

    setting: str = ""
    filters: tuple[str, ...] = ()
    seeds: str = ""
    encounters: int = 0
    visibility: tuple[float, float] = (0.0, 0.0)
    recalibrations: tuple[Recalibration, ...] = ()

    def of(self, belief: str) -> Recalibration | None:
        """What it has of a belief."""
        return next((r for r in self.recalibrations if r.belief == belief), None)

    def outside(self, visibility: float) -> bool:
        """Whether it was fitted in other fog; an empty card never was in any, and says nothing."""
        low, high = self.visibility
        return bool(self.recalibrations) and not low <= visibility <= high


def recalibrated(belief: Belief, found: Recalibration | None, visibility: float) -> Belief:
    """The belief after the map of its bin of visibility, its position over all classes with it; itself without one."""
    if found is None:
        return belief
    log_probs = normalise(found.calibrators[bisect(EDGES, visibility)].log_probs(belief.log_probs))
    position = mix(np.exp(log_probs), list(belief.positions)) if belief.positions else belief.position
    return replace(belief, log_probs=log_probs, position=position)
