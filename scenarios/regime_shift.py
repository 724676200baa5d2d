"""Midway through a campaign bags become big white film sacks, and the fog one that echoes twice as brightly.

The first 150 encounters are the default one. From then on a sack is as large as a barrier and lets nothing through, and
the fog's lidar ratio is half of what it was. Nobody tells the filters: they assume the old bags and the old fog. What
the deployed network has learnt grows stale: it takes sacks for barriers, and in the brighter fog barriers for bags.

fogsim run scenarios/regime_shift.py --seed 3
fogsim run scenarios/regime_shift.py --then --seed 3
fogsim campaign scenarios/regime_shift.py --encounters 300 --out shifted
fogsim debt shifted --plot debt.png
"""

import sys
from dataclasses import replace

from fogsim.scenario import Assumed, BagPrior, Driver, Lidar, Optics, Scenario, Then

SCENARIO = Scenario(name="regime_shift", driver=Driver(belief="bnn"), filters=("bnn",))
THEN = Then(
    150,
    replace(
        SCENARIO,
        name="regime_shift_then",
        bag=BagPrior(radius=(0.3, 0.5), fill=(0.9, 1.0), reflectance=(0.6, 0.9), roughness=0.02),
        lidar=Lidar(optics=Optics(lidar_ratio=0.5 * Optics.lidar_ratio)),
        assumed=Assumed(lidar_ratio=2.0, bag=BagPrior()),
    ),
)

if __name__ == "__main__":
    from fogsim.cli import main

    main(["run", __file__, *sys.argv[1:]])
