"""The sections that the cards of runs and of exports share."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa

from pipelines.dataset.certificate import GivenUp
from pipelines.dataset.progress_json import Quotas
from pipelines.dataset.records import to_json
from pipelines.dataset.report_json import ArmResult, Interval
from pipelines.dataset.run_json import RunRecord
from pipelines.dataset.score_columns import meaning
from pipelines.pages.markdown import code, table
from pipelines.summary.front_matter import OTHER


def introduction(images: int, prompts: int) -> str:
    """The first paragraph.

    images: number of images.
    prompts: number of prompts of the run, some of which may have no image here.
    """
    return (
        f"{images:,} images from a run over {prompts:,} prompts, made with Raydiance. Every prompt is "
        "drawn as groups of images; each image is scored, compared with the others of its group, and kept or dropped "
        "inside that group, so that no global threshold cuts the rare concepts away.\n"
    )


GIVEN_UP_SHOWN = 10
"""Most quotas that were given up which a card names."""


def quota_section(quotas: Quotas | None, given_up: Sequence[GivenUp], more: str) -> list[str]:
    """The section on quotas; none where a run has no quotas.

    quotas: the sums over all quotas of the run.
    given_up: those that the section names, at most `GIVEN_UP_SHOWN`.
    more: a sentence on what else there is on them.
    """
    if quotas is None:
        return []
    text = (
        f"## Quotas\n\n{quotas.met:,} of {quotas.quotas:,} quotas are met: {quotas.accepted:,} of {quotas.asked:,} "
        f"images were accepted, out of {quotas.made:,} made. `certificate.parquet` has a row for each quota, with "
        f"what was made for it and what is to be had yet. {more}\n"
    )
    if not given_up:
        return [text]
    named = table(
        ("given up", "accepted", "asked", "made", "reason"),
        [(code(one.quota), f"{one.accepted:,}", f"{one.asked:,}", f"{one.made:,}", one.reason) for one in given_up],
    )
    rest = quotas.quotas - quotas.met - len(given_up)
    return [text, named, *([f"{rest:,} more {'was' if rest == 1 else 'were'} given up.\n"] if rest else [])]


def results(by_arm: Sequence[ArmResult]) -> str:
    """The section with results.

    by_arm: of report.json.
    """
    moved = list(dict.fromkeys(name for arm in by_arm for name in arm.displacement or ()))
    further = [column for arm in by_arm[:1] for column in arm.further or ()]
    rows = [
        (
            code(arm.arm),
            f"{arm.images:,}",
            f"{arm.kept:,}",
            _plus_minus(arm.clip_score),
            _plus_minus(arm.clip_margin),
            _plus_minus(arm.group_vendi),
            _plus_minus(arm.pair_vendi),
            *(_plus_minus((arm.displacement or {}).get(name)) for name in moved),
            *(_plus_minus((arm.further or {})[column]) for column in further),
        )
        for arm in by_arm
    ]
    head = ["arm", "images", "kept", "clip_score", "clip_margin", "group_vendi", "pair_vendi"]
    head += [*(f"displacement.{name}" for name in moved), *further]
    lead = "## Results\n\nMean with 95 % interval over all scored images, kept and dropped.\n"
    return f"{lead}\n{table(head, rows)}"


def _plus_minus(value: Interval | None) -> str:
    if value is None or value.mean is None:
        return "–"
    return f"{value.mean:.3f}" + ("" if value.half_width is None else f" ± {value.half_width:.3f}")


def column_table(schema: pa.Schema) -> str:
    """A Markdown table of columns with type and meaning."""
    return table(
        ("column", "type", "meaning"),
        [(f"`{field.name}`", f"`{_type_name(field.type)}`", meaning(field)) for field in schema],
    )


def _type_name(kind: pa.DataType) -> str:
    """A short name of a type, without the fields of structs and the length of image vectors."""
    if pa.types.is_fixed_size_list(kind):
        return "fixed_size_list<float16>"
    if pa.types.is_list(kind):
        return f"list<{_type_name(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return "struct<bytes, path>" if kind.field(0).name == "bytes" else "struct"
    return str(kind)


def settings(run: RunRecord) -> str:
    """The section with the content of run.json."""
    text = json.dumps(to_json(run), indent=1, ensure_ascii=False, sort_keys=True)
    return f"## Settings\n\n```json\n{text}\n```\n"


def licence(name: str) -> str:
    """The section on the licence.

    name: as the hub names licences.
    """
    status = f"`license: {name}`" + (" is a placeholder." if name == OTHER else " was chosen with the export.")
    advice = " Set it before you publish." if name == OTHER else ""
    terms = " The terms of the model that drew the images and of the prompts decide."
    return f"## Licence\n\n{status}{terms}{advice}\n"
