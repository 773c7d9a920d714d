"""CSV and TSV: a header line names the columns."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import BinaryIO

import pyarrow as pa

from pipelines.dataset.failures import Failure
from pipelines.errors import UserError
from pipelines.prompts.formats.base import Format, Row, lines_of, unreadable, whole_lines_of
from pipelines.prompts.wanted import Wanted

_LARGEST_CELL = 1 << 24

Record = tuple[int, list[str] | Failure]
"""(number of the first line, cells)."""


def read_csv(file: BinaryIO, uri: str, wanted: Wanted) -> Iterator[Row]:
    """The rows of CSV as in RFC 4180: a cell in double quotes may have commas, line ends and doubled quotes.

    file, uri, wanted: see `Format.read`.
    """
    yield from _rows(_csv(file), uri, wanted)


def read_tsv(file: BinaryIO, uri: str, wanted: Wanted) -> Iterator[Row]:
    """The rows of TSV, one per line: many TSV files (PartiPrompts is one) have double quotes that are plain text.

    file, uri, wanted: see `Format.read`.
    """
    yield from _rows(_tsv(file), uri, wanted)


def _csv(file: BinaryIO) -> Iterator[Record]:
    return _csv_records(whole_lines_of(file))


def _tsv(file: BinaryIO) -> Iterator[Record]:
    for number, line in enumerate(lines_of(file), start=1):
        if line:
            yield number, [_unquoted(cell) for cell in line.split("\t")]


def _csv_records(lines: Iterator[str]) -> Iterator[Record]:
    """The cells of CSV. Of what is no CSV one line is lost, and reading goes on in the next: a quote that is not closed
    would take all rows that follow with it, up to the largest cell or the end of the file."""
    csv.field_size_limit(_LARGEST_CELL)
    taken: list[str] = []
    again: deque[str] = deque()

    def following() -> Iterator[str]:
        while (line := again.popleft() if again else next(lines, None)) is not None:
            taken.append(line)
            yield line

    number = 1
    rows = csv.reader(following(), strict=True)
    while True:
        taken.clear()
        record: list[str] | Failure | None
        try:
            record = next(rows, None)
        except csv.Error as error:
            record = unreadable(f"it is not CSV: {error}")
            again.extendleft(reversed(taken[1:]))
            del taken[1:]
            rows = csv.reader(following(), strict=True)
        if record is None:
            return
        if record:  # not of an empty line
            yield number, record
        number += len(taken)


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


def _kinds(records: Callable[[BinaryIO], Iterator[Record]], file: BinaryIO, uri: str) -> dict[str, pa.DataType]:
    return dict.fromkeys(_header(records(file), uri), pa.string())


def _rows(records: Iterator[Record], uri: str, wanted: Wanted) -> Iterator[Row]:
    header = _header(records, uri)
    places = [(name, header.index(name)) for name in wanted.of(header, uri)]
    for number, cells in records:
        if isinstance(cells, Failure):
            yield number, cells
        elif len(cells) == len(header):
            yield number, {name: cells[at] for name, at in places}
        else:
            yield number, unreadable(f"{len(cells)} cells, but the header names {len(header)} columns")


CSV = Format(name="csv", endings=(".csv",), read=read_csv, kinds=partial(_kinds, _csv))
TSV = Format(name="tsv", endings=(".tsv",), read=read_tsv, kinds=partial(_kinds, _tsv))
