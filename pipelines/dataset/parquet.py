"""The one writer and the one reader of Parquet: how rows are packed, and how much of a file is read at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, BinaryIO, Literal, Self

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.dataset.storage import Storage

ROWS_PER_ROW_GROUP = 200
BYTES_PER_ROW_GROUP = 128 << 20
"""Small row groups of images, so that viewers and streaming readers fetch a few of them and not a whole file."""

_CHUNKS = {"min_chunk_size": 256 * 1024, "max_chunk_size": 1024 * 1024, "norm_level": 0}


@dataclass(frozen=True, kw_only=True)
class Packing:
    """How the values of a file are stored; it decides the file's bytes, not its rows."""

    compression: Literal["zstd", "snappy"] = "zstd"
    """snappy is faster and larger."""
    dictionaries: bool = True
    """Store repeated values of a column once."""
    statistics: bool = True
    """Note the least and the largest value of every column of a row group."""
    for_hub: bool = False
    """An index of pages, which begin where the content says: the Hugging Face hub stores equal chunks of files once."""


ROWS = Packing()
PLAN = Packing(compression="snappy", dictionaries=False, statistics=False)
"""For row groups that are so small that dictionaries and statistics would cost more time and bytes than they save."""
HUB = Packing(for_hub=True)


class Writer:
    """A Parquet file that grows by row groups, for `with`.

    A table without rows adds nothing: a row group without rows makes Hugging Face datasets fail, and a file without row
    groups does not.
    """

    def __init__(self, file: IO[bytes], schema: pa.Schema, packing: Packing = ROWS) -> None:
        hub: dict[str, Any] = {"use_content_defined_chunking": _CHUNKS, "write_page_index": True}
        self._writer = pq.ParquetWriter(
            file,
            schema,
            compression=packing.compression,
            use_dictionary=packing.dictionaries,
            write_statistics=packing.statistics,
            **(hub if packing.for_hub else {}),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._writer.close()

    def write(self, rows: pa.Table, *, small_groups: bool = False) -> None:
        """Add rows as one row group; small_groups: as several, if need be, of rows that are all about as large."""
        if not rows.num_rows:
            return
        if small_groups:
            bytes_per_row = max(1, rows.nbytes // rows.num_rows)
            fitting = max(1, min(ROWS_PER_ROW_GROUP, BYTES_PER_ROW_GROUP // bytes_per_row))
            self._writer.write_table(rows, fitting)
        else:
            self._writer.write_table(rows)


def write(storage: Storage, path: str, rows: pa.Table, *, small_groups: bool = True) -> None:
    """Write a file, which appears whole. small_groups: off for what is read as a whole and not page by page."""
    with storage.open_output(path) as file, Writer(file, rows.schema) as writer:
        writer.write(rows, small_groups=small_groups)


def write_or_remove(storage: Storage, path: str, rows: pa.Table, *, small_groups: bool = True) -> None:
    """`write`, or no file where there are no rows: an earlier attempt may have left one."""
    if rows.num_rows:
        write(storage, path, rows, small_groups=small_groups)
    else:
        storage.remove(path)


def small_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows, which may differ in size, in tables that fit a small row group each; a row that is larger than
    that is alone in its own."""
    waiting: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        for start in range(table.num_rows):
            row = table.slice(start, 1)
            if waiting and (rows == ROWS_PER_ROW_GROUP or size + row.nbytes > BYTES_PER_ROW_GROUP):
                yield pa.concat_tables(waiting)
                waiting, rows, size = [], 0, 0
            waiting.append(row)
            rows += 1
            size += row.nbytes
    if waiting:
        yield pa.concat_tables(waiting)


class Reader:
    """An open Parquet file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = pq.ParquetFile(file)

    @property
    def schema(self) -> pa.Schema:
        return self._file.schema_arrow

    @property
    def rows(self) -> int:
        """From the footer: no column is read."""
        return self._file.metadata.num_rows

    @property
    def rows_of_groups(self) -> list[int]:
        """The rows of each row group, from the footer."""
        return [self._file.metadata.row_group(number).num_rows for number in range(self._file.num_row_groups)]

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows; of these columns, or of all."""
        return self._file.read(columns=None if columns is None else list(columns))

    def group(self, number: int, columns: Sequence[str] | None = None) -> pa.Table:
        """One row group."""
        return self._file.read_row_group(number, columns=None if columns is None else list(columns))

    def batches(self, rows: int, columns: Sequence[str], group: int | None = None) -> Iterator[pa.RecordBatch]:
        """Up to so many rows at a time; of one row group, or of all."""
        yield from self._file.iter_batches(rows, row_groups=None if group is None else [group], columns=list(columns))


@contextmanager
def opened(storage: Storage, path: str) -> Iterator[Reader]:
    """A file of a run. Raises FileNotFoundError where there is none."""
    with storage.open_input(path) as file:
        yield Reader(file)


def read(storage: Storage, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A whole file; of these columns, or of all. Raises FileNotFoundError where there is none."""
    with opened(storage, path) as reader:
        return reader.read(columns)


def schema_of(storage: Storage, path: str) -> pa.Schema:
    """The schema of a file, with its metadata. Raises FileNotFoundError where there is none."""
    with opened(storage, path) as reader:
        return reader.schema
