"""The default encounter: a car creeps through fog towards a shape that is as likely a bag as a barrier.

fogsim run scenarios/creeping_fog.py --seed 3
"""

import sys

from fogsim.scenario import Scenario

SCENARIO = Scenario(name="creeping_fog")

if __name__ == "__main__":
    from fogsim.cli import main

    main(["run", __file__, *sys.argv[1:]])
