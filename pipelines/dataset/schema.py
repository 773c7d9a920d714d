"""The row contract: the Arrow schemas of all files of a run.

One row per image in `data/` and `rejected/`, one row per failure in `failed/`, one row per group in `plan/`.
No row has a time or a host name: a repeated or resumed run gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from models.spec import TEXT_ENCODERS
from pipelines.dataset.columns import MEANING
from pipelines.dataset.features import features_of, image_field
from pipelines.dataset.prompt_columns import SOURCE_IMAGES
from pipelines.dataset.setting_columns import LORAS, MODEL_OPTIONS, in_every_row, intervention_fields
from pipelines.dataset.videos import VideoFormat

VERSION = 4
"""Version of the row contract; it increases whenever every run gets another column, or a column changes."""

READABLE = (2, 3, 4)
"""Versions whose finished runs can be exported, scored and replayed: what a later one has more is not needed for it."""

_FPS = b"frames per second at which the video plays"


def _displacement(names: Sequence[str]) -> pa.Field[Any]:
    """A share for each name; null where the intervention is off, or edits no text in the blocks."""
    return pa.field("displacement", pa.struct([pa.field(name, pa.float32()) for name in names]), nullable=False)


def _cut(name: str, texts: Sequence[str]) -> pa.Field[Any]:
    """A number of tokens for each text, or for each reader of a text; null where there is none."""
    return pa.field(name, pa.struct([pa.field(text, pa.int32()) for text in texts]))


_GROUP_FIELDS = [
    pa.field("group_id", pa.string(), nullable=False),
    pa.field("prompt_id", pa.string(), nullable=False),
    pa.field("prompt", pa.string(), nullable=False),
    pa.field("prompt_changes", pa.list_(pa.string())),
    pa.field("concept", pa.string()),
    pa.field("rarity", pa.string()),
    pa.field("counterfactual", pa.string()),
    pa.field("arm", pa.string(), nullable=False),
    pa.field("group_seeds", pa.list_(pa.int64()), nullable=False),
    pa.field("steps", pa.int32(), nullable=False),
    pa.field("sigmas", pa.list_(pa.float64())),
    pa.field("guidance_scale", pa.float64(), nullable=False),
    pa.field("width", pa.int32(), nullable=False),
    pa.field("height", pa.int32(), nullable=False),
    pa.field("negative_prompt", pa.string(), nullable=False),
    pa.field("max_sequence_length", pa.int32(), nullable=False),
    pa.field("frames", pa.int32(), nullable=False),
    pa.field("loras", LORAS, nullable=False),
]


def group_columns(interventions: Sequence[str] | None = None, more: Sequence[pa.Field[Any]] = ()) -> pa.Schema:
    """The columns that plan rows and image rows share: all inputs of the group, and what goes along with its prompt.

    interventions: those with a column, as `pipelines.config.arms.column_names` gives them; None for those of every run.
    more: columns that not every run has (`pipelines.dataset.prompt_columns`).
    """
    acting = intervention_fields(in_every_row() if interventions is None else interventions)
    return pa.schema([*_GROUP_FIELDS, *acting, *more])


def plan(interventions: Sequence[str] | None = None, more: Sequence[pa.Field[Any]] = ()) -> pa.Schema:
    """Schema of `plan/`: one row per group; a row group of a file holds one shard, in the order of the shard numbers.

    interventions, more: as for `group_columns`.
    """
    return pa.schema([pa.field("shard", pa.int64(), nullable=False), *group_columns(interventions, more)])


def generated(
    interventions: Sequence[str] | None = None,
    more: Sequence[pa.Field[Any]] = (),
    *,
    videos: VideoFormat | None = None,
) -> pa.Schema:
    """Schema of the generate stage's output: one row per image.

    interventions, more: as for `group_columns`.
    videos: what files the videos are; None for a run that makes pictures.
    """
    fields_of = [
        image_field(mp4=videos == "mp4"),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("index_in_group", pa.int32(), nullable=False),
        pa.field("group_size", pa.int32(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        *group_columns(interventions, more),
        _displacement(in_every_row() if interventions is None else interventions),
        _cut("tokens_cut", TEXT_ENCODERS),
        _cut("negative_tokens_cut", TEXT_ENCODERS),
        pa.field("model", pa.string(), nullable=False),
        pa.field("model_revision", pa.string(), nullable=False),
        pa.field("family", pa.string(), nullable=False),
        pa.field("dtype", pa.string(), nullable=False),
        pa.field("model_options", MODEL_OPTIONS, nullable=False),
        pa.field("scheduler", pa.string(), nullable=False),
        *([pa.field("fps", pa.int32(), nullable=False, metadata={MEANING: _FPS})] if videos else []),
        pa.field("fingerprint", pa.string(), nullable=False),
    ]
    return pa.schema(fields_of)


_FAILED_FIELDS: list[pa.Field[Any]] = [
    pa.field("group_id", pa.string()),
    pa.field("prompt_id", pa.string()),
    pa.field("prompt", pa.string()),
    pa.field("prompt_changes", pa.list_(pa.string())),
    pa.field("arm", pa.string()),
    pa.field("source", pa.string()),
    pa.field("stage", pa.string(), nullable=False),
    pa.field("error_type", pa.string(), nullable=False),
    pa.field("error", pa.string(), nullable=False),
    pa.field("attempts", pa.int32(), nullable=False),
]
FAILED = pa.schema(_FAILED_FIELDS)
"""Schema of `failed/`: one row per prompt or group that failed; `source` is file:row of a prompt."""


def generated_in(file: pa.Schema) -> pa.Schema:
    """The columns of a file in `data/` that the generate stage wrote, which come first.

    file: schema of the file.
    """
    return pa.schema([file.field(index) for index in range(file.get_field_index("fingerprint") + 1)])


def of_videos(images: pa.Schema) -> bool:
    """Whether images with these columns are videos of a run that makes some."""
    return "fps" in images.names


def scored(embedding_dim: int, more: Sequence[pa.Field[Any]] = (), images: pa.Schema | None = None) -> pa.Schema:
    """Schema of `data/` and `rejected/`: one row per image.

    embedding_dim: length of the scorer's image vectors.
    more: columns of other scorers (`pipelines.dataset.score_columns`).
    images: as `generated` gives it; None for a run without other interventions than those of every run.
    """
    before = generated() if images is None else images
    schema = pa.schema(
        [
            *before,
            pa.field("clip_model", pa.string(), nullable=False),
            pa.field("clip_score", pa.float32(), nullable=False),
            pa.field("clip_margin", pa.float32()),
            pa.field("clip_margin_missing", pa.string()),
            _cut("clip_tokens_cut", ("prompt", "counterfactual")),
            pa.field("rank_in_group", pa.int32(), nullable=False),
            pa.field("group_vendi", pa.float32(), nullable=False),
            pa.field("group_pair_similarity", pa.float32()),
            pa.field("nearest_similarity", pa.float32()),
            *similarity_to_sources(before),
            pa.field("duplicate_of", pa.string()),
            pa.field("embedding", pa.list_(pa.float16(), embedding_dim), nullable=False),
            pa.field("keep", pa.bool_(), nullable=False),
            pa.field("drop_reason", pa.string()),
            *more,
        ]
    )
    return declared(schema)


SOURCE_SIMILARITY = "source_similarity"
"""Column of scores of runs whose prompts edit pictures."""


def similarity_to_sources(images: pa.Schema) -> list[pa.Field[Any]]:
    """The column of scores of images whose prompts edit pictures; none for others.

    images: columns of the images.
    """
    meaning = "cosine of the image and the picture that it edits, of several the nearest; null without one"
    fields = [pa.field(SOURCE_SIMILARITY, pa.float32(), metadata={MEANING: meaning})]
    return fields if SOURCE_IMAGES in images.names else []


_VERSION_KEY = "raydiance_schema_version"


def version_of(file: pa.Schema) -> int | None:
    """The version of the row contract that a file says it was written with; None where it says none: no run wrote it.

    file: schema of the file.
    """
    said = (file.metadata or {}).get(_VERSION_KEY.encode(), b"")
    return int(said) if said.isdigit() else None


def declared(schema: pa.Schema, version: int = VERSION) -> pa.Schema:
    """`schema` with metadata: the version of the row contract, and the features that Hugging Face `datasets` reads.

    schema: of the file.
    version: that of the rows, where they were written before.
    """
    return schema.with_metadata(
        {
            _VERSION_KEY: str(version),
            "huggingface": json.dumps({"info": {"features": features_of(schema)}}),
        }
    )
