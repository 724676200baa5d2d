"""A traffic cone ahead in clear air: a shape that no filter has a class for.

The particle filter is soon sure, of a bag or of a barrier. The Bayesian network too takes it for a bag from afar;
within some 10 m, where enough beams meet the cone to tell it from both, its belief goes back to the prior.

fogsim run scenarios/unseen_cone.py
"""

import sys

from fogsim.scenario import Fog, Hazard, Scenario

SCENARIO = Scenario(
    name="unseen_cone",
    fog=Fog(visibility=10_000.0, spread=0.0),
    hazards=(Hazard(kind="cone"),),
)

if __name__ == "__main__":
    from fogsim.cli import main

    main(["run", __file__, *sys.argv[1:]])
