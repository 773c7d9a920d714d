"""JSON lines: one line is one object; its columns are the keys of the first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import BinaryIO

from pipelines.prompts.columns import Columns
from pipelines.prompts.formats.base import Format, Row, lines_of, positions, unreadable


def read(file: BinaryIO, uri: str, columns: Columns) -> Iterator[Row]:
    """The rows of a file; see `Format.read`."""
    names = [name or field for field, name in asdict(columns).items()]
    seen_first = False
    for number, line in enumerate(lines_of(file), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            yield number, (unreadable("no JSON object"), None, None, None, None)
            continue
        if not seen_first and names[0] not in record:
            positions(list(record), columns, uri)  # raises an error with the existing keys
        seen_first = True
        yield number, [record.get(name) for name in names]


FORMAT = Format(name="jsonl", endings=(".jsonl", ".ndjson"), read=read)
