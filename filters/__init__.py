"""What to believe: filters, beliefs, fusion and decisions. Estimation only; never imports fogsim."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from filters.models.model import Model
    from filters.spec import Filter

# name -> module:class, imported on first use; users add theirs by the entry point group "fogsim.filters".
FILTERS = {
    "kalman": "filters.kalman:Kalman",
    "particle": "filters.particle:ParticleFilter",
    "kernel_bayes": "filters.kernel_bayes:KernelBayes",
    "bnn": "filters.bnn:BayesianNetwork",
    "patch": "filters.patch:PatchNetwork",
    "oracle": "filters.oracle:Oracle",
}


def known_filters() -> dict[str, str]:
    """Ours and the installed ones, name -> module:class; an installed one cannot take a name of ours."""
    installed = {e.name: e.value for e in entry_points(group="fogsim.filters")}
    return FILTERS | {name: where for name, where in installed.items() if name not in FILTERS}


def make_filter(name: str, model: Model) -> Filter[Any]:
    """The filter of a name, told the model.

    Raises
    ------
    KeyError
        If no filter has that name.
    """
    where = FILTERS.get(name) or known_filters()[name]  # to look for what is installed takes ten times as long
    module, _, attribute = where.partition(":")
    return getattr(import_module(module), attribute)(model=model)
