"""CSV and TSV: a header line names the columns."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import BinaryIO

import pyarrow as pa

from pipelines.dataset.failures import Failure
from pipelines.errors import UserError
from pipelines.prompts.formats.base import Format, Row, unreadable
from pipelines.prompts.formats.lines import blocks_of, lines_of
from pipelines.prompts.wanted import Wanted

_log = logging.getLogger(__name__)

_LARGEST_CELL = 1 << 24
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

Record = tuple[int, list[str] | Failure]
"""(number of the first line, cells)."""


def read_csv(file: BinaryIO, uri: str, wanted: Wanted) -> Iterator[Row]:
    """The rows of CSV as in RFC 4180: a cell in double quotes may have delimiters, line ends and doubled quotes. Cells
    lie between commas, or between what gives the header line the prompt's column.

    file, uri, wanted: see `Format.read`.
    """
    yield from _rows(_csv(file, uri, wanted), uri, wanted)


def read_tsv(file: BinaryIO, uri: str, wanted: Wanted) -> Iterator[Row]:
    """The rows of TSV, one per line: many TSV files (PartiPrompts is one) have double quotes that are plain text.

    file, uri, wanted: see `Format.read`.
    """
    yield from _rows(_tsv(file, uri, wanted), uri, wanted)


def _csv(file: BinaryIO, uri: str, wanted: Wanted) -> Iterator[Record]:
    delimiter = _delimiter(next(lines_of(file, uri), ""), wanted.columns.name_of("prompt"))
    if delimiter != ",":
        _say(delimiter, uri)
    file.seek(0)
    yield from _csv_records(blocks_of(file, uri), delimiter)


def _tsv(file: BinaryIO, uri: str, wanted: Wanted) -> Iterator[Record]:
    for number, line in enumerate(lines_of(file, uri), start=1):
        if line:
            yield number, [_unquoted(cell) if cell[:1] == '"' else cell for cell in line.split("\t")]


def _delimiter(header: str, wanted: str) -> str:
    """The first delimiter with which the header line has the column of the prompts, else the comma."""
    for delimiter in _DELIMITERS:
        try:
            (names,) = csv.reader([header], delimiter=delimiter, strict=True)
        except (ValueError, csv.Error):
            continue
        if wanted in names:
            return delimiter
    return ","


@cache
def _say(delimiter: str, uri: str) -> None:
    """Once a file, which is read more than once."""
    _log.warning("%s: its cells lie between %s, as in its header line", uri, _DELIMITERS[delimiter])


def _csv_records(blocks: Iterator[list[str]], delimiter: str) -> Iterator[Record]:
    """The cells of CSV. Of what is no CSV one line is lost, and reading goes on in the next: a quote that is not closed
    would take all rows that follow with it, up to the largest cell or the end of the file."""
    csv.field_size_limit(_LARGEST_CELL)
    lines: list[str] = []
    first, ended = 1, False
    while not ended or lines:
        at, wrong = 0, None
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            for record in reader:
                if record:  # not of an empty line
                    yield first + at, record
                at = reader.line_num
        except csv.Error as error:
            wrong = error
        if wrong is not None and (ended or reader.line_num < len(lines)):
            yield first + at, unreadable(f"it is not CSV: {wrong}")
            at += 1
            del lines[:at]
        else:  # the last record may go on in what was not read yet
            del lines[:at]
            ended = not _grow(lines, blocks)
        first += at


def _grow(lines: list[str], blocks: Iterator[list[str]]) -> bool:
    """Add a block of lines, and more until there are twice as many; returns False where there are none."""
    before = len(lines)
    for block in blocks:
        lines += block
        if len(lines) >= 2 * before:
            return True
    return len(lines) > before


_QUOTED_CELL = re.compile(r'"((?:[^"]|"")*)"')


def _unquoted(cell: str) -> str:
    """A cell without the quotes around it; a cell that is not quoted correctly is returned unchanged."""
    match = _QUOTED_CELL.fullmatch(cell)
    return match[1].replace('""', '"') if match else cell


def _header(records: Iterator[Record], uri: str) -> list[str]:
    first, header = next(records, (0, None))
    if header is None:
        raise UserError(f"{uri} is empty; it needs a header line with the names of its columns")
    if isinstance(header, Failure):
        raise UserError(f"{uri}:{first}: {header.error}. The first line needs the names of the columns.")
    return header


def _kinds(
    records: Callable[[BinaryIO, str, Wanted], Iterator[Record]], file: BinaryIO, uri: str, wanted: Wanted
) -> dict[str, pa.DataType]:
    return dict.fromkeys(_header(records(file, uri, wanted), uri), pa.string())


def _rows(records: Iterator[Record], uri: str, wanted: Wanted) -> Iterator[Row]:
    header = _header(records, uri)
    width = len(header)
    places = [(name, header.index(name)) for name in wanted.of(header, uri)]
    for number, cells in records:
        if isinstance(cells, Failure):
            yield number, cells
        elif len(cells) == width:
            yield number, {name: cells[at] for name, at in places}
        else:
            yield number, unreadable(f"{len(cells)} cells, but the header names {width} columns")


CSV = Format(name="csv", endings=(".csv",), read=read_csv, kinds=partial(_kinds, _csv))
TSV = Format(name="tsv", endings=(".tsv",), read=read_tsv, kinds=partial(_kinds, _tsv))
