"""Drives a log's encounter again, from the scenario and the seed that it holds: does the same come of it?"""

from __future__ import annotations

import platform
from collections.abc import Generator, Iterable
from itertools import chain, islice
from math import inf
from typing import NamedTuple

import numpy as np

from fogsim import log_file
from fogsim.background import background_of
from fogsim.errors import UserError
from fogsim.frame import TIMING_FIELDS, Frame
from fogsim.log import Replay, content_hash
from fogsim.log_file import ContentHash
from fogsim.log_writing import as_row
from fogsim.resolved import scenario_of
from fogsim.runner import check, run


class Again(NamedTuple):
    """Whether the second run is the first, that in words, and by how much any number differs at most."""

    same: bool
    text: str
    by: float


def drive(kept: Replay) -> Generator[Frame, int | None, None]:
    """The encounter of a log, as many frames as it could have.

    Raises
    ------
    UserError
        If its scenario cannot be driven here: of another fogsim, with a filter or a sweep that is not there.
    """
    try:
        scenario = scenario_of(kept.header["scenario"])
        check(scenario)
        background_of(scenario)
    except UserError as error:
        version = kept.header["software"]["fogsim"]
        raise UserError(f"{kept.path} (of fogsim {version}) cannot be driven again: {error}") from error
    return run(scenario, kept.seed)


def compare(kept: Replay, driven: Iterable[Frame]) -> Again:
    """Frames that are driven against those of a log: of one that has no end, against what there is of it."""
    columns = log_file.columns(kept.level, kept.header["schema_version"])
    fields = [(c, c.shape(kept.dims)) for c in columns if c.name not in TIMING_FIELDS]
    digest, frames, expected = ContentHash(kept.header["scenario_sha256"], kept.seed), 0, len(kept)
    first, worst = "", 0.0
    for frame, old in zip(islice(driven, expected + kept.complete), chain(kept, [None]), strict=False):
        if old is None:
            return different(kept, first or f"it goes on after frame {expected - 1}, the last", inf)
        for column, shape in fields:
            now, then = np.asarray(getattr(frame, column.name)), getattr(old, column.name)
            if now.shape != shape:
                return different(kept, f"{column.name} has shape {now.shape}, expected {shape}", inf)
            row = as_row(column, now, shape)
            digest.update(column.name, row[None])
            if row.tobytes() != then.tobytes():
                by = apart(row, then)
                first = (
                    first or f"{column.name} differs first, in frame {frames} at {float(old.time):.1f} s, by {by:.2g}"
                )
                worst = max(worst, by)
        frames += 1
    if first:
        return different(kept, f"{first}; nothing in {frames} frames by more than {worst:.2g}", worst)
    if frames < expected:
        return different(kept, f"it ends after {frames} frames, expected {expected}", inf)
    if (found := digest.hexdigest()) != (stored := kept.stored_hash or content_hash(kept.path)):
        return different(kept, f"content hash is {found}, expected {stored}", inf)
    whole = "" if kept.complete else f"the {expected} frames there are, "
    return Again(True, f"same ({whole}content hash {found[:12]}…)", 0.0)


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """The most by which two arrays differ; infinite where only one is a number."""
    with np.errstate(invalid="ignore"):  # inf - inf
        off = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a.astype(float) - b.astype(float)))
    return float(np.where(np.isnan(off), inf, off).max(initial=0.0))


def different(kept: Replay, what: str, by: float) -> Again:
    """What differs, and why it may: other versions and machines may round otherwise."""
    why = "; ".join(changes(kept)) or "with the same versions: another machine, or a change in the code"
    return Again(False, f"different: {what}; {why}", by)


def changes(kept: Replay) -> list[str]:
    """What of the software and the system is not as it was when a log was recorded."""
    before = kept.header["software"] | {"revision": kept.header["git_revision"][:7]}
    now = log_file.software_versions() | {"revision": log_file.git_revision()[:7]}
    if "platform" in kept.header:
        before, now = before | {"platform": kept.header["platform"]}, now | {"platform": platform.platform()}
    return [f"{name} {before.get(name)} is now {now[name]}" for name in now if before.get(name) != now[name]]
