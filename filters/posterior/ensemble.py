"""The serving form of a posterior: S draws of the weights as stacked tensors, one `baddbmm` a layer for all of them.

    h_l = relu(h_(l-1)) W_l + b_l,   W_l (S, in, out)

In eight bits (`compact`) each column of a W_l is kept as whole numbers from -127 to 127 times its own scale, a
quarter of the memory; they are spread out again, layer by layer, when asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from filters.posterior.likelihoods import Likelihood, Prediction
from filters.posterior.mlp import Mlp

TOP = 127.0


@dataclass(frozen=True)
class Ensemble:
    """Per layer: weights (S, in, out), biases (S, 1, out), and the columns' scales (S, 1, out) where compact."""

    network: Mlp
    likelihood: Likelihood
    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    scales: tuple[Tensor, ...] = ()

    @classmethod
    def of(cls, network: Mlp, likelihood: Likelihood, draws: Tensor) -> Self:
        """Of draws of the weights (S, P), which an engine's `sample` makes."""
        layers = [layer.detach() for layer in network.split(draws)]
        weights = [layer[:, :-1].contiguous() for layer in layers]
        weights[-1] = weights[-1].mT.contiguous().mT  # column by column: with two of them in a quarter of the time
        return cls(network, likelihood, tuple(weights), tuple(layer[:, -1:].contiguous() for layer in layers))

    def outputs(self, x: Tensor) -> Tensor:
        """Outputs (S, n, O) at inputs (n, F)."""
        return self.network.through(((self.layer(layer), bias) for layer, bias in enumerate(self.biases)), x)

    def layer(self, which: int) -> Tensor:
        """A layer's weights as floating point numbers."""
        return self.weights[which] * self.scales[which] if self.scales else self.weights[which]

    def predict(self, x: Tensor) -> Prediction:
        """What the targets at x (n, F) will be, and why that is not certain.

        Raises
        ------
        ValueError
            In one line, if the inputs have another width or are not finite.
        """
        self.network.check(x)
        if not torch.isfinite(x).all():
            raise ValueError("found inputs that are not finite; leave out such rows")
        with torch.inference_mode():
            return self.likelihood.predict(self.outputs(x))

    def compact(self) -> Self:
        """The same in whole numbers of eight bits."""
        scales = tuple(w.abs().amax(dim=1, keepdim=True).clamp_min(1e-12) / TOP for w in self.weights)
        whole = tuple((w / s).round().to(torch.int8) for w, s in zip(self.weights, scales, strict=True))
        return replace(self, weights=whole, scales=scales)

    @property
    def bytes(self) -> int:
        """Memory of the tensors."""
        return sum(part.nbytes for part in (*self.weights, *self.biases, *self.scales))
