"""report.html: one self-contained page with a table, curves and pictures for each question of an evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pipelines.dataset.storage import Storage
from pipelines.evaluation.columns import Column, Entry, change, columns, lead, passes, sections
from pipelines.evaluation.frontier import figure
from pipelines.pages.curve import curve
from pipelines.pages.fill import Templates, inline_png, report_page

_TEMPLATES = Templates(__file__)


def page(title: str, result: Mapping[str, Any], output: Storage) -> str:
    """The text of report.html.

    title: name of the evaluation.
    result: report.json.
    output: folder with the picture sheets that it names, in images/.
    """
    entries: list[Entry] = result["arms"]
    base, own = entries[0], columns(result)
    body = _TEMPLATES.fill(
        "evaluation.html",
        lead=escape(lead(result)),
        figure=figure(result),
        sections="".join(_section(question, base, rows, points, own) for question, rows, points in sections(result)),
        pictures=_pictures([e for e in entries if e["question"] == base["question"]], output),
        settings=escape(json.dumps({e["arm"]: e["settings"] for e in entries}, indent=1)),
    )
    return report_page(title, body)


def _section(question: str, base: Entry, rows: Sequence[Entry], points: Sequence[Entry], own: Sequence[Column]) -> str:
    body = "".join(_row(entry, own) for entry in rows)
    head = "".join(f"<th>{escape(heading)}</th>" for heading in (*(column.heading for column in own), "passes"))
    curves = ""
    if len(points) > 1:
        curves = "".join(
            curve(
                column.heading,
                [(entry["value"], column.numbers(entry["measures"][column.measure])) for entry in points],
                column.numbers(base["measures"][column.measure]),
            )
            for column in own
        )
    return (
        f'<section><h2>{escape(question)}</h2><div class="wide"><table><thead><tr><th>arm</th>{head}</tr></thead>'
        f'<tbody>{body}</tbody></table></div><div class="curves">{curves}</div></section>'
    )


def _row(entry: Entry, own: Sequence[Column]) -> str:
    cells = "".join(_cell(entry["measures"].get(column.measure), column) for column in own)
    return f"<tr><th>{escape(entry['arm'])}</th>{cells}<td>{passes(entry)}</td></tr>"


def _cell(estimate: Mapping[str, Any] | None, column: Column) -> str:
    if estimate is None:
        return "<td></td>"
    mean, _, interval = column.words(estimate).partition(" ")
    text = f"{mean} <span>{interval}</span>"
    if estimate["difference"] is not None:
        words, significant = change(estimate["difference"], column)
        text += f"<small>{f'<b>{words}</b>' if significant else words}</small>"
    seeds = ", ".join(f"{mean * column.factor:.{column.digits}f}" for mean in estimate.get("seeds", ()))
    return f'<td title="of each seed: {seeds}">{text}</td>' if seeds else f"<td>{text}</td>"


def _pictures(entries: Sequence[Entry], output: Storage) -> str:
    """A figure for each prompt, with a row of pictures for each arm."""
    parts = []
    for prompt in entries[0]["sheets"]:
        rows = "".join(
            f"<tr><th>{escape(entry['arm'])}</th><td>"
            f'<img alt="" src="{inline_png(output.read_bytes("images/" + entry["sheets"][prompt]))}"></td></tr>'
            for entry in entries
        )
        parts.append(f"<figure><figcaption>{escape(prompt)}</figcaption><table>{rows}</table></figure>")
    return "".join(parts)
