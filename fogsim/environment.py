"""``fogsim/Encounter-v0``: an encounter as a Gymnasium environment.

    import fogsim.environment, gymnasium
    env = gymnasium.make("fogsim/Encounter-v0", scenario=Scenario(filters=("bnn",)), observation="beliefs")

One step is one tick. An action is one of `fogsim.frame.ACTIONS`; until the driver's full choice is open
(`info["open"]`, the same moment as for our own drivers) to change lane or to brake is taken as to slow. The reward is 0
until the encounter ends, then minus its realised cost, as `fogsim score` has it. Truth is in `info` only.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Generator, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from filters.models.optics import POWER_LIMIT
from filters.spec import BARRIER, FEATURES
from fogsim.driving import belief_names
from fogsim.errors import UserError
from fogsim.frame import ACTIONS, KINDS, POWER_UNIT, RANGE_UNIT, Frame
from fogsim.runner import check, dims_of, run
from fogsim.scenario import Driver, Scenario
from fogsim.scoring.encounters import encounter

OBSERVATIONS = ("beliefs", "features", "scan")
FAR = 200.0  # m: places and features are clipped to it
FASTEST = 100.0  # m/s
BELIEF = 5  # numbers of each: P(barrier), place ahead and to the left, and their deviations


class Course:
    """What happened so far, read as a log is: by the score and by the view."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario, self.seed = json.loads(scenario.json), seed
        self.beliefs, self.complete = belief_names(scenario), False
        self.frames: list[Frame] = []

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        return self.frames[index]

    def column(self, name: str, or_absent: bool = False, start: int = 0) -> np.ndarray:
        """A field of every frame."""
        return np.stack([getattr(frame, name) for frame in self.frames[start:]])


