"""A small convolutional network as a function of all its weights in one vector, so that many of them run at once.

    picture -> 3 x 3 windows -> relu -> 3 x 3 windows -> relu -> [cells, scalars] -> dense -> relu -> f

A layer of windows is a matrix W (9 in + 1, out), alike for all places, as `Mlp`'s layers are (in + 1, out).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from filters.posterior.mlp import Layers

SIDE = 3


@dataclass(frozen=True)
class ConvNet(Layers):
    """Of pictures (channels, rows, columns) with `scalars` numbers beside each; inputs are both in one row (n, F)."""

    picture: tuple[int, int, int]
    scalars: int
    maps: tuple[int, int] = (16, 16)
    hidden: int = 24
    outputs: int = 1
    strides: tuple[int, int] = (2, 1)  # from column to column

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Of each layer's weights, bias included."""
        channels, rows, columns = self.picture
        shapes = []
        for out, stride in zip(self.maps, self.strides, strict=True):
            shapes.append((channels * SIDE**2 + 1, out))
            channels, rows, columns = out, rows - SIDE + 1, (columns - SIDE) // stride + 1
        cells = channels * rows * columns + self.scalars
        return [*shapes, (cells + 1, self.hidden), (self.hidden + 1, self.outputs)]

    @property
    def sizes(self) -> tuple[int, int]:  # type: ignore[override]
        """Numbers of inputs and outputs."""
        channels, rows, columns = self.picture
        return channels * rows * columns + self.scalars, self.outputs

    def forward(self, weights: Tensor, x: Tensor) -> Tensor:
        """Outputs (S, n, O) of weights (S, P) at inputs (n, F)."""
        self.check(x)
        x = x.to(weights.device)
        *maps, dense, last = self.split(weights)
        scalars = x[:, len(x[0]) - self.scalars :].expand(len(weights), -1, -1)
        hidden = x[:, : len(x[0]) - self.scalars].reshape(1, len(x), *self.picture)
        for w, stride in zip(maps, self.strides, strict=True):
            windows = hidden.unfold(3, SIDE, 1).unfold(4, SIDE, stride).permute(0, 1, 3, 4, 2, 5, 6)
            s, n, rows, columns = windows.shape[:4]
            flat = windows.reshape(s, n * rows * columns, -1).expand(len(weights), -1, -1)
            found = torch.relu(torch.baddbmm(w[:, -1:], flat, w[:, :-1]))
            hidden = found.view(len(weights), n, rows, columns, -1).permute(0, 1, 4, 2, 3)
        both = torch.cat([hidden.flatten(2), scalars], dim=-1)
        return torch.baddbmm(last[:, -1:], torch.relu(torch.baddbmm(dense[:, -1:], both, dense[:, :-1])), last[:, :-1])
