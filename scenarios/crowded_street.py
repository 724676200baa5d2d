"""Four candidates at once, four tracks: bags and barriers in the lane, on the verge and in the next lane.

Only the barrier in the lane, the farthest, is in the way.

fogsim run scenarios/crowded_street.py
"""

import sys

from fogsim.scenario import Fog, Hazard, Scenario

SCENARIO = Scenario(
    name="crowded_street",
    fog=Fog(visibility=60.0),
    hazards=(
        Hazard(kind="bag", x=24.0, x_spread=0.5, y=-0.9, y_spread=0.2),
        Hazard(kind="barrier", x=26.0, x_spread=0.5, y=-4.2, y_spread=0.2),
        Hazard(kind="bag", x=28.0, x_spread=0.5, y=3.6, y_spread=0.2),
        Hazard(kind="barrier", x=30.0, x_spread=0.5, y=0.4, y_spread=0.2),
    ),
)

if __name__ == "__main__":
    from fogsim.cli import main

    main(["run", __file__, *sys.argv[1:]])
