"""Logs as files: a picture of an instant, or a film of all of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from fogsim.errors import UserError
from fogsim.viewer.film import SUFFIXES, Film, check_film
from fogsim.viewer.picture import check_new, frame_time, save
from fogsim.viewer.show import Show, step

SLOWEST = 0.01  # pictures a second
SAMPLES = 8  # pictures that a gif's colours are taken from


def check_target(path: Path) -> None:
    """Refuse, before any work, what cannot be exported into."""
    known = (".png", *SUFFIXES)
    if path.suffix.lower() not in known:
        raise UserError(f"cannot export {path}: found {path.suffix or 'no suffix'}, expected one of {', '.join(known)}")
    check_new(path)


def export_png(show: Show, at_seconds: float, path: str | os.PathLike[str]) -> None:
    """Write the picture of the last frames at or before a time.

    Parameters
    ----------
    show : Show
        Its first scene is drawn.
    at_seconds : float
        Simulated time, s.
    path : path
        Of the picture; it must not exist, its folder must.

    Raises
    ------
    UserError
        If the file exists, is no ``.png`` or has no folder; if there is no frame at that time.
    """
    target = Path(path)
    check_target(target)
    save(show.picture(0, frame_time(show.times(), at_seconds)), target)


def export_film(show: Show, path: str | os.PathLike[str], speed: float = 1.0) -> Iterator[float]:
    """Write every frame into a film at the log's own pace times `speed`; yields the share that is done.

    Raises
    ------
    UserError
        If the file exists or has no folder, or is no film.
    """
    target, times, pace = Path(path), show.times(), rate(show.times(), speed)
    check_target(target)
    check_film(target, pace)
    few = np.unique(np.linspace(0, len(times) - 1, SAMPLES).round().astype(int))
    samples = [show.picture(0, float(times[k])) for k in few] if target.suffix.lower() == ".gif" else []
    with Film(target, show.views[0].size, pace, samples) as film:
        for k, time in enumerate(times):
            film.add(show.picture(0, float(time)))
            yield (k + 1) / len(times)


def rate(times: np.ndarray, speed: float) -> Fraction:
    """Pictures a second: one over the log's step, times `speed`.

    Raises
    ------
    UserError
        If that is fewer than `SLOWEST`.
    """
    pace = speed / step(times)
    if pace < SLOWEST:
        raise UserError(f"found --speed {speed:g}, {pace:g} pictures a second; expected {SLOWEST} at least: raise it")
    return Fraction(pace).limit_denominator(1000)
