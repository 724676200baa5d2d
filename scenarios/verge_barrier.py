"""A Jersey barrier on the verge: however sure the beliefs are of it, it is not in the way and must not brake the car.

fogsim run scenarios/verge_barrier.py
"""

import sys

from fogsim.scenario import BarrierPrior, Hazard, Scenario

SCENARIO = Scenario(
    name="verge_barrier",
    hazards=(Hazard(kind="barrier", x=26.0, y=-4.5, y_spread=0.3),),
    barrier=BarrierPrior(profile="jersey"),
)

if __name__ == "__main__":
    from fogsim.cli import main

    main(["run", __file__, *sys.argv[1:]])
