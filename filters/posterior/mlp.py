"""A multilayer perceptron as a function of all its weights in one vector, so that many of them run at once.

    h_0 = x,  h_l = relu([h_(l-1), 1] W_l),  f = [h_(L-1), 1] W_L

The last row of each W_l (in + 1, out) is its bias.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

SPREAD = 1.5  # of the prior: deviation SPREAD / sqrt(fan-in), so that activations neither grow nor vanish with depth


class Layers(ABC):
    """A network's weights as one vector and as matrices, layer by layer, their prior and start."""

    sizes: tuple[int, ...]  # numbers of inputs, first, and outputs, last

    @property
    @abstractmethod
    def shapes(self) -> list[tuple[int, int]]:
        """Of each layer's weights, bias included."""

    @property
    def parameters(self) -> int:
        """How many weights there are, P."""
        return sum(rows * columns for rows, columns in self.shapes)

    def split(self, weights: Tensor) -> list[Tensor]:
        """Each layer's part (..., in + 1, out) of weights (..., P)."""
        parts = torch.split(weights, [rows * columns for rows, columns in self.shapes], dim=-1)
        return [part.unflatten(-1, shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def join(self, layers: list[Tensor]) -> Tensor:
        """Weights (..., P) of their parts."""
        return torch.cat([layer.flatten(-2) for layer in layers], dim=-1)

    def deviations(self) -> Tensor:
        """Of the prior N(0, SPREAD² / fan-in) of each weight (P,)."""
        return self.join([torch.full(shape, SPREAD / (shape[0] - 1) ** 0.5) for shape in self.shapes])

    def start(self, rng: torch.Generator) -> Tensor:
        """Weights (P,) from which to descend: He et al. 2015 (arXiv 1502.01852), and biases alike.

        Without biases all units would bend at the origin, and some networks never learn to bend far from it.
        """
        return self.join([torch.randn(shape, generator=rng) * (2.0 / (shape[0] - 1)) ** 0.5 for shape in self.shapes])

    def check(self, x: Tensor) -> None:
        """Refuse inputs of another width."""
        if x.ndim != 2 or x.shape[1] != self.sizes[0]:
            raise ValueError(f"found inputs of shape {tuple(x.shape)}, expected (n, {self.sizes[0]})")


@dataclass(frozen=True)
class Mlp(Layers):
    """Layers' sizes from inputs to outputs, e.g. (8, 32, 32, 2)."""

    sizes: tuple[int, ...]
    activation: Literal["relu", "tanh"] = "relu"

    def __post_init__(self) -> None:
        sizes = self.sizes
        if (
            self.activation not in ("relu", "tanh")
            or len(sizes) < 2
            or not all(type(n) is int and n > 0 for n in sizes)
        ):
            raise ValueError(f"found {self}, expected two or more sizes above 0, and relu or tanh")

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Of each layer's weights, bias included."""
        return [(fan + 1, out) for fan, out in zip(self.sizes[:-1], self.sizes[1:], strict=True)]

    def forward(self, weights: Tensor, x: Tensor) -> Tensor:
        """Outputs (S, n, O) of weights (S, P) at inputs (n, F), which are brought to the weights' device."""
        self.check(x)
        return self.through([(w[:, :-1], w[:, -1:]) for w in self.split(weights)], x.to(weights.device))

    def through(self, layers: Iterable[tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
        """Outputs (S, n, O) of each layer's weights (S, in, out) and biases (S, 1, out) at inputs (n, F)."""
        hidden = x
        for layer, (w, bias) in enumerate(layers):
            hidden = torch.baddbmm(bias, self.activate(hidden) if layer else x.expand(len(w), *x.shape), w)
        return hidden

    def activate(self, hidden: Tensor) -> Tensor:
        """The nonlinearity between layers, in place, which halves its time and which gradients allow."""
        return hidden.relu_() if self.activation == "relu" else hidden.tanh_()
