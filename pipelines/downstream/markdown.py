"""report.md: the tables of an experiment as Markdown."""

from __future__ import annotations

from html import escape

from pipelines.downstream.columns import HEADINGS, accuracy, lead, others
from pipelines.downstream.report import MEASURED, Downstream, SourceResult


def markdown(content: Downstream) -> str:
    """The text of report.md, with a table for each basis."""
    head = f"| {' | '.join(HEADINGS)} |\n{'|---' * len(HEADINGS)}|\n"
    parts = [f"# {_escaped(content.name)}\n\n{_escaped(lead(content))}\n"]
    for basis, sources in content.compared.items():
        parts.append(f"## At {basis}\n\n{head}" + "".join(map(_row, sources)))
    return "\n".join(parts)


def _row(one: SourceResult) -> str:
    cells = [_escaped(one.source), *(_accuracy(one, name) for name in MEASURED), *others(one)]
    return f"| {' | '.join(cells)} |\n"


def _accuracy(one: SourceResult, name: str) -> str:
    value, change, significant = accuracy(one, name)
    mark = "**" if significant else ""
    return f"{value.partition(' ')[0]} <small>{mark}{change}{mark}</small>" if change else value


def _escaped(text: str) -> str:
    return escape(text, quote=False).replace("|", "&#124;")
