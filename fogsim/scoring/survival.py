"""How many are still undecided, where some leave before they decide: Kaplan & Meier 1958, JASA 53:457.

    S(t) = Π over decisions at times u <= t of (1 - decided at u / still watched just before u)

A belief that had not decided when its log ended is censored there: it counts as undecided until then, and not after.
That is right where ends have nothing to do with deciding. In a closed loop they have: a car that stops because a belief
is in doubt ends its log in doubt.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from filters.spec import Array


class Survival(NamedTuple):
    """Share still undecided, `share` (n,) from each `time` (n,) on, which begin at (0, 1)."""

    time: Array
    share: Array

    @property
    def median(self) -> float:
        """When half had decided; NaN if fewer ever did."""
        return self.when(0.5)

    def when(self, decided: float) -> float:
        """When this share had decided; NaN if fewer ever did."""
        below = np.flatnonzero(self.share <= 1.0 - decided + 1e-9)  # the products are rounded
        return float(self.time[below[0]]) if below.size else float("nan")


def kaplan_meier(time: ArrayLike, decided: ArrayLike) -> Survival:
    """The share still undecided over time.

    Parameters
    ----------
    time : array (n,)
        Of the decision, or of the log's end where there was none.
    decided : array (n,) of bool
        Whether there was one.
    """
    t, done = np.asarray(time, float), np.asarray(decided, bool)
    at, decisions = np.unique(t[done], return_counts=True)
    watched = len(t) - np.searchsorted(np.sort(t), at)
    return Survival(np.append(0.0, at), np.append(1.0, np.cumprod(1.0 - decisions / watched)))
