"""A calibration card fitted to the encounters of one open-loop campaign (`filters.card`).

A map of log-odds has to hold on the whole way there, so that it is fitted to what a belief said at the decision point
and at 20, 15 and 10 m, every encounter counting once; of a fog bin apart where it has enough of both classes. λ is set
on what decisions rest on, q = P(a barrier stands in the path) after that map, at the decision point: there an open-loop
run was not changed by any decision, and encounters are exchangeable. With fresh ones they are so only if they played no
part in the maps: one half of the encounters, drawn at random, teaches the maps, the other sets λ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.special import logit

from filters.belief import LOG_ODDS_LIMIT
from filters.calibration import LEAST, Calibrator, fit
from filters.card import EDGES, Card, Recalibration
from filters.conformal import Threshold
from filters.spec import BARRIER, Array
from filters.stopping import Rate, fit_rate
from filters.streams import stream
from fogsim.followers import FUSED
from fogsim.frame import JUDGE
from fogsim.scoring.course import COURSE
from fogsim.scoring.encounters import DECISION, RANGES, Encounter

AT = slice(DECISION, DECISION + 1 + len(RANGES))  # the moments that maps are fitted to
BINS = len(EDGES) + 1
LEARNS = 7.0  # nats: surer than that there is little left to learn, and the rate would seem to fall
NEAREST = 6.0  # m, of the rate: nearer no decision is left


class Said(NamedTuple):
    """What one belief said: log-odds, NaN where a moment was not reached, and the fog bin, both (encounters, moments),
    and the truth (encounters,), 1 a barrier.
    """

    log_odds: Array
    bin: np.ndarray
    truth: np.ndarray


def fit_card(encounters: Sequence[Encounter], kind: str, bound: Callable[[Array], Threshold], report: float) -> Card:
    """The card of encounters of one setting.

    Parameters
    ----------
    encounters : sequence of Encounter
        Open loop to their decision point, with one candidate that beliefs have a class for, each seed once.
    kind : str
        Of the maps, see `filters.calibration`.
    bound : callable
        The `filters.conformal.Threshold` of barriers' scores (barriers,).
    report : float
        Visibility reported beforehand, m, which rates are relative to.

    Raises
    ------
    ValueError
        If there are too few encounters for such a map.
    """
    fog, names = np.array([e.visibility_estimate[AT] for e in encounters]), encounters[0].beliefs
    return Card(
        setting=encounters[0].setting,
        filters=tuple(name for name in names if name not in (FUSED, JUDGE)),
        seeds=hashed(e.seed for e in encounters),
        encounters=len(encounters),
        visibility=(float(np.nanmin(fog)), float(np.nanmax(fog))),
        recalibrations=tuple(
            _recalibration(encounters, b, kind, bound, report) for b, name in enumerate(names) if name != JUDGE
        ),
    )


def halves(encounters: Sequence[Encounter]) -> tuple[list[Encounter], list[Encounter]]:
    """Those that teach the maps and those that do not, whatever order they come in."""
    ordered = sorted(encounters, key=lambda e: e.seed)
    chosen = np.zeros(len(ordered), bool)
    chosen[stream(0, "halves").permutation(len(ordered))[: len(ordered) // 2]] = True
    teaching, others = ([e for e, c in zip(ordered, chosen, strict=True) if c == half] for half in (True, False))
    return teaching, others


def hashed(seeds: Iterable[int]) -> str:
    """sha256 of seeds, in whatever order."""
    return hashlib.sha256(" ".join(map(str, sorted(seeds))).encode()).hexdigest()


def _recalibration(
    encounters: Sequence[Encounter], b: int, kind: str, bound: Callable[[Array], Threshold], report: float
) -> Recalibration:
    teaching, others = halves(encounters)
    maps = fit_maps(said(teaching, b), kind)
    barriers = [e for e in others if e.truth == BARRIER and e.in_path]
    bounded = bound(np.array([score(e, b, maps) for e in barriers]))
    threshold = replace(bounded, value=max(0.0, bounded.value))  # q is never less
    return Recalibration(encounters[0].beliefs[b], maps, threshold, learning_rate(encounters, b, maps, report))


def said(encounters: Sequence[Encounter], b: int) -> Said:
    """What belief `b` said in them."""
    p = np.array([e.p_barrier[AT, b] for e in encounters])
    fog = np.array([e.visibility_estimate[AT] for e in encounters])
    return Said(log_odds(p), np.digitize(fog, EDGES), np.array([e.truth for e in encounters]))


def log_odds(p: Array) -> Array:
    """Of P(barrier), as far as a belief goes."""
    with np.errstate(divide="ignore"):
        return np.clip(logit(p), -LOG_ODDS_LIMIT, LOG_ODDS_LIMIT)


def fit_maps(found: Said, kind: str) -> tuple[Calibrator, ...]:
    """A map for each fog bin; one with fewer than `LEAST` encounters of either class has that of all fog.

    Raises
    ------
    ValueError
        If all fog together has fewer, or one class only.
    """
    n, barriers = len(found.truth), int(found.truth.sum())
    if n < LEAST[kind] or not 0 < barriers < n:
        raise ValueError(
            f"found {n} encounters to teach maps, one half of all, {barriers} with a barrier, expected {LEAST[kind]} or"
            " more of both classes: drive on"
        )
    reached = np.isfinite(found.log_odds)
    weight = reached / np.maximum(reached.sum(axis=1, keepdims=True), 1)
    truth = np.broadcast_to(found.truth[:, None], reached.shape)

    def fitted(chosen: np.ndarray) -> Calibrator:
        return fit(kind, found.log_odds[chosen], truth[chosen], weight[chosen])

    whole, maps = fitted(reached), []
    for k in range(BINS):
        here = reached & (found.bin == k)
        counts = np.bincount(found.truth[here.any(axis=1)], minlength=2)
        maps.append(fitted(here) if counts.min() >= LEAST[kind] else whole)
    return tuple(maps)


def apply_maps(maps: Sequence[Calibrator], found: Said) -> Array:
    """Recalibrated log-odds (encounters, moments)."""
    return np.choose(found.bin, [m(found.log_odds) for m in maps])


def score(e: Encounter, b: int, maps: Sequence[Calibrator]) -> float:
    """q after the maps, at the decision point: q = p × P(in the path | a barrier), of which the maps change p."""
    p = e.p_barrier[DECISION, b]
    return float(map_of(e, maps).probability(p) * e.in_path_belief[DECISION, b] / p)


def map_of(e: Encounter, maps: Sequence[Calibrator]) -> Calibrator:
    """The map of the fog that perception found at the decision point."""
    return maps[int(np.digitize(e.visibility_estimate[DECISION], EDGES))]


def learning_rate(encounters: Sequence[Encounter], b: int, maps: Sequence[Calibrator], report: float) -> Rate | None:
    """Nats a metre that the recalibrated log-odds drift towards the truth; None where they do not. Of an encounter the
    map of its decision point serves the whole way.
    """
    L = np.array([map_of(e, maps)(log_odds(e.course.p[:, b])) for e in encounters])
    left, metres = np.array(COURSE[1:], float), -np.diff(COURSE).astype(float)
    step, before = np.diff(L, axis=1), np.abs(L[:, :-1])
    used = np.isfinite(step) & (before < LEARNS) & (left >= NEAREST)
    r, h, y = (np.broadcast_to(a, step.shape)[used] for a in (left, metres, np.array([[e.truth] for e in encounters])))
    try:
        return fit_rate(r, np.full(len(r), report), h, step[used], y)
    except ValueError:
        return None
