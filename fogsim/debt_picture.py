"""Learning debt over a campaign, drawn into a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from filters.adaptation.debt import RetrainPolicy
from fogsim.errors import UserError
from fogsim.indebted import Entry

LINE, LIMIT, FIRED, OTHER = "#0072b2", "#d55e00", "#999999", "#009e73"  # of Okabe and Ito's palette


def draw(entries: Sequence[Entry], policy: RetrainPolicy, path: Path) -> None:
    """Decision debt, evidence and information debt over the encounters, each with its threshold, into a new file.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 7.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    losses, debt, evidence, information = figure.subplots(4, 1, sharex=True)
    panels(entries, policy, losses, debt, evidence, information)
    for k, axes in enumerate((losses, debt, evidence, information)):
        for n, at in enumerate(e.encounter.number for e in entries if e.firing):
            label = "retrained" if k == n == 0 else None
            axes.axvline(at, color=FIRED, linestyle=":", linewidth=1.2, label=label)
        axes.grid(alpha=0.25)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    losses.legend(frameon=False, fontsize=9)
    information.set_xlabel("encounter")
    try:
        figure.savefig(path)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): choose another place") from error


def panels(entries: Sequence[Entry], policy: RetrainPolicy, losses: Any, debt: Any, evidence: Any, info: Any) -> None:
    """What each panel shows."""
    x = [e.encounter.number for e in entries]
    lost = zip(*(e.losses for e in entries), strict=True)
    for name, each, colour in zip(("deployed", "learning"), lost, (LIMIT, OTHER), strict=True):
        losses.plot(x, np.cumsum(each), color=colour, label=f"lost by the {name} model")
    losses.set_ylabel("Σ decision loss")
    debt.plot(x, [e.account.debt for e in entries], color=LINE)
    debt.axhline(policy.cost, color=LIMIT, linestyle="--", linewidth=1.0)
    debt.set_ylabel("decision debt D")
    evidence.plot(x, [e.account.evidence for e in entries], color=LINE)
    evidence.axhline(policy.proof, color=LIMIT, linestyle="--", linewidth=1.0)
    evidence.set_ylabel("evidence L, nats")
    info.plot(x, [e.information for e in entries], color=LINE)
    info.set_ylabel("KL(q_t ‖ q_0), nats")
