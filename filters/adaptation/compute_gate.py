"""Entropy-gated compute: a few draws for all rows, all draws only where these could change what is said or done.

Of the first m of S draws of the weights, which say p_s of a barrier with mean p and deviation s, a row is asked again
by the other S - m where

    |p - τ| <= z s / √(m - 1)                 the mean of all may lie on the other side of the decision's threshold τ
    H[p] - mean_s H[p_s] >= h  (nats)         the draws' share of the predictive entropy: of m draws the log loss is
                                              higher than of all by about this over m

The entropy H[p] itself is no guide: it is highest, ln 2, in fog in which nothing is seen, where all draws agree that it
is a coin and no more of them say anything else. What is asked again is said as all S say it, up to rounding. That
entropy should gate compute is AutoBNN's idea as it was told; its sources did not confirm it, and the rule is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor

from filters.posterior.ensemble import Ensemble
from filters.posterior.likelihoods import Prediction
from filters.spec import BARRIER

FEW = 8  # m
WIDTH = 3.0  # z
INFORMATION = 0.01  # h; chosen with z on frames of scenarios/regime_shift.py, root seeds 6 to 8


class Answer(NamedTuple):
    """Of n rows, which were asked again (n,), and the share that it took of S n, the draws of all rows by all."""

    prediction: Prediction
    again: Tensor
    share: float


@dataclass(frozen=True)
class ComputeGate:
    """Draws of a two-class network: the first m, and the others; and τ. `of` makes one."""

    few: Ensemble
    rest: Ensemble
    threshold: float

    @classmethod
    def of(cls, ensemble: Ensemble, threshold: float) -> Self:
        """Of all draws, and the probability of a barrier from which another action is right.

        Raises
        ------
        ValueError
            If there are no more than `FEW` draws.
        """
        if (there := len(ensemble.biases[0])) <= FEW:
            raise ValueError(f"found {there} draws, expected more than the {FEW} that every row is asked by")
        return cls(taken(ensemble, slice(FEW)), taken(ensemble, slice(FEW, None)), threshold)

    def predict(self, x: Tensor) -> Answer:
        """What the targets at x (n, F) will be.

        Raises
        ------
        ValueError
            In one line, if the inputs have another width or are not finite.
        """
        self.few.network.check(x)
        if not torch.isfinite(x).all():
            raise ValueError("found inputs that are not finite; leave out such rows")
        with torch.inference_mode():
            first = self.few.outputs(x)
            said = self.few.likelihood.predict(first)
            again = self.asks(said)
            if again.any():
                both = torch.cat([first[:, again], self.rest.outputs(x[again])])
                for part, better in zip(said, self.few.likelihood.predict(both), strict=True):
                    part[again] = better
        few, rest = len(first), len(self.rest.biases[0])
        return Answer(said, again, (few + rest * float(again.float().mean())) / (few + rest))

    def asks(self, said: Prediction) -> Tensor:
        """Where all draws are needed (n,), by what the first ones said."""
        error = (said.epistemic[:, BARRIER] / (FEW - 1)).sqrt()
        near = (said.mean[:, BARRIER] - self.threshold).abs() <= WIDTH * error
        return near | (said.information >= INFORMATION)


def taken(ensemble: Ensemble, which: slice) -> Ensemble:
    """Some of its draws."""
    weights, biases, scales = (
        tuple(part[which] for part in parts) for parts in (ensemble.weights, ensemble.biases, ensemble.scales)
    )
    return replace(ensemble, weights=weights, biases=biases, scales=scales)
