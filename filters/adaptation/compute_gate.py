"""Entropy-gated compute: a few draws for all rows, all draws only where these could change what is done.

Of the first m of S draws of the weights, which say p_s of a barrier with mean p and deviation s, a row is asked again by
the other S - m where

    |p - τ| <= z s / √m        the mean of all may lie on the other side of the threshold τ of the decision
    H(p) >= h                  the row is so uncertain that its log loss hangs on p's second digit

H in nats. The mean over all S is the full posterior's, bit by bit but for rounding, as the first m count in it.
The idea is AutoBNN's as it was told to us; that could not be confirmed in its sources, so the rule is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from filters.posterior.ensemble import Ensemble
from filters.posterior.likelihoods import Prediction
from filters.spec import BARRIER


class Answer(NamedTuple):
    """Of n rows, which were asked again (n,), and the share of the compute S n that it took, counted in draws of rows."""

    prediction: Prediction
    again: Tensor
    share: float


@dataclass(frozen=True)
class ComputeGate:
    """Draws of a two-class network, and when to ask more than the first of them.

    Parameters
    ----------
    few, rest : Ensemble
        The first m draws and the others; `of` makes both.
    threshold : float
        τ, the probability of a barrier from which another action is right.
    entropy : float
        h, nats; ln 2 or more: no row is asked again for that.
    width : float
        z.
    """

    few: Ensemble
    rest: Ensemble
    threshold: float
    entropy: float
    width: float = 2.0

    @classmethod
    def of(cls, ensemble: Ensemble, threshold: float, entropy: float, draws: int = 8, width: float = 2.0) -> ComputeGate:
        """Of all draws, so many of which every row is asked by.

        Raises
        ------
        ValueError
            If there are no more than these, or fewer than two: one has no deviation.
        """
        there = len(ensemble.biases[0])
        if not 2 <= draws < there:
            raise ValueError(f"found {draws} draws to ask first of {there}, expected 2 or more, and fewer than all")
        parts = taken(ensemble, slice(draws)), taken(ensemble, slice(draws, None))
        return cls(*parts, threshold, entropy, width)

    def asks(self, said: Prediction, draws: int) -> Tensor:
        """Where all draws are needed (n,), by what so many said."""
        deviation = (said.epistemic[:, BARRIER] / (draws - 1)).sqrt()
        near = (said.mean[:, BARRIER] - self.threshold).abs() <= self.width * deviation
        return near | (said.information >= self.entropy)

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
            again = self.asks(said, len(first))
            if again.any():
                both = torch.cat([first[:, again], self.rest.outputs(x[again])])
                for part, better in zip(said, self.few.likelihood.predict(both), strict=True):
                    part[again] = better
        others = len(self.rest.biases[0])
        share = (len(first) + others * float(again.float().mean())) / (len(first) + others)
        return Answer(said, again, share)


def taken(ensemble: Ensemble, which: slice) -> Ensemble:
    """Some of its draws."""
    parts = {name: tuple(part[which] for part in getattr(ensemble, name)) for name in ("weights", "biases", "scales")}
    return replace(ensemble, **parts)
