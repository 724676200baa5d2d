"""Foggy lidar whose simulator and likelihood are one model, and the beliefs, decisions and scores built on it.

    from fogsim import run, replay, score, train, add_fog

Each is loaded on first use, so that `import fogsim` costs nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fogsim.fogging import add_fog
    from fogsim.log import Replay as replay  # noqa: N813
    from fogsim.runner import run
    from fogsim.scoring.scores import score
    from fogsim.training import train

# Matrices here are small: two threads take longer than one, and they round otherwise, so that the same seed would not
# give the same log. It must be said before numpy is loaded; whoever sets it knows why.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__all__ = ["add_fog", "replay", "run", "score", "train"]

_HOMES = {
    "add_fog": "fogsim.fogging:add_fog",
    "replay": "fogsim.log:Replay",
    "run": "fogsim.runner:run",
    "score": "fogsim.scoring.scores:score",
    "train": "fogsim.training:train",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fogsim' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(module), attribute)