class EncounterEnv(gymnasium.Env[np.ndarray, np.integer]):
    """One approach per episode.

    Parameters
    ----------
    scenario : Scenario
        Its driver is not asked. With ``filters=()`` nobody believes anything, which is all that scans need.
    observation : {"beliefs", "features", "scan"}
        Float32. "beliefs": `BELIEF` numbers of each filter and of the fused belief, about the first candidate, relative
        to ego. "features": `FEATURES` of the first candidate, 0 where it was not looked at. Both end with ego's speed
        (m/s, by odometry) and whether the full choice is open. "scan": range (m) and power (noise units) of every beam
        (2, rings, columns, echoes), 0 where there was no echo.
    render_mode : {None, "human", "rgb_array"}
        A window, or pictures (720, 1280, 3).

    Raises
    ------
    UserError
        If the scenario cannot run or there is no such observation.
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self, scenario: Scenario | None = None, observation: str = "beliefs", render_mode: str | None = None
    ) -> None:
        self.scenario = dataclasses.replace(scenario or Scenario(), driver=Driver(policy="open_loop"))
        check(self.scenario)
        if observation not in OBSERVATIONS:
            raise UserError(f"observation is {observation!r}, expected one of {', '.join(OBSERVATIONS)}")
        if observation == "beliefs" and not self.scenario.filters:
            raise UserError("found observation 'beliefs' without filters: name some, or observe features or scans")
        self.observation, self.render_mode = observation, render_mode
        self.action_space = spaces.Discrete(len(ACTIONS))
        self.observation_space = self._space = space_of(self.scenario, observation)
        self.metadata = self.metadata | {"render_fps": round(1.0 / self.scenario.dt)}
        self._window: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begin another encounter; a seed begins the one that `fogsim run` drives with it."""
        super().reset(seed=seed)
        of_run = int(self.np_random.integers(2**31)) if seed is None else seed
        self._course = Course(self.scenario, of_run)
        self._run: Generator[Frame, int | None, None] = run(self.scenario, of_run)
        self._frame = next(self._run)
        self._open = bool(self._frame.at_decision_point)
        self._show()
        return self._observed(), self._info()

    def step(self, action: np.integer | int) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Drive one tick."""
        taken = int(action) if self._open else min(int(action), ACTIONS.index("slow"))
        self._course.frames.append(dataclasses.replace(self._frame, action=np.array(taken, np.int8)))
        try:
            self._frame = self._run.send(taken)
        except StopIteration:
            self._course.complete = True
            found = encounter(self._course)
            outcome = {"realised_cost": found.realised_cost, "in_path": found.in_path}
            ticks = round(self.scenario.duration / self.scenario.dt)
            late = len(self._course) == ticks and not self._frame.collided
            return self._observed(), -found.realised_cost, not late, bool(late), self._info() | outcome
        self._open |= bool(self._frame.at_decision_point)
        self._show()
        return self._observed(), 0.0, False, False, self._info()

    def _observed(self) -> np.ndarray:
        return observed(self._frame, self.observation, self._space, self._speed(), self._open)

    def _speed(self) -> float:
        """By odometry, over the last tick."""
        if not len(self._course):
            return 0.0
        moved = self._frame.odometry[:2] - self._course[-1].odometry[:2]
        return float(np.hypot(*moved)) / self.scenario.dt

    def _info(self) -> dict[str, Any]:
        """Whether the full choice is open, the truth, and what our own policies would do."""
        frame = self._frame
        return {
            "open": self._open,
            "seed": self._course.seed,
            "time": float(frame.time),
            "truth_class": KINDS[int(frame.truth_class[0])],
            "truth_position": frame.truth_position[0].copy(),
            "distance_left": float(frame.distance_left[0]),
            "visibility": float(frame.visibility),
            "collided": bool(frame.collided),
            "shadow_action": frame.shadow_action.copy(),
        }

    def render(self) -> np.ndarray | None:
        """The picture of now, for "rgb_array"."""
        return np.ascontiguousarray(pixels(self._picture())) if self.render_mode == "rgb_array" else None

    def _picture(self) -> Any:
        from fogsim.viewer.drawing import draw
        from fogsim.viewer.view import view_of

        now = Course(self.scenario, self._course.seed)
        now.frames = [*self._course.frames, self._frame]
        return draw(self._frame, view_of(now))

    def _show(self) -> None:
        if self.render_mode != "human":
            return
        import pygame

        if self._window is None:
            pygame.display.init()
            self._window, self._clock = pygame.display.set_mode((1280, 720)), pygame.time.Clock()
        self._window.blit(self._picture(), (0, 0))
        pygame.event.pump()
        pygame.display.flip()
        self._clock.tick(self.metadata["render_fps"])

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            import pygame

            pygame.display.quit()
            self._window = None


def pixels(surface: Any) -> np.ndarray:
    """A picture as (height, width, 3) bytes."""
    import pygame

    return pygame.surfarray.array3d(surface).swapaxes(0, 1)


def space_of(scenario: Scenario, observation: str) -> spaces.Box:
    """Bounds of what is observed."""
    low: list[float]
    high: list[float]
    if observation == "scan":
        dims = dims_of(scenario)
        shape = (2, dims.ring, dims.column, dims.echo)
        most = np.broadcast_to(np.array([FAR, 2.0 * POWER_LIMIT])[:, None, None, None], shape)
        return spaces.Box(np.zeros(shape, np.float32), most.astype(np.float32))
    if observation == "features":
        low, high = [-FAR] * len(FEATURES), [FAR] * len(FEATURES)
    else:
        believers = len(belief_names(scenario))
        low, high = [0.0, -FAR, -FAR, 0.0, 0.0] * believers, [1.0, FAR, FAR, FAR, FAR] * believers
    return spaces.Box(np.array([*low, 0.0, 0.0], np.float32), np.array([*high, FASTEST, 1.0], np.float32))


def observed(frame: Frame, observation: str, space: spaces.Box, speed: float, is_open: bool) -> np.ndarray:
    """What the agent sees of a frame: nothing but what filters do, and what they believe."""
    values: np.ndarray
    if observation == "scan":
        values = np.stack([frame.range * RANGE_UNIT, frame.power * POWER_UNIT])
    elif observation == "features":
        values = np.array([*np.nan_to_num(frame.features[0]), speed, is_open])
    else:
        values = np.array([*believed(frame), speed, is_open])
    return np.clip(values, space.low, space.high).astype(np.float32)


def believed(frame: Frame) -> Sequence[float]:
    """P(barrier), place relative to ego's front and deviations, of every belief in turn (believers * BELIEF,)."""
    x, y, yaw = frame.odometry
    turn = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
    place = (frame.position_mean[:, 0] - [x, y]) @ turn.T
    P = turn @ frame.position_covariance[:, 0] @ turn.T
    deviation = np.sqrt(np.diagonal(P, axis1=1, axis2=2))
    rows = np.column_stack([np.exp(frame.log_probs[:, 0, BARRIER]), place, deviation])
    return rows.ravel().tolist()


gymnasium.register(id="fogsim/Encounter-v0", entry_point="fogsim.environment:EncounterEnv")
