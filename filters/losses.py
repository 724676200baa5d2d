"""What actions cost: a table (actions, 2), loss when the path is clear and when a barrier stands in it.

`Loss` is constant; `PhysicalLoss` follows from where ego is and how fast it drives. One method, `table(situation)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, isclose, sqrt
from typing import Protocol

import numpy as np

from filters.decision import BRAKE, CHANGE_LANE, PROCEED, SLOW, Car, Situation
from filters.spec import Array


class Losses(Protocol):
    """A loss table that may depend on the situation."""

    def table(self, situation: Situation) -> Array:
        """Rows proceed, slow, change_lane, brake; columns clear, barrier."""


@dataclass(frozen=True)
class Loss:
    """Loss of each action when (the path is clear or it is a bag, a barrier is in the path)."""

    proceed: tuple[float, float] = (0.0, 100.0)
    slow: tuple[float, float] = (1.0, 40.0)
    change_lane: tuple[float, float] = (3.0, 5.0)
    brake: tuple[float, float] = (6.0, 1.0)

    def table(self, situation: Situation) -> Array:
        """The same everywhere."""
        return np.array([self.proceed, self.slow, self.change_lane, self.brake])


@dataclass(frozen=True)
class PhysicalLoss:
    """Losses of ego at speed v with d metres left, from what each action does over them. The unit is 3 s lost.

    Let a, b be the car's full and gentle deceleration, c its cruise, u its slow speed, r how long the action takes to
    be in effect, and s = d - v r what is left then, at least 0. A car that brakes already has r = 0: with its reaction
    charged again at every tick braking would seem in vain at the last, and be given up.

    *Impact*, with a barrier in the path: I (v_i / v_ref)², the share of kinetic energy, with v_i² by constant
    acceleration over s: proceed min(c², v² + 2 b s), slow max(u², v² - 2 b s), brake max(0, v² - 2 a s).
    *Swerve*: y = ½ a_y t² clears half of ego and half the longest barrier after t; it hits at v if v (r + t) > d, and
    else clips it with probability `clip`.

    *Rear end*, whenever ego brakes harder than the b that a follower expects: it is reached by one whose headway is
    less than t_f + v/2 (1/b - 1/a), his reaction and what he needs longer to stop. Of Poisson traffic headways are
    exponential, so that this has P = 1 - exp(-that / h). Two cars of one mass share their energy, the relative one is
    half: ½ P I (v / v_ref)². *Next lane*: one unseen there in fog, with probability `beside`, costs as much. What is
    seen there, and a gap that ends, `filters.decision.outlook` charges.

    *Time*, only where the path is clear, for in front of a barrier it is lost anyway: u instead of c over s is
    s (1/u - 1/c), to regain c from w takes (c - w)² / 2bc longer than driving it, to stop v/a - v²/2ac, and `stand`
    passes before it is seen that nothing is there.

    Parameters
    ----------
    impact : float
        I, assumed: a collision at 26 km/h is as bad as five minutes lost, which is `Loss`'s rate of exchange. Insurers
        would say thousands of times that, and a car that believed them would not start in fog.
    reference : float
        v_ref, m/s: the middle of the default approach speeds.
    second : float
        Loss per second lost; a third, by the unit.
    stand : float
        s, assumed.
    headway : float
        h, s: assumed, light traffic of 120 cars an hour.
    follower_reaction : float
        t_f, s: brake lights that were not expected (Green 2000, Transportation Human Factors 2).
    beside, clip : float
        Probabilities, assumed.
    swerve : float
        a_y, m/s²: what tyres hold sideways on a wet road.
    """

    impact: float = 100.0
    reference: float = 7.25
    second: float = 1.0 / 3.0
    stand: float = 5.0
    headway: float = 30.0
    follower_reaction: float = 1.25
    beside: float = 0.04
    clip: float = 0.02
    swerve: float = 4.0

    def table(self, situation: Situation) -> Array:
        """Losses here and now."""
        car, v = situation.car, situation.speed
        slow, room = car.slow_factor * car.cruise, [max(0.0, situation.distance - v * r) for r in situation.delays]
        rear = self.energy(v * v) * 0.5 * self.follower_too_near(v, car)
        proceed = (0.0, self.energy(reached(v, car.cruise, car.comfort, room[PROCEED])))
        return np.array(
            [
                proceed,
                (
                    self.second * slow_time(v, slow, car, room[SLOW]),
                    self.energy(reached(v, slow, car.comfort, room[SLOW])),
                ),
                proceed if isclose(situation.lateral, situation.next_lane) else self.swerved(situation),
                (
                    self.second * (stop_time(v, car) + self.stand) + rear,
                    self.energy(reached(v, 0.0, car.deceleration, room[BRAKE])) + rear,
                ),
            ]
        )

    def energy(self, v2: float) -> float:
        """Loss of an impact at the square of a speed, m²/s²."""
        return self.impact * v2 / self.reference**2

    def follower_too_near(self, v: float, car: Car) -> float:
        """P(one follows so near that full braking from `v` m/s is too hard for him)."""
        if car.deceleration <= car.comfort:
            return 0.0
        needed = self.follower_reaction + 0.5 * v * (1.0 / car.comfort - 1.0 / car.deceleration)
        return 1.0 - exp(-needed / self.headway)

    def swerved(self, situation: Situation) -> tuple[float, float]:
        """Losses of a change of lane from the own one."""
        v, reach = situation.speed, situation.half_width + max(situation.half_lengths)
        hit = self.energy(v * v)
        merge = 0.5 * self.beside * hit
        clears = v * (situation.delays[CHANGE_LANE] + sqrt(2.0 * reach / self.swerve)) <= situation.distance
        return merge, merge + (self.clip if clears else 1.0) * hit


def reached(v: float, wanted: float, rate: float, room: float) -> float:
    """Square of the speed, m²/s², after `room` m on the way from `v` to the `wanted` one, m/s, at `rate` m/s²."""
    if wanted < v:
        return max(wanted**2, v * v - 2.0 * rate * room)
    return min(wanted**2, v * v + 2.0 * rate * room)


def slow_time(v: float, slow: float, car: Car, room: float) -> float:
    """Seconds lost by the `slow` speed over `room` m, more than what is lost by having come to drive at `v` m/s."""
    return room * (1.0 / slow - 1.0 / car.cruise) + max(0.0, regain(slow, car) - regain(v, car))


def stop_time(v: float, car: Car) -> float:
    """Seconds lost by stopping from `v` m/s and regaining the cruise."""
    stop = v / car.deceleration - v * v / (2.0 * car.deceleration * car.cruise)
    return stop + regain(0.0, car) - regain(v, car)


def regain(w: float, car: Car) -> float:
    """Seconds lost on the way from `w` m/s to the cruise: (c - w)² / 2bc."""
    return max(0.0, car.cruise - w) ** 2 / (2.0 * car.comfort * car.cruise)
