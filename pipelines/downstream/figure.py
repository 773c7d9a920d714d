"""figure.svg: what classifiers learn from each source at equal cost; a picture that stands alone, in a README too."""

from __future__ import annotations

from html import escape

from pipelines.downstream.columns import accuracy, words
from pipelines.downstream.report import Downstream, SourceResult
from pipelines.pages.axes import Axis, line_down, nice_ticks

_SHOWN = ("tail", "never seen")
_NAMES, _PANEL, _GAP, _ROW, _TOP, _EDGE = 270, 290, 30, 26, 64, 12
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1d1c1a}.soft{fill:#67645e;font-size:12px}.title{font-weight:600}"
    ".grid{stroke:#e5e2dc}.base{stroke:#67645e;stroke-dasharray:3 3}.interval{stroke:#0b7f86;stroke-width:5;"
    "stroke-opacity:.3;stroke-linecap:round}circle{fill:#fff;stroke:#0b7f86;stroke-width:1.5}"
    ".differs circle{fill:#0b7f86}.is-base circle{fill:#67645e;stroke:#67645e}.is-base .interval{stroke:#67645e}"
)


def figure(content: Downstream) -> str:
    """The picture as SVG, with a panel for each part of which pictures are made."""
    basis, sources = next(iter(content.compared.items()))
    width, height = _NAMES + len(_SHOWN) * (_PANEL + _GAP), _TOP + _ROW * len(sources) + 62
    title = f"Accuracy on real pictures, %, of classifiers trained on real and made ones, at {basis}"
    names = "".join(
        f'<text x="{_NAMES - 16}" y="{_middle(row) + 4}" text-anchor="end">{escape(one.source)}</text>'
        for row, one in enumerate(sources)
    )
    panels = "".join(
        _panel(content, part, _NAMES + at * (_PANEL + _GAP))
        for at, part in enumerate(_SHOWN)
        if all(part in one.accuracy for one in sources)
    )
    key = (
        f"Dashed: {content.base}. A dot is filled where the paired difference to it has a 95 % interval that leaves 0. "
        "Bars: 95 % intervals of each alone."
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}"><style>{_STYLE}</style><rect width="{width}" height="{height}" fill="#fff"/>'
        f'<text class="title" x="16" y="24">{escape(title)}</text>{names}{panels}'
        f'<text class="soft" x="16" y="{height - 14}">{escape(key)}</text></svg>\n'
    )


def _middle(row: int) -> float:
    return _TOP + _ROW * row + _ROW / 2


def _panel(content: Downstream, part: str, left: int) -> str:
    sources = next(iter(content.compared.values()))
    estimates = [one.accuracy[part] for one in sources]
    ticks = nice_ticks(100 * min(e.low for e in estimates), 100 * max(e.high for e in estimates))
    bottom = _TOP + _ROW * len(sources)
    percent = Axis(ticks=ticks, first=left + _EDGE, last=left + _PANEL - _EDGE, form="g", style="soft")

    def x(share: float) -> float:
        return percent(100 * share)

    def mark(row: int, one: SourceResult) -> str:
        value = one.accuracy[part]
        change = f"; {words(one.difference[part], 100, sign='+')} to the base" if one.difference else ""
        differs = "differs" if accuracy(one, part)[2] else ""
        return (
            f'<g class="{"is-base" if one.source == content.base else differs}">'
            f"<title>{escape(one.source)}: {words(value, 100)}{change}</title>"
            f'<line class="interval" x1="{x(value.low):.1f}" x2="{x(value.high):.1f}" y1="{_middle(row)}" '
            f'y2="{_middle(row)}"/><circle cx="{x(value.mean):.1f}" cy="{_middle(row)}" r="4.5"/></g>'
        )

    base = next(one for one in sources if one.source == content.base).accuracy[part].mean
    grid = percent.lines_down(_TOP, bottom) + percent.numbers_below(bottom + 18)
    return (
        f'<text x="{left + _EDGE}" y="{_TOP - 10}">{part}, {content.concepts[part]} concepts</text>{grid}'
        + line_down("base", x(base), _TOP, bottom)
        + "".join(mark(row, one) for row, one in enumerate(sources))
    )
