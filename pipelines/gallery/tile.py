"""The tile with the main numbers of an arm, as HTML."""

from __future__ import annotations

from html import escape

from pipelines.dataset.report_json import ArmResult, Interval
from pipelines.pages.chart import ARM_COLOURS
from pipelines.pages.words import counted


def arm_tile(arm: ArmResult, number: int, does: str) -> str:
    """The tile of one arm.

    arm: its results.
    number: its place among the arms, from 0.
    does: which interventions act.
    """
    dropped = arm.images - arm.kept
    failed = f", {counted(arm.groups_failed, 'group')} failed" if arm.groups_failed else ""
    return (
        f'<li class="arm-{number % ARM_COLOURS}"><h2><i></i><bdi>{escape(arm.arm)}</bdi></h2><p>{escape(does)}</p>'
        f"<dl><div><dt>match</dt><dd>{_mean(arm.clip_score, 3)}</dd></div>"
        f"<div><dt>diversity</dt><dd>{_mean(arm.group_vendi, 2)}</dd></div></dl>"
        f"<p>{counted(arm.images, 'image')}, {dropped:,} dropped{failed}</p></li>"
    )


def _mean(value: Interval, digits: int) -> str:
    if value.mean is None:
        return "–"
    half = "" if value.half_width is None else f" <small>± {value.half_width:.{digits}f}</small>"
    return f"{value.mean:.{digits}f}{half}"
