"""Pictures out of logs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pygame

from fogsim.errors import UserError
from fogsim.viewer.drawing import draw
from fogsim.viewer.view import Log, view_of


def export_png(replay: Log, at_seconds: float, path: str | os.PathLike[str]) -> None:
    """Write the picture of the last frame at or before a time.

    Parameters
    ----------
    replay : Log
        A `fogsim.log.Replay`.
    at_seconds : float
        Simulated time, s.
    path : path
        Of the picture; it must not exist, its folder must.

    Raises
    ------
    UserError
        If the file exists, is no ``.png`` or has no folder; if the log has no frame, or none at that time.
    """
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise UserError(f"cannot export {target}: found {target.suffix or 'no suffix'}, expected .png")
    frame = replay[frame_at(replay.column("time"), at_seconds)]
    save(draw(frame, view_of(replay)), target)


def frame_at(times: np.ndarray, seconds: float) -> int:
    """Index of the last frame at or before a time, half a millisecond of rounding allowed.

    Raises
    ------
    UserError
        If there is no frame, or the time lies outside the log.
    """
    if not len(times):
        raise UserError("the log has no frame: the run ended before its first; record it again")
    slack = 5e-4
    if not times[0] - slack <= seconds <= times[-1] + slack:
        raise UserError(f"no frame at {seconds:g} s: the log covers {times[0]:g} to {times[-1]:g} s")
    return max(int(np.searchsorted(times, seconds + slack, side="right")) - 1, 0)


def save(surface: pygame.Surface, path: Path) -> None:
    """Write a picture to a new file; UserError if the file exists or its folder does not."""
    if not path.parent.is_dir():
        raise UserError(f"folder {path.parent} does not exist: create it first (mkdir -p {path.parent})")
    try:
        with path.open("xb") as stream:
            pygame.image.save(surface, stream, path.name)
    except FileExistsError:
        raise UserError(f"{path} exists already and is never overwritten: choose another name") from None
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another folder") from error
