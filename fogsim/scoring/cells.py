"""Numbers, intervals and empty tables, as the terminal shows them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fogsim.scoring.corp import Upper
from fogsim.scoring.metrics import Interval

if TYPE_CHECKING:
    from rich.table import Table


def number(value: float, form: str = ".3f") -> str:
    """A number, or a dash where there is none."""
    return "–" if math.isnan(value) else format(value, f"z{form}")


def interval(value: Interval, form: str = ".3f") -> str:
    """``mean [low, high]``."""
    bounds = "" if math.isnan(value.low) else f" [{number(value.low, form)}, {number(value.high, form)}]"
    return number(value.mean, form) + bounds


def upper(value: Upper, form: str = ".3f") -> str:
    """``value (≤ high)``."""
    bound = "" if math.isnan(value.high) else f" (≤ {number(value.high, form)})"
    return number(value.mean, form) + bound


def share(value: Interval) -> str:
    """``mean% [low, high]`` in per cent."""
    if math.isnan(value.mean):
        return "–"
    return f"{100 * value.mean:.1f}% [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def empty_table(title: str, *columns: str) -> Table:
    """A table without rows: its first column to the left, the others to the right; costs and gains are not wrapped."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for k, column in enumerate(columns):
        whole = k == 0 or column == "belief" or column.startswith(("cost", "less", "brakes"))
        table.add_column(column, justify="left" if k == 0 or column == "belief" else "right", no_wrap=whole)
    return table
