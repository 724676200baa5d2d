"""Two shapes, two tracks: a bag on the right of the lane and, behind it on the left, a barrier.

fogsim run scenarios/two_shapes.py
"""

import sys

from fogsim.scenario import Hazard, Scenario

SCENARIO = Scenario(
    name="two_shapes",
    hazards=(Hazard(kind="bag", x=26.0, y=-1.2, y_spread=0.3), Hazard(kind="barrier", x=32.0, y=0.8, y_spread=0.3)),
)

if __name__ == "__main__":
    from fogsim.cli import main

    main(["run", __file__, *sys.argv[1:]])
