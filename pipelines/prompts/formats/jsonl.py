"""JSON lines: one line is one object; its columns are the keys of all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any, BinaryIO

from pipelines.dataset.failures import Failure
from pipelines.prompts.formats.base import Format, Row, lines_of, unreadable
from pipelines.prompts.wanted import Wanted


def read(file: BinaryIO, uri: str, wanted: Wanted) -> Iterator[Row]:
    """The rows of a file; see `Format.read`."""
    _check_columns(file, uri, wanted)
    for number, line in enumerate(lines_of(file), start=1):
        if not line.strip():
            continue
        record = _object(line)
        if not isinstance(record, Failure):
            wanted.see(record.keys())
        yield number, record


def _check_columns(file: BinaryIO, uri: str, wanted: Wanted) -> None:
    """A row may lack any key, but a name of the settings that no row has is a mistake. All are looked for before the
    first row is given, in as many lines as that takes: mostly one."""
    required = {*wanted.required.values()}
    seen: dict[str, None] = {}
    with closing(lines_of(file)) as lines:
        for line in lines:
            record = _object(line)
            seen |= {} if isinstance(record, Failure) else dict.fromkeys(record)
            if required <= seen.keys():
                break
    file.seek(0)
    if seen:
        wanted.of([*seen], uri)


def _object(line: str) -> dict[str, Any] | Failure:
    try:
        record = _DECODER.decode(line)
    except _Repeated as repeated:
        return unreadable(f"it has the key {repeated.key!r} more than once")
    except (ValueError, RecursionError):
        record = None
    return record if isinstance(record, dict) else unreadable("it is no JSON object; every line needs one of its own")


class _Repeated(Exception):
    def __init__(self, key: str) -> None:
        self.key = key


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Repeated(next(key for key in keys if keys.count(key) > 1))
    return record


_DECODER = json.JSONDecoder(object_pairs_hook=_distinct)


FORMAT = Format(name="jsonl", endings=(".jsonl", ".ndjson"), read=read)
