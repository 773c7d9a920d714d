"""Parquet: one row is one prompt; its columns are those of the file, and paths inside of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, BinaryIO

import pyarrow as pa

from pipelines.dataset.parquet import Reader
from pipelines.prompts.columns import Columns
from pipelines.prompts.formats.base import Format, Row, no_text, positions
from pipelines.prompts.formats.paths import column_inside, is_list, leads_on

_BATCH_ROWS = 8192


def read(file: BinaryIO, uri: str, columns: Columns) -> Iterator[Row]:
    """The rows of a file; see `Format.read`."""
    source = Reader(file, uri)
    top = source.schema.names
    wanted = [name for name in asdict(columns).values() if name and name not in top]
    available = [*top, *(name for name in wanted for one in source.schema if _leads(one, name))]
    names = [None if at is None else available[at] for at in positions(available, columns, uri)]
    paths = [None if name is None else [name] if name in top else name.split(".") for name in names]
    number = 0
    for batch in source.batches(_BATCH_ROWS, sorted({_read_of(source.schema, path) for path in paths if path})):
        cells = [[None] * batch.num_rows if path is None else _values(_cells(batch, path)) for path in paths]
        for values in zip(*cells, strict=True):
            number += 1
            yield number, values


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


def _values(column: pa.Array[Any]) -> list[Any]:
    """Texts and numbers; of another type only that it is not, as a picture or a date may not even convert."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _values(column.dictionary_decode())  # type: ignore[attr-defined]
    if pa.types.is_float16(kind):
        return column.cast(pa.float32()).to_pylist()
    if any(of(kind) for of in _NUMBERS):
        return column.to_pylist()
    if any(of(kind) for of in _TEXTS):
        raw = column.cast(pa.large_binary()).to_pylist()
        return [None if value is None else value.decode("utf-8", "surrogateescape") for value in raw]
    problem = no_text(f"a value of the type {kind}", nested=is_list(kind) or pa.types.is_struct(kind))
    return [problem if valid else None for valid in column.is_valid().to_pylist()]


_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)

FORMAT = Format(name="parquet", endings=(".parquet",), read=read, text=False)
