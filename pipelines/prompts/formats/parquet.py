"""Parquet: one row is one prompt; its columns are those of the file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa

from pipelines.dataset.parquet import Reader
from pipelines.prompts.columns import Columns
from pipelines.prompts.formats.base import Format, Row, positions

_BATCH_ROWS = 8192


def read(file: BinaryIO, uri: str, columns: Columns) -> Iterator[Row]:
    """The rows of a file; see `Format.read`."""
    source = Reader(file)
    available = source.schema.names
    names = [None if at is None else available[at] for at in positions(available, columns, uri)]
    number = 0
    for batch in source.batches(_BATCH_ROWS, sorted({n for n in names if n is not None})):
        cells = [[None] * batch.num_rows if name is None else _values(batch.column(name)) for name in names]
        for values in zip(*cells, strict=True):
            number += 1
            yield number, values


def _values(column: pa.Array[Any]) -> list[Any]:
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        raw = column.cast(pa.large_binary()).to_pylist()
        return [None if value is None else value.decode("utf-8", "surrogateescape") for value in raw]


FORMAT = Format(name="parquet", endings=(".parquet",), read=read, errors=(pa.ArrowException,))
