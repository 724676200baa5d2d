"""The exact posterior of one candidate, the judge of the other filters: sequential Monte Carlo that forgets nothing.

A particle is a whole story (`stories.py`). A scan enters by tempering, and after each resampling the stories are moved
by Metropolis steps whose target is the posterior given ALL scans so far, each weighed anew (`history.py`):

    p(story) Π_s p(scan_s | story)^b_s        b_s = 1, but for the last scan, whose exponent rises to 1

(Chopin 2002, Biometrika 89:539; Del Moral, Doucet & Jasra 2006, J. R. Stat. Soc. B 68:411). So nothing approximates
the posterior but the number of particles, and what that does is measured: `RUNS` independent clouds are kept, their
evidences averaged, and `disagreement` says how far their log-odds are apart.

As given it takes what all filters do: the map's surfaces stand where odometry puts them, and the fog is even.
It costs seconds per encounter and is no part of the fused belief: a judge, not a driver.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from filters.belief import log_sum_exp, mix, moments, normalise
from filters.history import History, add, begin, log_likelihood
from filters.models.model import Model
from filters.particle import FOUND, largest_step
from filters.resampling import ess, systematic
from filters.spec import CLASSES, Array, Belief, EgoMotion, Info, Measurement, Prior, Scan, Status
from filters.stories import Cloud, Stories, choose

RUNS = 2
SEARCHERS = 4  # times as many particles until a cloud has found its candidate: a first echo leaves few of them
ENOUGH = 0.5  # effective share below which a cloud is resampled and moved
MOVES = 10  # Metropolis steps of every story then
SETTLED = 20.0  # nats between classes from which on no scan is looked at: a belief's floor is at 14


class Weighted(NamedTuple):
    """Stories, their log-weights (n,), and ln p of all scans but the last, given each (n,)."""

    cloud: Cloud
    log_weights: Array
    past: Array


class OracleState(NamedTuple):
    """What was seen, the weighted stories of each run and class, and each run's ln p(scans | class) (runs, K)."""

    prior: Prior
    history: History
    runs: tuple[tuple[Weighted, ...], ...]
    evidence: Array

    @property
    def scores(self) -> Array:
        """ln p(class, scans) (runs, K) as each run has it, up to a constant."""
        return np.asarray(self.prior.log_probs + self.evidence)

    @property
    def log_probs(self) -> Array:
        """ln p(class | scans) (K,), the runs' evidences averaged."""
        return normalise(np.array([log_sum_exp(s) for s in self.scores.T]))

    @property
    def settled(self) -> bool:
        """Whether every run has the same class that far ahead."""
        first = self.scores.argmax(axis=1)
        return bool((np.ptp(self.scores, axis=1) > SETTLED).all() and np.ptp(first) == 0)


