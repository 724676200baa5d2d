"""Scores of many encounters: per belief and moment, per belief and policy, per driver."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from filters.spec import Array
from fogsim.errors import UserError
from fogsim.frame import KINDS, POLICIES
from fogsim.log import Replay
from fogsim.scoring import metrics
from fogsim.scoring.corp import decompose
from fogsim.scoring.encounters import MOMENTS, Encounter, encounter
from fogsim.scoring.metrics import Interval
from fogsim.scoring.regret import Regret, regrets

UNDECIDED = (0.05, 0.95)


class BeliefScore(NamedTuple):
    """One belief at one moment, over the `n` encounters that reached it; `gain` is log loss - ln 2, nats.

    `mcb`, `dsc`: the Brier score is mcb - dsc + that of the base rate (`fogsim.scoring.corp`).
    """

    belief: str
    moment: str
    n: int
    log_loss: float
    gain: Interval
    brier: float
    mcb: float
    dsc: float
    accuracy: float
    auc: float
    entropy: float
    undecided: float  # share of encounters with .05 < p < .95


class PolicyScore(NamedTuple):
    """What a belief under a policy would have done at the decision point; counts are of `n` encounters."""

    belief: str
    policy: str
    n: int
    cost: Interval
    collisions: int
    needless_brakes: int


class DriverScore(NamedTuple):
    """What came of it when a belief drove under a policy; counts are of the `n` encounters of known outcome."""

    driver: str
    n: int
    cost: Interval
    collisions: int
    impact_speed: float
    needless_brakes: int
    distance_left: float


class DriverDifference(NamedTuple):
    """Realised cost of one driver less another's on the `n` encounters that both drove."""

    driver: str
    other: str
    n: int
    cost: Interval


