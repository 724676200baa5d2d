"""What a drawing needs besides the frame: names, geometry, the course of the beliefs, and what to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from filters.spec import BARRIER, Array
from fogsim.frame import Frame

# In the order of the keys 1 to 6. "power" colours echoes by their strength instead of their origin.
OVERLAYS = ("lidar", "fog", "truth", "particles", "ellipses", "power")
SHOWN = frozenset(OVERLAYS) - {"power"}


class Log(Protocol):
    """What is read of a `fogsim.log.Replay`."""

    @property
    def scenario(self) -> dict[str, Any]: ...

    @property
    def seed(self) -> int: ...

    @property
    def beliefs(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Frame: ...

    def column(self, name: str) -> np.ndarray: ...


def _none() -> Array:
    return np.empty(0)


@dataclass(frozen=True, eq=False)
class View:
    """One log seen one way; the same for all of its frames.

    Parameters
    ----------
    beliefs : tuple of str
        Names along the belief axis.
    overlays : frozenset of str
        Which of `OVERLAYS` the map shows.
    driver, policy : str
        Whose belief drives, and how.
    elevation, azimuth : arrays (rings,), (columns,)
        Directions of the beams about the lidar, rad.
    mount, attitude : arrays (2,), (2, 3)
        The lidar's place on ego, and the rows of its rotation matrix that give ahead and left.
    bank, bank_edge, bank_density, wind
        Where the fog bank begins and ends at the start (2,), m, over what it does, its extinction over that of the fog
        at large, and the wind along the road, m/s.
    times, history : arrays (n,), (n, beliefs, tracks)
        P(barrier) over time; a drawing shows it up to its frame's time.
    decision_time, end_time : float
        Of the decision point and the last frame, s; NaN when not reached or not known.
    """

    beliefs: tuple[str, ...]
    title: str = ""
    subtitle: str = ""
    size: tuple[int, int] = (1280, 720)
    overlays: frozenset[str] = SHOWN
    driver: str = "fused"
    policy: str = "bayes"
    elevation: Array = field(default_factory=_none)
    azimuth: Array = field(default_factory=_none)
    mount: Array = field(default_factory=lambda: np.zeros(2))
    attitude: Array = field(default_factory=lambda: np.eye(2, 3))
    bank: Array = field(default_factory=lambda: np.zeros(2))
    bank_edge: float = 1.0
    bank_density: float = 1.0
    wind: float = 0.0
    lane_width: float = 3.5
    kerb_y: float = -2.2
    ego_width: float = 1.9
    ego_length: float = 4.4
    times: Array = field(default_factory=_none)
    history: Array = field(default_factory=lambda: np.empty((0, 0, 0)))
    decision_time: float = np.nan
    end_time: float = np.nan


def view_of(log: Log, size: tuple[int, int] = (1280, 720), overlays: frozenset[str] = SHOWN) -> View:
    """The view of a log, from its stored scenario and columns."""
    scenario, times = log.scenario, log.column("time")
    lidar, road, ego, driver = (scenario[key] for key in ("lidar", "road", "ego", "driver"))
    fog, bank = scenario["fog"], scenario["fog"]["bank"]
    decided = np.flatnonzero(log.column("at_decision_point"))
    columns = (np.arange(lidar["columns"]) + 0.5) / lidar["columns"] - 0.5  # beams fire at the middle of their column
    return View(
        beliefs=tuple(log.beliefs),
        title=scenario["name"],
        subtitle=f"seed {log.seed}",
        size=size,
        overlays=overlays,
        driver=driver["belief"],
        policy=driver["policy"],
        elevation=np.radians(
            lidar["elevations_deg"] or np.linspace(lidar["lowest_deg"], lidar["highest_deg"], lidar["rings"])
        ),
        azimuth=np.radians(lidar["azimuth_deg"]) * columns,
        mount=np.array([lidar["x"], lidar["y"]]),
        attitude=rotation(*np.radians([lidar["yaw_deg"], lidar["pitch_deg"], lidar["roll_deg"]]))[:2],
        bank=np.array(bank["x"], dtype=float),
        bank_edge=bank["edge"],
        bank_density=fog["visibility"] / bank["visibility"] if bank["x"][0] < bank["x"][1] else 1.0,
        wind=fog["wind"][0],
        lane_width=road["lane_width"],
        kerb_y=road["kerb_y"],
        ego_width=ego["width"],
        ego_length=ego["length"],
        times=times,
        history=np.exp(log.column("log_probs")[: len(times), ..., BARRIER]),  # a followed log may have grown
        decision_time=float(times[decided[0]]) if decided.size else np.nan,
        end_time=float(times[-1]) if len(times) else np.nan,
    )


def rotation(yaw: float, pitch: float, roll: float) -> Array:
    """Rz(yaw) Ry(pitch) Rx(roll), which takes a sensor's axes to those of what carries it."""
    (c, cp, cr), (s, sp, sr) = np.cos([yaw, pitch, roll]), np.sin([yaw, pitch, roll])
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    nod = np.array([[cp, 0.0, sp], [0.0, 1.0, 0.0], [-sp, 0.0, cp]])
    lean = np.array([[1.0, 0.0, 0.0], [0.0, cr, -sr], [0.0, sr, cr]])
    return turn @ nod @ lean


def focus(frame: Frame) -> int:
    """The candidate whose beliefs the panels show: the nearest that ego's front has not passed, else the last."""
    left = np.where(frame.distance_left > 0.0, frame.distance_left, np.inf)
    return int(left.argmin()) if np.isfinite(left).any() else int((frame.track_id >= 0).sum()) - 1


def several(frame: Frame) -> bool:
    """Whether there are several candidates, which are then told apart by number."""
    return int((frame.track_id >= 0).sum()) > 1
