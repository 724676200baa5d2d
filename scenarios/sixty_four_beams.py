"""The default encounter seen by 64 beams instead of 16: many rings on the shape, and far sooner sure.

fogsim run scenarios/sixty_four_beams.py --seed 3
"""

import sys

from fogsim.scenario import LIDAR_64, Scenario

SCENARIO = Scenario(name="sixty_four_beams", lidar=LIDAR_64)

if __name__ == "__main__":
    from fogsim.cli import main

    main(["run", __file__, *sys.argv[1:]])
