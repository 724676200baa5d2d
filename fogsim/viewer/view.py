"""What a drawing needs besides the frame: names, geometry, the course of the run, and what to show of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from filters.spec import Array
from fogsim.frame import Frame
from fogsim.viewer.course import Course, Log, nothing
from fogsim.viewer.events import Event, events

# In the order of the keys 1 to 9. "power" colours echoes by their strength instead of their origin.
ON_MAP = ("lidar", "fog", "truth", "particles", "ellipses", "radar", "power")
OVERLAYS = (*ON_MAP, "ranges", "metrics")
SHOWN = frozenset(OVERLAYS) - {"power"}
SIZE = (1280, 720)
SPAN = 48.0  # m of road that the map shows


@dataclass(frozen=True, eq=False)
class View:
    """One log seen one way; the same for all of its frames.

    Parameters
    ----------
    beliefs : tuple of str
        Names along the belief axis.
    only : frozenset of str
        Of them those that are shown, all if empty.
    overlays : frozenset of str
        Which of `OVERLAYS` are shown.
    span, left : float
        Metres of road on the map, and the world's x at its left edge; NaN follows ego.
    driver, policy : str
        Whose belief drives, and how.
    beams : array (rings, columns, 2)
        How far ahead and to the left of the lidar an echo at 1 m lies, for every beam.
    mount : array (2,)
        The lidar's place on ego.
    azimuth_deg : float
        How wide the lidar looks.
    bank, bank_edge, bank_density, wind
        Where the fog bank begins and ends at the start (2,), m, over what it does, its extinction over that of the fog
        at large, and the wind along the road, m/s.
    course, events : Course, tuple of Event
        A drawing shows the course up to its frame's time, the time line all of it.
    name, note, said : str
        Which of two it is, where two are held side by side; what stands beside the time line, and above it.
    """

    beliefs: tuple[str, ...]
    name: str = ""
    title: str = ""
    subtitle: str = ""
    size: tuple[int, int] = SIZE
    overlays: frozenset[str] = SHOWN
    only: frozenset[str] = frozenset()
    span: float = SPAN
    left: float = np.nan
    driver: str = "fused"
    policy: str = "bayes"
    beams: Array = field(default_factory=lambda: np.zeros((0, 0, 2)))
    mount: Array = field(default_factory=lambda: np.zeros(2))
    azimuth_deg: float = 0.0
    bank: Array = field(default_factory=lambda: np.zeros(2))
    bank_edge: float = 1.0
    bank_density: float = 1.0
    wind: float = 0.0
    lane_width: float = 3.5
    kerb_y: float = -2.2
    ego_width: float = 1.9
    ego_length: float = 4.4
    course: Course = field(default_factory=nothing)
    events: tuple[Event, ...] = ()
    note: str = ""
    said: str = ""

    def extended(self, log: Log) -> Self:
        """With what a followed log has more."""
        return self.along(self.course.extended(log))

    def along(self, course: Course) -> Self:
        """With a course and what happens in it."""
        driver = self.beliefs.index(self.driver) if self.driver in self.beliefs else None
        return replace(self, course=course, events=events(course, driver))

    @property
    def shown(self) -> list[int]:
        """Indices of the beliefs that are shown."""
        return [b for b, name in enumerate(self.beliefs) if not self.only or name in self.only]


def view_of(log: Log, size: tuple[int, int] = SIZE, overlays: frozenset[str] = SHOWN) -> View:
    """The view of a log, from its stored scenario and columns."""
    scenario = log.scenario
    lidar, road, ego, driver = (scenario[key] for key in ("lidar", "road", "ego", "driver"))
    fog, bank = scenario["fog"], scenario["fog"]["bank"]
    return View(
        beliefs=tuple(log.beliefs),
        title=scenario["name"],
        subtitle=f"seed {log.seed}",
        size=size,
        overlays=overlays,
        driver=driver["belief"],
        policy=driver["policy"],
        beams=beams(lidar),
        mount=np.array([lidar["x"], lidar["y"]]),
        azimuth_deg=lidar["azimuth_deg"],
        bank=np.array(bank["x"], dtype=float),
        bank_edge=bank["edge"],
        bank_density=fog["visibility"] / bank["visibility"] if bank["x"][0] < bank["x"][1] else 1.0,
        wind=fog["wind"][0],
        lane_width=road["lane_width"],
        kerb_y=road["kerb_y"],
        ego_width=ego["width"],
        ego_length=ego["length"],
    ).along(Course.of(log))


def beams(lidar: dict[str, Any]) -> Array:
    """How far ahead and left of a lidar, by its settings, an echo at 1 m lies: (rings, columns, 2)."""
    evenly = np.linspace(lidar["lowest_deg"], lidar["highest_deg"], lidar["rings"])
    up = np.radians(lidar["elevations_deg"] or evenly)[:, None]
    columns = (np.arange(lidar["columns"]) + 0.5) / lidar["columns"] - 0.5  # beams fire at the middle of their column
    bearing = np.radians(lidar["azimuth_deg"]) * columns
    along = np.stack(np.broadcast_arrays(np.cos(up) * np.cos(bearing), np.cos(up) * np.sin(bearing), np.sin(up)), -1)
    attitude = rotation(*np.radians([lidar["yaw_deg"], lidar["pitch_deg"], lidar["roll_deg"]]))
    return np.asarray(along @ attitude[:2].T)


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
