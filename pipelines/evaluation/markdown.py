"""report.md: the summary of an evaluation as Markdown; the other tables are in report.html."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.evaluation.columns import Column, Entry, change, columns, lead, passes, sections
from pipelines.pages.markdown import escaped, table


def markdown(title: str, result: Mapping[str, Any]) -> str:
    """The text of report.md: a table of the arms of the first question.

    title: name of the evaluation.
    result: report.json.
    """
    own = columns(result, summary=True)
    (question, rows, _), *others = sections(result)
    headings = ["arm", *(column.heading for column in own), "passes"]
    more = ", ".join(other for other, _, _ in others)
    return (
        f"# {escaped(title)}\n\n{escaped(lead(result))}\n\n## {escaped(question)}\n\n"
        + table(headings, [_row(entry, own) for entry in rows])
        + (f"\nIn report.html besides: {escaped(more)}.\n" if more else "")
    )


def _row(entry: Entry, own: list[Column]) -> list[str]:
    cells = [_cell(entry["measures"].get(column.measure), column) for column in own]
    return [escaped(entry["arm"]), *cells, passes(entry)]


def _cell(estimate: Mapping[str, Any] | None, column: Column) -> str:
    if estimate is None:
        return ""
    if estimate["difference"] is None:
        return column.words(estimate)
    words, significant = change(estimate["difference"], column)
    mark = "**" if significant else ""
    words = words.replace("*", "\\*")
    return f"{column.numbers(estimate)['mean']:.{column.digits}f} <small>{mark}{words}{mark}</small>"
