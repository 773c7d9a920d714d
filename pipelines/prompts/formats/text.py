"""Plain text: one line is one prompt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa

from pipelines.prompts.formats.base import Format, Row
from pipelines.prompts.formats.lines import lines_of
from pipelines.prompts.wanted import Wanted


def read(file: BinaryIO, uri: str, wanted: Wanted) -> Iterator[Row]:
    """The rows of a file; see `Format.read`."""
    name = wanted.columns.name_of("prompt")
    for number, line in enumerate(lines_of(file, uri), start=1):
        if line.strip():
            yield number, {name: line}


def kinds(file: BinaryIO, uri: str, wanted: Wanted) -> dict[str, pa.DataType]:
    """None: a line is a prompt and nothing else."""
    return {}


FORMAT = Format(name="text", endings=(".txt",), read=read, kinds=kinds)
