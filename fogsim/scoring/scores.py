"""Scores of many encounters: of each belief, of its actions, and of who drove; over all, and in each bin of fog."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np

from filters.spec import Array
from fogsim.errors import UserError
from fogsim.frame import KINDS
from fogsim.log import Replay
from fogsim.scoring.beliefs import BeliefScore, belief_scores
from fogsim.scoring.bins import BINS, within
from fogsim.scoring.consistency import PlaceScore, place_scores
from fogsim.scoring.costs import (
    CostDifference,
    DriverScore,
    PolicyScore,
    driver_difference,
    driver_score,
    policy_scores,
)
from fogsim.scoring.encounters import MOMENTS, Encounter, encounter
from fogsim.scoring.paired import BeliefDifference, against_reference
from fogsim.scoring.regret import Regret, regrets
from fogsim.scoring.stack import Stack, stack
from fogsim.scoring.sureness import Sureness, sureness


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
    def in_fog(self) -> dict[str, Score]:
        """The scores of the encounters in each bin of true visibility."""
        return {name: Score(within(self.encounters, name)) for name in BINS}

    @cached_property
    def stacks(self) -> dict[str, Stack]:
        """Each belief's encounters as arrays."""
        return {name: stack(self.encounters, name) for name in self.belief_names}

    @cached_property
    def beliefs(self) -> tuple[BeliefScore, ...]:
        """Each belief at each moment."""
        return tuple(row for name, of in self.stacks.items() for row in belief_scores(name, of))

    @cached_property
    def against(self) -> tuple[BeliefDifference, ...]:
        """Each belief less the fused one at each moment."""
        return tuple(against_reference(self.encounters, self.belief_names))

    @cached_property
    def places(self) -> tuple[PlaceScore, ...]:
        """Where each belief had the object at each moment."""
        return tuple(row for name, of in self.stacks.items() for row in place_scores(name, of))

    @cached_property
    def sureness(self) -> tuple[Sureness, ...]:
        """When each belief was first sure."""
        return tuple(sureness(name, of) for name, of in self.stacks.items())

    @cached_property
    def regrets(self) -> tuple[Regret, ...]:
        """Each belief against the oracle's, where the logs have one."""
        return regrets(self.encounters, self.belief_names)

    @cached_property
    def policies(self) -> tuple[PolicyScore, ...]:
        """Each belief under each policy, by shadow."""
        return tuple(row for name in self.belief_names for row in policy_scores(self.encounters, name))

    @property
    def seeds(self) -> list[int]:
        """Of each encounter."""
        return [e.seed for e in self.encounters]

    @property
    def decision_left(self) -> Array:
        """m left at the decision point (encounters,), NaN where it was not reached."""
        return np.array([e.decision_left for e in self.encounters], float)

    @property
    def driver_names(self) -> tuple[str, ...]:
        """Every driver that drove, in the order they come up."""
        return tuple(dict.fromkeys(e.driver for e in self.encounters))

    @cached_property
    def drivers(self) -> tuple[DriverScore, ...]:
        """Each driver that drove."""
        return tuple(driver_score(self.encounters, name) for name in self.driver_names)

    @cached_property
    def differences(self) -> tuple[CostDifference, ...]:
        """Each two drivers on the encounters that both drove."""
        pairs = (driver_difference(self.encounters, a, b) for a, b in combinations(self.driver_names, 2))
        return tuple(pair for pair in pairs if pair.cost.n)

    @property
    def not_reached(self) -> dict[str, int]:
        """Encounters that never reached each moment."""
        return {moment: sum(not e.reached[m] for e in self.encounters) for m, moment in enumerate(MOMENTS)}

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Logs without their end: their beliefs are scored, their outcome is not."""
        return tuple(e.name for e in self.encounters if not e.known_outcome)

    @property
    def unclassed(self) -> dict[str, int]:
        """Encounters with an object of each kind that beliefs have no class for."""
        return dict(Counter(KINDS[e.truth] for e in self.encounters if not e.classed))

    @property
    def unknown(self) -> dict[str, int]:
        """Encounters in which each belief was no number at a moment that was reached, where there were any."""
        lost = Counter(name for e in self.encounters for name, bad in zip(e.beliefs, e.unknown, strict=True) if bad)
        return dict(lost)

    @property
    def without_dof(self) -> int:
        """Encounters whose logs, of an earlier schema, do not tell the degrees of freedom of the NIS they hold."""
        return sum(bool((np.isfinite(e.nis) & ~(e.nis_dof > 0)).any()) for e in self.encounters)


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
        If a folder holds none, or there is neither a folder nor a log of that name.
    """
    if not path.is_dir():
        if not path.suffix and not path.exists():
            raise UserError(f"no folder or log {path}: name what `fogsim campaign` or `fogsim run` wrote")
        return [path]
    found = sorted(p for pattern in ("*.h5", "*.h5.part") for p in path.glob(pattern))
    logs = [p for p in found if p.suffix != ".part" or p.with_suffix("") not in found]  # a recovered log counts once
    if not logs:
        raise UserError(f"{path} holds no log (*.h5): `fogsim run` and `fogsim campaign` write some")
    return logs
