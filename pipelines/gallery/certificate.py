"""certificate.html: one self-contained page on the quotas of a run, those first that were not met."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dataset import certificate, parquet
from pipelines.dataset.certificate import GIVEN_UP, SCHEMA
from pipelines.dataset.names import shard_file
from pipelines.dataset.progress_json import Quotas
from pipelines.dataset.storage import Storage
from pipelines.gallery.small import PIXEL_ART_SIDE, small
from pipelines.pages.fill import Templates, report_page
from pipelines.pages.words import counted

FILE = "certificate.html"

QUOTAS_SHOWN = 100
"""Most quotas on the page: those that were given up, then those that took the most images."""

_TEMPLATES = Templates(__file__)
_PARTS = (
    ("accepted", "accepted"),
    ("repeats", "repeat an accepted one"),
    ("over_quota", "over the quota"),
    ("judged", "did not pass the judge"),
)
"""Column or key -> what the images of it are, in the order of the bar."""

Row = dict[str, Any]


def certificate_page(output: Storage, title: str, quotas: Quotas) -> str:
    """The text of the page.

    output: the output folder, with a certificate.
    title: of the run.
    quotas: the sums over all quotas.
    """
    shown = _shown(output)
    pictures = _pictures(output, shown)
    most = max((row["made"] for row in shown), default=1)
    body = _TEMPLATES.fill(
        "certificate.html",
        style=_TEMPLATES.part("certificate.css"),
        lead=_lead(quotas),
        part=f"The page shows {len(shown):,} of {quotas.quotas:,} quotas." if len(shown) < quotas.quotas else "",
        legend="".join(f'<span><i class="{part}"></i>{words}</span>' for part, words in _PARTS),
        rows="".join(_row(row, most, [pictures[at] for at in _examples(row) if at in pictures]) for row in shown),
    )
    return report_page(f"Certificate of {title}", body)


def _shown(output: Storage) -> list[Row]:
    rows = (row for part in certificate.rows(output, SCHEMA.names) for row in part.to_pylist())
    return heapq.nsmallest(QUOTAS_SHOWN, rows, key=_order)


def _order(row: Row) -> tuple[bool, float, str]:
    return row["state"] != GIVEN_UP, -row["made"] / max(row["accepted"], 0.5), row["quota"]


def _lead(quotas: Quotas) -> str:
    given_up = quotas.quotas - quotas.met
    end = f"; <b>{given_up:,} given up</b>, with the reason" if given_up else ""
    share = f" ({quotas.accepted / quotas.made:.0%})" if quotas.made else ""
    return (
        f"<b>{quotas.met:,} of {counted(quotas.quotas, 'quota')} met</b>{end}. {quotas.accepted:,} of {quotas.asked:,} "
        f"images asked for were accepted, out of {quotas.made:,} made{share}."
    )


def _row(row: Row, most: int, pictures: Sequence[str]) -> str:
    row = {**row, "judged": row["made"] - row["passed"]}
    given_up = row["state"] == GIVEN_UP
    bar = "".join(
        f'<i class="{part}" style="width:{100 * row[part] / most:.3f}%" title="{row[part]:,} {words}"></i>'
        for part, words in _PARTS
        if row[part]
    )
    reason = f'<p class="why">Given up: {escape(row["reason"])}.</p>' if given_up else ""
    return (
        f'<article class="{"given-up" if given_up else "met"}"><header><h2><bdi>{escape(row["quota"])}</bdi></h2>'
        f'<p class="count"><b>{row["accepted"]:,}</b> of {row["asked"]:,}</p></header>'
        f'<div class="bar" role="img" aria-label="{_told(row)}">{bar}</div><p class="made">{_told(row)}</p>{reason}'
        f'<p class="rest">{escape(" ".join(_rest(row)))}</p><div class="examples">{"".join(pictures)}</div></article>'
    )


def _told(row: Mapping[str, Any]) -> str:
    parts = [f"{row[part]:,} {words}" for part, words in _PARTS if row[part]]
    return f"{row['made']:,} made: {', '.join(parts)}" if parts else "none made"


def _rest(row: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on which arm delivered, and on what is to be had yet."""
    if row["best_arm"]:
        arms = (f"{arm['arm']} {arm['accepted']:,} of {arm['made']:,}" for arm in row["arms"])
        yield f"Accepted by arm: {', '.join(arms)}."
    if row["passed"]:
        new, modes, cost = row["next_is_new"], row["modes_unseen"], row["images_for_one_more"]
        yield f"The next valid image is new with {new['value']:.0%} chance ({new['low']:.0%} to {new['high']:.0%})."
        if modes["low"] >= 1:
            yield f"At least {modes['low']:,.0f} other ones were not seen."
        if math.isfinite(modes["value"]):
            most = "" if math.isinf(modes["high"]) else f", at most {modes['high']:,.0f}"
            yield f"If all are about equally likely, about {modes['value']:,.0f} were not seen{most}."
        if math.isfinite(cost["value"]):
            yield f"One more takes about {counted(round(cost['value']), 'image')}."


def _examples(row: Row) -> list[tuple[int, str]]:
    return [(one["shard"], one["image_id"]) for one in row["examples"]]


def _pictures(output: Storage, rows: Sequence[Row]) -> dict[tuple[int, str], str]:
    """The examples of some quotas, each as an `<img>`."""
    wanted: dict[int, list[str]] = {}
    for shard, image_id in (at for row in rows for at in _examples(row)):
        wanted.setdefault(shard, []).append(image_id)
    found = {}
    for shard, ids in wanted.items():
        path = f"data/{shard_file(shard)}"
        if output.exists(path):
            with parquet.opened(output, path) as file:
                for batch in file.batches(16, ["image_id", "image", "frames", "prompt"]):
                    for row in batch.filter(pc.is_in(batch["image_id"], pa.array(ids))).to_pylist():
                        found[shard, row["image_id"]] = _picture(row)
    return found


def _picture(row: Row) -> str:
    shot = small(row["image"]["bytes"], row["frames"])
    pixels = ' class="pixels"' if max(shot.width, shot.height) <= PIXEL_ART_SIDE else ""
    return f'<img{pixels} alt="{escape(row["prompt"])}" title="{escape(row["prompt"])}" src="{shot.still}">'
