"""Particle filter: one cloud of stories per class, weighed by the lidar's raw beams and the radar's detections.

A particle is a whole story of the candidate (`stories.py`); a scan is brought in by waste-free sequential Monte Carlo
(`waste_free.py`), whose Markov chains weigh a moved story by the last `MEMORY` scans and more anew. The class is
static: its log-odds are sums of the clouds' log-evidence.

The fog common to all is a Gaussian in ln visibility, updated by the window's clutter and the visibility sensor; a
story's own fog is a standard normal deviate about it, so that the cloud follows as clutter pins the fog down.

A scan of a radar is older than the cloud: each story is put back by its velocity. What its material is to a radar
is one more latent, after those of the shape.

Approximate are: scans older than the memory count by the stories they left, but not when these are moved; where
the candidate was when the memory begins is a Gaussian; each look is weighed by what was known of the fog at its time;
and of near objects only every other column or fewer is used. Beams behind which odometry may have moved the map are not
heard (`displaced.py`); once there is no doubt nothing is searched for. A look that makes a class sure is told again, by
more stories, to the others only, which were the likelier to have missed what explains it: where the first telling and
the second differ by chance, that leans towards doubt.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from filters.belief import mix, moments, normalise
from filters.displaced import REACH, Odometry, certain
from filters.looks import NO_ECHOES, LidarLook, Look, RadarLook
from filters.models.model import Model
from filters.models.object_echo import believable, clutter_table, odd_echoes, window_of
from filters.models.optics import echo_table
from filters.models.visibility import Visibility, predict_visibility, update_visibility, visibility_prior
from filters.models.visibility_sensor import update as read_visibility
from filters.spec import (
    BAG,
    CLASSES,
    Array,
    Belief,
    EgoMotion,
    Gaussian,
    Info,
    Measurement,
    Particles,
    Prior,
    RadarScan,
    Scan,
    Status,
)
from filters.stories import Step, step_of, stories_of
from filters.target import Target, Weighted
from filters.waste_free import Tempered, start, temper

LENGTH = 20  # of the chains
MEMORY = 10, 6  # looks by which stories are moved, in doubt and without, and up to twice as many
BEAMS = 200, 32  # on a candidate at most, in doubt and without
SETTLED = 40.0  # nats between the classes from which on only the likelier is followed, to know where it is
SURE = 0.98  # probability of a class by which a look decides
CLOSELY = 3  # times as many stories then tell of the others


class ParticleState(NamedTuple):
    """ln p(class, data) (K,), a cloud and where its stories began per class, what was seen, the fog."""

    scores: Array
    clouds: tuple[Weighted, ...]
    origins: tuple[Gaussian, ...]
    steps: tuple[Step, ...]
    odometry: Odometry
    looks: tuple[Look, ...]
    visibility: Visibility

    @property
    def log_probs(self) -> Array:
        """ln p(class | data) (K,)."""
        return normalise(self.scores)

    @property
    def settled(self) -> bool:
        """Whether a class is that far ahead."""
        return bool(np.ptp(self.scores) > SETTLED)

    @property
    def sure_of(self) -> int | None:
        """The class that is all but sure, if one is."""
        return int(self.scores.argmax()) if self.log_probs.max() > np.log(SURE) else None

    @property
    def followed(self) -> list[int]:
        """The classes that are weighed: once there is no doubt, one."""
        return [int(self.scores.argmax())] if self.settled else list(range(len(self.scores)))


@dataclass(frozen=True)
class ParticleFilter:
    """Particle filter on raw scans of lidar and radar.

    Parameters
    ----------
    model : Model
        Sensor, shapes and motion, as the simulator has them.
    particles : int
        Per class, while both may be.
    followers : int
        Per class, once there is no doubt.
    """

    model: Model = field(default_factory=Model)
    particles: int = 240
    followers: int = 300
    sensors = ("scan", "radar", "visibility")

    def init(self, prior: Prior, rng: np.random.Generator) -> ParticleState:
        origins = (prior.position,) * len(CLASSES)
        clouds = tuple(start(s, self.particles, rng) for s in stories_of(self.model, origins))
        fog = visibility_prior(prior.visibility, prior.visibility_spread)
        return ParticleState(prior.log_probs, clouds, origins, (), Odometry(), (), fog)

    def predict(self, state: ParticleState, motion: EgoMotion, dt: float, rng: np.random.Generator) -> ParticleState:
        step, stories = step_of(motion, dt), stories_of(self.model, state.origins)
        clouds = tuple(
            c._replace(cloud=s.go_on(c.cloud, step, rng)) for c, s in zip(state.clouds, stories, strict=True)
        )
        fog = predict_visibility(state.visibility, self.model.fog_drift, dt)
        steps, odometry = (*state.steps, step), state.odometry.after(motion)
        return self.forget(state._replace(clouds=clouds, steps=steps, odometry=odometry, visibility=fog))

    def update(
        self, state: ParticleState, measurement: Measurement, rng: np.random.Generator
    ) -> tuple[ParticleState, Info]:
        data = measurement.data
        if isinstance(data, Scan):
            return self.look(state, data, rng)
        if isinstance(data, RadarScan):
            heard = RadarLook(len(state.steps), data, measurement.age)
            return self.weigh(state, heard, rng)
        assert isinstance(data, float), f"found {measurement.sensor}, expected one of {self.sensors}"
        fog = read_visibility(state.visibility, self.model.visibility_sensor, data)
        return state._replace(visibility=fog), Info(np.zeros(len(state.clouds)))

    def look(self, state: ParticleState, scan: Scan, rng: np.random.Generator) -> tuple[ParticleState, Info]:
        """Bring in a lidar's scan, and what it says of the fog."""
        everyone = np.concatenate([state.clouds[k].cloud.place for k in state.followed])
        table, tallest = echo_table(self.model.optics), self.model.tallest
        reach = 0.0 if state.settled else REACH  # what is found is not mistaken for an edge that moved
        heard = certain(believable(scan, table), state.odometry, float(np.exp(state.visibility.mean)), reach)
        window = window_of(heard, everyone, self.model.body, tallest, BEAMS[state.settled])
        if window.azimuth.size < 2 or window.elevation.size < 2:
            return state, Info(np.zeros(len(state.clouds)))
        fog, clutter = update_visibility(state.visibility, table, *window.beams())
        background = clutter_table(window, clutter)
        echoes = NO_ECHOES  # once there is no doubt nothing is searched for
        if not state.settled:
            where = stories_of(self.model, state.origins)[BAG].later(state.steps).origin
            echoes = odd_echoes(window, background[..., background.shape[2] // 2], where, tallest)
        seen = LidarLook(len(state.steps), window, clutter.nodes, background, fog, echoes)
        return self.weigh(state._replace(visibility=fog), seen, rng)

    def weigh(self, state: ParticleState, look: Look, rng: np.random.Generator) -> tuple[ParticleState, Info]:
        """Temper each class's cloud by a look, and weigh the classes by the clouds' evidence.

        Where a look decides, the class it speaks against is tempered anew with more stories: a few may have missed the
        place that explains it.
        """
        n = self.followers if state.settled else self.particles
        done = {k: self.tempered(state, k, look, n, rng) for k in state.followed}
        best = with_look(state, done, look).sure_of
        if best not in (None, state.sure_of):
            done |= {k: self.tempered(state, k, look, CLOSELY * n, rng) for k in done if k != best}
        failed = [d.status for d in done.values() if d.status != Status.OK]
        if failed:
            return state, Info(np.zeros(len(CLASSES)), 0.0, status=failed[0])
        after = with_look(state, done, look)
        ess, resampled = min(d.ess for d in done.values()), any(d.resampled for d in done.values())
        return self.forget(after), Info(after.scores - state.scores, ess, resampled=resampled)

    def tempered(self, state: ParticleState, k: int, look: Look, n: int, rng: np.random.Generator) -> Tempered:
        """A class's cloud after a look."""
        stories = stories_of(self.model, state.origins)[k]
        return temper(state.clouds[k], Target(stories, state.steps, state.looks, look, LENGTH), n, rng)

    def forget(self, state: ParticleState) -> ParticleState:
        """Once there are twice as many looks, or four times as many steps, as `MEMORY`: keep that many looks."""
        memory = MEMORY[state.settled]
        if len(state.looks) <= 2 * memory and len(state.steps) <= 4 * memory:
            return state
        looks = tuple(look for look in state.looks[-memory:] if look.steps >= len(state.steps) - 2 * memory)
        cut = looks[0].steps if looks else len(state.steps)
        steps = state.steps[:cut]
        before = stories_of(self.model, state.origins)
        after = [s.later(steps) for s in before]
        clouds = tuple(
            c._replace(cloud=old.cut(c.cloud, steps, new), past=c.past[:, c.past.shape[1] - len(looks) :])
            for c, old, new in zip(state.clouds, before, after, strict=True)
        )
        looks = tuple(look._replace(steps=look.steps - cut) for look in looks)
        return state._replace(
            clouds=clouds, origins=tuple(s.origin for s in after), steps=state.steps[cut:], looks=looks
        )

    def belief(self, state: ParticleState) -> Belief:
        weights = np.exp(state.log_probs)
        places = [moments(c.cloud.place, np.exp(c.log_weights)) for c in state.clouds]
        points = np.concatenate([c.cloud.place for c in state.clouds])
        joint = np.concatenate([c.log_weights + p for c, p in zip(state.clouds, state.log_probs, strict=True)])
        return Belief(state.log_probs, mix(weights, places), tuple(places), Particles(points, joint))


def with_look(state: ParticleState, done: dict[int, Tempered], look: Look) -> ParticleState:
    """What is believed after a look that some classes' clouds were tempered by; once settled it weighs no class."""
    scores, clouds = state.scores.copy(), list(state.clouds)
    for k, tempered in done.items():
        clouds[k] = tempered.cloud
        scores[k] += 0.0 if state.settled else tempered.log_evidence
    return state._replace(scores=scores, clouds=tuple(clouds), looks=(*state.looks, look))
