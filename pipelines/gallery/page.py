"""gallery.html: one self-contained page with images and results of a run.

It loads nothing: style and script are inline and named by digest in the page's content security policy, pictures and
videos are `data:` URIs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from models.interventions.registry import registered
from pipelines.config.recorded import recorded_tables
from pipelines.dataset import run_json
from pipelines.dataset.report_json import Counts, Interval, Measures, Report
from pipelines.dataset.storage import Storage
from pipelines.gallery.card import card, setting, settings_that_differ
from pipelines.gallery.details import details
from pipelines.gallery.lines import lines_of
from pipelines.gallery.pick import pick_prompts
from pipelines.gallery.read import CardView, read_cards
from pipelines.gallery.tile import arm_tile
from pipelines.pages.chart import chart
from pipelines.pages.fill import Templates, digest
from pipelines.pages.words import counted
from pipelines.plan.files import planned_shards
from pipelines.summary.tally import rarity_rank

_TEMPLATES = Templates(__file__)
PROMPTS_SHOWN = 60
"""Most prompts on a page."""

THUMBNAIL_BYTES = 12_000_000
"""Most bytes of thumbnails on a page; with everything else the page stays below 15 MB."""


def gallery(
    output: Storage,
    title: str,
    report: Report,
    *,
    prompts: int = PROMPTS_SHOWN,
    thumbnail_bytes: int = THUMBNAIL_BYTES,
) -> str:
    """The text of gallery.html.

    output: the output folder.
    title: of the page.
    report: report.json.
    prompts: most prompts that are shown.
    thumbnail_bytes: most bytes of thumbnails.
    """
    cards = read_cards(output, pick_prompts(planned_shards(output), prompts), thumbnail_bytes)
    arms = [arm.arm for arm in report.by_arm]
    style, script = _TEMPLATES.style("gallery.css"), _TEMPLATES.part("gallery.js")
    articles, shot, settings = [], 0, settings_that_differ(cards)
    for number, view in enumerate(cards):
        articles.append(card(view, number, arms, shot, settings))
        shot += sum(len(group.shots) for group in view.groups)
    own = {arm["name"]: arm.get("sampling", {}) for arm in recorded_tables(run_json.read(output), "arms")}
    plans = {group.plan["arm"]: group.plan for view in cards for group in view.groups}
    does = {arm: _does(plan, own.get(arm, {})) for arm, plan in plans.items()}
    return _TEMPLATES.fill(
        "gallery.html",
        policy=_policy(style, script),
        style=style,
        script=script,
        title=escape(title),
        lead=_lead(report.counts, len(arms)),
        part=_part(len(cards), report.counts.prompts),
        tiles="".join(arm_tile(arm, i, does.get(arm.arm, "")) for i, arm in enumerate(report.by_arm)),
        charts="".join(chart(title, hint, arms, lines_of(report, of)) for title, hint, of in _CHARTS),
        rarities=_options(cards),
        arms="".join(_arm_switch(arm, number) for number, arm in enumerate(arms)) if len(arms) > 1 else "",
        play=_PLAY if any(shot.small.moving for view in cards for of in view.groups for shot in of.shots) else "",
        cards="".join(articles),
        details=details(cards),
    )


_CHARTS: tuple[tuple[str, str, Callable[[Measures], Interval]], ...] = (
    ("Match", "cosine of image and prompt", lambda measures: measures.clip_score),
    ("Margin", "closer to the prompt than to its common version", lambda measures: measures.clip_margin),
    ("Diversity", "how many different images a group holds", lambda measures: measures.group_vendi),
)


_PLAY = '<label><input type="checkbox" id="play">Play the videos</label>'


def _policy(style: str, script: str) -> str:
    """A content security policy that allows only this style, this script, inline pictures and videos."""
    return (
        f"default-src 'none'; img-src data:; media-src data:; style-src {digest(style)}; script-src {digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _lead(counts: Counts, arms: int) -> str:
    parts = [
        counted(counts.images, "image"),
        counted(counts.prompts, "prompt"),
        counted(arms, "arm"),
        f"{counts.images_rejected:,} dropped",
    ]
    failed = [("group", counts.groups_failed), ("prompt", counts.prompts_failed)]
    parts += [f"{counted(count, what)} failed" for what, count in failed if count]
    split = (part.split(" ", 1) for part in parts)
    return "".join(f"<span><b>{number}</b> {words}</span>" for number, words in split)


def _part(shown: int, prompts: int) -> str:
    if shown == prompts:
        return ""
    return f"This page shows {shown:,} of {prompts:,} prompts, drawn evenly over the rarities."


def _does(plan: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    on = [entry.title for entry in registered() if plan.get(entry.name) is not None]
    return ", ".join(
        ["with " + " and ".join(on) if on else "the stock model", *(setting(*pair) for pair in own.items())]
    )


def _options(cards: Sequence[CardView]) -> str:
    words = {view.groups[0].plan["rarity"] for view in cards} - {None}
    return "".join(f'<option value="{escape(word)}">{escape(word)}</option>' for word in sorted(words, key=rarity_rank))


def _arm_switch(arm: str, number: int) -> str:
    return (
        f'<label class="arm-{number}"><input type="checkbox" data-arm="{number}" checked><i></i>'
        f"<bdi>{escape(arm)}</bdi></label>"
    )
