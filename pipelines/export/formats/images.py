"""What formats of exports have in common: the names, the endings and the sizes of images and videos."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.dataset.features import is_picture

ENDINGS = ("png", "webp", "mp4")
"""Endings of files that readers know."""


def key(row: Mapping[str, Any]) -> str:
    """The name of an image in an export, which no other one has.

    row: with its group and its number in it.
    """
    return f"{row['group_id']}-{row['index_in_group']}"


def ending(name: str, image: Mapping[str, Any] | None) -> str:
    """The ending of the file of an image.

    name: of the image, as `key` gives it.
    image: the value of the column `image`.

    Raises:
        ValueError: when it has no bytes, or readers do not know the ending.
    """
    found = PurePosixPath((image or {}).get("path") or "").suffix.removeprefix(".")
    if "." in name or image is None or image["bytes"] is None or found not in ENDINGS:
        named = None if image is None else image["path"]
        raise ValueError(f"image {name} (image.path = {named!r}) has no bytes, or is not one of {ENDINGS}")
    return found


def pictures(schema: pa.Schema) -> list[str]:
    """The columns with files of pictures beside `image`."""
    return [field.name for field in schema if is_picture(field)]


def member(column: str, cell: Mapping[str, Any]) -> str:
    """What follows the key in the name of a picture's file, such as `source_image.png`.

    column: one of `pictures`.
    cell: its value.
    """
    return f"{column}{PurePosixPath(cell['path']).suffix}"


def endings_of(rows: pa.Table, column: str) -> set[str]:
    """`member` of all values of a column."""
    return {member(column, cell) for cell in rows[column].to_pylist() if cell}


def json_of(name: str, value: Any) -> bytes:
    """A row, or a column of one, as JSON.

    name: of the image, as `key` gives it, for the message.
    value: the row, or the value of the column.

    Raises:
        ValueError: when a number is NaN or infinite.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        columns = value if isinstance(value, Mapping) else {}
        bad = [f"{column} = {number}" for column, number in columns.items() if number != number]
        raise ValueError(f"image {name}: {', '.join(bad) or error}: JSON has no such number") from error


def row_bytes(rows: pa.Table) -> NDArray[np.int64]:
    """The size of each row's image, plus the mean size of the other columns, int64 [rows]."""
    if not rows.num_rows:
        return np.zeros(0, np.int64)
    images: Any = pc.fill_null(pc.binary_length(pc.struct_field(rows["image"], "bytes")), 0)
    others = rows.drop_columns(["image"]).nbytes
    return np.asarray(images.to_numpy(), np.int64) + -(-others // rows.num_rows)
