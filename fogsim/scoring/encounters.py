"""One log, one encounter: what a score needs of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from sys import intern
from typing import Any, Protocol

import numpy as np

from filters.spec import BARRIER, CLASSES, Array
from fogsim.errors import UserError
from fogsim.frame import ACTIONS, OBSTACLES
from fogsim.scoring.course import Course, course_of
from fogsim.scoring.metrics import entropy
from fogsim.scoring.place import crps, errors, nees

RANGES = (20, 15, 10)  # m of distance left at which beliefs are scored, whatever they think
MOMENTS = ("decision", *(f"{r} m" for r in RANGES), "first echo")
NO_ACTION = -1
DECISION = MOMENTS.index("decision")
PROCEED, SLOW, CHANGE_LANE, BRAKE = range(len(ACTIONS))


class Log(Protocol):
    """What is read of a `fogsim.log.Replay`."""

    @property
    def scenario(self) -> dict[str, Any]: ...

    @property
    def seed(self) -> int: ...

    @property
    def beliefs(self) -> Sequence[str]: ...

    @property
    def complete(self) -> bool: ...

    def __len__(self) -> int: ...

    def column(self, name: str, or_absent: bool = False) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Encounter:
    """One seeded approach, as scored. Candidate 0 is the object whose class is scored.

    Parameters
    ----------
    setting : str
        Hash of the scenario without its name, driver, filters and card: with the seed it makes two encounters the same.
    driver : str
        "belief, policy" of who drove.
    complete : bool
        False for a killed or running log: its outcome is not known, unless it collided.
    truth : int
        Index into KINDS; of those beyond CLASSES beliefs know nothing, see `classed`.
    visibility : float
        The true one where ego starts, m.
    in_path : bool
        A barrier or an animal overlaps the path that ego would sweep in its own lane.
    decision_left : float
        Distance left at the decision point, m: a car that slows comes to it nearer. NaN where it was not reached.
    reached : array (moments,) of bool
        Which of `MOMENTS` the log came to.
    log_probs : array (moments, beliefs, classes)
        At `MOMENTS`; NaN where the log did not reach one.
    in_path_belief : array (moments, beliefs)
        P(a barrier stands in the path), which decisions rest on.
    visibility_estimate : array (moments,)
        Perception's, m.
    outside_card : bool
        It was driven by a card that was not fitted in such fog as was met on the way.
    card : str
        The calibration card it was driven by, in words; "" for none.
    nees, crps : array (moments, beliefs), (moments, beliefs, 2)
        Of the belief's place; CRPS along and across the road, m. NaN where the belief has none.
    nis, nis_dof : array (moments, beliefs)
        As logged: of the update at that moment, NaN where there was none, and its degrees of freedom.
    course : Course
        Of each belief on the way.
    duration : float
        Of the log, s.
    shadow_action : array (beliefs, policies)
        What each belief under each policy would do at the decision point; `NO_ACTION` where it was not reached.
    expected_cost : array (beliefs, policies)
        What the belief expected that action to cost.
    loss : array (actions, 2)
        When the path is clear, and when a barrier, or what else must not be hit, is in it; see `loss_table`.
    collided, impact_speed, actions
        What came of it: the collision, its speed (m/s, NaN without), and which actions the driver took (bools).
    approach_speed : float
        The highest of the log, m/s.
    distance_left : float
        From ego's front to the object at the end, m; negative once passed.
    """

    name: str
    seed: int
    setting: str
    driver: str
    complete: bool
    frames: int
    beliefs: tuple[str, ...]
    truth: int
    visibility: float
    in_path: bool
    decision_left: float
    reached: np.ndarray
    log_probs: Array
    in_path_belief: Array
    visibility_estimate: Array
    outside_card: bool
    card: str
    nees: Array
    crps: Array
    nis: Array
    nis_dof: Array
    course: Course
    duration: float
    shadow_action: np.ndarray
    expected_cost: Array
    loss: Array
    collided: bool
    impact_speed: float
    actions: tuple[bool, ...]
    approach_speed: float
    distance_left: float

    @property
    def classed(self) -> bool:
        """Whether beliefs have a class for the object: else no class score counts it."""
        return self.truth < len(CLASSES)

    @property
    def p_barrier(self) -> Array:
        """P(barrier), (moments, beliefs)."""
        return np.exp(self.log_probs[..., BARRIER])

    @property
    def unknown(self) -> np.ndarray:
        """Which beliefs were no number at some moment that was reached, (beliefs,)."""
        return np.isnan(self.p_barrier[self.reached]).any(axis=0)

    @property
    def entropy(self) -> Array:
        """Entropy of the belief, nats, (moments, beliefs)."""
        return entropy(self.p_barrier)

    @property
    def shadow_cost(self) -> Array:
        """Loss of each shadow action under the truth, (beliefs, policies); NaN where there was none."""
        cost = self.loss[self.shadow_action, int(self.in_path)]
        return np.where(self.shadow_action == NO_ACTION, np.nan, cost)

    @property
    def shadow_collision(self) -> Array:
        """1 where the shadow action would have gone on into an obstacle (proceed or slow), else 0; NaN without one."""
        hit = np.isin(self.shadow_action, (PROCEED, SLOW)) & self.in_path
        return np.where(self.shadow_action == NO_ACTION, np.nan, hit)

    @property
    def needless_brake(self) -> Array:
        """1 where the shadow action would have braked for nothing in the path, else 0; NaN without one."""
        needless = (self.shadow_action == BRAKE) & (not self.in_path)
        return np.where(self.shadow_action == NO_ACTION, np.nan, needless)

    @property
    def known_outcome(self) -> bool:
        """Whether the log tells how it ended."""
        return self.complete or self.collided

    @property
    def strongest_action(self) -> int:
        """The action of those taken that costs most when the path is clear."""
        return max((a for a, taken in enumerate(self.actions) if taken), key=lambda a: float(self.loss[a, 0]))

    @property
    def braked_needlessly(self) -> bool:
        """The driver braked and there was no obstacle in the path."""
        return self.actions[BRAKE] and not self.in_path

    @property
    def realised_cost(self) -> float:
        """What the driver's encounter cost: its manoeuvre, and its collision if there was one; NaN if not known.

        The manoeuvre costs, with an obstacle in the path, L[brake, barrier] if it braked, else L[change_lane, barrier]
        if it changed lane; otherwise, and without one, L[a, clear] of the strongest action a it took. A collision at
        speed v adds L[proceed, barrier] min(1, (v / approach speed)²): its share of the energy of not slowing at all.
        """
        if not self.known_outcome:
            return float("nan")
        evasive = next((a for a in (BRAKE, CHANGE_LANE) if self.actions[a]), None)
        dodged = self.in_path and evasive is not None
        manoeuvre = self.loss[evasive, 1] if dodged else self.loss[self.strongest_action, 0]
        if not self.collided:
            return float(manoeuvre)
        return float(manoeuvre + self.loss[PROCEED, 1] * min(1.0, (self.impact_speed / self.approach_speed) ** 2))


def encounter(replay: Log, name: str = "") -> Encounter:
    """Read what is scored from one log; a killed one is read up to its last committed frame.

    Raises
    ------
    UserError
        If the log has no frame, or no object in its first track.
    """
    if not len(replay):
        raise UserError(f"{name or 'log'} has no frame, expected at least one: the run ended before it began")
    classes = replay.column("truth_class")
    if not (classes[:, 0] >= 0).any():
        raise UserError(f"{name or 'log'} has no object in its first track, nothing to score: set scenario.hazards")
    scenario, speed, collided = replay.scenario, replay.column("ego_speed"), replay.column("collided")
    at, time, left = moments(replay), replay.column("time"), replay.column("distance_left")[:, 0]
    shadow, log_probs = _shadow(replay, at[0]), replay.column("log_probs")[:, :, 0]
    return Encounter(
        name=name,
        seed=int(replay.seed),
        setting=intern(setting_hash(scenario)),  # shared, with what else thousands of logs say alike
        driver=intern(f"{scenario['driver']['belief']}, {scenario['driver']['policy']}"),
        complete=bool(replay.complete),
        frames=len(classes),
        beliefs=tuple(map(intern, replay.beliefs)),
        truth=int(classes[classes[:, 0] >= 0, 0][0]),
        visibility=float(replay.column("visibility")[0]),
        in_path=obstacle_in_path(replay, scenario["ego"]["width"]),
        decision_left=float("nan") if at[0] is None else float(left[at[0]]),
        reached=np.array([i is not None for i in at]),
        log_probs=_at(log_probs, at),
        in_path_belief=_at(replay.column("in_path", True), at),
        visibility_estimate=_at(replay.column("visibility_estimate", True), at),
        outside_card=bool(replay.column("outside_card", True).any()),
        card=card_of(scenario),
        **_place(replay, at),
        nis=_at(replay.column("nis")[:, :, 0], at),
        nis_dof=_at(replay.column("nis_dof", True)[:, :, 0], at),
        course=course_of(log_probs, left, time),
        duration=float(time[-1] - time[0]),
        shadow_action=shadow,
        expected_cost=_expected(replay, at[0], shadow),
        loss=loss_table(replay, at[0]),
        collided=bool(collided.any()),
        impact_speed=float(speed[np.argmax(collided)]) if collided.any() else float("nan"),
        actions=tuple(bool(x) for x in np.isin(range(len(ACTIONS)), replay.column("action"))),
        approach_speed=float(speed.max()),
        distance_left=float(left[-1]),
    )


def loss_table(replay: Log, decision: int | None) -> Array:
    """The scenario's where it is constant, else the one at the decision point, or the last where that was not reached.

    One table for the whole encounter: what is decided there is judged by what was known there.
    """
    constant = replay.scenario["loss"]
    if all(action in constant for action in ACTIONS):
        return np.array([constant[action] for action in ACTIONS])
    return replay.column("loss_table")[-1 if decision is None else decision].copy()


def setting_hash(scenario: dict[str, Any]) -> str:
    """Hash of what fixes the world: the scenario without its name, driver, filters and card."""
    world = {key: value for key, value in scenario.items() if key not in ("name", "driver", "filters", "card")}
    return hashlib.sha256(json.dumps(world, sort_keys=True).encode()).hexdigest()


def card_of(scenario: dict[str, Any]) -> str:
    """Its calibration card: of how many encounters, and of which seeds; "" where it has none."""
    card = scenario.get("card", {})
    return f"{card['seeds'][:8]} of {card['encounters']:,} encounters" if card.get("recalibrations") else ""


def moments(replay: Log) -> tuple[int | None, ...]:
    """Indices of the frames at `MOMENTS`, None where the log did not reach one.

    A range is reached in the first frame with no more than it left; a log that starts nearer never reached it.
    """
    left = replay.column("distance_left")[:, 0]
    reached = [np.flatnonzero(replay.column("at_decision_point"))]
    reached += [np.flatnonzero(left <= r) if left[0] >= r else np.empty(0, int) for r in RANGES]
    reached += [np.flatnonzero(replay.column("object_echoes")[:, 0] > 0)]
    return tuple(int(found[0]) if found.size else None for found in reached)


def _at(rows: Array, at: tuple[int | None, ...]) -> Array:
    """Rows (frames, ...) at the moments (moments, ...); NaN at those that were not reached."""
    never = np.full(rows.shape[1:], np.nan)
    return np.array([never if i is None else rows[i] for i in at], float).reshape(len(at), *rows.shape[1:])


def _place(replay: Log, at: tuple[int | None, ...]) -> dict[str, Array]:
    """NEES (moments, beliefs) and CRPS (moments, beliefs, 2) of the beliefs' places."""
    mean, covariance = _at(replay.column("position_mean")[:, :, 0], at), replay.column("position_covariance")[:, :, 0]
    truth, pose, odometry = (_at(replay.column(name), at) for name in ("truth_position", "ego_pose", "odometry"))
    off = np.array([errors(m, t[0], p, o) for m, t, p, o in zip(mean, truth, pose, odometry, strict=True)])
    P = _at(covariance, at)
    return {"nees": nees(off, P), "crps": crps(off, np.sqrt(np.diagonal(P, axis1=-2, axis2=-1)))}


