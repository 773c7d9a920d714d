"""JSON lines: one line is one object; its columns are the keys of all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from pipelines.dataset.failures import Failure
from pipelines.prompts.formats import objects
from pipelines.prompts.formats.base import Format, Row, unreadable
from pipelines.prompts.formats.lines import lines_of
from pipelines.prompts.formats.objects import Decoder, Record
from pipelines.prompts.wanted import Wanted


def read(file: BinaryIO, uri: str, wanted: Wanted) -> Iterator[Row]:
    """The rows of a file; see `Format.read`."""

    def records() -> Iterator[Record]:
        file.seek(0)
        decoder = Decoder()
        for number, line in enumerate(lines_of(file, uri), start=1):
            if line.strip():
                yield number, _record(decoder, line)

    yield from objects.rows(records, uri, wanted)


def _record(decoder: Decoder, line: str) -> Any:
    try:
        record = decoder.decode(line)
    except (ValueError, RecursionError):
        record = None
    whole = isinstance(record, dict | Failure)
    return record if whole else unreadable("it is no JSON object; every line needs one of its own")


FORMAT = Format(name="jsonl", endings=(".jsonl", ".ndjson"), read=read)
