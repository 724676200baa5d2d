"""Ego: a kinematic bicycle driven by the action, with a driver's reaction time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fogsim.frame import ACTIONS
from fogsim.world.setting import Ego, Road

PROCEED, SLOW, CHANGE_LANE, BRAKE = range(len(ACTIONS))
REAR_OVERHANG = 0.9  # m from rear axle to rear bumper
COMFORT = 2.5  # m/s², gentle speeding up and slowing down
LATERAL_LIMIT = 4.0  # m/s², what tyres hold sideways on a wet road
STEER_LIMIT = 0.55  # rad


class EgoState(NamedTuple):
    """Rear axle (x, y, yaw), speed, the approach speed it started with, and what it was told.

    `action` is in effect; `asked` is what the driver says now and has said for `waited` seconds.
    """

    x: float
    y: float
    yaw: float
    speed: float
    approach: float
    target_y: float = 0.0
    action: int = PROCEED
    asked: int = PROCEED
    waited: float = 0.0


def start(ego: Ego, rng: np.random.Generator) -> EgoState:
    """The front bumper at the origin, the speed drawn."""
    speed = float(rng.uniform(*ego.speed))
    return EgoState(REAR_OVERHANG - ego.length, 0.0, 0.0, speed, speed)


def front(ego: Ego, state: EgoState) -> np.ndarray:
    """Pose (x, y, yaw) of the middle of the front bumper."""
    reach = ego.length - REAR_OVERHANG
    return np.array([state.x + reach * np.cos(state.yaw), state.y + reach * np.sin(state.yaw), state.yaw])


def stopping_distance(ego: Ego, speed: float) -> float:
    """Distance v t_react + v² / 2a + margin, m: nearer than this, braking no longer helps in full."""
    return speed * ego.reaction + speed**2 / (2.0 * ego.deceleration) + ego.margin


def react(state: EgoState, asked: int, ego: Ego, road: Road, dt: float) -> EgoState:
    """Put an action into effect once it has been asked for through the reaction time."""
    waited = state.waited + dt if asked == state.asked else dt
    action = asked if waited >= ego.reaction else state.action
    target_y = road.lane_width if action == CHANGE_LANE else state.target_y
    return state._replace(asked=asked, waited=waited, action=action, target_y=target_y)


def delays(state: EgoState, ego: Ego) -> tuple[float, ...]:
    """How long each of ACTIONS would take to be in effect if it were asked for from now on, s."""
    waited = {state.asked: state.waited, state.action: ego.reaction}
    return tuple(max(0.0, ego.reaction - waited.get(action, 0.0)) for action in range(len(ACTIONS)))


def step(state: EgoState, asked: int, ego: Ego, road: Road, dt: float) -> EgoState:
    """One step of the bicycle: x' = v cos(yaw), y' = v sin(yaw), yaw' = v tan(steer) / wheelbase."""
    state = react(state, asked, ego, road, dt)
    wanted = {PROCEED: state.approach, BRAKE: 0.0}.get(state.action, state.approach * ego.slow_factor)
    if state.asked == BRAKE:  # the foot leaves the throttle at once, the brakes follow
        wanted = min(wanted, state.speed)
    hardest = ego.deceleration if state.action == BRAKE else COMFORT
    speed = state.speed + float(np.clip(wanted - state.speed, -hardest * dt, COMFORT * dt))
    middle = 0.5 * (state.speed + speed)
    yaw = state.yaw + middle * np.tan(steering(state, ego)) / ego.wheelbase * dt
    heading = 0.5 * (state.yaw + yaw)
    return state._replace(
        x=state.x + middle * np.cos(heading) * dt, y=state.y + middle * np.sin(heading) * dt, yaw=yaw, speed=speed
    )


def steering(state: EgoState, ego: Ego) -> float:
    """Pure pursuit of the target line, within what tyres hold."""
    look = max(4.5, 0.9 * state.speed)
    angle = np.arcsin(np.clip((state.target_y - state.y) / look, -0.9, 0.9)) - state.yaw
    steer = np.arctan(2.0 * ego.wheelbase * np.sin(angle) / look)
    hold = np.arctan(LATERAL_LIMIT * ego.wheelbase / max(state.speed, 1.0) ** 2)
    limit = min(STEER_LIMIT, float(hold))
    return float(np.clip(steer, -limit, limit))
