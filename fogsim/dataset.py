"""Labelled frames for learners, drawn by the simulator: features, and if wanted the scans that they are measured from.

    fogsim data scenarios/creeping_fog.py --encounters 600 --scans --out frames.h5

    from torch.utils.data import DataLoader
    from fogsim.dataset import Dataset
    for batch in DataLoader(Dataset("frames.h5"), batch_size=64, shuffle=True): ...

One HDF5 file with a dataset for each of `FIELDS`, first axis the frame, in the order of encounters and time; each has
the attributes units and description. Frames of one encounter are much alike: hold out whole encounters (`split`).
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import h5py
import numpy as np
from rich.progress import track

from filters.beam_patch import SIZE, patch
from filters.spec import CLASSES, FEATURES, Array, Pose
from filters.streams import stream
from fogsim.background import Background, background_of
from fogsim.campaigns import environment
from fogsim.engines import local
from fogsim.errors import UserError, one_line
from fogsim.frame import POWER_UNIT, RANGE_UNIT, Frame
from fogsim.perception.perceive import mask
from fogsim.runner import check, run, scan_of
from fogsim.scenario import Driver, Scenario

FOGGY, CLEAR = (15.0, 90.0), (90.0, 2000.0)  # m, weather reports to train under
IN_CLEAR = 0.25  # share of the encounters
SPEEDS = (3.0, 9.0)  # m/s: from a car that creeps to a full approach
SIDES = 1.2  # m, wider than any scenario's: where an object lies says nothing of what it is
FIELDS = {
    "encounter": ("", "which encounter the frame is of"),
    "features": ("see the attribute features", "what perception measures of the first candidate"),
    "label": ("", "its class, an index into the attribute classes"),
    "distance": ("m", "true distance along the road from ego's front to its centre"),
    "visibility": ("m", "true meteorological optical range"),
    "weight": ("m", "driven since the last frame: a creeping car's many frames show no more than a fast one's few"),
    "range": (f"{RANGE_UNIT} m", "range of each echo (rings, columns, echoes)"),
    "power": (f"{POWER_UNIT:g} of the noise", "power of each echo, 0 where there was none"),
    "patch": ("see filters.beam_patch", "the beams about the first candidate as a picture"),
}
SCANS = ("range", "power")
SCHEMA = 2


class Looks(NamedTuple):
    """The frames but for scans, as arrays (n, ...)."""

    encounter: Array
    features: Array
    label: Array
    distance: Array
    visibility: Array
    weight: Array
    patch: Array

    def take(self, which: np.ndarray) -> Looks:
        """The frames at an index or mask."""
        return Looks(*(a[which] for a in self))

    @property
    def detected(self) -> Array:
        """1 where perception saw the candidate, else 0: (n,)."""
        return (self.features[:, FEATURES.index("detected")] > 0.5).astype(int)


def vary(scenario: Scenario, seed: int, encounter: int) -> Scenario:
    """The scenario of one training encounter: own weather, speed, side of the road and coin toss; nobody brakes."""
    rng = stream(seed, "training", encounter)
    report = float(np.exp(rng.uniform(*np.log(CLEAR if rng.random() < IN_CLEAR else FOGGY))))
    speed = float(rng.uniform(*SPEEDS))
    return dataclasses.replace(
        scenario,
        filters=(),
        driver=Driver(policy="open_loop"),
        hazards=(dataclasses.replace(scenario.hazards[0], kind="draw", barrier_probability=0.5, y_spread=SIDES),),
        fog=dataclasses.replace(scenario.fog, visibility=report),
        ego=dataclasses.replace(scenario.ego, speed=(speed, speed)),
    )


def usable(frame: Frame) -> bool:
    """Whether the candidate is ahead and was looked at."""
    return bool(frame.distance_left[0] > 0.0 and np.isfinite(frame.features[0]).all())


def simulate(encounter: int, scenario: Scenario, seed: int, scans: bool) -> tuple[int, dict[str, np.ndarray]]:
    """The fields of one encounter's frames, up to the car's front. Runs in a worker process."""
    run_seed, drawn = int(stream(seed, "training run", encounter).integers(2**31)), vary(scenario, seed, encounter)
    frames = [f for f in run(drawn, run_seed) if usable(f)]
    n, background = len(frames), background_of(scenario)
    distance = np.array([f.distance_left[0] for f in frames])
    fields = {
        "encounter": np.full(n, encounter),
        "features": np.array([f.features[0] for f in frames], np.float32).reshape(n, len(FEATURES)),
        "label": np.array([f.truth_class[0] for f in frames], np.int8),
        "distance": distance,
        "visibility": np.array([f.visibility for f in frames]),
        "weight": np.full(n, np.ptp(distance) / n if n else 0.0),
        "patch": np.array([patch_of(f, drawn, background) for f in frames], np.float16).reshape(n, SIZE),
    }
    if scans and n:
        fields |= {name: np.stack([getattr(f, name) for f in frames]) for name in SCANS}
    return encounter, fields


def patch_of(frame: Frame, scenario: Scenario, background: Background) -> np.ndarray:
    """The picture that a filter makes of the first candidate's beams."""
    x, y, yaw = frame.odometry
    scan = scan_of(frame, Pose(x, y, 0.0, yaw), scenario, background)
    return patch(mask(scan, []), frame.features[0].astype(float))


