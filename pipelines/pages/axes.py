"""The axes of figures that are SVG: where a value lies, and the lines and numbers of the ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


def nice_ticks(low: float, high: float) -> list[float]:
    """The ticks of an axis: three to six round numbers, from at most `low` to at least `high`."""
    spread = max(high - low, abs(high) * 1e-3, 1e-6)
    power = 10.0 ** math.floor(math.log10(spread / 2))
    step = next(power * m for m in (1, 2, 5, 10) if spread / (power * m) <= 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, max(last, first + 1) + 1)]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis, in pixels from the left, or from the top."""

    ticks: Sequence[float]
    """Values, as of `nice_ticks`."""
    first: float
    """Where the first of them lies."""
    last: float
    """And the last."""
    form: str = ".4g"
    """Of its numbers."""
    style: str = ""
    """Class of its numbers in the style sheet."""

    def __call__(self, value: float) -> float:
        """Where a value lies."""
        return self.first + (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0]) * (self.last - self.first)

    def lines_down(self, top: float, bottom: float) -> str:
        """A line at each tick of an axis from left to right."""
        return "".join(line_down("grid", self(tick), top, bottom) for tick in self.ticks)

    def lines_across(self, left: float, right: float) -> str:
        """The same of an axis from bottom to top."""
        return "".join(line_across("grid", self(tick), left, right) for tick in self.ticks)

    def numbers_below(self, y: float) -> str:
        """The ticks of an axis from left to right, as numbers; y: of their base line."""
        return "".join(self._number(tick, self(tick), y, "middle") for tick in self.ticks)

    def numbers_beside(self, x: float) -> str:
        """The same of an axis from bottom to top; x: where they end."""
        return "".join(self._number(tick, x, self(tick) + 4, "end") for tick in self.ticks)

    def _number(self, tick: float, x: float, y: float, anchor: str) -> str:
        style = f' class="{self.style}"' if self.style else ""
        return f'<text{style} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{tick:{self.form}}</text>'


def line_down(style: str, x: float, top: float, bottom: float) -> str:
    """A line; style: its class in the style sheet."""
    return f'<line class="{style}" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>'


def line_across(style: str, y: float, left: float, right: float) -> str:
    """The same from left to right."""
    return f'<line class="{style}" x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
