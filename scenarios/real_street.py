r"""A real lidar sweep as the street: re-projected as the car moves, fog over it, a bag or a barrier put into it.

The sweep's file must be given, in the KITTI or the SeeingThroughFog layout:

fogsim run scenarios/real_street.py --set street.scan=stf_hdl64.bin

In KITTI's 000008 the street is narrow and cars stand on it; the shape is put before them, and the car creeps:

fogsim run scenarios/real_street.py --set street.scan=kitti_000008.bin \
    --set hazards.0.x=9 --set hazards.0.y=-1.2 --set ego.speed=2,3
"""

import sys

from fogsim.scenario import Scenario, Street

SCENARIO = Scenario(name="real_street", street=Street(scan="<a sweep's file>"))

if __name__ == "__main__":
    from fogsim.cli import main

    main(["run", __file__, *sys.argv[1:]])
