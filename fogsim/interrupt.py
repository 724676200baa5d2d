"""Ctrl-C between two frames, never within one."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterable
from types import FrameType
from typing import TypeVar

T = TypeVar("T")


def until_interrupted(items: Iterable[T]) -> Generator[T, None, None]:
    """The items, until Ctrl-C: it waits for the item in the making to be used; a second one does not wait.

    A KeyboardInterrupt raised while numba packs a kernel's arguments or results crashes the process, and one raised
    within a write would tear the log. For the main thread only.

    Raises
    ------
    KeyboardInterrupt
        After the item during which Ctrl-C was pressed.
    """
    pressed = False

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            signal.default_int_handler(number, frame)
        pressed = True

    before = signal.signal(signal.SIGINT, press)
    try:
        for item in items:
            yield item
            if pressed:
                raise KeyboardInterrupt
    finally:
        signal.signal(signal.SIGINT, before)
