"""What the columns of a file are to Hugging Face `datasets`: pictures, videos or values."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pipelines.dataset.columns import MEANING

_FEATURE = b"feature"
"""Key of the metadata of files that holds their Hugging Face feature; of `image` it may be left out, and is Image."""
_FILE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])


def image_field(*, mp4: bool) -> pa.Field[Any]:
    """The column `image`.

    mp4: whether it holds videos in MP4.
    """
    return pa.field("image", _FILE, metadata={_FEATURE: b"Video"} if mp4 else None)


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


def features_of(schema: pa.Schema) -> dict[str, Any]:
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
