"""The golden logs, made anew: the default encounter, and the two cars of `fogsim demo`.

python tests/golden.py [FOLDER]

Their content changes only where that is meant. Together they have to be less than 2 MB: of one the scans are kept.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from fogsim.commands import record
from fogsim.demo import DEMO_SEED, DRIVERS
from fogsim.scenario import Driver, Scenario

REPLAYS = Path(__file__).parents[1] / "replays"


class Golden(NamedTuple):
    """What is recorded."""

    scenario: Scenario
    seed: int
    level: str


def demonstrated(name: str, level: str) -> Golden:
    """A car of the demonstration."""
    return Golden(replace(Scenario(), driver=Driver(policy=DRIVERS[name])), DEMO_SEED, level)


GOLDEN = {
    "creeping_fog": Golden(Scenario(), 3, "beliefs"),
    "label-truster": demonstrated("label-truster", "scans"),
    "belief-holder": demonstrated("belief-holder", "beliefs"),
}


def main(folder: Path) -> None:
    """Write them, in place of those that are there."""
    for name, golden in GOLDEN.items():
        path = folder / f"golden-{name}.h5"
        path.unlink(missing_ok=True)
        record(golden.scenario, golden.seed, path, golden.level)
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else REPLAYS)
