"""Folders in which one run at a time writes, and files that are there only when they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

from fogsim.errors import UserError


@contextmanager
def alone(record: Path) -> Iterator[None]:
    """Bar other runs from the folder of a `record`, a file that is there, where the system has such locks.

    Raises
    ------
    UserError
        If another run has it.
    """
    with ExitStack() as held:
        try:
            import fcntl

            locked = held.enter_context(record.open("r+b"))  # some network drives lock for writers only
            fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another fogsim writes to {record.parent}: wait for it, or name another folder") from error
        except (ImportError, OSError):
            pass  # Windows, a drive without locks, or a folder only to be read
        yield


def replace_file(data: bytes | Iterable[bytes], path: Path) -> None:
    """Write a file, or a new version of it, under a passing name of its own, and give it its name when it is whole."""
    passing = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        with passing.open("wb") as stream:
            stream.writelines([data] if isinstance(data, bytes) else data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(passing, path)
    finally:
        passing.unlink(missing_ok=True)
