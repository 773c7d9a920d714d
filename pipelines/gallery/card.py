"""The card of one prompt, as HTML. Every text of a user passes `escape`."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from textwrap import shorten
from typing import Any

from models.spec import Sampling
from pipelines.dataset.prompt_columns import TARGET_CAPTION
from pipelines.gallery.read import CardView, GroupView, Shot
from pipelines.gallery.small import PIXEL_ART_SIDE
from pipelines.pages.chart import ARM_COLOURS
from pipelines.pages.words import counted
from pipelines.summary.tally import RARITY_ORDER

_LONG_PROMPT = 240
_LONG_SETTING = 60


def card(view: CardView, number: int, arms: Sequence[str], first_shot: int, settings: Sequence[str]) -> str:
    """The card.

    view: the prompt.
    number: its place on the page, from 0.
    arms: names of the arms.
    first_shot: number of its first picture among those of `details`.
    settings: that its head says.
    """
    plan = view.groups[0].plan
    parts = []
    shot = first_shot
    for group in view.groups:
        parts.append(_group(group, arms.index(group.plan["arm"]), shot, view.groups_per_arm))
        shot += len(group.shots)
    groups = f'<div class="groups">{"".join(parts)}</div>'
    concept = f'<span class="concept" dir="auto">{escape(plan["concept"])}</span>' if plan["concept"] else ""
    caption = plan.get(TARGET_CAPTION)
    target = f'<span dir="auto">to show: {escape(caption)}</span>' if caption else ""
    said = "".join(f'<span dir="auto">{escape(setting(name, plan[name]))}</span>' for name in settings)
    return (
        f'<article class="card" data-order="{number}" data-rarity="{escape(plan["rarity"] or "")}"'
        f' aria-label="Prompt {number + 1}"><header>{_prompt(plan["prompt"])}'
        f'<p class="about">{rarity_badge(plan["rarity"])}{concept}{target}{said}</p></header>'
        f"{_beside_sources(view, groups)}</article>"
    )


def _beside_sources(view: CardView, groups: str) -> str:
    """The groups, beside the pictures that the prompt edits."""
    if not view.sources:
        return groups
    shown = [(one, f"picture {number} to edit") for number, one in enumerate(view.sources, start=1)]
    shown += [(view.mask, "mask: white is painted anew")] if view.mask else []
    pictures = "".join(
        f'<img class="{"pixel" if max(one.width, one.height) <= PIXEL_ART_SIDE else ""}" src="{one.still}"'
        f' width="{one.width}" height="{one.height}" alt="{label}" title="{label}" decoding="async">'
        for one, label in shown
    )
    return (
        f'<div class="edit"><section class="sources"><h3>Source{" and mask" if view.mask else ""}</h3>'
        f"<div>{pictures}</div></section>{groups}</div>"
    )


def settings_that_differ(cards: Sequence[CardView]) -> list[str]:
    """The settings of sampling that an arm does not have in common for all prompts, as rows may have some of their own.

    cards: the prompts.
    """
    plans = [group.plan for view in cards for group in view.groups]

    def differs(name: str) -> bool:
        return len({(plan["arm"], str(plan.get(name))) for plan in plans}) > len({plan["arm"] for plan in plans})

    return [name for name in Sampling.names(pictures=True) if differs(name)]


def setting(name: str, value: Any) -> str:
    """A setting of sampling in words."""
    return f"{name} {shorten(str(value), _LONG_SETTING, placeholder=' …') or 'none'}"


def _prompt(text: str) -> str:
    if len(text) <= _LONG_PROMPT:
        return f'<h2 dir="auto">{escape(text)}</h2>'
    return f'<details class="long"><summary><h2 dir="auto">{escape(text)}</h2></summary></details>'


def rarity_badge(rarity: str | None) -> str:
    """A rarity as HTML, with a mark that grows with it; rarities that are not the standard ones have no mark."""
    if rarity is None:
        return ""
    level = RARITY_ORDER.index(rarity) if rarity in RARITY_ORDER else None
    marks = "".join(
        f'<circle cx="{3 + 7 * i}" cy="4" r="2.5" class="{"on" if i <= level else "off"}"/>' for i in range(4)
    ) if level is not None else ""  # fmt: skip
    icon = f'<svg width="28" height="8" aria-hidden="true">{marks}</svg>' if marks else ""
    return f'<span class="badge rarity-{"other" if level is None else level}">{icon}<bdi>{escape(rarity)}</bdi></span>'


def _group(group: GroupView, arm: int, first_shot: int, of: int) -> str:
    name = escape(group.plan["arm"])
    colour = f"arm-{arm % ARM_COLOURS}"
    if not group.shots:
        error = escape(group.error or "")
        return (
            f'<section class="group {colour}" data-arm="{arm}"><h3><i></i><bdi>{name}</bdi></h3>'
            f'<p class="failure" dir="auto"><b>No images.</b> {error}</p></section>'
        )
    size = group.shots[0].row["group_size"]
    shots = "".join(_shot(shot, first_shot + i) for i, shot in enumerate(group.shots))
    more = [counted(size - len(group.shots), "more image")] if size > len(group.shots) else []
    more += [counted(of - 1, "more group")] if of > 1 else []
    note = f'<p class="more">The data has {" and ".join(more)}.</p>' if more else ""
    width = 100 * (group.vendi - 1) / (size - 1) if group.vendi is not None and size > 1 else 0
    meter = (
        '<svg class="meter" height="4" aria-hidden="true"><rect width="100%" height="4" rx="2"/>'
        f'<rect class="fill" width="{width:.1f}%" height="4" rx="2"/></svg>'
    )
    return (
        f'<section class="group {colour}" data-arm="{arm}" data-vendi="{group.vendi}" data-score="{group.score}">'
        f"<h3><i></i><bdi>{name}</bdi></h3>"
        f'<p class="numbers"><span title="Vendi score of the group: 1 is all alike, {size} is all different">'
        f"diversity <b>{group.vendi:.2f}</b> of {size}</span>"
        f'<span title="Mean clip_score of the images shown">match <b>{group.score:.3f}</b></span></p>{meter}'
        f'<div class="shots columns-{_columns(len(group.shots))}">{shots}</div>{note}</section>'
    )


def _columns(shots: int) -> int:
    return {1: 1, 2: 2, 3: 3, 4: 2}.get(shots, 3 if shots <= 9 else 4)


def _shot(shot: Shot, number: int) -> str:
    row, small = shot.row, shot.small
    dropped = row["drop_reason"] or ("" if row["keep"] else "dropped")
    kind = "video" if small.moving else "image"
    label = f"{row['arm']}, {kind} {row['index_in_group'] + 1} of {row['group_size']}, match {row['clip_score']:.3f}"
    label += f", dropped: {dropped}" if dropped else ""
    names = ["shot"] + (["dropped"] if dropped else [])
    names += ["pixel"] if max(small.width, small.height) <= PIXEL_ART_SIDE else []
    reason = f"<span>{escape(dropped)}</span>" if dropped else ""
    moving = f' data-moving="{small.moving}"' if small.moving else ""
    return (
        f'<button type="button" class="{" ".join(names)}" data-shot="{number}"{moving} aria-label="{escape(label)}">'
        f'<img src="{small.still}" width="{small.width}" height="{small.height}" alt="" decoding="async">{reason}'
        "</button>"
    )
