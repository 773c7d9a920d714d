"""The interface of a prompt file format, and functions that several formats share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa

from pipelines.dataset.failures import Failure
from pipelines.prompts.wanted import Wanted

Row = tuple[int, Mapping[str, Any] | Failure]
"""(number, values): the line in the file (of Parquet and JSON the row, from 1), and column -> unchecked value, with a
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
    may have more. It raises UserError for a file that is not of this format."""
    kinds: Callable[[BinaryIO, str, Wanted], Mapping[str, pa.DataType]] | None = None
    """Gives the columns of an open file with their types, from what `read` gets; None where only values say them."""
    text: bool = True
    """Whether it is text: then a file may be compressed as a whole and be of any encoding, and `read` gets UTF-8."""


def unreadable(problem: str) -> Failure:
    """The failure that takes the place of a row that cannot be read.

    problem: the message.
    """
    return Failure(error_type="UnreadableRow", error=f"the row cannot be read: {problem}")


INSIDE = "a column can be named by a path to a value inside of it, such as 'meta.caption' or 'captions.0'"
"""What to do where a value has values inside."""


def no_text(kind: str, *, nested: bool) -> Failure:
    """The failure that takes the place of a value in a row, where it can be no text.

    kind: what it is.
    nested: whether it has values inside.
    """
    return Failure(error_type="NotText", error=f"{kind} is no text" + (f"; {INSIDE}" if nested else ""))
