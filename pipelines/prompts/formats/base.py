"""The interface of a prompt file format, and functions that several formats share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, BinaryIO

from pipelines.dataset.failures import Failure
from pipelines.errors import UserError
from pipelines.prompts.columns import Columns

FIELDS = tuple(field.name for field in fields(Columns))
"""The values of a row, in order."""

Row = tuple[int, Sequence[Any]]
"""(number, values): the line in the file (of Parquet and JSON the row, from 1), and the unchecked value of each of
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
    UserError for a file that is not of this format."""
    text: bool = True
    """Whether it is text: then a file may be compressed as a whole and be of any encoding, and `read` gets UTF-8."""


def unreadable(problem: str) -> Failure:
    """The failure that takes the place of the prompt in a row that cannot be read.

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


_SHOWN = 20
