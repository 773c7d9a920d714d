"""A figure of what each of several settings gains and costs, as SVG: a dot for each, a line through the front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from pipelines.pages.chart import nice_ticks

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _EDGE = 640, 320, 64, 40, 16


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A setting."""

    name: str
    """Its name, which is shown beside it where it is on the front."""
    x: float
    """What it has of the first measure."""
    y: float
    """And of the second; more is better in both."""
    on_the_front: bool
    """Whether no other one is better in one measure and as good in the other."""
    chosen: bool
    """Whether it is marked as the chosen one."""


def scatter(dots: Sequence[Dot], *, across: str, up: str) -> str:
    """The figure as HTML.

    dots: one or more.
    across: name of the first measure.
    up: name of the second.
    """
    values = {"x": [dot.x for dot in dots], "y": [dot.y for dot in dots]}
    ticks = {axis: nice_ticks(min(of_axis), max(of_axis)) for axis, of_axis in values.items()}

    def x(value: float) -> float:
        share = (value - ticks["x"][0]) / (ticks["x"][-1] - ticks["x"][0])
        return _LEFT + share * (_WIDTH - _LEFT - _EDGE)

    def y(value: float) -> float:
        share = (value - ticks["y"][0]) / (ticks["y"][-1] - ticks["y"][0])
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _EDGE)

    grid = "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" y1="{y(t):.1f}" y2="{y(t):.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{y(t) + 4:.1f}" text-anchor="end">{t:.4g}</text>'
        for t in ticks["y"]
    ) + "".join(
        f'<text x="{x(t):.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{t:.4g}</text>' for t in ticks["x"]
    )
    front = sorted((dot for dot in dots if dot.on_the_front), key=lambda dot: dot.x)
    line = " ".join(f"{x(dot.x):.1f},{y(dot.y):.1f}" for dot in front)
    marks = "".join(
        f"<g><title>{escape(dot.name)}: {dot.x:.4g}, {dot.y:.4g}</title>"
        f'<circle class="{"" if dot.on_the_front else "beaten"}" cx="{x(dot.x):.1f}" cy="{y(dot.y):.1f}" '
        f'r="{6 if dot.chosen else 3.5}"/>'
        + (_label(dot, x(dot.x), y(dot.y)) if dot.on_the_front or dot.chosen else "")
        + "</g>"
        for dot in dots
    )
    spoken = escape("; ".join(f"{dot.name}: {dot.x:.4g}, {dot.y:.4g}" for dot in dots))
    title = escape(f"{up} over {across}: the line is the Pareto front")
    return (
        f'<figure class="curve"><figcaption>{title}</figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{spoken}">'
        f'{grid}<polyline points="{line}"/>{marks}</svg></figure>'
    )


def _label(dot: Dot, x: float, y: float) -> str:
    """Beside the dot, on the side with more room."""
    words = f"{dot.name}, chosen" if dot.chosen else dot.name
    left = x > _WIDTH / 2
    anchor = ' text-anchor="end"' if left else ""
    return f'<text x="{x - 9 if left else x + 9:.1f}" y="{y - 5:.1f}"{anchor}>{escape(words)}</text>'
