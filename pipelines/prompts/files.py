"""Prompt files, read as a stream: Parquet, JSON lines, CSV, TSV and plain text, on local disks or in S3.

A reader yields `(number, values)` per row: `number` is the line in the file (of a Parquet file: the row, from 1), and
`values` are what the file holds for `FIELDS`, unchecked, None where it holds nothing. Bytes that are not UTF-8 arrive
as lone surrogates, so that one bad row can be told from a bad file; a row that cannot be read at all has a `Failure` in
the prompt's place. A new format is a reader and a line in `READERS`.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.config.tables import Columns, Prompts
from pipelines.dataset.failures import Failure
from pipelines.dataset.storage import Storage, is_s3
from pipelines.errors import UserError

FIELDS = ("prompt", "prompt_id", "concept", "rarity", "counterfactual")
Row = tuple[int, Sequence[Any]]
Reader = Callable[[BinaryIO, str, Columns], Iterator[Row]]

_ENDINGS = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "text",
}
_BATCH_ROWS = 8192
_LARGEST_CELL = 1 << 24


def files(prompts: Prompts) -> list[str]:
    """The prompt files of a run: globs resolved and sorted, every file known to exist."""
    return [uri for pattern in prompts.paths for uri in _expand(pattern)]


def read(uri: str, prompts: Prompts) -> Iterator[Row]:
    """All rows of one file."""
    kind = prompts.format if prompts.format != "auto" else _ENDINGS.get(Path(uri).suffix.lower(), "")
    if not kind:
        raise UserError(f"{uri}: cannot tell the format from the ending; set prompts.format to one of {list(READERS)}")
    folder, name = _split(uri)
    with folder.open_input(name) as file:
        try:
            yield from READERS[kind](file, uri, prompts.columns)
        except (pa.ArrowException, csv.Error) as error:
            raise UserError(f"{uri} is not readable as {kind}: {error}") from error


def digest(uri: str) -> dict[str, Any]:
    """{"bytes", "sha256"} of a file."""
    folder, name = _split(uri)
    with folder.open_input(name) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        return {"bytes": file.tell(), "sha256": sha256}


def _expand(pattern: str) -> list[str]:
    folder, name = _split(pattern)
    if not glob.has_magic(pattern) or folder.exists(name):
        if not folder.exists(name):
            raise UserError(f"prompts.path: there is no file {pattern}")
        if folder.filesystem.isdir(folder.path(name)):
            raise UserError(f"prompts.path: {pattern} is a folder; name its files, for example {pattern}/*.parquet")
        return [pattern]
    if is_s3(pattern):
        found = [f"s3://{path}" for path in folder.filesystem.glob(pattern)]
    else:
        found = [path for path in glob.glob(pattern, recursive=True) if Path(path).is_file()]  # noqa: PTH207
    if not found:
        raise UserError(f"prompts.path: no file matches {pattern}")
    return sorted(found)


def _split(uri: str) -> tuple[Storage, str]:
    if is_s3(uri):
        folder, _, name = uri.rpartition("/")
        return Storage.open(folder), name
    return Storage.open(Path(uri).parent), Path(uri).name


def _positions(available: Sequence[str], columns: Columns, uri: str) -> list[int | None]:
    """Index of each of `FIELDS` among the columns of a file; None where the file has no such column."""
    positions: list[int | None] = []
    for field, name in asdict(columns).items():
        if name and name not in available:
            raise UserError(
                f"{uri} has no column {name!r} for the {field}; it has {list(available)}. "
                f"Set prompts.columns.{field} to one of them."
            )
        wanted = name or field
        positions.append(available.index(wanted) if wanted in available else None)
    return positions


def _read_parquet(file: BinaryIO, uri: str, columns: Columns) -> Iterator[Row]:
    source = pq.ParquetFile(file)
    available = source.schema_arrow.names
    names = [None if at is None else available[at] for at in _positions(available, columns, uri)]
    number = 0
    for batch in source.iter_batches(batch_size=_BATCH_ROWS, columns=sorted({n for n in names if n is not None})):
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


def _text(file: BinaryIO) -> io.TextIOWrapper:
    return io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _read_jsonl(file: BinaryIO, uri: str, columns: Columns) -> Iterator[Row]:
    names = [name or field for field, name in asdict(columns).items()]
    seen_first = False
    for number, line in enumerate(_lines(file), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            yield number, (_unreadable("no JSON object"), None, None, None, None)
            continue
        if not seen_first and names[0] not in record:
            _positions(list(record), columns, uri)  # raises, naming the keys there are
        seen_first = True
        yield number, [record.get(name) for name in names]


def _read_csv(file: BinaryIO, uri: str, columns: Columns) -> Iterator[Row]:
    """CSV as in RFC 4180: a cell in double quotes may hold commas, line ends and doubled quotes."""
    csv.field_size_limit(_LARGEST_CELL)
    rows = csv.reader(_text(file), strict=True)
    yield from _cells(((rows.line_num, cells) for cells in rows), uri, columns)


def _read_tsv(file: BinaryIO, uri: str, columns: Columns) -> Iterator[Row]:
    """One line is one row, since many TSV files (PartiPrompts is one) hold plain quotes that quote nothing."""
    rows = (
        (number, [_unquoted(cell) for cell in line.split("\t")])
        for number, line in enumerate(_lines(file), start=1)
        if line.strip("\r\n")
    )
    yield from _cells(rows, uri, columns)


_QUOTED_CELL = re.compile(r'"((?:[^"]|"")*)"')


def _unquoted(cell: str) -> str:
    """A cell that is well quoted from end to end without its quotes; any other cell as it stands."""
    match = _QUOTED_CELL.fullmatch(cell)
    return match[1].replace('""', '"') if match else cell


def _cells(rows: Iterator[tuple[int, list[str]]], uri: str, columns: Columns) -> Iterator[Row]:
    _, header = next(rows, (0, None))
    if header is None:
        raise UserError(f"{uri} is empty; it needs a header line with the names of its columns")
    positions = _positions(header, columns, uri)
    for number, cells in rows:
        if len(cells) == len(header):
            yield number, [None if at is None else cells[at] for at in positions]
        elif cells:
            problem = f"{len(cells)} cells, but the header names {len(header)} columns"
            yield number, (_unreadable(problem), None, None, None, None)


def _read_text(file: BinaryIO, uri: str, columns: Columns) -> Iterator[Row]:
    for number, line in enumerate(_lines(file), start=1):
        if line.strip():
            yield number, (line, None, None, None, None)


def _lines(file: BinaryIO) -> Iterator[str]:
    """Lines that end in LF or CRLF only: str.splitlines and universal newlines would cut at other characters too."""
    for line in _text(file):
        yield line.rstrip("\r\n")


def _unreadable(problem: str) -> Failure:
    return Failure(error_type="UnreadableRow", error=problem)


READERS: dict[str, Reader] = {
    "parquet": _read_parquet,
    "jsonl": _read_jsonl,
    "csv": _read_csv,
    "tsv": _read_tsv,
    "text": _read_text,
}
