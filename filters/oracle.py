"""The exact posterior of one candidate, the judge of the other filters: sequential Monte Carlo that forgets nothing.

Waste-free chains (`waste_free.py`) whose target is the posterior given ALL scans so far, each with all beams but those
of `displaced.py`: nothing approximates the posterior but the number of stories. What that does is measured: `RUNS`
independent sets of clouds are kept, their evidences averaged, `disagreement` says how far their log-odds are apart, and
the belief's `epistemic` is the mutual information between label and run, in nats as any regret.

As given it takes what all filters do: the map's surfaces stand where odometry puts them, and the fog is even. It does
not hear the beams for which that is not so (`displaced.py`), nor a visibility sensor: some thousand beams have said
what it could.
It costs seconds per encounter and is no part of the fused belief: a judge, not a driver.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

from filters.belief import entropy, log_sum_exp, mix, moments, normalise
from filters.displaced import Odometry, certain
from filters.looks import FogLook, LidarLook, Look, RadarLook
from filters.models.model import Model
from filters.models.object_echo import believable, odd_echoes
from filters.models.optics import echo_table
from filters.models.visibility import Visibility, visibility_prior
from filters.spec import BAG, CLASSES, Array, Belief, EgoMotion, Info, Measurement, Prior, RadarScan, Scan, Status
from filters.standing import SPAN, background_at, fog_aside, whole
from filters.stories import Step, Stories, step_of, stories_of
from filters.target import Target, Weighted
from filters.waste_free import moved_along, refresh, start, temper

RUNS = 2
SEARCHERS = 4  # times as many stories until a cloud has found its candidate: a first echo leaves few of them
LENGTH = 50  # of the chains
NODES = 33  # of ln visibility, over SPAN deviations of what the beams aside say, either way
SETTLED = 20.0  # nats between classes from which on no scan is looked at: a belief's floor is at 14


class OracleState(NamedTuple):
    """What was seen, the weighted stories of each run and class, and each run's ln p(scans | class) (runs, K).

    `fog` is what all scans say of it, `totals` what each does, at nodes.
    """

    prior: Prior
    steps: tuple[Step, ...]
    odometry: Odometry
    fog: FogLook
    looks: tuple[Look, ...]
    totals: tuple[tuple[Array, Array], ...]
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
    sensors = ("scan", "radar")

    def __post_init__(self) -> None:
        if self.model.fog_drift > 0.0:
            raise ValueError("found fog that drifts, expected even fog for the oracle: set fog.texture.strength=0")

    def stories(self, prior: Prior) -> tuple[Stories, ...]:
        """How the stories of each class go."""
        return stories_of(self.model, [prior.position] * len(CLASSES))

    def init(self, prior: Prior, rng: np.random.Generator) -> OracleState:
        n = SEARCHERS * self.particles
        runs = tuple(tuple(start(s, n, rng) for s in self.stories(prior)) for _ in range(RUNS))
        fog = visibility_prior(prior.visibility, prior.visibility_spread)
        known = fog_of((), fog, fog.mean + fog.deviation * np.linspace(-SPAN, SPAN, NODES), fog)
        runs = tuple(tuple(c._replace(past=np.zeros((n, 1))) for c in run) for run in runs)
        return OracleState(prior, (), Odometry(), known, (), (), runs, np.zeros((RUNS, len(CLASSES))))

    def predict(self, state: OracleState, motion: EgoMotion, dt: float, rng: np.random.Generator) -> OracleState:
        if state.settled:
            return state
        step, stories = step_of(motion, dt), self.stories(state.prior)

        def further(run: tuple[Weighted, ...]) -> tuple[Weighted, ...]:
            return tuple(c._replace(cloud=s.go_on(c.cloud, step, rng)) for c, s in zip(run, stories, strict=True))

        runs = tuple(further(run) for run in state.runs)
        return state._replace(steps=(*state.steps, step), odometry=state.odometry.after(motion), runs=runs)

    def update(
        self, state: OracleState, measurement: Measurement, rng: np.random.Generator
    ) -> tuple[OracleState, Info]:
        data = measurement.data
        if state.settled:
            return state, Info(np.zeros(len(CLASSES)))
        if isinstance(data, RadarScan):
            after, info = self.weigh(state, RadarLook(len(state.steps), data, measurement.age), rng)
        else:
            assert isinstance(data, Scan), f"found {measurement.sensor}, expected one of {self.sensors}"
            believed = believable(data, echo_table(self.model.optics))
            heard = certain(believed, state.odometry, float(np.exp(state.fog.moments.mean)))
            now, look, before = self.tabulate(state, heard)
            after, info = self.weigh(now, look, rng, before)
        return (after if info.status == Status.OK else state), info

    def tabulate(self, state: OracleState, scan: Scan) -> tuple[OracleState, LidarLook, FogLook | None]:
        """All of a scan as a look, what scans say of the fog, and what they said if that moved by more than its width.

        Then the stories' scale for the fog has moved too.
        """
        fog = state.fog.moments if state.totals else fog_aside(self.model, state.prior, [scan])
        window, nodes = whole(scan), fog.mean + fog.deviation * np.linspace(-SPAN, SPAN, NODES)
        background = background_at(self.model, window, nodes)
        totals = (*state.totals, (nodes, background.sum(axis=(0, 1))))
        report = visibility_prior(state.prior.visibility, state.prior.visibility_spread)
        known = fog_of(totals, report, nodes, state.fog.fog)
        moved = differ(known.moments, known.fog)
        if moved:
            known = known._replace(fog=known.moments)
        looks = tuple(k._replace(fog=known.fog) if isinstance(k, LidarLook) else k for k in state.looks)
        where = self.stories(state.prior)[BAG].later(state.steps).origin
        echoes = odd_echoes(window, background[..., NODES // 2], where, self.model.tallest)
        look = LidarLook(len(state.steps), window, nodes, background, known.fog, echoes)
        return state._replace(fog=known, looks=looks, totals=totals), look, state.fog if moved else None

    def weigh(
        self, state: OracleState, look: Look, rng: np.random.Generator, before: FogLook | None = None
    ) -> tuple[OracleState, Info]:
        """Every run's clouds after a look; if the scale of fog was another `before`, all past looks are told anew."""
        stories, changed = self.stories(state.prior), list(range(1 + len(state.looks))) if before else [0]
        runs, gain, least = [], np.zeros_like(state.evidence), np.inf
        for r, run in enumerate(state.runs):
            clouds = []
            for k, cloud in enumerate(run):
                target = Target(stories[k], state.steps, (state.fog, *state.looks), look, LENGTH)
                cloud, shift = refresh(moved_along(cloud, before) if before else cloud, target, changed)
                n = self.particles * (1 if cloud.found else SEARCHERS)
                done = temper(cloud, target, n, rng)
                if done.status != Status.OK or not np.isfinite(shift):
                    return state, Info(np.zeros(len(CLASSES)), 0.0, status=Status.DEPLETED)
                gain[r, k], least = shift + done.log_evidence, min(least, done.ess)
                clouds.append(done.cloud)
            runs.append(tuple(clouds))
        now = state._replace(looks=(*state.looks, look), runs=tuple(runs), evidence=state.evidence + gain)
        return now, Info(now.log_probs - state.log_probs, float(least))

    def belief(self, state: OracleState) -> Belief:
        places = []
        for k in range(len(CLASSES)):
            shares = np.exp(normalise(state.evidence[:, k]))
            parts = [moments(run[k].cloud.place, np.exp(run[k].log_weights)) for run in state.runs]
            places.append(mix(shares, parts))
        shares = np.exp(normalise(np.logaddexp.reduce(state.scores, axis=1)))
        apart = entropy(state.log_probs) - shares @ [entropy(normalise(s)) for s in state.scores]
        whole_place = mix(np.exp(state.log_probs), places)
        return Belief(state.log_probs, whole_place, tuple(places), epistemic=max(float(apart), 0.0))


