"""What the gallery's dialog says of each picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from models.interventions.registry import registered
from pipelines.dataset.columns import COLUMN_MEANING
from pipelines.dataset.prompt_columns import PICTURE_FIELDS
from pipelines.dataset.setting_columns import interventions_in
from pipelines.gallery.read import CardView, Row
from pipelines.summary.tally import CUT

_OF_VIDEOS = ("fps", "temporal_consistency")
_SHOT_DETAILS = (
    "image_id",
    "index_in_group",
    "seed",
    "clip_score",
    "clip_margin",
    "rank_in_group",
    "nearest_similarity",
    "duplicate_of",
    "keep",
    "drop_reason",
)
_EDITED = tuple(field.name for field in PICTURE_FIELDS)
_GROUP_DETAILS = (
    "prompt",
    "concept",
    "rarity",
    "counterfactual",
    "arm",
    "group_size",
    "group_vendi",
    "group_pair_similarity",
    "steps",
    "sigmas",
    "guidance_scale",
    "width",
    "height",
    "negative_prompt",
    "max_sequence_length",
    "tokens_cut",
    "negative_tokens_cut",
    "frames",
    "model",
    "model_revision",
    "family",
    "dtype",
    "model_options",
    "scheduler",
    "clip_model",
    "clip_tokens_cut",
    "clip_margin_missing",
    "group_id",
    "prompt_id",
    "fingerprint",
)


def details(cards: Sequence[CardView]) -> str:
    """The data of the dialog, as JSON that is safe inside a <script> element: {"groups": [..], "shots": [..],
    "interventions": [[title, column], ..]}."""
    known = [(entry.heading, entry.name) for entry in registered()]
    groups: list[Row] = []
    shots: list[Row] = []
    for view in cards:
        for group in view.groups:
            if not group.shots:
                continue
            row = group.shots[0].row
            known_columns = {*COLUMN_MEANING, *interventions_in([*row])}
            loras = [f"{lora['name']} at {lora['scale']:g}" for lora in row["loras"]]
            carried = {n: _text(v) for n, v in group.plan.items() if n not in known_columns and n != "shard"}
            edited = {name: carried.pop(name) for name in _EDITED if name in carried}
            sigmas = ", ".join(f"{level:g}" for level in row["sigmas"] or ())
            said: Row = {"loras": loras, "sigmas": sigmas, "carried": carried, "edited": edited}
            said |= {name: _said(row[name]) for name in CUT}
            groups.append({n: row[n] for n in (*_GROUP_DETAILS, *interventions_in([*row]))} | said)
            for shot in group.shots:
                values = {name: _compact(shot.row[name]) for name in _SHOT_DETAILS}
                # The columns of further scorers differ from run to run.
                values |= {name: _compact(shot.row[name]) for name in _OF_VIDEOS if name in shot.row}
                known_or_carried = {*known_columns, *carried, *edited, *_OF_VIDEOS}
                further = {n: v for n, v in shot.row.items() if n not in known_or_carried}
                values["further"] = {n: _further(v) for n, v in further.items()}
                # Seeds go up to 2^63: as text, as a JavaScript number would round them.
                shots.append({**values, "seed": str(shot.row["seed"]), "group": len(groups) - 1})
    for row in groups:
        row |= {name: _compact(value) for name, value in row.items()}
    content = {"groups": groups, "shots": shots, "interventions": known}
    return json.dumps(content, ensure_ascii=False).replace("<", "\\u003c")


def _text(value: Any) -> Any:
    """A value that goes along with a prompt: what has parts as JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def _said(cut: Mapping[str, int | None] | None) -> str | None:
    """The value of a column of cut tokens, as text; None where nothing was cut."""
    return ", ".join(f"{name} {tokens}" for name, tokens in (cut or {}).items() if tokens) or None


def _further(value: Any) -> Any:
    if isinstance(value, list):  # a scorer's questions
        return "; ".join(f"{one['question']} {one['yes']:.3f}" for one in value)
    return _said(value) if isinstance(value, dict) else _compact(value)


def _compact(value: Any) -> Any:
    return round(value, 5) if isinstance(value, float) else value
