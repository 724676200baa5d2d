"""What a belief loses against the exact posterior, in nats, by range and visibility.

Of one encounter with truth y, P(barrier) p of a filter and o of the oracle, at the same frame of the same log:

    regret            ln o(y) - ln p(y)                       log loss of the filter less that of the oracle
    expected regret   Σ_k o_k ln(o_k / p_k) = KL(o || p)      its mean over y ~ o, what the oracle holds to be true

Both have the same mean where the oracle is exact; the second is never negative and spreads far less. A filter that
reads what the oracle does not (the visibility sensor) may have negative regret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fogsim.frame import JUDGE
from fogsim.scoring import metrics
from fogsim.scoring.bins import VISIBILITIES, within
from fogsim.scoring.encounters import MOMENTS, RANGES, Encounter
from fogsim.scoring.metrics import Interval

AT = ("decision", *(f"{r} m" for r in RANGES))


class Regret(NamedTuple):
    """One belief's at one moment, nats, over the `n` encounters of true visibility in a bin that reached it."""

    belief: str
    moment: str
    visibility: str
    n: int
    regret: Interval
    expected: Interval


def regrets(encounters: Sequence[Encounter], names: Sequence[str]) -> tuple[Regret, ...]:
    """Of each belief but the oracle's, at each moment and in each bin of visibility; nothing without an oracle.

    Encounters whose object beliefs have no class for are left out.
    Intervals are 95 %, by bootstrap over seeds: encounters that share one are averaged first.
    """
    judged = [e for e in encounters if JUDGE in e.beliefs and e.classed]
    others = [name for name in names if name != JUDGE] if judged else []
    return tuple(_regret(judged, name, moment, bin_) for name in others for moment in AT for bin_ in VISIBILITIES)


def _regret(judged: Sequence[Encounter], name: str, moment: str, visibility: str) -> Regret:
    here = [e for e in within(judged, visibility) if name in e.beliefs]
    at = MOMENTS.index(moment)
    p, o = (np.array([e.p_barrier[at, e.beliefs.index(who)] for e in here]) for who in (name, JUDGE))
    y, seeds = np.array([e.truth for e in here]), np.array([e.seed for e in here])
    values = (metrics.log_loss(p, y) - metrics.log_loss(o, y), metrics.relative_entropy(o, p))
    intervals = (metrics.paired_bootstrap(metrics.by_group(v, seeds)) for v in values)
    return Regret(name, moment, visibility, int(np.isfinite(values[0]).sum()), *intervals)
