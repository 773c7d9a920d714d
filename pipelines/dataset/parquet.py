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
from pipelines.errors import UserError

ROWS_PER_ROW_GROUP = 200
"""Most rows of a small row group. Viewers and streaming readers fetch single row groups, and not a whole file."""

BYTES_PER_ROW_GROUP = 128 << 20
"""Most bytes of a small row group, unless a single row is larger."""

DAMAGED = (
    "Is it of a shard, then remove the file of this name in data/ and start the job that wrote it again, which makes "
    "the shard anew; is it of a plan, then put back a copy."
)
"""What to do about a damaged file of a run."""
_CHUNKS = {"min_chunk_size": 256 * 1024, "max_chunk_size": 1024 * 1024, "norm_level": 0}


@dataclass(frozen=True, kw_only=True)
class Packing:
    """How the values of a file are stored, which decides the file's bytes, but not its rows."""

    compression: Literal["zstd", "snappy"] = "zstd"
    """snappy is faster, and its files are larger."""
    dictionaries: bool = True
    """Whether to store repeated values of a column once."""
    statistics: bool = True
    """Whether to store the least and the largest value of every column of a row group."""
    chunked: bool = True
    """Whether to cut pages where the content says, and to write an index of them: stores that keep equal chunks once,
    such as the Hugging Face hub, then keep what two files have in common once."""


ROWS = Packing()
"""For rows of images."""

PLAN = Packing(compression="snappy", dictionaries=False, statistics=False, chunked=False)
"""For row groups so small that dictionaries and statistics cost more time and bytes than they save."""


class Writer:
    """A Parquet file that is written row group by row group, for `with`.

    A table without rows adds nothing: Hugging Face datasets fail on a row group without rows, but not on a file without
    row groups.

    file: open for writing.
    schema: of all rows.
    packing: how values are stored.
    """

    def __init__(self, file: IO[bytes], schema: pa.Schema, packing: Packing = ROWS) -> None:
        chunked: dict[str, Any] = {"use_content_defined_chunking": _CHUNKS, "write_page_index": True}
        self._writer = pq.ParquetWriter(
            file,
            schema,
            compression=packing.compression,
            use_dictionary=packing.dictionaries,
            write_statistics=packing.statistics,
            **(chunked if packing.chunked else {}),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._writer.close()

    def write(self, rows: pa.Table, *, small_groups: bool = False) -> None:
        """Add rows as one row group.

        rows: in the schema of the file.
        small_groups: split them into small row groups, as if all rows had the same size.
        """
        if not rows.num_rows:
            return
        if small_groups:
            bytes_per_row = max(1, rows.nbytes // rows.num_rows)
            fitting = max(1, min(ROWS_PER_ROW_GROUP, BYTES_PER_ROW_GROUP // bytes_per_row))
            self._writer.write_table(rows, fitting)
        else:
            self._writer.write_table(rows)


def write(storage: Storage, path: str, rows: pa.Table, *, small_groups: bool = True) -> None:
    """Write a file, which appears whole or not at all.

    storage: the folder.
    path: of the file, relative to it.
    rows: its content.
    small_groups: off for files that are always read as a whole.
    """
    with storage.open_output(path) as file, Writer(file, rows.schema) as writer:
        writer.write(rows, small_groups=small_groups)


def write_or_remove(storage: Storage, path: str, rows: pa.Table, *, small_groups: bool = True) -> None:
    """`write`, or remove the file of an earlier attempt where there are no rows; arguments as for `write`."""
    if rows.num_rows:
        write(storage, path, rows, small_groups=small_groups)
    else:
        storage.remove(path)


def small_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of some tables in tables that fit one small row group each; a row that is larger has its own."""
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
    """An open Parquet file.

    file: open for reading, seekable.
    name: of the file, for messages.
    remedy: what to do where the file is damaged, a sentence for messages.

    Raises:
        UserError: in all methods, when the file is damaged, no Parquet file, or lacks a column.
    """

    def __init__(self, file: BinaryIO, name: str, remedy: str = "") -> None:
        self._name, self._remedy = name, remedy
        with self._explained():
            self._file = pq.ParquetFile(file)
            self._schema = self._file.schema_arrow
            self._names = self._schema.names

    @property
    def schema(self) -> pa.Schema:
        """The schema of the file, with its metadata."""
        return self._schema

    @property
    def rows(self) -> int:
        """Number of rows, from the footer: no column is read."""
        return self._file.metadata.num_rows

    @property
    def rows_of_groups(self) -> list[int]:
        """Number of rows of each row group, from the footer."""
        return [self._file.metadata.row_group(number).num_rows for number in range(self._file.num_row_groups)]

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows.

        columns: which to read; None reads all.
        """
        with self._explained():
            return self._file.read(columns=self._there(columns))

    def group(self, number: int, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of one row group.

        number: of the row group, from 0.
        columns: which to read; None reads all.
        """
        with self._explained():
            return self._file.read_row_group(number, columns=self._there(columns))

    def batches(self, rows: int, columns: Sequence[str], group: int | None = None) -> Iterator[pa.RecordBatch]:
        """The rows in batches. One row group is in memory at a time: pyarrow keeps what it has read of those that it is
        asked for together.

        rows: most rows of a batch.
        columns: which to read.
        group: number of a row group; None reads all.
        """
        names = self._there(columns)
        for number in range(self._file.num_row_groups) if group is None else [group]:
            with self._explained():
                batches = self._file.iter_batches(rows, row_groups=[number], columns=names)
            while True:
                with self._explained():
                    batch = next(batches, None)
                if batch is None:
                    break
                yield batch

    def _there(self, columns: Sequence[str] | None) -> list[str] | None:
        """The columns as pyarrow takes them, which passes over those that a file does not have. They may be paths
        inside of columns, such as "meta.caption"."""
        for column in columns or ():
            if column not in self._names and column.partition(".")[0] not in self._names:
                raise UserError(f"{self._name} has no column {column!r}; it has {self._names}. {self._remedy}".rstrip())
        return None if columns is None else list(columns)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except pa.ArrowMemoryError:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            problem = str(error).splitlines()[0].strip().rstrip(".")
            raise UserError(f"{self._name} is not readable as parquet: {problem}. {self._remedy}".rstrip()) from error


@contextmanager
def opened(storage: Storage, path: str) -> Iterator[Reader]:
    """A Parquet file that is open while `with` runs.

    storage: the folder.
    path: of the file, relative to it.

    Raises:
        FileNotFoundError: when there is no such file.
    """
    with storage.open_input(path) as file:
        yield Reader(file, storage.path(path), DAMAGED)


def read(storage: Storage, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of a file.

    storage: the folder.
    path: of the file, relative to it.
    columns: which to read; None reads all.

    Raises:
        FileNotFoundError: when there is no such file.
    """
    with opened(storage, path) as reader:
        return reader.read(columns)


def rows_of(storage: Storage, path: str) -> int:
    """Number of rows of a file; no column is read.

    storage: the folder.
    path: of the file, relative to it.

    Raises:
        FileNotFoundError: when there is no such file.
    """
    with opened(storage, path) as reader:
        return reader.rows


def schema_of(storage: Storage, path: str) -> pa.Schema:
    """The schema of a file, with its metadata.

    storage: the folder.
    path: of the file, relative to it.

    Raises:
        FileNotFoundError: when there is no such file.
    """
    with opened(storage, path) as reader:
        return reader.schema
