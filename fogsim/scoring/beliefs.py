"""How good and how calibrated a belief's P(barrier) is at each moment."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from filters.spec import Array
from fogsim.scoring import metrics
from fogsim.scoring.corp import Calibration, Upper, calibration
from fogsim.scoring.encounters import MOMENTS
from fogsim.scoring.metrics import Interval
from fogsim.scoring.stack import Stack

COIN = float(np.log(2.0))  # log loss of one that always says ½, nats
UNDECIDED = (0.05, 0.95)
RESAMPLES = 200  # of a decomposition: its p-value is told to half a hundredth
NONE = Upper(np.nan, np.nan)
NOTHING = Calibration(0, np.nan, NONE, NONE, np.nan, NONE, np.nan)


class BeliefScore(NamedTuple):
    """One belief at one moment, over the `n` encounters that reached it.

    Log loss is a mean over seeds, like `gain`, which is it less a coin's ln 2, nats; the others are over encounters.
    The Brier score is mcb - dsc + unc. `calibrated` is the MCB that calibrated beliefs with the same p would show by
    chance, `p_value` how often they would show no less than was found (`fogsim.scoring.corp`). With one class only
    there is no AUC, and dsc and unc are 0.
    """

    belief: str
    moment: str
    n: int
    log_loss: float
    gain: Interval
    brier: float
    mcb: Upper
    dsc: Upper
    unc: float
    calibrated: Upper
    p_value: float
    accuracy: float
    auc: float
    entropy: float
    undecided: float  # share of encounters with .05 < p < .95

    @property
    def loss(self) -> Interval:
        """Log loss with the interval of its gain."""
        return Interval(*(value + COIN for value in self.gain))


def belief_scores(name: str, of: Stack) -> list[BeliefScore]:
    """One belief at each moment."""
    gains = metrics.over_seeds(metrics.log_loss(of.p, of.truth[:, None]) - COIN, of.seed)
    return [_score(name, m, of, gain) for m, gain in enumerate(gains)]


def _score(name: str, moment: int, of: Stack, gain: Interval) -> BeliefScore:
    known = np.isfinite(of.p[:, moment])
    p, y = of.p[known, moment], of.truth[known]
    parts = calibration(p, y, of.seed[known], n=RESAMPLES) if p.size else NOTHING
    return BeliefScore(
        belief=name,
        moment=MOMENTS[moment],
        n=len(p),
        log_loss=gain.mean + COIN,
        gain=gain,
        brier=parts.brier,
        mcb=parts.mcb,
        dsc=parts.dsc,
        unc=parts.unc,
        calibrated=parts.calibrated,
        p_value=parts.p_value,
        accuracy=_mean(metrics.accuracy(p, y)),
        auc=metrics.auc(p, y),
        entropy=_mean(metrics.entropy(p)),
        undecided=_mean((p > UNDECIDED[0]) & (p < UNDECIDED[1])),
    )


def _mean(values: Array) -> float:
    return float(np.mean(values)) if values.size else float("nan")
