"""Midway through a campaign the lidar is swapped: an OS1 of 32 beams in the place of the house sensor.

The first 150 encounters are the default one. From then on the rings lie closer and the columns wider, the range at 10 %
reflectance is 40 m instead of 50, and ranges are five times as noisy. The filters are told where the new beams point
and what its detector takes for an echo, but go on assuming the old range and noise; the deployed network knows of
nothing, and withstands it: little is owed.

fogsim run scenarios/sensor_swap.py --seed 3
fogsim run scenarios/sensor_swap.py --then --seed 3
fogsim campaign scenarios/sensor_swap.py --encounters 300 --out swapped
fogsim debt swapped --plot debt.png
"""

import sys
from dataclasses import replace

from fogsim.scenario import OS1_128, Assumed, Driver, Optics, Scenario, Then

SCENARIO = Scenario(name="sensor_swap", driver=Driver(belief="bnn"), filters=("bnn",))
THEN = Then(
    150,
    replace(
        SCENARIO,
        name="sensor_swap_then",
        lidar=replace(OS1_128, rings=32, azimuth_deg=120.0, columns=341),
        assumed=Assumed(
            range_10=Optics.range_10 / OS1_128.optics.range_10,
            range_noise=Optics.range_noise / OS1_128.optics.range_noise,
        ),
    ),
)

if __name__ == "__main__":
    from fogsim.cli import main

    main(["run", __file__, *sys.argv[1:]])
