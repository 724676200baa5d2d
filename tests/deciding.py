"""The house's loss table, a situation, and beliefs to decide by."""

import numpy as np

from filters.decision import Car, Situation, half_lengths
from filters.losses import Loss
from filters.spec import Belief, Gaussian
from fogsim.driving import policy_of
from fogsim.scenario import Driver, Scenario

CAR = Car(cruise=7.25, slow_factor=0.63, reaction=1.0, deceleration=3.0, comfort=2.5)  # the default's
OPEN = Situation(
    lateral=0.0,
    next_lane=3.5,
    half_width=0.95,
    gap=200.0,
    open=True,
    half_lengths=half_lengths(0.4, 2.0),
    distance=18.0,
    speed=7.25,
    delays=(1.0,) * 4,  # whatever it does, something else is in effect
    car=CAR,
)
EARLY = OPEN._replace(open=False, distance=30.0)
TABLE = Loss().table(OPEN)


def belief(barrier, y=0.0, deviation=0.1):
    return Belief(np.log([1.0 - barrier, barrier]), Gaussian(np.array([20.0, y]), np.diag([0.1, deviation**2])))


def made(name):
    """The policy of a name as the default encounter has it."""
    return policy_of(Scenario(driver=Driver(policy=name)))
