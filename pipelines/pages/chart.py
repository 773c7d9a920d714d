"""The gallery's small charts: a line for each rarity, with a dot per arm for the mean on its 95 % interval.

Horizontal positions are percentages, so a chart fits any width without script.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from pipelines.pages.axes import Axis, nice_ticks

ARM_COLOURS = 8
"""Number of arm colours in the style sheet; further arms reuse them."""

_LANE_PX = 9
_EDGE_PERCENT = 4.0

Span = tuple[float, float]
"""(mean, half width of the interval; 0 where there is none)."""
Line = tuple[str, Sequence[Span | None]]
"""(label, one span per arm; None where the arm has no value)."""


def chart(title: str, hint: str, arms: Sequence[str], lines: Sequence[Line]) -> str:
    """A figure of one measure as HTML, without lines that have no value; "" where no line has one.

    title: name of the measure.
    hint: a short explanation.
    arms: names of the arms.
    lines: label and values of each line.
    """
    rows = [(label, marks) for label, marks in lines if any(mark is not None for mark in marks)]
    spans = [span for _, marks in rows for span in marks if span is not None]
    if not spans:
        return ""
    ticks = nice_ticks(min(mean - half for mean, half in spans), max(mean + half for mean, half in spans))
    place = Axis(ticks=ticks, first=_EDGE_PERCENT, last=100 - _EDGE_PERCENT)
    drawn = "".join(_line(label, marks, arms, place) for label, marks in rows)
    axis = "".join(
        f'<text x="{place(tick):.2f}%" y="12" text-anchor="middle">{_short(tick, ticks)}</text>' for tick in ticks
    )
    return (
        f'<figure class="chart"><figcaption><b>{escape(title)}</b> <span>{escape(hint)}</span></figcaption>'
        f'{drawn}<div class="axis" aria-hidden="true"><span></span><svg height="16">{axis}</svg></div></figure>'
    )


def _short(tick: float, ticks: Sequence[float]) -> str:
    decimals = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return f"{tick:.{decimals}f}".replace("-", "\u2212")


def _line(label: str, marks: Sequence[Span | None], arms: Sequence[str], place: Axis) -> str:
    height = _LANE_PX * len(marks) + 5
    shapes = [
        f'<line class="grid" x1="{place(t):.2f}%" x2="{place(t):.2f}%" y1="0" y2="{height}"/>' for t in place.ticks
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
            f'<line class="interval" x1="{place(mean - half):.2f}%" x2="{place(mean + half):.2f}%"'
            f' y1="{y}" y2="{y}"/><circle cx="{place(mean):.2f}%" cy="{y}" r="3.5"/></g>'
        )
    spoken = escape(f"{label}: {', '.join(words)}")
    return (
        f'<div class="line"><span dir="auto">{escape(label)}</span>'
        f'<svg height="{height}" role="img" aria-label="{spoken}">{"".join(shapes)}</svg></div>'
    )
