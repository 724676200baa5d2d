"""When beliefs were first sure of a class, how many never were, and how often they were wrong or changed their mind.

A belief that was not sure when its log ended is censored there (`fogsim.scoring.survival`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fogsim.scoring.metrics import Interval, exact_interval
from fogsim.scoring.stack import Stack
from fogsim.scoring.survival import Survival, kaplan_meier


class Sureness(NamedTuple):
    """One belief over `n` encounters.

    `time` s and `left` m are the medians of when it first gave a class `SURE`, NaN where fewer than half ever did;
    `never` is the share that never did, `wrong` the share of those that did in which it was the wrong class, with exact
    intervals; `flips` the mean number of changes of the likelier class.
    """

    belief: str
    n: int
    time: float
    left: float
    never: Interval
    wrong: Interval
    flips: float


def sureness(name: str, of: Stack) -> Sureness:
    """Of one belief, over the whole way."""
    sure = np.isfinite(of.decided_at)
    wrong = int((of.said[sure] != of.truth[sure]).sum())
    return Sureness(
        belief=name,
        n=len(sure),
        time=by_time(of).median,
        left=by_distance(of).median,
        never=exact_interval(int((~sure).sum()), len(sure)),
        wrong=exact_interval(wrong, int(sure.sum())),
        flips=float(of.flips.mean()) if of.flips.size else float("nan"),
    )


def by_time(of: Stack) -> Survival:
    """Who is not sure yet over time, s."""
    sure = np.isfinite(of.decided_at)
    return kaplan_meier(np.where(sure, of.decided_at, of.duration), sure)


def by_distance(of: Stack) -> Survival:
    """Who is not sure yet where so much distance is left, m, which takes the place of time and runs down."""
    sure = np.isfinite(of.decided_at)
    left = np.where(sure, of.decided_left, of.distance_left)
    farthest = left.max(initial=0.0)
    found = kaplan_meier(farthest - left, sure)
    return found._replace(time=farthest - found.time)