def fog_of(totals: tuple[tuple[Array, Array], ...], report: Visibility, nodes: Array, scale: Visibility) -> FogLook:
    """What scans and report say of ln visibility, by ln p(scan | background, v) at nodes of each."""
    values = -0.5 * ((nodes - report.mean) / report.deviation) ** 2
    for total in totals:
        values = values + CubicSpline(*total)(nodes)
    fine = np.linspace(nodes[0], nodes[-1], 50 * len(nodes))
    spline = CubicSpline(nodes, values - values.max())
    log_density = spline(fine)
    weights = np.exp(log_density - log_sum_exp(log_density))
    mean = float(weights @ fine)
    known = Visibility(mean, float(np.sqrt(weights @ (fine - mean) ** 2)))
    return FogLook(scale, known, spline)


def differ(a: Visibility, b: Visibility) -> bool:
    """Whether one lies outside the other's width, or is twice as wide."""
    return abs(a.mean - b.mean) > b.deviation or abs(np.log(a.deviation / b.deviation)) > np.log(2.0)


def disagreement(state: OracleState) -> float:
    """How far the runs' log-odds are apart: half of the largest less the least, nats; the tolerance of the belief's."""
    return float(0.5 * np.ptp(state.scores[:, -1] - state.scores[:, 0]))
