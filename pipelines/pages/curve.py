"""Curves as SVG: a dot with its 95 % interval for each value of a setting, and the base as a band."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pipelines.pages.axes import Axis, nice_ticks

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _EDGE = 320, 150, 44, 22, 12

Estimate = Mapping[str, Any]


_LABELS = 10
"""Most values that are written below a curve."""


def curve(title: str, points: Sequence[tuple[float, Estimate]], base: Estimate | None) -> str:
    """A figure of a measure over a setting, as HTML.

    title: name of the measure.
    points: (value of the setting, estimate), two or more.
    base: estimate of the arm without the setting; None draws none.
    """
    points = sorted(points, key=lambda point: point[0])
    estimates = [estimate for _, estimate in points] + ([base] if base else [])
    ticks = nice_ticks(min(e["low"] for e in estimates), max(e["high"] for e in estimates))
    places = _spread([value for value, _ in points])
    y = Axis(ticks=ticks, first=_HEIGHT - _BOTTOM, last=_EDGE, form="g")
    grid = y.lines_across(_LEFT, _WIDTH) + y.numbers_beside(_LEFT - 6)
    band = ""
    if base:
        band = (
            f'<rect class="base" x="{_LEFT}" width="{_WIDTH - _LEFT}" y="{y(base["high"]):.1f}" '
            f'height="{max(1.0, y(base["low"]) - y(base["high"])):.1f}"><title>base {_spoken(base)}</title></rect>'
        )
    line = " ".join(f"{x:.1f},{y(e['mean']):.1f}" for x, (_, e) in zip(places, points, strict=True))
    marks = "".join(
        f"<g><title>{value:g}: {_spoken(e)}</title>"
        f'<line class="interval" x1="{x:.1f}" x2="{x:.1f}" y1="{y(e["low"]):.1f}" y2="{y(e["high"]):.1f}"/>'
        f'<circle cx="{x:.1f}" cy="{y(e["mean"]):.1f}" r="3.5"/></g>'
        for x, (value, e) in zip(places, points, strict=True)
    )
    every = -(-len(points) // _LABELS)
    marks += "".join(
        f'<text x="{x:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{value:g}</text>'
        for x, (value, _) in list(zip(places, points, strict=True))[::every]
    )
    said = [f"base {_spoken(base)}"] if base else []
    spoken = escape(f"{title}: " + "; ".join([*said, *(f"{v:g}: {_spoken(e)}" for v, e in points)]))
    return (
        f'<figure class="curve"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{spoken}">'
        f'{grid}{band}<polyline points="{line}"/>{marks}</svg></figure>'
    )


def _spread(values: Sequence[float]) -> list[float]:
    """Horizontal places: by logarithm where the values span more than a decade, else evenly by value."""
    scaled = list(values)
    if values[0] > 0 and values[-1] / values[0] > 10:
        scaled = [math.log(value) for value in values]
    span = scaled[-1] - scaled[0] or 1.0
    room = _WIDTH - _LEFT - 2 * _EDGE
    return [_LEFT + _EDGE + room * (value - scaled[0]) / span for value in scaled]


def _spoken(estimate: Estimate) -> str:
    return f"{estimate['mean']:.4g} [{estimate['low']:.4g}, {estimate['high']:.4g}]"
