"""A fog bank drifts towards the car: it sees far, then all at once hardly anything, and the shape is in the bank.

The weather report is of the fog about the bank, and the filters believe in fog that is even and stays as it is: here
they are wrong.

fogsim run scenarios/fog_bank.py
"""

import sys

from fogsim.scenario import Bank, Fog, Scenario, Texture

SCENARIO = Scenario(
    name="fog_bank",
    fog=Fog(
        visibility=60.0, bank=Bank(x=(22.0, 60.0), visibility=18.0, edge=6.0), texture=Texture(0.2), wind=(-2.0, 0.5)
    ),
)

if __name__ == "__main__":
    from fogsim.cli import main

    main(["run", __file__, *sys.argv[1:]])
