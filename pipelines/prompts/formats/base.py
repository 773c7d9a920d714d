"""The interface of a prompt file format, and functions that several formats share."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa

from pipelines.dataset.failures import Failure
from pipelines.prompts.wanted import Wanted

Row = tuple[int, Mapping[str, Any] | Failure]
"""(number, values): the line in the file (of a Parquet file the row, from 1), and column -> unchecked value, with a
`Failure` for one that can be no text, or in place of all of them where the row cannot be read. Bytes that are not UTF-8
are lone surrogates, so that only their row is bad."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format of prompt files."""

    name: str
    """The value of `prompts.format`."""
    endings: tuple[str, ...]
    """Endings of the files, such as ".csv"."""
    read: Callable[[BinaryIO, str, Wanted], Iterator[Row]]
    """Gives the rows of an open file as a stream, from the file, its name for messages, and the columns to read; rows
    may have more. It raises UserError for a file that is not of this format, and UnicodeError for one that is no
    text."""
    kinds: Callable[[BinaryIO, str], Mapping[str, pa.DataType]] | None = None
    """Gives the columns of an open file with their types; None where only the values say them."""


def unreadable(problem: str) -> Failure:
    """The failure that takes the place of a row that cannot be read.

    problem: the message.
    """
    return Failure(error_type="UnreadableRow", error=f"the row cannot be read: {problem}")


def no_text(kind: str) -> Failure:
    """The failure that takes the place of a value in a row, where it can be no text.

    kind: what it is.
    """
    return Failure(error_type="NotText", error=f"{kind} is no text")


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
