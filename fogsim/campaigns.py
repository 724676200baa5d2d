"""Thousands of encounters of a scenario, each into a log of its own, in a folder that can always be gone on with.

Encounter i is seeded by the root seed and i, in every setting of a sweep alike. Its log is named by the hash of all
that it depends on (scenario with its filters, seed, level, code) and gets its name when it is whole, so that what is
there is done. Beside the logs lie `MANIFEST`, what the folder was begun with; `RESULTS`, a tidy table
(`fogsim.results`); and in `FAILURES` a JSON file for each encounter that failed, with the cause.
"""

from __future__ import annotations

import hashlib
import json
import traceback
from collections.abc import Iterator, Sequence
from errno import EDQUOT, EFBIG, ENOSPC
from functools import lru_cache
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, NamedTuple

from filters import FILTERS, known_filters
from filters.streams import stream
from fogsim.errors import UserError, one_line
from fogsim.folders import replace_file
from fogsim.log import Recorder
from fogsim.log_file import LEVELS, software_versions
from fogsim.overrides import override
from fogsim.results import Row, rows_of
from fogsim.runner import belief_names, check, dims_of, run
from fogsim.scenario import Scenario, Then

MANIFEST, RESULTS, FAILURES = "campaign.json", "results.csv", "failures"
PACKAGES = ("filters", "fogsim")
FULL = (ENOSPC, EDQUOT, EFBIG)
ROOM = 64 << 20  # bytes that a log may need in the scratch folder
LOCK = ".lock"


class Job(NamedTuple):
    """One encounter: its number within its setting, and where its log goes."""

    scenario: Scenario
    settings: dict[str, str]  # what the sweep set
    number: int
    seed: int
    level: str
    code: str
    log: Path

    @property
    def failure(self) -> Path:
        """Where the cause is kept if it fails."""
        return self.log.parent / FAILURES / f"{self.log.stem}.json"


class Outcome(NamedTuple):
    """What became of a job: rows of the table, or why it failed; `full` is the error's number if there was no room."""

    job: Job
    rows: list[Row]
    cause: str = ""
    trace: str = ""
    full: int = 0


class Campaign(NamedTuple):
    """A scenario in every setting of a sweep, `encounters` of each; if there is a `then`, it takes over on the way."""

    scenario: Scenario
    encounters: int
    folder: Path
    seed: int = 0
    level: str = "beliefs"
    sweep: dict[str, tuple[str, ...]] = {}  # noqa: RUF012  # of a NamedTuple, which is never changed
    then: Then | None = None

    @property
    def settings(self) -> list[dict[str, str]]:
        """Each combination of the swept fields' values; one without any if nothing is swept."""
        return [dict(zip(self.sweep, values, strict=True)) for values in product(*self.sweep.values())]

    def manifest(self) -> dict[str, Any]:
        """What the folder's logs depend on."""
        swept = {name: list(values) for name, values in self.sweep.items()}
        given = {"scenario": json.loads(self.scenario.json), "sweep": swept, "seed": self.seed, "level": self.level}
        then = self.then and {"encounter": self.then.encounter, "scenario": json.loads(self.then.scenario.json)}
        return {"encounters": self.encounters, **given, "then": then, **environment(self.scenario.filters)}

    def jobs(self) -> Iterator[Job]:
        """Every encounter, all settings of one index side by side, so that a longer campaign only adds to it.

        Raises
        ------
        UserError
            If two settings are the same scenario.
        """
        cells = self.cells(self.scenario)
        later = self.cells(self.then.scenario) if self.then else cells
        folder = self.folder.absolute()  # a cluster's workers run elsewhere
        for i in range(self.encounters):
            seed = seed_of(self.seed, i)
            for scenario, settings, code, known in later if self.then and i >= self.then.encounter else cells:
                name = hashlib.sha256(f"{known} {seed}".encode()).hexdigest()[:20]
                yield Job(scenario, settings, i, seed, self.level, code, folder / f"{name}.h5")

    def cells(self, scenario: Scenario) -> list[tuple[Scenario, dict[str, str], str, str]]:
        """Of every setting: the scenario, what was set, the code's hash, and all that a log depends on but the seed."""
        cells = []
        for settings in self.settings:
            cell = applied(scenario, settings)
            code = digest_of(cell)
            cells.append((cell, settings, code, f"{cell.hash} {street_of(cell)} {self.level} {code}"))
        if len({known for *_, known in cells}) < len(cells):
            raise UserError("found two settings of --sweep that are the same scenario, expected each once")
        return cells


def seed_of(root: int, number: int) -> int:
    """Of an encounter of a campaign."""
    return int(stream(root, "encounter", number).integers(2**48))


def applied(scenario: Scenario, settings: dict[str, str]) -> Scenario:
    """The scenario with settings put in, fit to run."""
    for name, value in settings.items():
        scenario = override(scenario, name, value)
    check(scenario)
    return scenario


