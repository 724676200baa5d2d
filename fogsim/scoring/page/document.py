"""The page itself: sections as HTML that stands alone, with nothing to load and nothing to run."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from fogsim.log_file import git_revision, software_versions
from fogsim.scoring.metrics import CLIP
from fogsim.scoring.page import (
    braking,
    consistency,
    deciding,
    driven,
    fan,
    losses,
    policies,
    reliability,
    spread,
    summary,
)
from fogsim.scoring.page.palette import colour_of
from fogsim.scoring.page.parts import Panel, Section, Table, count
from fogsim.scoring.page.style import STYLE
from fogsim.scoring.scores import Score


def page(score: Score, command: str = "") -> str:
    """The whole page.

    Parameters
    ----------
    score : Score
        What it is of.
    command : str
        The command line that makes it again, for the foot of the page.
    """
    title = f"Score of {count(len(score.encounters), 'encounter')}"
    body = "\n".join((top(score, title), *(section(s, score) for s in sections(score)), foot(command)))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def sections(score: Score) -> Iterable[Section]:
    """In the order of reading: how good, how calibrated, by when, at what cost."""
    return (
        summary.section(score),
        *reliability.sections(score),
        fan.section(score),
        deciding.section(score),
        braking.section(score),
        policies.section(score),
        losses.section(score),
        consistency.section(score),
        spread.section(score),
        driven.section(score),
    )


def top(score: Score, title: str) -> str:
    """Title, numbers, and what was left out."""
    numbers = "".join(f"<div><dt>{escape(f.of)}</dt><dd>{escape(f.value)}</dd></div>" for f in summary.facts(score))
    lines = "".join(f"<li>{escape(line)}</li>" for line in summary.notes(score))
    return f'<header>\n<h1>{title}</h1>\n<dl class="facts">{numbers}</dl>\n<ul class="notes">{lines}</ul>\n</header>'


def section(found: Section, score: Score) -> str:
    """Heading, sentence, charts, table."""
    reading = f'<p class="reading">{escape(found.reading)}</p>\n' if found.reading else ""
    return (
        f'<section>\n<h2>{escape(found.title)}</h2>\n<p class="says">{escape(found.says)}</p>\n{reading}'
        f'<div class="shown">\n{panels(found)}{table(found.table, score) if found.table else ""}</div>\n</section>'
    )


def panels(found: Section) -> str:
    """Charts side by side, as many as fit."""
    size = "wide" if found.wide else "small"
    figures = "".join(map(figure, found.panels))
    return f'<div class="panels {size}">\n{figures}</div>\n' if figures else ""


def figure(panel: Panel) -> str:
    """One chart under its name."""
    name = f'<b style="color:var(--{panel.colour})">{escape(panel.name)}</b>' if panel.name else ""
    note = f"<span>{escape(panel.note)}</span>" if panel.note else ""
    caption = f"<figcaption>{name}{note}</figcaption>" if name or note else ""
    return f"<figure>{caption}{panel.svg}</figure>\n"


def table(found: Table, score: Score) -> str:
    """A table that scrolls by itself where it is wider than the page."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in found.columns)
    body = "".join(f"<tr>{''.join(cells(row, score))}</tr>\n" for row in found.rows)
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n'


def cells(row: tuple[str, ...], score: Score) -> list[str]:
    """The cells of one row, a belief's name in its colour."""
    known = row[0] in score.belief_names
    colour = f' style="color:var(--{colour_of(score.belief_names, row[0])})"' if known else ""
    return [f"<td{colour}>{escape(row[0])}</td>", *(f"<td>{escape(cell)}</td>" for cell in row[1:])]


def foot(command: str) -> str:
    """How the page came about."""
    versions = ", ".join(f"{name} {version}" for name, version in software_versions().items())
    revision = f", revision {git_revision()[:12]}" if git_revision() else ""
    made = f"<p><code>{escape(command)}</code></p>\n" if command else ""
    return (
        f"<footer>\n{made}<p>Probabilities are kept within {CLIP:g} of 0 and 1 in the log loss. Intervals are 95 %, by "
        f"bootstrap over seeds. {escape(versions + revision)}.</p>\n</footer>"
    )
