"""A bag at the lane's edge in a gusty wind: three times in four it is blown into the lane before the car has passed.

It moves while it is told apart; what has flown is no barrier.

fogsim run scenarios/gusty_bag.py
"""

import sys

from fogsim.scenario import BagMotion, Hazard, Scenario

SCENARIO = Scenario(
    name="gusty_bag",
    hazards=(Hazard(kind="bag", x=28.0, y=-1.9, y_spread=0.1),),
    motion=BagMotion(wander=0.1, gust_speed=1.5, gust_time=1.0, gust_rate=3.0, calm_rate=0.2),
)

if __name__ == "__main__":
    from fogsim.cli import main

    main(["run", __file__, *sys.argv[1:]])