def parse_sweep(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """``FIELD=A,B,...`` each, as field and values.

    Raises
    ------
    UserError
        If one is not of that form, or a field comes twice.
    """
    sweep: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, _, values = (part.strip() for part in text.partition("="))
        found = tuple(value.strip() for value in values.split(","))
        if not name or not all(found) or name in sweep or len(set(found)) < len(found):
            raise UserError(f"found --sweep {text}, expected FIELD=A,B,..., each field and value once")
        sweep[name] = found
    return sweep


def check_plan(campaign: Campaign) -> None:
    """Refuse what could not be driven, before anything is written.

    Raises
    ------
    UserError
        If nothing would be driven, or a setting is wrong.
    """
    if campaign.encounters < 1:
        raise UserError(f"found --encounters {campaign.encounters}, expected at least 1")
    if campaign.level not in LEVELS:
        raise UserError(f"log level is {campaign.level!r}, expected one of {', '.join(LEVELS)}")
    next(campaign.jobs())


def open_folder(folder: Path) -> Path:
    """Make the folder with its lock file, or check that it is one of a campaign; the lock.

    Raises
    ------
    UserError
        If it holds something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / MANIFEST).exists() and any(p.name != LOCK for p in folder.iterdir()):
        raise UserError(f"{folder} is not empty and holds no {MANIFEST}: name another --out")
    (folder / LOCK).open("a").close()
    return folder / LOCK


def begin(campaign: Campaign) -> Campaign:
    """Write the manifest of a new folder, or check that it is of the same campaign; with all encounters it has.

    Raises
    ------
    UserError
        If the folder was begun with something else, or its manifest is damaged.
    """
    wanted, path = campaign.manifest(), campaign.folder / MANIFEST
    (campaign.folder / FAILURES).mkdir(exist_ok=True)
    try:
        found = json.loads(path.read_text()) if path.exists() else wanted
        known = int(found["encounters"])
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged ({one_line(error)}): restore it, or name another --out") from error
    compare(found, wanted, campaign.folder)
    if known < campaign.encounters or not path.exists():
        write_manifest(path, wanted)
    return campaign._replace(encounters=max(known, campaign.encounters))


def write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Write or renew it."""
    replace_file(json.dumps(manifest, indent=1).encode() + b"\n", path)


def compare(found: dict[str, Any], wanted: dict[str, Any], folder: Path) -> None:
    """Refuse to put logs of another campaign into a folder; more encounters are welcome."""
    for name in wanted:
        if name != "encounters" and found.get(name) != wanted[name]:
            had, asked = (shown(said.get(name), other.get(name)) for said, other in ((found, wanted), (wanted, found)))
            raise UserError(f"{folder} was begun with {name} {had}, found {asked}: name another --out")


def shown(value: Any, other: Any) -> str:
    """A value of the manifest, of a table only what differs."""
    if isinstance(value, dict) and isinstance(other, dict):
        parts = [f"{k}: {shown(v, other.get(k))}" for k, v in value.items() if v != other.get(k)]
        return "{" + ", ".join(parts) + "}"
    return str(value)


@lru_cache
def environment(filters: tuple[str, ...] = ()) -> dict[str, Any]:
    """Versions of what logs depend on, and the hash of the code: ours, and that of filters which are not."""
    digest = hashlib.sha256()
    modules = {known_filters()[name].partition(":")[0].partition(".")[0] for name in filters if name not in FILTERS}
    for package in (*PACKAGES, *sorted(modules)):
        for path in sources_of(package):
            digest.update(path.name.encode() + path.read_bytes())
    return {"code": digest.hexdigest()[:16], **software_versions()}


def sources_of(package: str) -> list[Path]:
    """The files of a package, or of a module, that decide what it does."""
    spec = find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        return [Path(str(spec.origin))] if spec is not None else []
    root = Path(spec.submodule_search_locations[0])
    return sorted(p for p in root.rglob("*") if p.suffix in (".py", ".json", ".safetensors"))


def digest_of(scenario: Scenario) -> str:
    """One word for the environment."""
    return hashlib.sha256(json.dumps(environment(scenario.filters), sort_keys=True).encode()).hexdigest()[:16]


def street_of(scenario: Scenario) -> str:
    """Hash of the real sweep that the scenario's street is made of, if it is."""
    path = Path(scenario.street.scan)
    return hashlib.sha256(path.read_bytes()).hexdigest() if scenario.street.scan and path.is_file() else ""


def drive(job: Job) -> Outcome:
    """Drive an encounter into its log; what goes wrong with it is told, so that the others go on. Runs in a worker.

    Raises
    ------
    UserError
        If this worker would not drive what the campaign does, as one may that joined a cluster later.
    """
    if (found := digest_of(job.scenario)) != job.code:
        raise UserError(f"a worker has fogsim or libraries {found}, expected {job.code}: install the same on all")
    try:
        with TemporaryDirectory(prefix="fogsim-") as scratch:
            if disk_usage(scratch).free < ROOM:  # HDF5 crashes where a file cannot grow
                raise OSError(ENOSPC, f"less than {ROOM >> 20} MB left in {gettempdir()}")
            path = Path(scratch) / job.log.name
            record(job.scenario, job.seed, path, job.level)
            rows = rows_of(path, job.number, job.settings)
            replace_file(path.read_bytes(), job.log)
        return Outcome(job, rows)
    except Exception as error:
        disk = error.__cause__ if isinstance(error, UserError) else error  # a recorder says it in its own words
        full = disk.errno if isinstance(disk, OSError) and disk.errno in FULL else 0
        cause = disk.strerror if full and isinstance(disk, OSError) else f"{type(error).__name__}: {one_line(error)}"
        return Outcome(job, [], str(cause), traceback.format_exc(), int(full or 0))


def record(scenario: Scenario, seed: int, path: Path, level: str) -> None:
    """Drive one encounter into a log."""
    header = {"seed": seed, "scenario": scenario.json, "beliefs": list(belief_names(scenario))}
    with Recorder(path, dims_of(scenario), header, level) as recorder:
        for frame in run(scenario, seed):
            recorder.append(frame)
        recorder.ended_because = "the encounter ended"
