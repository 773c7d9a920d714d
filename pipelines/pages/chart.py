"""The gallery's small charts: per rarity one line of marks, one mark per arm, a dot for the mean on its 95 % interval.

Horizontal places are percentages, so a chart fits any width without script.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

ARM_COLOURS = 8
"""How many arm colours the style sheet has; further arms take them again."""

INTERVAL_FROM_GROUPS = 4
"""Intervals of fewer groups are so wide that nothing else on the axis could be seen."""

_LANE_PX = 9
_EDGE_PERCENT = 4.0

Report = Mapping[str, Any]


def chart(title: str, hint: str, measure: str, report: Report) -> str:
    """A figure of one measure ("clip_score", ...) for all rarities; empty where no arm has a value."""
    arms = [arm["arm"] for arm in report["by_arm"]]
    rows = _rows(measure, arms, report)
    spans = [span for _, marks in rows for span in marks if span is not None]
    if not spans:
        return ""
    ticks = nice_ticks(min(mean - half for mean, half in spans), max(mean + half for mean, half in spans))
    lines = "".join(_line(label, marks, arms, ticks) for label, marks in rows)
    axis = "".join(
        f'<text x="{_place(tick, ticks):.2f}%" y="12" text-anchor="middle">{_short(tick, ticks)}</text>'
        for tick in ticks
    )
    return (
        f'<figure class="chart"><figcaption><b>{escape(title)}</b> <span>{escape(hint)}</span></figcaption>'
        f'{lines}<div class="axis" aria-hidden="true"><span></span><svg height="16">{axis}</svg></div></figure>'
    )


Span = tuple[float, float]
"""(mean, half width of the interval; 0 where there is none)."""


def _rows(measure: str, arms: Sequence[str], report: Report) -> list[tuple[str, list[Span | None]]]:
    """(label, one span per arm): all prompts first, then each rarity where there is more than one."""
    table: dict[str | None, dict[str, Span | None]] = {}
    for entry in report["by_arm_and_rarity"]:
        table.setdefault(entry["rarity"], {})[entry["arm"]] = _span(entry[measure])
    total = {entry["arm"]: _span(entry[measure]) for entry in report["by_arm"]}
    lines: list[tuple[str, dict[str, Span | None]]] = [("all", total)]
    if len(table) > 1:
        lines += [(rarity or "no rarity", spans) for rarity, spans in table.items()]
    filled = [(label, [spans.get(arm) for arm in arms]) for label, spans in lines]
    return [(label, marks) for label, marks in filled if any(mark is not None for mark in marks)]


def _span(value: Mapping[str, Any]) -> Span | None:
    if value["mean"] is None:
        return None
    return (value["mean"], value["half_width"] if value["groups"] >= INTERVAL_FROM_GROUPS else 0.0)


def nice_ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers from at most `low` to at least `high`."""
    spread = max(high - low, abs(high) * 1e-3, 1e-6)
    power = 10.0 ** math.floor(math.log10(spread / 2))
    step = next(power * m for m in (1, 2, 5, 10) if spread / (power * m) <= 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, max(last, first + 1) + 1)]


def _place(value: float, ticks: Sequence[float]) -> float:
    share = (value - ticks[0]) / (ticks[-1] - ticks[0])
    return _EDGE_PERCENT + share * (100 - 2 * _EDGE_PERCENT)


def _short(tick: float, ticks: Sequence[float]) -> str:
    decimals = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return f"{tick:.{decimals}f}".replace("-", "\u2212")


def _line(label: str, marks: Sequence[Span | None], arms: Sequence[str], ticks: Sequence[float]) -> str:
    height = _LANE_PX * len(marks) + 5
    shapes = [
        f'<line class="grid" x1="{_place(t, ticks):.2f}%" x2="{_place(t, ticks):.2f}%" y1="0" y2="{height}"/>'
        for t in ticks
    ]
    words = []
    for lane, (arm, mark) in enumerate(zip(arms, marks, strict=True)):
        if mark is None:
            continue
        mean, half = mark
        y = _LANE_PX * lane + 7
        words.append(f"{arm} {mean:.3f}" + (f" ± {half:.3f}" if half else ""))
        shapes.append(
            f'<g class="arm-{lane % ARM_COLOURS}"><title>{escape(words[-1])}</title>'
            f'<line class="interval" x1="{_place(mean - half, ticks):.2f}%" x2="{_place(mean + half, ticks):.2f}%"'
            f' y1="{y}" y2="{y}"/><circle cx="{_place(mean, ticks):.2f}%" cy="{y}" r="3.5"/></g>'
        )
    spoken = escape(f"{label}: {', '.join(words)}")
    return (
        f'<div class="line"><span dir="auto">{escape(label)}</span>'
        f'<svg height="{height}" role="img" aria-label="{spoken}">{"".join(shapes)}</svg></div>'
    )
