"""A Bayesian network over the beams themselves: a small convolutional one on the picture of `filters.beam_patch`.

How frames are fused says `filters.network_filter`. Where to look, and whether anything was seen, is perception's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from filters.beam_patch import CHANNELS, COLUMNS, ROWS, SCALARS, SIZE, patch
from filters.gaussian import update_position
from filters.models.model import Model
from filters.network_filter import NetworkFilter, evidence_of, fused, seen
from filters.spec import FEATURES, Array, Features, Gaussian, Info, Measurement, Prior, Scan, Status
from filters.trained import load, shipped

MAPS, HIDDEN = (16, 16), 24
SIDE, STRIDES = 3, (2, 1)  # of the windows, beams; from column to column
CELLS = MAPS[1] * (ROWS - 4) * 9
SHAPES = {
    "w1": (None, len(CHANNELS) * SIDE**2, MAPS[0]),
    "b1": (None, MAPS[0]),
    "w2": (None, MAPS[0] * SIDE**2, MAPS[1]),
    "b2": (None, MAPS[1]),
    "w3": (None, CELLS + len(SCALARS), HIDDEN),
    "b3": (None, HIDDEN),
    "w4": (None, HIDDEN),
    "b4": (None,),
    "prior": (2,),
    "tau": (2,),
}


class PatchNet(NamedTuple):
    """S weight draws, log class shares of training (K,), and tau (undetected, detected)."""

    w1: Array
    b1: Array
    w2: Array
    b2: Array
    w3: Array
    b3: Array
    w4: Array
    b4: Array
    prior: Array
    tau: Array


class PatchState(NamedTuple):
    """`NetworkState`, and the last features (F,) with their time, s."""

    log_probs: Array
    position: Gaussian
    values: Array
    time: float


@dataclass(frozen=True)
class PatchNetwork(NetworkFilter):
    """The filter; `checkpoint` is a file made by ``fogsim train patch``."""

    model: Model
    checkpoint: str = shipped("patch")
    sensors = ("features", "scan")

    def draws(self) -> int:
        return network(self.checkpoint).b4.size

    def init(self, prior: Prior, rng: np.random.Generator) -> PatchState:
        log_probs, position = super().init(prior, rng)
        return PatchState(log_probs, position, np.zeros(len(FEATURES)), np.nan)

    def update(self, state: PatchState, measurement: Measurement, rng: np.random.Generator) -> tuple[PatchState, Info]:
        """Features tell where to look; fused is the scan of the same time, if they have told it."""
        data = measurement.data
        if isinstance(data, Features):
            position, nis, status = update_position(state.position, data.position, data.covariance)
            told = state._replace(position=position, values=data.values, time=measurement.time)
            return self.moved(state, told, nis, status)
        assert isinstance(data, Scan), f"found {measurement.sensor}, expected features or scan"
        if measurement.time != state.time:
            return self.moved(state, state, np.nan, Status.OK)
        net = network(self.checkpoint)
        worth = net.tau[seen(state.values)] * evidence(net, patch(data, state.values)[None])[0]
        return self.moved(state, state._replace(log_probs=fused(state.log_probs, worth)), np.nan, Status.OK)


@lru_cache(maxsize=8)
def network(path: str) -> PatchNet:
    """The network in a checkpoint, read once.

    Raises
    ------
    ValueError
        In one line, if the file is not such a checkpoint.
    """
    tensors, _ = load(path, "patch", SHAPES)
    return PatchNet(**tensors)


def evidence(net: PatchNet, pictures: Array) -> Array:
    """Evidence e_s(c) of pictures (n, SIZE): (n, S, K)."""
    return evidence_of(logits(net, pictures), net.prior)


def logits(net: PatchNet, pictures: Array) -> Array:
    """f(y; w_s) of pictures (n, SIZE) under every weight draw: (n, S)."""
    n, cells = len(pictures), SIZE - len(SCALARS)
    hidden = pictures[None, :, :cells].reshape(1, n, len(CHANNELS), ROWS, COLUMNS)
    for w, b, stride in zip((net.w1, net.w2), (net.b1, net.b2), STRIDES, strict=True):
        windows = sliding_window_view(hidden, (SIDE, SIDE), axis=(3, 4))[:, :, :, :, ::stride]
        rows = np.moveaxis(windows, 2, 4)
        found = np.maximum(rows.reshape(len(rows), -1, w.shape[1]) @ w + b[:, None], 0.0)
        hidden = np.moveaxis(found.reshape(len(w), *rows.shape[1:4], -1), -1, 2)
    scalars = np.broadcast_to(pictures[:, cells:], (len(hidden), n, len(SCALARS)))
    both = np.concatenate([hidden.reshape(len(hidden), n, -1), scalars], axis=2)
    dense = np.maximum(both @ net.w3 + net.b3[:, None], 0.0)
    return ((dense @ net.w4[:, :, None])[..., 0] + net.b4[:, None]).T
