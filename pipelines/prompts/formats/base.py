"""The interface of a prompt file format, and functions that several formats share."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, BinaryIO

from pipelines.dataset.failures import Failure
from pipelines.errors import UserError
from pipelines.prompts.columns import Columns

FIELDS = tuple(field.name for field in fields(Columns))
"""The values of a row, in order."""

Row = tuple[int, Sequence[Any]]
"""(number, values): the line in the file (of a Parquet file the row, from 1), and the unchecked value of each of
`FIELDS`, None where there is none. Bytes that are not UTF-8 are lone surrogates, so that only their row is bad."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format of prompt files."""

    name: str
    """The value of `prompts.format`."""
    endings: tuple[str, ...]
    """Endings of the files, such as ".csv"."""
    read: Callable[[BinaryIO, str, Columns], Iterator[Row]]
    """Gives the rows of an open file as a stream, from the file, its name for messages, and the columns."""
    errors: tuple[type[Exception], ...] = ()
    """Errors that `read` raises for a file that is not of this format."""


def unreadable(problem: str) -> Failure:
    """The failure that takes the place of the prompt in a row that cannot be read.

    problem: the message.
    """
    return Failure(error_type="UnreadableRow", error=problem)


def positions(available: Sequence[str], columns: Columns, uri: str) -> list[int | None]:
    """Index of each of `FIELDS` among the columns of a file; None where the file has no such column.

    available: names of the file's columns.
    columns: the settings.
    uri: name of the file, for messages.

    Raises:
        UserError: when a column that the settings name is missing.
    """
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
    """An open file as UTF-8 text, with bytes that are not UTF-8 as lone surrogates."""
    return io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")


def lines_of(file: BinaryIO) -> Iterator[str]:
    """The lines of an open file, which end in LF or CRLF only: str.splitlines would split at other characters too."""
    for line in text_of(file):
        yield line.rstrip("\r\n")
