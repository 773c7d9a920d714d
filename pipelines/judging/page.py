"""judges.html: one self-contained page with a table of the rules."""

from __future__ import annotations

from html import escape

from models.statistics import Estimate
from pipelines.judging.report import BASE, JudgesReport, RuleResult
from pipelines.pages.fill import Templates, report_page

_TEMPLATES = Templates(__file__)
_HEAD = ("rule", "separation", f"less {BASE}", "accepts", "precision", "recall", "verdict")


def page(content: JudgesReport, title: str) -> str:
    """The text of the page.

    content: report.json.
    title: name of the run.
    """
    rarities = [*content.good_by_rarity]
    heads = [*_HEAD[:-1], *(f"recall, {rarity}" for rarity in rarities), _HEAD[-1]]
    body = _TEMPLATES.fill(
        "judges.html",
        lead=escape(content.lead),
        precision=f"{content.precision:g}",
        head="".join(f"<th>{escape(head)}</th>" for head in heads),
        rows="".join(_row(one, rarities, chosen=at == content.chosen) for at, one in enumerate(content.rules)),
        toml=escape(content.toml),
    )
    return report_page(f"Judges of {title}", body)


def _row(one: RuleResult, rarities: list[str], *, chosen: bool) -> str:
    by_rarity = one.kept.recall_by_rarity if one.kept else {}
    cells = [
        _interval(one.separation, "{:.3f}"),
        _interval(one.gain, "{:+.3f}"),
        f"<code>{escape(one.accept)}</code>" if one.accept else "no threshold",
        _interval(one.kept.precision if one.kept else None, "{:.0%}"),
        _interval(one.kept.recall if one.kept else None, "{:.0%}"),
        *(f"{by_rarity[rarity]:.0%}" if rarity in by_rarity else "" for rarity in rarities),
        escape(one.verdict),
    ]
    mark = "<small>chosen</small>" if chosen else ""
    return f"<tr><th>{escape(one.rule)}{mark}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _interval(value: Estimate | None, form: str) -> str:
    if value is None:
        return ""
    low, mean, high = (form.format(number) for number in (value.low, value.mean, value.high))
    return f"{mean} <span>[{low}, {high}]</span>"
