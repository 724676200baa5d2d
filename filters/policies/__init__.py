"""Who decides how: the policies by name, one file each. `Hysteresis` goes around any of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from filters.policies.bayes import Bayes
from filters.policies.conformal import Conformal
from filters.policies.hysteresis import Hysteresis
from filters.policies.most_likely_label import MostLikelyLabel
from filters.policies.open_loop import OpenLoop
from filters.policies.optimal_stopping import stopping_policy
from filters.policies.sprt import Sprt
from filters.policy import Decision, Policy

__all__ = ["POLICIES", "Decision", "Hysteresis", "Policy"]

POLICIES: dict[str, Callable[..., Policy[Any]]] = {
    "bayes": Bayes,
    "most_likely_label": MostLikelyLabel,
    "sprt": Sprt,
    "conformal": Conformal,
    "optimal_stopping": stopping_policy,  # told the losses and the car, of which it makes its plans
    "open_loop": OpenLoop,
}
