"""report.html: one self-contained page with a table, curves and pictures for each question of an evaluation."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pipelines import pages
from pipelines.evaluation.curve import curve
from pipelines.storage import Storage

COLUMNS: dict[str, tuple[str, float, int]] = {
    "right: common": ("common right, %", 100, 1),
    "right: rare": ("rare right, %", 100, 1),
    "right: unseen": ("never seen right, %", 100, 1),
    "right: open": ("open right, %", 100, 1),
    "pair_vendi: open": ("pair Vendi", 1, 3),
    "distinct_values: open": ("distinct values", 1, 2),
    "confidence: open": ("oracle confidence, %", 100, 1),
    "kernel_distance": ("kernel distance x 1000", 1000, 2),
}
"""Measure -> its heading, the factor on it, and digits after the point."""

Entry = Mapping[str, Any]


def page(title: str, result: Mapping[str, Any], output: Storage) -> str:
    """The page of a report; output: holds the picture sheets that it names, in images/."""
    entries: list[Entry] = result["arms"]
    base = entries[0]
    questions = list(dict.fromkeys(entry["question"] for entry in entries))
    sections = "".join(_section(question, base, entries) for question in questions)
    return pages.fill(
        "evaluation.html",
        palette=pages.part("palette.css"),
        title=escape(title),
        lead=escape(_lead(result)),
        sections=sections,
        pictures=_pictures([e for e in entries if e["question"] == base["question"]], output),
        settings=escape(json.dumps({e["arm"]: e["settings"] for e in entries}, indent=1)),
    )


def _lead(result: Mapping[str, Any]) -> str:
    sets = ", ".join(f"{count} {name}" for name, count in result["prompts"]["sets"].items())
    sampling = result["sampling"]
    return (
        f"{len(result['arms'])} arms on the same prompts and seeds: {sets}; {result['prompts']['group_size']} pictures "
        f"of each, {sampling['steps']} steps, guidance {sampling['guidance_scale']:g}. Brackets are 95 % intervals "
        f"from resampling prompts; small print is the paired difference to {result['base']!r}, bold where its interval "
        "leaves 0."
    )


def _section(question: str, base: Entry, entries: Sequence[Entry]) -> str:
    own = [entry for entry in entries if entry["question"] == question]
    rows = own if base in own else [base, *own]
    body = "".join(_row(entry) for entry in rows)
    head = "".join(f"<th>{escape(heading)}</th>" for heading, _, _ in COLUMNS.values())
    points = [entry for entry in own if entry["value"] is not None]
    curves = ""
    if len(points) > 1:
        curves = "".join(
            curve(
                heading,
                [(entry["value"], _scaled(entry["measures"][name], factor)) for entry in points],
                _scaled(base["measures"][name], factor),
            )
            for name, (heading, factor, _) in COLUMNS.items()
        )
    return (
        f'<section><h2>{escape(question)}</h2><div class="wide"><table><thead><tr><th>arm</th>{head}</tr></thead>'
        f'<tbody>{body}</tbody></table></div><div class="curves">{curves}</div></section>'
    )


def _scaled(estimate: Mapping[str, Any], factor: float) -> dict[str, float]:
    return {key: estimate[key] * factor for key in ("mean", "low", "high")}


def _row(entry: Entry) -> str:
    cells = "".join(_cell(entry["measures"][name], factor, digits) for name, (_, factor, digits) in COLUMNS.items())
    return f"<tr><th>{escape(entry['arm'])}</th>{cells}</tr>"


def _cell(estimate: Mapping[str, Any], factor: float, digits: int) -> str:
    own = _scaled(estimate, factor)
    text = f"{own['mean']:.{digits}f} <span>[{own['low']:.{digits}f}, {own['high']:.{digits}f}]</span>"
    if estimate["difference"] is not None:
        change = _scaled(estimate["difference"], factor)
        words = f"{change['mean']:+.{digits}f} [{change['low']:+.{digits}f}, {change['high']:+.{digits}f}]"
        sure = change["low"] > 0 or change["high"] < 0
        text += f"<small>{f'<b>{words}</b>' if sure else words}</small>"
    return f"<td>{text}</td>"


def _pictures(entries: Sequence[Entry], output: Storage) -> str:
    """The same prompts and seeds, arm under arm."""
    parts = []
    for prompt in entries[0]["sheets"]:
        rows = "".join(
            f"<tr><th>{escape(entry['arm'])}</th><td>"
            f'<img alt="" src="{_inline(output.read_bytes("images/" + entry["sheets"][prompt]))}"></td></tr>'
            for entry in entries
        )
        parts.append(f"<figure><figcaption>{escape(prompt)}</figcaption><table>{rows}</table></figure>")
    return "".join(parts)


def _inline(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
