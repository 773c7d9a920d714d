"""JSON lines: one line is one object; its columns are the keys of all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from typing import Any, BinaryIO

from pipelines.prompts.columns import Columns
from pipelines.prompts.formats.base import Format, Row, lines_of, positions, unreadable


def read(file: BinaryIO, uri: str, columns: Columns) -> Iterator[Row]:
    """The rows of a file; see `Format.read`."""
    _check_columns(file, uri, columns)
    names = [name or field for field, name in asdict(columns).items()]
    for number, line in enumerate(lines_of(file), start=1):
        if not line.strip():
            continue
        record = _object(line)
        if record is None:
            yield number, (unreadable("no JSON object"), None, None, None, None)
        else:
            yield number, [record.get(name) for name in names]


def _check_columns(file: BinaryIO, uri: str, columns: Columns) -> None:
    """A row may lack any key, but a name of the settings that no row has is a mistake. All are looked for before the
    first row is given, in as many lines as that takes: mostly one."""
    wanted = {name for name in asdict(columns).values() if name}
    seen: dict[str, None] = {}
    with closing(lines_of(file)) as lines:
        for line in lines:
            seen |= dict.fromkeys(_object(line) or {})
            if wanted <= seen.keys():
                break
    file.seek(0)
    if seen:
        positions([*seen], columns, uri)


def _object(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


FORMAT = Format(name="jsonl", endings=(".jsonl", ".ndjson"), read=read)
