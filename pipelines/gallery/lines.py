"""The lines of the gallery's charts: a measure of report.json, over all prompts and for each rarity."""

from __future__ import annotations

from collections.abc import Callable

from pipelines.dataset.report_json import Interval, Measures, Report
from pipelines.pages.chart import Line, Span

INTERVAL_FROM_GROUPS = 4
"""Intervals from fewer groups are not drawn: they are so wide that they would hide everything else on the axis."""


def lines_of(report: Report, measure: Callable[[Measures], Interval]) -> list[Line]:
    """The lines of a chart: all prompts first, then each rarity where there is more than one.

    report: report.json.
    measure: picks the measure.
    """
    table: dict[str | None, dict[str, Span | None]] = {}
    for result in report.by_arm_and_rarity:
        table.setdefault(result.rarity, {})[result.arm] = _span(measure(result))
    lines: list[tuple[str, dict[str, Span | None]]] = [("all", {a.arm: _span(measure(a)) for a in report.by_arm})]
    if len(table) > 1:
        lines += [(rarity or "no rarity", spans) for rarity, spans in table.items()]
    return [(label, [spans.get(arm.arm) for arm in report.by_arm]) for label, spans in lines]


def _span(value: Interval) -> Span | None:
    if value.mean is None:
        return None
    return (value.mean, (value.half_width or 0.0) if value.groups >= INTERVAL_FROM_GROUPS else 0.0)
