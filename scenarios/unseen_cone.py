"""A traffic cone ahead in clear air, seen by an HDL-64E's front: a shape that no filter has a class for.

The particle filter is soon sure of a bag. So is the Bayesian network from afar; nearer than some 15 m, where a cone can be
told from both, its belief goes back to the prior.

fogsim run scenarios/unseen_cone.py
"""

import sys
from dataclasses import replace

from fogsim.scenario import HDL_64, Fog, Hazard, Scenario

SCENARIO = Scenario(
    name="unseen_cone",
    fog=Fog(visibility=10_000.0, spread=0.0),
    hazards=(Hazard(kind="cone"),),
    lidar=replace(HDL_64, azimuth_deg=120.0, columns=694),
)

if __name__ == "__main__":
    from fogsim.cli import main

    main(["run", __file__, *sys.argv[1:]])
