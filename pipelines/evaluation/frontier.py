"""figure.svg: what each arm gains and loses of two things at once, pictures that are right and differences among them.

Differences to the first arm are drawn, as their intervals are those of pairs: what prompts have in common is not in
them. The picture stands alone, in a README too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from models.statistics import beaten
from pipelines.evaluation.columns import Column, Entry, passes
from pipelines.pages.axes import Axis, line_across, line_down, nice_ticks

_RIGHT = Column(measure="right", heading="", factor=100)
_DISTINCT = Column(measure="distinct_right", heading="", digits=2)
_PANELS = (
    ("common", "common prompts", "group_size"),
    ("rare", "rare prompts", "group_size"),
    ("unseen", "never-seen prompts", "group_size"),
    ("wide", "open prompts", "wide_group"),
)
"""Part of the measures' names, title, and the setting with the pictures of each prompt."""

_MOST_LOST = 0.2
"""An arm that loses more of the right pictures than this is named and not drawn, as the others would be one dot."""

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _GAP, _ROW = 450, 310, 48, 34, 30, 16, 18
_HEAD = 56
_TEXT = 12
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1d1c1a}.soft{fill:#67645e}.title{font-size:14px;font-weight:600}"
    ".grid{stroke:#e5e2dc}.base{stroke:#67645e;stroke-dasharray:3 3}.span{stroke:#0b7f86;stroke-opacity:.35}"
    "circle{fill:#0b7f86}.beaten circle{fill:#a09c94}.beaten .span{stroke:#a09c94}.beaten text{fill:#67645e}"
    ".front{stroke:#0b7f86;fill:none;stroke-width:1.5}"
)


@dataclass(frozen=True, kw_only=True)
class _Dot:
    number: int
    """In the legend."""
    words: str
    """Its values."""
    x: Mapping[str, float]
    y: Mapping[str, float]
    """Mean and ends of the interval of the difference to the base."""
    on_the_front: bool


def figure(result: Mapping[str, Any]) -> str:
    """The arms of the first question, in a panel for each rarity, as SVG; "" where there is nothing to compare.

    result: report.json.
    """
    first, *others = result["arms"]
    arms: list[Entry] = [entry for entry in others if entry["question"] == first["question"]]
    panels = [panel for panel in _PANELS if f"right: {panel[0]}" in first["measures"]]
    if not arms or not panels:
        return ""
    drawn = [_dots(arms, name) for name, _, _ in panels]
    pieces = [
        _panel(dots, title, result["prompts"][size], number)
        for number, (dots, (_, title, size)) in enumerate(zip(drawn, panels, strict=True))
    ]
    top = _HEAD + -(-len(panels) // 2) * (_HEIGHT + _GAP)
    height, width = top + -(-len(arms) // 2) * _ROW + 24, 2 * (_WIDTH + _GAP) + 24
    outside = {number for number in range(len(arms)) if any(number not in {dot.number for dot in d} for d in drawn)}
    legend = "".join(
        _named(number, arm, top, outside=number in outside, dear=arm["passes"] > first["passes"])
        for number, arm in enumerate(arms)
    )
    title = (
        f"Points of right pictures (across) and distinct right ones of a prompt (up): differences to {first['arm']!r}, "
        "95 % intervals"
    )
    key = f"Dashed lines: {first['arm']}. Teal: no other arm has as much of both."
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}"><style>{_STYLE}</style><rect width="{width}" height="{height}" fill="#fff"/>'
        f'<text class="title" x="16" y="24">{escape(title)}</text><text class="soft" x="16" y="44">{escape(key)}</text>'
        f"{''.join(pieces)}{legend}</svg>\n"
    )


def _dots(arms: Sequence[Entry], part: str) -> list[_Dot]:
    found: list[_Dot] = []
    values = [tuple(_change(arm, column, part) for column in (_RIGHT, _DISTINCT)) for arm in arms]
    means = [(x["mean"], y["mean"]) for x, y in values] + [(0.0, 0.0)]
    for number, (arm, (x, y)) in enumerate(zip(arms, values, strict=True)):
        if x["mean"] < -_MOST_LOST * _RIGHT.factor:
            continue
        words = f"{arm['arm']}: {_RIGHT.words(_of(arm, _RIGHT, part), '+')} points right, "
        words += f"{_DISTINCT.words(_of(arm, _DISTINCT, part), '+')} distinct right"
        found.append(_Dot(number=number, words=words, x=x, y=y, on_the_front=not beaten(means[number], means)))
    return found


