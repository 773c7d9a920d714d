"""CSV and TSV: a header line names the columns."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import BinaryIO

from pipelines.errors import UserError
from pipelines.prompts.columns import Columns
from pipelines.prompts.formats.base import Format, Row, lines_of, positions, text_of, unreadable

_LARGEST_CELL = 1 << 24


def read_csv(file: BinaryIO, uri: str, columns: Columns) -> Iterator[Row]:
    """The rows of CSV as in RFC 4180: a cell in double quotes may have commas, line ends and doubled quotes.

    file, uri, columns: see `Format.read`.
    """
    csv.field_size_limit(_LARGEST_CELL)
    rows = csv.reader(text_of(file), strict=True)
    yield from _cells(((rows.line_num, cells) for cells in rows), uri, columns)


def read_tsv(file: BinaryIO, uri: str, columns: Columns) -> Iterator[Row]:
    """The rows of TSV, one per line: many TSV files (PartiPrompts is one) have double quotes that are plain text.

    file, uri, columns: see `Format.read`.
    """
    rows = (
        (number, [_unquoted(cell) for cell in line.split("\t")])
        for number, line in enumerate(lines_of(file), start=1)
        if line.strip("\r\n")
    )
    yield from _cells(rows, uri, columns)


_QUOTED_CELL = re.compile(r'"((?:[^"]|"")*)"')


def _unquoted(cell: str) -> str:
    """A cell without the quotes around it; a cell that is not quoted correctly is returned unchanged."""
    match = _QUOTED_CELL.fullmatch(cell)
    return match[1].replace('""', '"') if match else cell


def _cells(rows: Iterator[tuple[int, list[str]]], uri: str, columns: Columns) -> Iterator[Row]:
    _, header = next(rows, (0, None))
    if header is None:
        raise UserError(f"{uri} is empty; it needs a header line with the names of its columns")
    places = positions(header, columns, uri)
    for number, cells in rows:
        if len(cells) == len(header):
            yield number, [None if at is None else cells[at] for at in places]
        elif cells:
            problem = unreadable(f"{len(cells)} cells, but the header names {len(header)} columns")
            yield number, (problem, None, None, None, None)


CSV = Format(name="csv", endings=(".csv",), read=read_csv, errors=(csv.Error,))
TSV = Format(name="tsv", endings=(".tsv",), read=read_tsv)
