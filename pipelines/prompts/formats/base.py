"""The interface of a prompt file format, and functions that several formats share."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, BinaryIO

from pipelines.dataset.failures import Failure
from pipelines.errors import UserError
from pipelines.prompts.columns import Columns

FIELDS = tuple(field.name for field in fields(Columns))
"""The values of a row, in order."""

Row = tuple[int, Sequence[Any]]
"""(number, values): the line in the file (of a Parquet file the row, from 1), and the unchecked value of each of
`FIELDS`, None where there is none, a `Failure` where it cannot be read. Bytes that are not UTF-8 are lone surrogates,
so that only their row is bad."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format of prompt files."""

    name: str
    """The value of `prompts.format`."""
    endings: tuple[str, ...]
    """Endings of the files, such as ".csv"."""
    read: Callable[[BinaryIO, str, Columns], Iterator[Row]]
    """Gives the rows of an open file as a stream, from the file, its name for messages, and the columns. It raises
    UserError for a file that is not of this format, and UnicodeError for one that is no text."""


def unreadable(problem: str) -> Failure:
    """The failure that takes the place of the prompt in a row that cannot be read.

    problem: the message.
    """
    return Failure(error_type="UnreadableRow", error=f"the row cannot be read: {problem}")


def no_text(kind: str) -> Failure:
    """The failure that takes the place of a value in a row, where it can be no text.

    kind: what it is.
    """
    return Failure(error_type="NotText", error=f"{kind} is no text")


def positions(available: Sequence[str], columns: Columns, uri: str) -> list[int | None]:
    """Index of each of `FIELDS` among the columns of a file; None where the file has no such column.

    available: names of the file's columns.
    columns: the settings.
    uri: name of the file, for messages.

    Raises:
        UserError: when a column that the settings name is missing, or two have the same name.
    """
    positions: list[int | None] = []
    for field, name in asdict(columns).items():
        if name and name not in available:
            more = f", and {len(available) - _SHOWN} more" if len(available) > _SHOWN else ""
            raise UserError(
                f"{uri} has no column {name!r} for the {field}; it has {list(available[:_SHOWN])}{more}. "
                f"Set prompts.columns.{field} to one of them."
            )
        wanted = name or field
        if available.count(wanted) > 1:
            raise UserError(
                f"{uri} has {available.count(wanted)} columns {wanted!r}, and only one can be the {field}. Rename all "
                f"but one, or set prompts.columns.{field} to another column."
            )
        positions.append(available.index(wanted) if wanted in available else None)
    return positions


def lines_of(file: BinaryIO) -> Generator[str]:
    """The lines of an open file of text without their ends; as `whole_lines_of` otherwise."""
    for line in whole_lines_of(file):
        yield line.rstrip("\r\n")


def whole_lines_of(file: BinaryIO) -> Generator[str]:
    """The lines of an open file of text with their ends, LF, CRLF or CR: str.splitlines would split at others too.

    Text is UTF-8, or UTF-16 or UTF-32 with a byte order mark. Such a mark at the beginning of a line is left out: it is
    where files were joined. Bytes that are no text are lone surrogates. The file stays open.

    Raises:
        UnicodeError: when the file is no text.
    """
    encoding = _encoding(file)
    errors = "surrogateescape" if encoding == "utf-8" else _UNDECODABLE
    text = io.TextIOWrapper(file, encoding=encoding, errors=errors, newline="")
    try:
        for line in text:
            yield line.lstrip(_MARK)
    finally:
        if not file.closed:
            text.detach()  # else the end of the wrapper would close the file


_SHOWN = 20
_MARK = "\ufeff"
_ENCODINGS = {
    codecs.BOM_UTF32_LE: "utf-32",  # first, as it begins like that of UTF-16
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_UNDECODABLE = "raydiance.undecodable"


def _lone_surrogate(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\udc80", error.end


codecs.register_error(_UNDECODABLE, _lone_surrogate)  # surrogateescape knows single bytes only


def _encoding(file: BinaryIO) -> str:
    start = file.read(4)
    file.seek(0)
    for mark, encoding in _ENCODINGS.items():
        if start.startswith(mark):
            return encoding
    if 0 in start:
        raise UnicodeError(
            f"it begins with the bytes {start!r}, which no UTF-8 text has. If it is UTF-16, save it as UTF-8 or with a "
            "byte order mark; if it is compressed, unpack it"
        )
    return "utf-8"
