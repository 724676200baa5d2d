"""NIS / d of the true class's bank by range, on encounters of creeping fog driven open loop: 1 if S is what it says.

    python -m tests.test_kalman_nis [FIRST_SEED] [ENCOUNTERS]

prints it with bootstrap intervals over encounters. The measurement model was tuned on seeds 50000 to 50399; these are
others. Clusters that no class explains (see `filters.kalman.FALSE_CLUSTER`) are counted apart.
"""

import sys
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest

from filters.kalman import BLIND, FALSE_CLUSTER, Kalman
from filters.models.cluster import MEASURED
from filters.spec import BAG, BARRIER, Measurement
from filters.streams import stream
from fogsim.followers import model_of
from fogsim.runner import prior_of
from fogsim.scoring.metrics import paired_bootstrap
from tests.encounters import drive, encounter

FIRST, ENCOUNTERS = 51000, 100
EDGES = (BLIND, 7.5, 10.0, 12.5, 15.0, 20.0)
KINDS = ("bag", "barrier")
RNG = stream(0, "kalman")


class Look(NamedTuple):
    """One cluster: encounter, range (m), NIS / d of the true class's bank, whether a class explained it."""

    seed: int
    distance: float
    ratio: float
    explained: bool


def looks_of(seed: int) -> list[Look]:
    """Every cluster of one encounter of the default fog, a bag for an even seed."""
    kind = KINDS[seed % 2]
    scenario = encounter(kind, 25.0)
    filter_ = Kalman(model_of(scenario))
    state = filter_.init(prior_of(scenario, scenario.hazards[0]), RNG)
    truth, result = (BAG, BARRIER)[seed % 2], []
    for look in drive(scenario, seed)[1]:
        if look.motion is not None:
            state = filter_.predict(state, look.motion, scenario.dt, RNG)
        seen = look.percepts[0].features
        if seen is None:
            continue
        if seen.detected and seen.distance >= BLIND:
            done = [filter_.look(k, b, seen, state.log_scale) for k, b in enumerate(state.banks)]
            explained = max(d.log_evidence for d in done) >= FALSE_CLUSTER
            result.append(Look(seed, seen.distance, done[truth].nis / MEASURED, explained))
        state, _ = filter_.update(state, Measurement(look.time, "features", seen), RNG)
    return result


def by_range(looks: list[Look]) -> list[tuple[float, float, int, int, float, float, float]]:
    """For each range: its bounds, looks, those not explained, and the mean of NIS / d with its interval."""
    rows = []
    for low, high in pairwise(EDGES):
        here = [k for k in looks if low <= k.distance < high]
        kept = [k for k in here if k.explained]
        seeds = sorted({k.seed for k in kept})
        means = np.array([np.mean([k.ratio for k in kept if k.seed == s]) for s in seeds])
        mean = float(np.mean([k.ratio for k in kept]))
        spread = paired_bootstrap(means)
        rows.append((low, high, len(here), len(here) - len(kept), mean, spread.low, spread.high))
    return rows


def report(first: int, encounters: int) -> list[tuple[float, float, int, int, float, float, float]]:
    """Print the table."""
    rows = by_range([look for seed in range(first, first + encounters) for look in looks_of(seed)])
    for low, high, n, strange, mean, least, most in rows:
        ratio = f"NIS/d {mean:.2f} [{least:.2f}, {most:.2f}]"
        print(f"{low:4.1f} to {high:4.1f} m  {n:4d} looks, {strange:3d} strange  {ratio}")
    return rows


@pytest.mark.slow
def test_the_true_bank_errs_as_much_as_it_says():
    for row in report(FIRST, ENCOUNTERS):
        assert 0.7 <= row[4] <= 1.2, row


if __name__ == "__main__":
    report(*[int(a) for a in sys.argv[1:]] or (FIRST, ENCOUNTERS))
