"""What a format of prompt files is, and what the readers of some of them share."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, BinaryIO

from pipelines.dataset.failures import Failure
from pipelines.errors import UserError
from pipelines.prompts.columns import Columns

FIELDS = tuple(field.name for field in fields(Columns))
"""What a row may say of a prompt."""
Row = tuple[int, Sequence[Any]]
"""(number, values): the line in the file (of a Parquet file: the row, from 1), and what the file holds for each of
`FIELDS`, unchecked, None where it holds nothing. Bytes that are not UTF-8 arrive as lone surrogates, so that one bad
row can be told from a bad file."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of prompt files."""

    name: str
    """What `prompts.format` says."""
    endings: tuple[str, ...]
    """Of the files, such as ".csv"."""
    read: Callable[[BinaryIO, str, Columns], Iterator[Row]]
    """Rows of an open file as a stream; the text names the file in messages."""
    errors: tuple[type[Exception], ...] = ()
    """What `read` raises for a file that is not of this format."""


def unreadable(problem: str) -> Failure:
    """What stands in the prompt's place where a row could not be read at all."""
    return Failure(error_type="UnreadableRow", error=problem)


def positions(available: Sequence[str], columns: Columns, uri: str) -> list[int | None]:
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


def text_of(file: BinaryIO) -> io.TextIOWrapper:
    return io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")


def lines_of(file: BinaryIO) -> Iterator[str]:
    """Lines that end in LF or CRLF only: str.splitlines and universal newlines would cut at other characters too."""
    for line in text_of(file):
        yield line.rstrip("\r\n")
