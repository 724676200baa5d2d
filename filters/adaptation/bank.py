"""A bank of reference posteriors: regimes that were met before, clear air or fog, and are recalled when they return.

Every regime that has led for `settled` batches on end is kept, and again as often: a regime that returns is learnt from
where it was left, as its posterior is among the newcomers of `rates`, and by what it predicts of the new batches. The
first reference, to which posteriors fade, is kept as it is: a start for regimes never met. A full bank gives up the one
that led longest ago. When a regime is kept, and which is given up, is derived here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NamedTuple

import torch
from torch import Tensor

from filters.adaptation.rates import Hypothesis, Mixed, Rates
from filters.posterior.spec import Data, State

SETTLED = 20
SIZE = 4
"""How many regimes are kept beside the first reference."""


@dataclass(frozen=True)
class Bank(Rates[State], Generic[State]):
    """`Rates` with references that grow; those given, e.g. posteriors of clear air and of fog, are there at first."""

    settled: int = SETTLED
    size: int = SIZE
