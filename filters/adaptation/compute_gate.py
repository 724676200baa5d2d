"""Entropy-gated compute: a few draws for all rows, all draws only where these could change what is said or done.

Of the first m of S draws of the weights, whose logits have mean f̄ and variance s², a row is taken to have the logits

    f_k = f̄ + s √(1 + 1/m) z_k,  p_k = σ(f_k),  p = mean p_k,    z_k the K quantiles of N(0, 1), scaled to variance 1,

a normal with the variance of a further draw: what eight draws leave out of the tails, their mean p alone would deny.
With the deviation d of the p_k the row is asked again by the other S - m draws where

    |p - τ| <= z d / √m                       the mean of all may lie on the other side of the decision's threshold τ
    H[p] - mean_k H[p_k] >= h  (nats)         the draws' share of the predictive entropy: how much they may yet say

The entropy H[p] itself is no guide: it is highest, ln 2, in fog in which nothing is seen, where all draws agree that it
is a coin and no more of them say anything else. What is asked again is said as all S say it, up to rounding. That
entropy should gate compute is AutoBNN's idea as it was told; its sources did not confirm it, and the rule is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import NamedTuple, Self

import torch
from torch import Tensor

from filters.posterior.ensemble import Ensemble
from filters.posterior.likelihoods import Prediction
from filters.spec import BARRIER

FEW = 8  # m
QUANTILES = 16  # K
WIDTH = 3.0  # z
INFORMATION = 0.02  # h; chosen with z and the normal on frames of scenarios/regime_shift.py, root seeds 6 to 8


class Answer(NamedTuple):
    """Of n rows, which were asked again (n,), and the share that it took of S n, the draws of all rows by all."""

    prediction: Prediction
    again: Tensor
    share: float


@dataclass(frozen=True)
class ComputeGate:
    """Draws of a network of one logit: the first m, and the others; and τ. `of` makes one."""

    few: Ensemble
    rest: Ensemble
    threshold: float

    @classmethod
    def of(cls, ensemble: Ensemble, threshold: float) -> Self:
        """Of all draws, and the probability of a barrier from which another action is right.

        Raises
        ------
        ValueError
            If there are no more than `FEW` draws, or the network has several outputs.
        """
        if (outputs := ensemble.network.sizes[-1]) != 1:
            raise ValueError(f"found a network of {outputs} outputs, expected one logit")
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
            said = self.few.likelihood.predict(smoothed(first))
            again = self.asks(said)
            if again.any():
                both = torch.cat([first[:, again], self.rest.outputs(x[again])])
                for part, better in zip(said, self.few.likelihood.predict(both), strict=True):
                    part[again] = better
        few, rest = len(first), len(self.rest.biases[0])
        return Answer(said, again, (few + rest * float(again.float().mean())) / (few + rest))

    def asks(self, said: Prediction) -> Tensor:
        """Where all draws are needed (n,), by what the first ones said."""
        error = (said.epistemic[:, BARRIER] / FEW).sqrt()
        near = (said.mean[:, BARRIER] - self.threshold).abs() <= WIDTH * error
        return near | (said.information >= INFORMATION)


def smoothed(logits: Tensor) -> Tensor:
    """Logits (K, n, 1) that stand for those of all draws, by the first ones' (m, n, 1)."""
    z = logits.new_tensor([NormalDist().inv_cdf((k + 0.5) / QUANTILES) for k in range(QUANTILES)])
    deviation = logits.std(dim=0) * (1.0 + 1.0 / len(logits)) ** 0.5
    return logits.mean(dim=0) + (z / z.square().mean().sqrt())[:, None, None] * deviation


def taken(ensemble: Ensemble, which: slice) -> Ensemble:
    """Some of its draws."""
    weights, biases, scales = (
        tuple(part[which] for part in parts) for parts in (ensemble.weights, ensemble.biases, ensemble.scales)
    )
    return replace(ensemble, weights=weights, biases=biases, scales=scales)
