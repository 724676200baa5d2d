"""One picture out of a log, and new files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pygame

from fogsim.errors import UserError, one_line


def frame_time(times: np.ndarray, seconds: float) -> float:
    """Time of the last frame at or before a time, half a millisecond of rounding allowed.

    Raises
    ------
    UserError
        If there is no frame, or the time lies outside the log.
    """
    slack = 5e-4
    if not times[0] - slack <= seconds <= times[-1] + slack:
        raise UserError(f"no frame at {seconds:g} s: the log covers {times[0]:g} to {times[-1]:g} s")
    return float(times[max(int(np.searchsorted(times, seconds + slack, side="right")) - 1, 0)])


def check_new(path: Path) -> None:
    """Refuse a file that exists or has no folder."""
    if not path.parent.is_dir():
        raise UserError(f"folder {path.parent} does not exist: create it first (mkdir -p {path.parent})")
    if path.exists():
        raise UserError(f"{path} exists already and is never overwritten: choose another name")


def save(surface: pygame.Surface, path: Path) -> None:
    """Write a picture to a new file; UserError if the file exists or its folder does not."""
    check_new(path)
    try:
        with path.open("xb") as stream:
            pygame.image.save(surface, stream, path.name)
    except FileExistsError:
        raise UserError(f"{path} exists already and is never overwritten: choose another name") from None
    except (OSError, pygame.error) as error:
        path.unlink(missing_ok=True)  # what was written of it
        raise UserError(f"cannot write {path} ({one_line(error)}): make room, or choose another folder") from error
