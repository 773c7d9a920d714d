"""report.md: the summary of an evaluation as Markdown; the other tables are in report.html."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from pipelines.evaluation.columns import Column, Entry, change, columns, lead, passes, sections


def markdown(title: str, result: Mapping[str, Any]) -> str:
    """The text of report.md: a table of the arms of the first question.

    title: name of the evaluation.
    result: report.json.
    """
    own = columns(result, summary=True)
    (question, rows, _), *others = sections(result)
    headings = ["arm", *(column.heading for column in own), "passes"]
    head = f"| {' | '.join(headings)} |\n{'|---' * len(headings)}|\n"
    more = ", ".join(other for other, _, _ in others)
    return (
        f"# {_escaped(title)}\n\n{_escaped(lead(result))}\n\n## {_escaped(question)}\n\n"
        f"{head}{''.join(_row(entry, own) for entry in rows)}"
        + (f"\nIn report.html besides: {_escaped(more)}.\n" if more else "")
    )


def _escaped(text: str) -> str:
    return escape(text, quote=False).replace("|", "&#124;")


def _row(entry: Entry, own: list[Column]) -> str:
    cells = [_cell(entry["measures"].get(column.measure), column) for column in own]
    return f"| {' | '.join([_escaped(entry['arm']), *cells, passes(entry)])} |\n"


def _cell(estimate: Mapping[str, Any] | None, column: Column) -> str:
    if estimate is None:
        return ""
    if estimate["difference"] is None:
        return column.words(estimate)
    words, significant = change(estimate["difference"], column)
    mark = "**" if significant else ""
    words = words.replace("*", "\\*")
    return f"{column.numbers(estimate)['mean']:.{column.digits}f} <small>{mark}{words}{mark}</small>"