def _of(arm: Entry, column: Column, part: str) -> Mapping[str, float]:
    difference: Mapping[str, float] = arm["measures"][f"{column.measure}: {part}"]["difference"]
    return difference


def _change(arm: Entry, column: Column, part: str) -> dict[str, float]:
    return column.numbers(_of(arm, column, part))


def _named(number: int, arm: Entry, top: int, *, outside: bool, dear: bool) -> str:
    """A line of the legend, in two columns."""
    more = [f"{passes(arm)} passes each"] if dear else []
    more += ["loses too much to be drawn everywhere"] if outside else []
    words = f"{number + 1}  {arm['arm']}" + (f" ({'; '.join(more)})" if more else "")
    x, y = 16 + (number % 2) * (_WIDTH + _GAP), top + (number // 2) * _ROW + 14
    return f'<text class="{"soft" if outside else ""}" x="{x}" y="{y}">{escape(words)}</text>'


def _panel(dots: Sequence[_Dot], title: str, pictures: int, number: int) -> str:
    left, top = (number % 2) * (_WIDTH + _GAP) + _LEFT, _HEAD + (number // 2) * (_HEIGHT + _GAP) + _TOP
    right, bottom = left - _LEFT + _WIDTH, top - _TOP + _HEIGHT - _BOTTOM
    x = Axis(ticks=_ticks([dot.x for dot in dots]), first=left, last=right, form="+.4g", style="soft")
    y = Axis(ticks=_ticks([dot.y for dot in dots]), first=bottom, last=top, form="+.4g", style="soft")
    grid = x.lines_down(top, bottom) + x.numbers_below(bottom + 16) + y.lines_across(left, right)
    grid += y.numbers_beside(left - 6)
    base = line_down("base", x(0), top, bottom) + line_across("base", y(0), left, right)
    places = _labels([(x(dot.x["mean"]), y(dot.y["mean"])) for dot in dots], [str(dot.number + 1) for dot in dots])
    marks = "".join(
        f'<g class="{"" if dot.on_the_front else "beaten"}"><title>{escape(dot.words)}</title>'
        f"{line_across('span', y(dot.y['mean']), x(dot.x['low']), x(dot.x['high']))}"
        f"{line_down('span', x(dot.x['mean']), y(dot.y['low']), y(dot.y['high']))}"
        f'<circle cx="{x(dot.x["mean"]):.1f}" cy="{y(dot.y["mean"]):.1f}" r="3.5"/>'
        f'<text x="{place[0]:.1f}" y="{place[1]:.1f}" text-anchor="middle">{dot.number + 1}</text></g>'
        for dot, place in sorted(zip(dots, places, strict=True), key=lambda one: one[0].on_the_front)
    )
    front = " ".join(
        f"{x(dot.x['mean']):.1f},{y(dot.y['mean']):.1f}"
        for dot in sorted((dot for dot in dots if dot.on_the_front), key=lambda dot: dot.x["mean"])
    )
    return (
        f'<text x="{left}" y="{top - 12}" font-weight="600">{title}, {pictures} pictures of each</text>{grid}{base}'
        f'<polyline class="front" points="{front}"/>{marks}'
    )


def _ticks(values: Sequence[Mapping[str, float]]) -> list[float]:
    """Of an axis on which the base, at 0, and all ends of intervals lie."""
    ends = [0.0, *(one[end] for one in values for end in one)]
    return nice_ticks(min(ends), max(ends))


def _labels(dots: Sequence[tuple[float, float]], words: Sequence[str]) -> list[tuple[float, float]]:
    """Where each dot's number stands: the nearest place around it that no dot and no other number takes."""
    taken = [(x, y, 4.0, 4.0) for x, y in dots]
    places: list[tuple[float, float]] = []
    for (x, y), text in zip(dots, words, strict=True):
        half = 3.6 * len(text)
        tries = [
            (x + dx * (half + reach), y + dy * (6 + reach))
            for reach in (5.0, 12.0, 20.0, 30.0)
            for dx, dy in ((1, -0.7), (-1, -0.7), (1, 0.7), (-1, 0.7), (0, -1), (0, 1), (1, 0), (-1, 0))
        ]

        def free(place: tuple[float, float], half: float = half) -> bool:
            return all(
                abs(place[0] - tx) > half + tw or abs(place[1] - ty) > _TEXT / 2 + th for tx, ty, tw, th in taken
            )

        place = next(filter(free, tries), tries[0])
        taken.append((*place, half, _TEXT / 2))
        places.append((place[0], place[1] + 4))
    return places
