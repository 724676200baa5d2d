"""``fogsim calibrate``: a campaign's logs in, a card out, and what its maps are worth on those that taught nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from math import ceil, log
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from scipy.special import expit

from filters import calibration
from filters.conformal import Threshold, exceedance, mean_threshold, pac_threshold
from filters.spec import CLASSES, Array
from fogsim import cards
from fogsim.calibrating import AT, apply_maps, fit_card, halves, said
from fogsim.commands import TABLES
from fogsim.errors import UserError, one_line
from fogsim.log import Replay
from fogsim.log_file import software_versions
from fogsim.scoring.corp import decompose
from fogsim.scoring.encounters import DECISION, MOMENTS, Encounter, encounter
from fogsim.scoring.metrics import log_loss
from fogsim.scoring.scores import logs_in

GUARANTEES = {"mean": mean_threshold, "pac": pac_threshold}


def calibrate(folder: Path, out: Path, kind: str, guarantee: str, alpha: float) -> None:
    """Fit a card to a folder of open-loop logs.

    Parameters
    ----------
    folder, out : Path
        The logs; the card, new.
    kind : str
        Of the maps: temperature, platt, beta or isotonic.
    guarantee, alpha : str, float
        Of λ: "mean" or "pac", and the share of barriers that may be missed.

    Raises
    ------
    UserError
        If an option is wrong, or the logs cannot teach a card.
    """
    if kind not in calibration.LEAST:
        raise UserError(f"found --maps {kind}, expected one of {', '.join(calibration.LEAST)}")
    if guarantee not in GUARANTEES:
        raise UserError(f"found --guarantee {guarantee}, expected one of {', '.join(GUARANTEES)}")
    if out.exists():
        raise UserError(f"{out} exists already and is never overwritten: choose another name")
    with Console(stderr=True).status(f"reading {folder}"):
        encounters, scenario, left_out = gather(folder)
    bound = partial(GUARANTEES[guarantee], alpha=alpha)
    try:
        card = fit_card(encounters, kind, bound, scenario["fog"]["visibility"])
    except ValueError as error:
        raise UserError(f"{folder}: {one_line(error)}") from error
    about = {"scenario": scenario["name"], "maps": kind, "software": software_versions()}
    cards.write(out, cards.CardFile(card, tuple(e.seed for e in encounters), about))
    show(encounters, card.recalibrations, kind, left_out)
    Console().print(f"{out}; drive by it with --card {out}, on other seeds", markup=False, soft_wrap=True)


def gather(folder: Path) -> tuple[list[Encounter], dict[str, Any], Counter[str]]:
    """The encounters that teach, their scenario, and how many others there are and why.

    Raises
    ------
    UserError
        If logs are of several settings or seeds twice, were not driven open loop or by a card, or there are none.
    """
    encounters: dict[int, Encounter] = {}
    first: dict[str, Any] = {}
    left_out: Counter[str] = Counter()
    for path in logs_in(folder):
        with Replay(path) as replay:
            check(path, replay, first := first or replay.scenario)
            if why := unfit(replay):
                left_out[why] += 1
                continue
            if replay.seed in encounters:
                raise UserError(f"{path} has seed {replay.seed} a second time, expected each once: move it away")
            encounters[replay.seed] = encounter(replay, path.name)
    if not encounters:
        raise UserError(f"{folder} has no encounter to learn from ({'; '.join(left_out) or 'no log'}): drive some more")
    return list(encounters.values()), first, left_out


def check(path: Path, replay: Replay, first: dict[str, Any]) -> None:
    """Refuse a log that differs from the first, or that decisions or another card have shaped."""
    found = replay.scenario
    if found != first:
        names = [name for name in found if found[name] != first.get(name)]
        raise UserError(f"{path} differs from the first log in {', '.join(names)}, expected one setting: move it away")
    if found["driver"]["policy"] != "open_loop":
        raise UserError(
            f"{path} was driven by {found['driver']['policy']}, expected open_loop: drive with"
            " --set driver.policy=open_loop, for decisions change what is seen after them"
        )
    if found.get("card", {}).get("encounters"):
        raise UserError(f"{path} was driven by a card, expected none: beliefs in it are recalibrated already")
    if len(found["hazards"]) != 1:
        raise UserError(f"{path} has {len(found['hazards'])} hazards, expected one: leave the others out")


def unfit(replay: Replay) -> str:
    """Why a log teaches nothing, or ""."""
    if not len(replay) or not replay.column("at_decision_point").any():
        return "never at the decision point"
    if replay.column("truth_class")[0, 0] >= len(CLASSES):
        return "an object that beliefs have no class for"
    if not np.isfinite(replay.column("visibility_estimate", True)).all():
        return "of an earlier schema, without perception's visibility"
    return "" if np.isfinite(replay.column("log_probs")[:, :, 0]).all() else "a belief that is NaN"


def show(encounters: Sequence[Encounter], found: Sequence[Any], kind: str, left_out: Counter[str]) -> None:
    """Print what the maps gain on the encounters that did not teach them, and the thresholds."""
    teaching, others = halves(encounters)
    table = Table(
        title=f"Recalibrated ({kind}) on {len(teaching)} encounters, scored on {len(others)} others",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for column in ("belief", "log loss\ndecision", "log loss\n10 m", "MCB\ndecision", "MCB\n10 m", "brakes\nfrom q"):
        table.add_column(column, justify="left" if column == "belief" else "right", no_wrap=True)
    y = np.array([e.truth for e in others])
    for b, recalibration in enumerate(found):
        raw = np.array([e.p_barrier[AT, b] for e in others])
        after = expit(apply_maps(recalibration.calibrators, said(others, b)))
        cells = (gain(f, raw[:, m], after[:, m], y) for f in (loss, mcb) for m in (DECISION, MOMENTS.index("10 m")))
        table.add_row(recalibration.belief, *cells, f"{recalibration.threshold.value:.3f}")
    console = Console(width=max(TABLES, Console().width), markup=False, highlight=False)
    console.print(table)
    console.print(promise(found[0].threshold), soft_wrap=True)
    for why, n in left_out.items():
        console.print(f"{n} left out: {why}")


def gain(figure: Any, before: Array, after: Array, y: Array) -> str:
    """A figure of the beliefs before and after, where there are any."""
    known = np.isfinite(before)
    return f"{figure(before[known], y[known]):.3f} → {figure(after[known], y[known]):.3f}" if known.any() else "–"


def loss(p: Array, y: Array) -> float:
    """Mean log loss, nats."""
    return float(log_loss(p, y).mean())


def mcb(p: Array, y: Array) -> float:
    """Miscalibration."""
    return decompose(p, y).mcb


def least(t: Threshold) -> int:
    """How many barriers a guarantee takes."""
    return ceil(log(t.delta) / log(1.0 - t.alpha)) if t.delta else ceil(1.0 / t.alpha - 1.0)


def promise(t: Threshold) -> str:
    """What λ promises, in words."""
    if not t.k:
        return f"{t.n} barriers are too few for {t.alpha:.1%} missed, {least(t)} would do: conformal always brakes"
    share = f"braking from q on misses {t.expected_miss:.2%} of barriers in the mean (the {t.k}. smallest of {t.n})"
    if t.guarantee == "pac":
        return f"{share}, and more than {t.alpha:.1%} for {t.delta:.0%} of campaigns like this one at most"
    over = float(exceedance(t.k, t.n, t.alpha))
    return f"{share}; of campaigns like this one {over:.0%} miss more than {t.alpha:.1%}: --guarantee pac bounds that"