@dataclass(frozen=True, eq=False)
class Score:
    """Encounters, the logs that could not be scored and why, and the tables that follow from them.

    Beliefs and regrets are of the encounters whose object beliefs have a class for (`unclassed` counts the others),
    policies and drivers of all.
    Intervals are 95 %, by bootstrap over seeds: encounters that share one are averaged first.
    """

    encounters: tuple[Encounter, ...]
    refused: tuple[tuple[str, str], ...] = ()

    @property
    def belief_names(self) -> tuple[str, ...]:
        """Every belief that some log holds, in the order they come up, "fused" last."""
        names = dict.fromkeys(name for e in self.encounters for name in e.beliefs)
        return tuple(sorted(names, key=lambda name: name == "fused"))

    @cached_property
    def beliefs(self) -> tuple[BeliefScore, ...]:
        """Each belief at each moment."""
        return tuple(self._belief(name, m) for name in self.belief_names for m in range(len(MOMENTS)))

    @cached_property
    def regrets(self) -> tuple[Regret, ...]:
        """Each belief against the oracle's, where the logs have one."""
        return regrets(self.encounters, self.belief_names)

    @cached_property
    def policies(self) -> tuple[PolicyScore, ...]:
        """Each belief under each policy, by shadow."""
        return tuple(self._policy(name, k) for name in self.belief_names for k in range(len(POLICIES)))

    @cached_property
    def drivers(self) -> tuple[DriverScore, ...]:
        """Each driver that drove."""
        return tuple(self._driver(name) for name in dict.fromkeys(e.driver for e in self.encounters))

    @cached_property
    def differences(self) -> tuple[DriverDifference, ...]:
        """Each two drivers on the encounters that both drove."""
        names = dict.fromkeys(e.driver for e in self.encounters)
        return tuple(d for a, b in combinations(names, 2) if (d := self._difference(a, b)).n)

    @property
    def not_reached(self) -> dict[str, int]:
        """Encounters that never reached each moment."""
        believers = [e for e in self.encounters if e.beliefs]
        never = [sum(bool(np.isnan(e.log_probs[m]).all()) for e in believers) for m in range(len(MOMENTS))]
        return dict(zip(MOMENTS, never, strict=True))

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Logs without their end: their beliefs are scored, their outcome is not."""
        return tuple(e.name for e in self.encounters if not e.known_outcome)

    @property
    def unclassed(self) -> dict[str, int]:
        """Encounters with an object of each kind that beliefs have no class for."""
        return dict(Counter(KINDS[e.truth] for e in self.encounters if not e.classed))

    def _of(self, belief: str, value: Callable[[Encounter, int], float]) -> tuple[Array, list[Encounter]]:
        """A value of one belief in every encounter that has it and in which the value is known."""
        found = [(value(e, e.beliefs.index(belief)), e) for e in self.encounters if belief in e.beliefs]
        known = [(v, e) for v, e in found if np.isfinite(v)]
        return np.array([v for v, _ in known]), [e for _, e in known]

    def _belief(self, name: str, moment: int) -> BeliefScore:
        p, encounters = self._of(name, lambda e, b: e.p_barrier[moment, b] if e.classed else np.nan)
        if not encounters:
            nan = float("nan")
            return BeliefScore(name, MOMENTS[moment], 0, nan, Interval(nan, nan, nan), *[nan] * 7)
        y, seeds = np.array([e.truth for e in encounters]), [e.seed for e in encounters]
        loss, parts = metrics.log_loss(p, y), decompose(p, y)
        return BeliefScore(
            belief=name,
            moment=MOMENTS[moment],
            n=len(p),
            log_loss=float(loss.mean()),
            gain=metrics.paired_bootstrap(metrics.by_group(loss - np.log(2.0), seeds)),
            brier=float(metrics.brier(p, y).mean()),
            mcb=parts.mcb,
            dsc=parts.dsc,
            accuracy=float(metrics.accuracy(p, y).mean()),
            auc=metrics.auc(p, y),
            entropy=float(metrics.entropy(p).mean()),
            undecided=float(((p > UNDECIDED[0]) & (p < UNDECIDED[1])).mean()),
        )

    def _policy(self, name: str, k: int) -> PolicyScore:
        cost, encounters = self._of(name, lambda e, b: e.shadow_cost[b, k])
        collisions, _ = self._of(name, lambda e, b: e.shadow_collision[b, k])
        brakes, _ = self._of(name, lambda e, b: e.needless_brake[b, k])
        interval = metrics.paired_bootstrap(metrics.by_group(cost, [e.seed for e in encounters]))
        return PolicyScore(name, POLICIES[k], len(cost), interval, int(collisions.sum()), int(brakes.sum()))

    def _driver(self, name: str) -> DriverScore:
        mine = [e for e in self.encounters if e.driver == name and e.known_outcome]
        cost = metrics.by_group([e.realised_cost for e in mine], [e.seed for e in mine])
        impacts = [e.impact_speed for e in mine if e.collided]
        return DriverScore(
            driver=name,
            n=len(mine),
            cost=metrics.paired_bootstrap(cost),
            collisions=len(impacts),
            impact_speed=float(np.mean(impacts)) if impacts else float("nan"),
            needless_brakes=sum(e.braked_needlessly for e in mine),
            distance_left=float(np.mean([e.distance_left for e in mine])) if mine else float("nan"),
        )

    def _difference(self, a: str, b: str) -> DriverDifference:
        cost_a, cost_b = (
            {(e.setting, e.seed): e.realised_cost for e in self.encounters if e.driver == d and e.known_outcome}
            for d in (a, b)
        )
        both = sorted(cost_a.keys() & cost_b.keys())
        gaps = metrics.by_group([cost_a[key] - cost_b[key] for key in both], [seed for _, seed in both])
        return DriverDifference(a, b, len(both), metrics.paired_bootstrap(gaps))


def score(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> Score:
    """Score logs, one encounter each, from the logs alone.

    Parameters
    ----------
    paths : path or paths
        Logs, or folders of them; a folder's damaged logs are left out and listed in ``Score.refused``.

    Raises
    ------
    UserError
        If a log named itself cannot be read, or there is none to score.
    """
    given = [Path(p) for p in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
    if not given:
        raise UserError("found no path, expected logs or folders of logs: name at least one")
    encounters, refused = {}, []
    for path in given:
        for log in logs_in(path):
            try:
                with Replay(log) as replay:
                    encounters[log.resolve()] = encounter(replay, log.name)
            except UserError as error:
                if not path.is_dir():
                    raise
                refused.append((log.name, str(error)))
    if not encounters:
        raise UserError(f"none of the {len(refused)} logs can be scored, the first: {refused[0][1]}")
    return Score(tuple(encounters.values()), tuple(refused))


def logs_in(path: Path) -> list[Path]:
    """The logs that a path names: itself, or those in a folder, killed and running ones included.

    Raises
    ------
    UserError
        If a folder holds none.
    """
    if not path.is_dir():
        return [path]
    found = sorted(p for pattern in ("*.h5", "*.h5.part") for p in path.glob(pattern))
    logs = [p for p in found if p.suffix != ".part" or p.with_suffix("") not in found]  # a recovered log counts once
    if not logs:
        raise UserError(f"{path} holds no log (*.h5): `fogsim run` writes some")
    return logs