@dataclass(frozen=True)
class Oracle:
    """The exact posterior as a filter.

    Parameters
    ----------
    model : Model
        Sensor, shapes and motion, as the simulator has them.
    particles : int
        Per class and run, once a cloud has found its candidate.

    Raises
    ------
    ValueError
        If the model's fog drifts: the visibility is one number here.
    """

    model: Model = field(default_factory=Model)
    particles: int = 1000
    sensors = ("scan",)

    def __post_init__(self) -> None:
        if self.model.fog_drift > 0.0:
            raise ValueError("found fog that drifts, expected even fog for the oracle: set fog.texture.strength=0")

    def init(self, prior: Prior, rng: np.random.Generator) -> OracleState:
        n = SEARCHERS * self.particles

        def start(klass: int) -> Weighted:
            return Weighted(Stories(self.model, prior, klass).draw(n, rng), np.full(n, -np.log(n)), np.zeros(n))

        runs = tuple(tuple(start(k) for k in range(len(CLASSES))) for _ in range(RUNS))
        return OracleState(prior, begin(prior), runs, np.zeros((RUNS, len(CLASSES))))

    def predict(self, state: OracleState, motion: EgoMotion, dt: float, rng: np.random.Generator) -> OracleState:
        history = state.history._replace(motions=(*state.history.motions, (motion, dt)))

        def further(klass: int, now: Weighted) -> Weighted:
            return now._replace(cloud=Stories(self.model, state.prior, klass).go_on(now.cloud, motion, dt, rng))

        runs = tuple(tuple(further(k, w) for k, w in enumerate(run)) for run in state.runs)
        return state._replace(history=history, runs=runs)

    def update(
        self, state: OracleState, measurement: Measurement, rng: np.random.Generator
    ) -> tuple[OracleState, Info]:
        scan = measurement.data
        assert isinstance(scan, Scan), f"found {measurement.sensor}, expected scan"
        if state.settled:
            return state, Info(np.zeros(len(CLASSES)))
        history = add(state.history, self.model, state.prior, scan)
        stories = [Stories(self.model, state.prior, k) for k in range(len(CLASSES))]
        done = [[self.weigh(w, history, s, rng) for w, s in zip(run, stories, strict=True)] for run in state.runs]
        runs, gain, sizes = zip(*(zip(*run, strict=True) for run in done), strict=True)
        if not np.isfinite(gain).all():
            return state, Info(np.zeros(len(CLASSES)), 0.0, status=Status.DEPLETED)
        now = OracleState(state.prior, history, runs, state.evidence + gain)
        return now, Info(now.log_probs - state.log_probs, float(np.min(sizes)))

    def weigh(
        self, now: Weighted, history: History, stories: Stories, rng: np.random.Generator
    ) -> tuple[Weighted, float, float]:
        """Stories after the last scan, what that adds to their ln evidence, and the least effective size on the way."""
        values = self.scan(history, -1, stories, now.cloud, now.cloud.place)
        gain, done, least = 0.0, 0.0, np.inf
        while done < 1.0:
            step = largest_step(now.log_weights, values, 1.0 - done)
            log_weights = now.log_weights + step * values
            total = log_sum_exp(log_weights)
            if not np.isfinite(total):
                return now, total, 0.0
            now = now._replace(log_weights=log_weights - total)
            gain, done, size = gain + total, done + step, ess(log_weights)
            least = min(least, size)
            if done < 1.0 or size < ENOUGH * len(values):
                now, values = self.renew(now, values, done, history, stories, rng)
        return self.fewer(now._replace(past=now.past + values), rng), gain, least

    def fewer(self, now: Weighted, rng: np.random.Generator) -> Weighted:
        """A cloud that has found its candidate needs no searchers any more."""
        n, P = self.particles, moments(now.cloud.place, np.exp(now.log_weights)).covariance
        if len(now.past) == n or np.linalg.det(P) > FOUND**4:
            return now
        chosen = systematic(np.exp(now.log_weights), rng.random(), n)
        return Weighted(now.cloud.take(chosen), np.full(n, -np.log(n)), now.past[chosen])

    def scan(self, history: History, k: int, stories: Stories, cloud: Cloud, place: Array) -> Array:
        """ln p of the k-th scan given each story (n,)."""
        return log_likelihood(history, history.looks[k], self.model, stories.shape, cloud.u, place)

    def renew(
        self,
        now: Weighted,
        values: Array,
        exponent: float,
        history: History,
        stories: Stories,
        rng: np.random.Generator,
    ) -> tuple[Weighted, Array]:
        """Resample systematically, then move every story under all scans, the last one's `values` to an exponent."""
        n = len(values)
        chosen = systematic(np.exp(now.log_weights), rng.random())
        cloud, past, values = now.cloud.take(chosen), now.past[chosen], values[chosen]
        for _ in range(MOVES):
            other, told, ratio = stories.propose(cloud, history, history.looks[-1].echoes, rng)
            looks = [self.scan(history, k, stories, other, told[look.steps]) for k, look in enumerate(history.looks)]
            before, last = np.sum(looks[:-1], axis=0) + np.zeros(n), looks[-1]
            accept = np.log(rng.random(n)) < ratio + before - past + exponent * (last - values)
            cloud = choose(accept, other, cloud)
            past, values = np.where(accept, before, past), np.where(accept, last, values)
        return Weighted(cloud, np.full(n, -np.log(n)), past), values

    def belief(self, state: OracleState) -> Belief:
        places = []
        for k in range(len(CLASSES)):
            shares = np.exp(normalise(state.evidence[:, k]))
            parts = [moments(run[k].cloud.place, np.exp(run[k].log_weights)) for run in state.runs]
            places.append(mix(shares, parts))
        return Belief(state.log_probs, mix(np.exp(state.log_probs), places), tuple(places))


def disagreement(state: OracleState) -> float:
    """How far the runs' log-odds are apart: half of the largest less the least, nats; the tolerance of the belief's."""
    return float(0.5 * np.ptp(state.scores[:, -1] - state.scores[:, 0]))
