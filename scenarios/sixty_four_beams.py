"""The default encounter seen by an HDL-64E's front instead of 16 beams: many rings on the shape, far sooner sure.

fogsim run scenarios/sixty_four_beams.py --seed 3
"""

import sys
from dataclasses import replace

from fogsim.scenario import HDL_64, Scenario

SCENARIO = Scenario(name="sixty_four_beams", lidar=replace(HDL_64, azimuth_deg=120.0, columns=694))

if __name__ == "__main__":
    from fogsim.cli import main

    main(["run", __file__, *sys.argv[1:]])
