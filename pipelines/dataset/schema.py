"""The row contract: the Arrow schemas of all files of a run, with their Hugging Face features.

One row per image in `data/` and `rejected/`, one row per failure in `failed/`, one row per group in `plan/`.
No row has a time or a host name: a repeated or resumed run gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pyarrow as pa

from models.interventions.registry import find, registered
from models.spec import PLACES, TEXT_ENCODERS, Interval, Lora, ModelSpec
from pipelines.dataset.videos import VideoFormat

VERSION = 4
"""Version of the row contract; it increases whenever every run gets another column, or a column changes."""

READABLE = (2, 3, 4)
"""Versions whose finished runs can be exported, scored and replayed: what a later one has more is not needed for it."""

MEANING = b"meaning"
"""Key of a field's metadata that holds the meaning of a column that not every run has."""

_CARRIED = b"carried"
_FEATURE = b"feature"
"""Key of the metadata of files that holds their Hugging Face feature; of `image` it may be left out, and is Image."""
_FPS = b"frames per second at which the video plays"
_FILE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
_OF_PICTURES = b"of pictures"

_SETTING_TYPES: dict[Any, pa.DataType] = {
    float: pa.float64(),
    int: pa.int32(),
    bool: pa.bool_(),
    str: pa.string(),
    Interval: pa.list_(pa.float64(), 2),
}


def _struct_of(config: type[Any], *, but: tuple[str, ...] = ()) -> pa.StructType:
    types_of = get_type_hints(config)
    return pa.struct([pa.field(f.name, _setting_type(types_of[f.name])) for f in fields(config) if f.name not in but])


def _setting_type(kind: Any) -> pa.DataType:
    if is_dataclass(kind) and isinstance(kind, type):
        return _struct_of(kind)
    if get_origin(kind) is tuple and get_args(kind)[1] is Ellipsis:
        return pa.list_(_setting_type(get_args(kind)[0]))
    return pa.string() if get_origin(kind) is Literal else _SETTING_TYPES[kind]


def in_every_row() -> list[str]:
    """The names of the interventions with a column in the rows of every run."""
    return [entry.name for entry in registered() if entry.in_every_row]


def interventions_in(columns: Sequence[str]) -> list[str]:
    """Those of some column names that are interventions."""
    return [entry.name for entry in registered() if entry.name in columns]


def _interventions(names: Sequence[str]) -> Iterator[pa.Field[Any]]:
    """A struct column for each name, with one field per setting; null where the intervention is off."""
    for name in names:
        entry = find(name)
        assert entry is not None, name
        metadata = None if entry.in_every_row else {MEANING: entry.meaning}
        yield pa.field(name, _struct_of(entry.config), metadata=metadata)


def _displacement(names: Sequence[str]) -> pa.Field[Any]:
    """A share for each name; null where the intervention is off, or edits no text in the blocks."""
    return pa.field("displacement", pa.struct([pa.field(name, pa.float32()) for name in names]), nullable=False)


def _cut(name: str, texts: Sequence[str]) -> pa.Field[Any]:
    """A number of tokens for each text, or for each reader of a text; null where there is none."""
    return pa.field(name, pa.struct([pa.field(text, pa.int32()) for text in texts]))


MODEL_OPTIONS = _struct_of(ModelSpec, but=("path", "revision", "dtype", "loras", *PLACES))
"""Struct with the settings of `ModelSpec` that change pixels and have no column of their own."""

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
    pa.field("loras", pa.list_(_struct_of(Lora)), nullable=False),
]


def carried_field(name: str, kind: pa.DataType, source: str) -> pa.Field[Any]:
    """A column that goes along from the prompt files.

    name: of the column.
    kind: its type.
    source: where it stands in the files.
    """
    return pa.field(name, kind, metadata={MEANING: f"`{source}` of the prompt file, carried along", _CARRIED: b"1"})


def carried_in(table: pa.Schema) -> list[pa.Field[Any]]:
    """The columns of rows that went along from the prompt files."""
    return [field for field in table if _CARRIED in (field.metadata or {})]


SOURCE_IMAGES, SOURCE_MASK, TARGET_CAPTION = "source_images", "source_mask", "target_caption"
DENOISING_STRENGTH = "denoising_strength"
"""Columns of runs whose prompts edit pictures."""

PICTURE_FIELDS = [
    pa.field(name, kind, metadata={MEANING: meaning, _OF_PICTURES: b"1"})
    for name, kind, meaning in (
        (
            SOURCE_IMAGES,
            pa.list_(pa.string()),
            "ids of the pictures that the prompt edits: the run keeps them in `sources/`; null for none",
        ),
        (SOURCE_MASK, pa.string(), "id of the mask, white where the first picture is painted anew; null for none"),
        (
            TARGET_CAPTION,
            pa.string(),
            "what the edited picture shows, which scores compare with in place of the prompt; null for the prompt",
        ),
        (
            DENOISING_STRENGTH,
            pa.float64(),
            "share of the denoising steps that are made, where the model begins from the picture; null without one",
        ),
    )
]
"""Their fields."""

SOURCE_SIMILARITY = "source_similarity"
"""Column of scores of such runs."""


def more_in(table: pa.Schema) -> list[pa.Field[Any]]:
    """The columns of the groups of rows that not every run has: those of pictures, and those that are carried."""
    return [field for field in table if {_CARRIED, _OF_PICTURES} & {*(field.metadata or {})}]


def group_columns(interventions: Sequence[str] | None = None, more: Sequence[pa.Field[Any]] = ()) -> pa.Schema:
    """The columns that plan rows and image rows share: all inputs of the group, and what goes along with its prompt.

    interventions: those with a column, as `pipelines.config.arms.column_names` gives them; None for those of every run.
    more: columns that not every run has: `PICTURE_FIELDS`, and those of `carried_field`.
    """
    acting = _interventions(in_every_row() if interventions is None else interventions)
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
        pa.field("image", _FILE, metadata={_FEATURE: b"Video"} if videos == "mp4" else None),
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


def picture_field(name: str, meaning: str) -> pa.Field[Any]:
    """A column with files of pictures beside `image`.

    name: of the column.
    meaning: its meaning.
    """
    return pa.field(name, _FILE, metadata={_FEATURE: b"Image", MEANING: meaning})


def is_picture(field: pa.Field[Any]) -> bool:
    """Whether a column is one of `picture_field`."""
    return field.name != "image" and _FEATURE in (field.metadata or {})


def holds_mp4(images: pa.Schema) -> bool:
    """Whether the column `image` of a schema has videos in MP4, which readers of pictures do not read."""
    return bool(_feature(images.field("image")) == {"_type": "Video"})


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
            "huggingface": json.dumps({"info": {"features": features(schema)}}),
        }
    )


def features(schema: pa.Schema) -> dict[str, Any]:
    """The Hugging Face `datasets` features of a schema: column -> feature."""
    return {field.name: _feature(field) for field in schema}


def _feature(field: pa.Field[Any]) -> Any:
    """The Hugging Face `datasets` feature of a column."""
    if field.name == "image" or is_picture(field):
        return {"_type": (field.metadata or {}).get(_FEATURE, b"Image").decode()}
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
