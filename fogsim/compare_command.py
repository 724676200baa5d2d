"""What `fogsim compare` does: two campaigns, or two filters, paired on seeds."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from fogsim.commands import TABLES, check_new, write_new
from fogsim.scoring.compare_report import print_comparison, to_dict
from fogsim.scoring.compared import compare as compare_scores
from fogsim.scoring.scores import score


def compare(first: Path, second: Path, filters: str | None, out: Path | None) -> None:
    """``fogsim compare``: tables, and if asked a new JSON file."""
    check_new(out)
    names = [name.strip() for name in filters.split(",")] if filters else []
    with Console(stderr=True).status(f"scoring {first}, {second}"):
        one = score(first)
        found = compare_scores(one, one if first.resolve() == second.resolve() else score(second), names)
    print_comparison(found, Console(width=max(TABLES, Console().width)))
    if out is not None:
        write_new(json.dumps(to_dict(found), indent=1) + "\n", out)
