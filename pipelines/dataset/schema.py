"""The row contract: the Arrow schemas of everything that a run writes, with their Hugging Face declaration.

One row per image in `data/` and `rejected/`, one row per failure in `failed/`, one row per group in `plan/`.
No clock time and no host name appears in a row: a repeated or resumed run gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import pyarrow as pa

from models.spec import PLACES, ModelSpec, RepulsionConfig, ToraConfig

VERSION = 2
"""Version of the row contract; it goes up whenever a column is added, or changes its name, type or meaning."""

_INTERVAL = pa.list_(pa.float64(), 2)
_SETTING_TYPES: dict[str, pa.DataType] = {
    "float": pa.float64(),
    "int": pa.int32(),
    "bool": pa.bool_(),
    "Interval": _INTERVAL,
}


def _struct_of(config: type[ModelSpec | ToraConfig | RepulsionConfig], *, but: tuple[str, ...] = ()) -> pa.StructType:
    shown = [f for f in fields(config) if f.name not in but]
    return pa.struct([pa.field(f.name, _SETTING_TYPES.get(str(f.type), pa.string())) for f in shown])


TORA = _struct_of(ToraConfig)
REPULSION = _struct_of(RepulsionConfig)
"""Structs with one field per setting of `ToraConfig` and `RepulsionConfig`; null where the intervention is off."""

MODEL_OPTIONS = _struct_of(ModelSpec, but=("path", "revision", "dtype", *PLACES))
"""Struct with the settings of `ModelSpec` that change pixels and have no column of their own."""

_GROUP_FIELDS = [
    pa.field("group_id", pa.string(), nullable=False),
    pa.field("prompt_id", pa.string(), nullable=False),
    pa.field("prompt", pa.string(), nullable=False),
    pa.field("concept", pa.string()),
    pa.field("rarity", pa.string()),
    pa.field("counterfactual", pa.string()),
    pa.field("arm", pa.string(), nullable=False),
    pa.field("group_seeds", pa.list_(pa.int64()), nullable=False),
    pa.field("steps", pa.int32(), nullable=False),
    pa.field("guidance_scale", pa.float64(), nullable=False),
    pa.field("width", pa.int32(), nullable=False),
    pa.field("height", pa.int32(), nullable=False),
    pa.field("negative_prompt", pa.string(), nullable=False),
    pa.field("max_sequence_length", pa.int32(), nullable=False),
    pa.field("frames", pa.int32(), nullable=False),
    pa.field("tora", TORA),
    pa.field("repulsion", REPULSION),
]
GROUP_COLUMNS = tuple(f.name for f in _GROUP_FIELDS)
"""Columns that a plan row and an image row share: they say what the group is made from."""

PLAN = pa.schema([pa.field("shard", pa.int64(), nullable=False), *_GROUP_FIELDS])
"""One row per group; a row group of a plan file holds one shard, in the order of the shard numbers."""

GENERATED = pa.schema(
    [
        pa.field("image", pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("index_in_group", pa.int32(), nullable=False),
        pa.field("group_size", pa.int32(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        *_GROUP_FIELDS,
        pa.field("model", pa.string(), nullable=False),
        pa.field("model_revision", pa.string(), nullable=False),
        pa.field("family", pa.string(), nullable=False),
        pa.field("dtype", pa.string(), nullable=False),
        pa.field("model_options", MODEL_OPTIONS, nullable=False),
        pa.field("scheduler", pa.string(), nullable=False),
        pa.field("fingerprint", pa.string(), nullable=False),
    ]
)
"""What the generate stage knows of an image."""

_FAILED_FIELDS: list[pa.Field[Any]] = [
    pa.field("group_id", pa.string()),
    pa.field("prompt_id", pa.string()),
    pa.field("prompt", pa.string()),
    pa.field("arm", pa.string()),
    pa.field("source", pa.string()),
    pa.field("stage", pa.string(), nullable=False),
    pa.field("error_type", pa.string(), nullable=False),
    pa.field("error", pa.string(), nullable=False),
    pa.field("attempts", pa.int32(), nullable=False),
]
FAILED = pa.schema(_FAILED_FIELDS)
"""One row per prompt or group that could not be done: where (`source` is file:row, `stage` plan, generate or score)
and why."""


def scored(embedding_dim: int, more: Sequence[pa.Field[Any]] = ()) -> pa.Schema:
    """Schema of `data/` and `rejected/`; `embedding` is the scorer's unit image vector of `embedding_dim` values.

    more: what other scorers add (`pipelines.dataset.score_columns`).
    """
    schema = pa.schema(
        [
            *GENERATED,
            pa.field("clip_model", pa.string(), nullable=False),
            pa.field("clip_score", pa.float32(), nullable=False),
            pa.field("clip_margin", pa.float32()),
            pa.field("rank_in_group", pa.int32(), nullable=False),
            pa.field("group_vendi", pa.float32(), nullable=False),
            pa.field("group_pair_similarity", pa.float32()),
            pa.field("nearest_similarity", pa.float32()),
            pa.field("duplicate_of", pa.string()),
            pa.field("embedding", pa.list_(pa.float16(), embedding_dim), nullable=False),
            pa.field("keep", pa.bool_(), nullable=False),
            pa.field("drop_reason", pa.string()),
            *more,
        ]
    )
    return declared(schema)


def declared(schema: pa.Schema) -> pa.Schema:
    """`schema` with the version of the row contract and the features that Hugging Face `datasets` reads."""
    return schema.with_metadata(
        {
            "raydiance_schema_version": str(VERSION),
            "huggingface": json.dumps({"info": {"features": features(schema)}}),
        }
    )


def features(schema: pa.Schema) -> dict[str, Any]:
    """Column -> its Hugging Face `datasets` feature."""
    return {field.name: _feature(field) for field in schema}


def _feature(field: pa.Field[Any]) -> Any:
    """The Hugging Face `datasets` feature of a column."""
    if field.name == "image":
        return {"_type": "Image"}
    return _feature_of_type(field.type)


def _feature_of_type(kind: pa.DataType) -> Any:
    if pa.types.is_struct(kind):
        return {kind.field(i).name: _feature_of_type(kind.field(i).type) for i in range(kind.num_fields)}
    if pa.types.is_fixed_size_list(kind):
        return {"_type": "List", "feature": _feature_of_type(kind.value_type), "length": kind.list_size}
    if pa.types.is_list(kind):
        return {"_type": "List", "feature": _feature_of_type(kind.value_type)}
    names = {"double": "float64", "float": "float32", "halffloat": "float16"}
    return {"_type": "Value", "dtype": names.get(str(kind), str(kind))}
