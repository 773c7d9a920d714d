"""The gallery's small charts: a line for each rarity, with a dot per arm for the mean on its 95 % interval.

Horizontal positions are percentages, so a chart fits any width without script.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

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
    drawn = "".join(_line(label, marks, arms, ticks) for label, marks in rows)
    axis = "".join(
        f'<text x="{_place(tick, ticks):.2f}%" y="12" text-anchor="middle">{_short(tick, ticks)}</text>'
        for tick in ticks
    )
    return (
        f'<figure class="chart"><figcaption><b>{escape(title)}</b> <span>{escape(hint)}</span></figcaption>'
        f'{drawn}<div class="axis" aria-hidden="true"><span></span><svg height="16">{axis}</svg></div></figure>'
    )


def nice_ticks(low: float, high: float) -> list[float]:
    """The ticks of an axis: three to six round numbers, from at most `low` to at least `high`."""
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
