"""A figure of what each of several settings gains and costs, as SVG: a dot for each, a line through the front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from pipelines.pages.axes import Axis, nice_ticks

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
    of_x, of_y = [dot.x for dot in dots], [dot.y for dot in dots]
    x = Axis(ticks=nice_ticks(min(of_x), max(of_x)), first=_LEFT, last=_WIDTH - _EDGE)
    y = Axis(ticks=nice_ticks(min(of_y), max(of_y)), first=_HEIGHT - _BOTTOM, last=_EDGE)
    grid = y.lines_across(_LEFT, _WIDTH) + y.numbers_beside(_LEFT - 6) + x.numbers_below(_HEIGHT - _BOTTOM + 16)
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
