"""Parquet: one row is one prompt; its columns are those of the file, and paths inside of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa

from pipelines.dataset.parquet import Reader
from pipelines.prompts.formats.base import Format, Row, no_text
from pipelines.prompts.formats.paths import column_inside, is_list, leads_on
from pipelines.prompts.kinds import plain
from pipelines.prompts.wanted import Wanted

_BATCH_ROWS = 8192
_BATCH_PICTURES = 16


def read(file: BinaryIO, uri: str, wanted: Wanted) -> Iterator[Row]:
    """The rows of a file; see `Format.read`."""
    source = Reader(file, uri)
    top = source.schema.names
    inside = {name for name in wanted.paths if name not in top and any(_leads(one, name) for one in source.schema)}
    names = wanted.of(top, uri, inside=inside)
    paths = [name.split(".") if name in inside else [name] for name in names]
    pictures = wanted.pictures
    values = [_pictures if name in pictures else _carried if name in wanted.carried else _values for name in names]
    columns = sorted({_read_of(source.schema, path) for path in paths})
    number = 0
    for batch in source.batches(_BATCH_ROWS if pictures.isdisjoint(names) else _BATCH_PICTURES, columns):
        cells = [of(_cells(batch, path)) for of, path in zip(values, paths, strict=True)]
        for row in zip(*cells, strict=True):
            number += 1
            yield number, dict(zip(names, row, strict=True))


def kinds(file: BinaryIO, uri: str, wanted: Wanted) -> dict[str, pa.DataType]:
    """The types of the columns; see `Format.kinds`."""
    return {field.name: field.type for field in Reader(file, uri).schema}


def _leads(column: pa.Field[Any], path: str) -> bool:
    first, *parts = path.split(".")
    return column.name == first and leads_on(column.type, parts)


def _read_of(schema: pa.Schema, path: list[str]) -> str:
    """What has to be read for a path: of an object that value alone, of a list all of its items."""
    kind, parts = schema.field(path[0]).type, path[:1]
    for part in path[1:]:
        if is_list(kind):
            break
        kind = kind.field(kind.get_field_index(part)).type
        parts.append(part)
    return ".".join(parts)


def _cells(batch: pa.RecordBatch, path: list[str]) -> pa.Array[Any]:
    return column_inside(batch.column(path[0]), path[1:])


def _carried(column: pa.Array[Any]) -> list[Any]:
    """Values of any type that rows can have."""
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    if any(of(column.type) for of in _TEXTS):
        return _values(column)
    plainer: Any = column.cast(plain(column.type))
    return list(plainer.to_pylist())


def _pictures(column: pa.Array[Any]) -> list[Any]:
    """Bytes, texts, and structs and lists of these."""
    return [_picture(value) for value in column]


def _picture(value: pa.Scalar[Any]) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return no_text("what says where the picture lies", nested=False)


def _values(column: pa.Array[Any]) -> list[Any]:
    """Texts and numbers; of another type only that it is not, as a picture or a date may not even convert."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _values(column.dictionary_decode())  # type: ignore[attr-defined]
    if pa.types.is_float16(kind):
        return column.cast(pa.float32()).to_pylist()
    if any(of(kind.value_type if is_list(kind) else kind) for of in _NUMBERS):
        return column.to_pylist()
    if any(of(kind) for of in _TEXTS):
        raw = column.cast(pa.large_binary()).to_pylist()
        return [None if value is None else value.decode("utf-8", "surrogateescape") for value in raw]
    problem = no_text(f"a value of the type {kind}", nested=is_list(kind) or pa.types.is_struct(kind))
    return [problem if valid else None for valid in column.is_valid().to_pylist()]


_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)

FORMAT = Format(name="parquet", endings=(".parquet",), read=read, kinds=kinds, text=False)