def _expected(replay: Log, decision: int | None, action: np.ndarray) -> Array:
    """Expected loss (beliefs, policies) of the shadow actions at the decision point; NaN where it was not reached."""
    if decision is None:
        return np.full(action.shape, np.nan)
    return np.take_along_axis(replay.column("expected_loss")[decision], action, axis=1)


def _shadow(replay: Log, decision: int | None) -> np.ndarray:
    actions = replay.column("shadow_action")
    return np.full(actions.shape[1:], NO_ACTION) if decision is None else actions[decision].astype(int)


def obstacle_in_path(replay: Log, ego_width: float) -> bool:
    """Whether one of OBSTACLES overlaps |y| < ego_width / 2: what ego sweeps when it keeps its lane, centred on y = 0.

    Its half extent across the road is (length |sin yaw| + width |cos yaw|) / 2. A bag, a cone or a cardboard box in the
    path is none: it costs nothing to drive over, and to brake for it is needless.
    """
    classes = replay.column("truth_class")
    frame, track = np.nonzero(np.isin(classes, OBSTACLES))
    y = replay.column("truth_position")[frame, track, 1]
    size, yaw = replay.column("truth_size")[frame, track], replay.column("truth_yaw")[frame, track]
    half = 0.5 * (size[:, 0] * np.abs(np.sin(yaw)) + size[:, 1] * np.abs(np.cos(yaw)))
    return bool((np.abs(y) - half < 0.5 * ego_width).any())
