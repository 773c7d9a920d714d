"""report.md: the tables of an evaluation as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from pipelines.evaluation.columns import COLUMNS, Column, Entry, is_significant, lead, sections


def markdown(title: str, result: Mapping[str, Any]) -> str:
    """The text of report.md, with a table for each question.

    title: name of the evaluation.
    result: report.json.
    """
    head = "| arm | " + " | ".join(column.heading for column in COLUMNS) + " |\n" + "|---" * (1 + len(COLUMNS)) + "|\n"
    parts = [f"# {_escaped(title)}\n\n{_escaped(lead(result))}\n"]
    for question, rows, _ in sections(result):
        parts.append(f"## {_escaped(question)}\n\n{head}" + "".join(_row(entry) for entry in rows))
    return "\n".join(parts)


def _escaped(text: str) -> str:
    return escape(text, quote=False).replace("|", "&#124;")


def _row(entry: Entry) -> str:
    cells = " | ".join(_cell(entry["measures"].get(column.measure), column) for column in COLUMNS)
    return f"| {_escaped(entry['arm'])} | {cells} |\n"


def _cell(estimate: Mapping[str, Any] | None, column: Column) -> str:
    if estimate is None:
        return ""
    if estimate["difference"] is None:
        return column.words(estimate)
    change = column.words(estimate["difference"], "+")
    mark = "**" if is_significant(estimate["difference"]) else ""
    return f"{column.numbers(estimate)['mean']:.{column.digits}f} <small>{mark}{change}{mark}</small>"
