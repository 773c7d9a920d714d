"""report.html: one self-contained page with the figure, a table for each basis, and pictures that sources keep."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

import numpy as np

from pipelines.dataset.images import encode
from pipelines.downstream.columns import HEADINGS, accuracy, lead, others
from pipelines.downstream.concepts import Concept
from pipelines.downstream.figure import figure
from pipelines.downstream.report import MEASURED, Downstream, SourceResult, Trained
from pipelines.pages.fill import Templates, inline_png, report_page

_TEMPLATES = Templates(__file__)
_CONCEPTS_SHOWN = 6
_PICTURES_SHOWN = 8


def page(content: Downstream, trained: Sequence[Trained], concepts: Sequence[Concept]) -> str:
    """The text of report.html.

    content: report.json.
    trained: what it is made from, with the pictures.
    concepts: those of the pictures.
    """
    first = next(iter(content.compared))
    body = _TEMPLATES.fill(
        "downstream.html",
        lead=escape(lead(content)),
        figure=figure(content),
        sections="".join(_section(basis, sources) for basis, sources in content.compared.items()),
        basis=first,
        pictures=_pictures([one for one in trained if one.basis == first], concepts),
        settings=escape(json.dumps(content.settings, indent=1)),
    )
    return report_page(content.name, body)


def _section(basis: str, sources: Sequence[SourceResult]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in HEADINGS)
    return (
        f'<section><h2>At {escape(basis)}</h2><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(map(_row, sources))}</tbody></table></div></section>"
    )


def _row(one: SourceResult) -> str:
    cells = [*(_accuracy(one, name) for name in MEASURED), *map(_interval, others(one))]
    return f"<tr><th>{escape(one.source)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _accuracy(one: SourceResult, name: str) -> str:
    value, change, significant = accuracy(one, name)
    below = f"<small>{f'<b>{change}</b>' if significant else change}</small>" if change else ""
    return _interval(value) + below


def _interval(text: str) -> str:
    mean, _, interval = text.partition(" ")
    return f"{mean} <span>{interval}</span>" if interval else mean


def _pictures(trained: Sequence[Trained], concepts: Sequence[Concept]) -> str:
    """A figure for each of some concepts, with a row of pictures for each source."""
    parts = []
    for at in np.unique(np.linspace(0, len(concepts) - 1, min(_CONCEPTS_SHOWN, len(concepts))).round().astype(int)):
        rows = ""
        for one in trained:
            if one.pool is None or one.kept is None:
                continue
            shown = list(one.pool.pictures_CPHWC[at, one.kept.picks[at][:_PICTURES_SHOWN]])
            strip = f'<img alt="" src="{inline_png(encode(np.concatenate(shown, 1), "png"))}">' if shown else "none"
            rows += f"<tr><th>{escape(one.source.name)}</th><td>{strip}</td></tr>"
        parts.append(
            f"<figure><figcaption>{escape(concepts[at].prompt.prompt)}</figcaption><table>{rows}</table></figure>"
        )
    return "".join(parts)
