"""Plain text: one line is one prompt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from pipelines.prompts.columns import Columns
from pipelines.prompts.formats.base import Format, Row
from pipelines.prompts.formats.lines import lines_of


def read(file: BinaryIO, uri: str, columns: Columns) -> Iterator[Row]:
    """The rows of a file; see `Format.read`."""
    for number, line in enumerate(lines_of(file, uri), start=1):
        if line.strip():
            yield number, (line, None, None, None, None)


FORMAT = Format(name="text", endings=(".txt",), read=read)