def collect(
    scenario: Scenario, encounters: int, seed: int, scans: bool = False, processes: int = 1
) -> Iterator[dict[str, np.ndarray]]:
    """The fields of every encounter, in order, whatever the number of processes."""
    work, early = partial(simulate, scenario=scenario, seed=seed, scans=scans), dict[int, dict[str, np.ndarray]]()
    due = 0
    for encounter, fields in local(work, range(encounters), processes):
        early[encounter] = fields
        while due in early:
            yield early.pop(due)
            due += 1


def write(path: Path, scenario: Scenario, encounters: int, seed: int, scans: bool = False, processes: int = 1) -> None:
    """Draw encounters under reports of 15 to 90 m, a quarter of up to 2 km, at 3 to 9 m/s, and write their frames.

    Parameters
    ----------
    path : Path
        Of the HDF5 file; it must not exist.
    scenario : Scenario
        What to vary (`vary`).
    encounters, seed : int
        They determine every frame, whatever the number of processes.
    scans : bool
        Whether to keep the scans: some 60 kB a frame.
    processes : int
        That simulate.

    Raises
    ------
    UserError
        If the numbers are out of range, or the file exists or cannot be written.
    """
    if encounters < 1 or seed < 0:
        raise UserError(f"found {encounters} encounters, seed {seed}, expected at least 1, and 0")
    check(vary(scenario, seed, 0))
    if path.exists():
        raise UserError(f"{path} exists and is never overwritten: choose another name or remove it")
    part = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    parts = track(
        collect(scenario, encounters, seed, scans, processes), f"simulate {encounters} encounters", total=encounters
    )
    try:
        with h5py.File(part, "w") as file:
            file.attrs.update(header_of(scenario, encounters, seed))
            file.attrs.update({"schema": SCHEMA, "features": json.dumps(FEATURES), "classes": json.dumps(CLASSES)})
            for fields in parts:
                append(file, fields)
        os.link(part, path)  # which never overwrites
    except OSError as error:
        raise UserError(f"cannot write {path} ({one_line(error)}): choose another place") from error
    finally:
        part.unlink(missing_ok=True)


def header_of(scenario: Scenario, encounters: int, seed: int) -> dict[str, Any]:
    """What frames are drawn from, the code included."""
    return {"scenario": scenario.json, "encounters": encounters, "seed": seed, "code": environment(())["code"]}


def append(file: h5py.File, fields: dict[str, np.ndarray]) -> None:
    """Add an encounter's frames."""
    for name, values in fields.items():
        if name not in file:
            large = name in (*SCANS, "patch")
            kind = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if large else {}
            chunk = (1 if name in SCANS else 256, *values.shape[1:])
            file.create_dataset(name, data=values, maxshape=(None, *values.shape[1:]), chunks=chunk, **kind)
            file[name].attrs["units"], file[name].attrs["description"] = FIELDS[name]
            continue
        start = len(file[name])
        file[name].resize(start + len(values), axis=0)
        file[name][start:] = values


class Dataset:
    """The frames of a file, as a map-style data set of PyTorch: `len`, and a dictionary of arrays per frame.

    It opens the file in whichever process reads it first, so that a ``DataLoader`` may have workers.

    Parameters
    ----------
    path : path
        As `write` made it.
    which : array of int, optional
        The frames to have, e.g. those of `split`; all if none.

    Raises
    ------
    UserError
        If there is no such file, or it is none of ours.
    """

    def __init__(self, path: str | Path, which: np.ndarray | None = None) -> None:
        self.path, self._file, self._opened_by = Path(path), None, 0
        try:
            with h5py.File(self.path, "r") as file:
                found, count = file.attrs.get("schema"), len(file["label"]) if "label" in file else 0
        except OSError as error:
            raise UserError(f"{path} cannot be read ({one_line(error)}), expected what `fogsim data` writes") from error
        if found != SCHEMA:
            raise UserError(f"{path} has schema {found}, expected {SCHEMA}: write it again (`fogsim data`)")
        self.which = np.arange(count) if which is None else np.asarray(which)

    @property
    def file(self) -> h5py.File:
        """Open in this process."""
        if self._file is None or self._opened_by != os.getpid():  # a forked worker must not share it
            self._file, self._opened_by = h5py.File(self.path, "r"), os.getpid()
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None}

    def __len__(self) -> int:
        return len(self.which)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """One frame; scans in m and noise units."""
        frame = {name: self.file[name][self.which[index]] for name in FIELDS if name in self.file}
        units = {"range": RANGE_UNIT, "power": POWER_UNIT}
        return frame | {name: (frame[name] * units[name]).astype(np.float32) for name in SCANS if name in frame}

    @property
    def header(self) -> dict[str, Any]:
        """What it was drawn from."""
        return {name: self.file.attrs.get(name) for name in ("scenario", "encounters", "seed", "code")}

    @property
    def looks(self) -> Looks:
        """All but the scans, at once."""
        values = Looks(*(self.file[name][:] for name in Looks._fields))
        kinds = {"features": values.features.astype(float), "label": values.label.astype(int)}
        return values._replace(**kinds, patch=values.patch.astype(np.float32)).take(self.which)

    def split(self, share: float, seed: int = 0) -> tuple[Dataset, Dataset]:
        """So large a share of the encounters held out: the other frames, and theirs."""
        encounter = self.file["encounter"][:][self.which]
        names = np.unique(encounter)
        held = np.isin(encounter, stream(seed, "held out").permutation(names)[: round(share * len(names))])
        return Dataset(self.path, self.which[~held]), Dataset(self.path, self.which[held])
