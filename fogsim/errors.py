"""The one error users meet: a line that says what was found, what was expected, and what to do."""

from __future__ import annotations

import difflib
import math


class UserError(ValueError):
    """Bad input. The command line prints its one line and exits with code 2."""


def one_line(error: BaseException | None) -> str:
    """The text of an error without its line breaks."""
    return " ".join(str(error).split()) or "no further word"


def are_numbers(*values: object) -> bool:
    """Whether all are numbers: a script may hold a wrong type, which is refused by the name of its field later."""
    return all(isinstance(v, int | float) for v in values)


def expect_positive(**values: float) -> None:
    """Raise a UserError for the first value that is not a finite number above 0."""
    for name, value in values.items():
        if are_numbers(value) and not (value > 0.0 and math.isfinite(value)):
            raise UserError(f"{name} is {value}, expected a finite number above 0")


def did_you_mean(word: str, known: list[str]) -> str:
    """A hint for a wrong name: the nearest known one, and all of them."""
    close = difflib.get_close_matches(word, known, 1)
    return (f"did you mean {close[0]!r}? " if close else "") + "known: " + ", ".join(known)
