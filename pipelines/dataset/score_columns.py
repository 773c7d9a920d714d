"""Columns of further scorers, in rows and in files of scores: `NAME_clip_score` and so on; and the columns of a kind of
scorer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from models.interventions.registry import find
from pipelines.dataset import schema
from pipelines.dataset.columns import COLUMN_MEANING, MEANING
from pipelines.dataset.prompt_columns import carried_in

COLUMNS = (
    "clip_model",
    "clip_score",
    "clip_margin",
    "clip_margin_missing",
    "clip_tokens_cut",
    "rank_in_group",
    "group_vendi",
    "group_pair_similarity",
    "nearest_similarity",
    "embedding",
)
"""The columns of every scorer, named as in `schema.scored`."""

ANSWERS = pa.list_(pa.struct([pa.field("question", pa.string()), pa.field("yes", pa.float32())]))
"""Type of the column of a scorer that asks questions."""

NAME_RULE = "begins names of columns: use a-z, then a-z, 0-9 and _, for example b32"


def own(columns: Mapping[str, str], scorer: str = "") -> list[pa.Field[Any]]:
    """Fields of a kind's own columns, with their meaning in the metadata.

    columns: name -> meaning.
    scorer: name of the scorer, their prefix; "" for the scorer in [scoring].
    """
    return [_field(name, pa.float32(), meaning, scorer) for name, meaning in columns.items()]


def _field(name: str, kind: pa.DataType, meaning: str, scorer: str) -> pa.Field[Any]:
    begin, end = (f"{scorer}_", f"; by the scorer `{scorer}`") if scorer else ("", "")
    return pa.field(f"{begin}{name}", kind, metadata={MEANING: f"{meaning}{end}"})


def over_time(scorer: str = "") -> list[pa.Field[Any]]:
    """The column that a scorer with image vectors adds to rows of videos.

    scorer: as for `own`.
    """
    return own({"temporal_consistency": "mean cosine of consecutive scored frames; null for a single frame"}, scorer)


def further(
    scorer: str,
    dim: int | None,
    columns: Mapping[str, str],
    images: pa.Schema,
    *,
    embeddings: bool,
    score: str = "",
    answers: str = "",
) -> list[pa.Field[Any]]:
    """Fields of a further scorer, null where a group could not be scored, or where the scorer has no image vectors.

    scorer: its name.
    dim: length of its image vectors, None where it has none.
    columns: its kind's own, name -> meaning.
    images: columns of the images.
    embeddings: keep the image vectors too.
    score: meaning of its `clip_score`, where that is another one than the main scorer's.
    answers: meaning of its column `answers`; "" where it has none.
    """
    named = schema.scored(dim or 1)
    common = [named.field(column) for column in COLUMNS if column != "embedding"]
    fields = [pa.field(f"{scorer}_{field.name}", field.type) for field in common]
    if score:
        fields[COLUMNS.index("clip_score")] = own({"clip_score": score}, scorer)[0]
    vectors = [pa.field(f"{scorer}_embedding", named.field("embedding").type)] if embeddings and dim else []
    edits = schema.similarity_to_sources(images) if dim else []
    likeness = [field for one in edits for field in own({one.name: meaning(one)}, scorer)]
    asked = [_field("answers", ANSWERS, answers, scorer)] if answers else []
    consistency = over_time(scorer) if dim and schema.of_videos(images) else []
    return [*fields, *likeness, *vectors, *consistency, *own(columns, scorer), *asked]


def own_columns(rows: pa.Schema) -> list[str]:
    """Names of the columns of numbers that kinds of scorers have given rows of their own."""
    carried = {field.name for field in carried_in(rows)}
    return [
        field.name
        for field in rows
        if field.type == pa.float32() and MEANING in (field.metadata or {}) and field.name not in carried
    ]


def meaning(field: pa.Field[Any]) -> str:
    """The meaning of a column of the run or of any scorer."""
    if field.name in COLUMN_MEANING:
        return COLUMN_MEANING[field.name]
    if field.metadata and MEANING in field.metadata:
        return field.metadata[MEANING].decode()
    if entry := find(field.name):
        return entry.meaning
    kind = next(kind for kind in COLUMNS if field.name.endswith(f"_{kind}"))
    return f"{COLUMN_MEANING[kind]}; by the scorer `{field.name.removesuffix(f'_{kind}')}`"
