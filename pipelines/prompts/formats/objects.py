"""JSON objects as rows, which the formats of JSON share: columns are the keys of all of them, and paths inside."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from pipelines.dataset.failures import Failure
from pipelines.prompts.formats.base import Row, unreadable
from pipelines.prompts.formats.paths import ABSENT, inside
from pipelines.prompts.wanted import Wanted

Record = tuple[int, dict[str, Any] | Failure]
"""(number, object)."""


def rows(begin: Callable[[], Iterator[Record]], uri: str, wanted: Wanted) -> Iterator[Row]:
    """The rows of a file's objects.

    begin: gives all objects of the file from the first.
    uri, wanted: see `Format.read`.
    """
    _check_columns(begin(), uri, wanted)
    paths = [(name, name.split(".")) for name in wanted.paths]
    for number, record in begin():
        if not isinstance(record, Failure):
            wanted.see(record.keys())
            for name, parts in paths:
                if name not in record and (found := inside(record, parts)) is not ABSENT:
                    record[name] = found
        yield number, record


def _check_columns(records: Iterator[Record], uri: str, wanted: Wanted) -> None:
    """A row may lack any key, but a name of the settings that no row has is a mistake. All are looked for before the
    first row is given, in as many rows as that takes: mostly one."""
    required = {*wanted.required.values()}
    found: set[str] = set()
    seen: dict[str, None] = {}
    with closing(records):  # type: ignore[type-var]
        for _, record in records:
            if isinstance(record, Failure):
                continue
            seen |= dict.fromkeys(record)
            found |= {name for name in required if name in record or inside(record, name.split(".")) is not ABSENT}
            if required <= found:
                break
    if seen:
        wanted.of([*seen], uri, inside=found - seen.keys())


class Decoder:
    """Decodes JSON, and finds the keys that an object has twice."""

    def __init__(self) -> None:
        self._repeated: list[str] = []
        self._decoder = json.JSONDecoder(object_pairs_hook=self._distinct)

    def decode(self, text: str) -> Any:
        """The value of a text, which is a `Failure` where it has a key twice.

        Raises:
            ValueError: when it is no JSON.
            RecursionError: when it is nested too deeply.
        """
        self._repeated.clear()
        return self._checked(self._decoder.decode(text))

    def decode_at(self, text: str, at: int) -> tuple[Any, int]:
        """The value that begins somewhere in a text, as `decode` gives it, and where it ends."""
        self._repeated.clear()
        value, end = self._decoder.raw_decode(text, at)
        return self._checked(value), end

    def _checked(self, value: Any) -> Any:
        if not self._repeated:
            return value
        return unreadable(f"it has the key {self._repeated[0]!r} more than once")

    def _distinct(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        record = dict(pairs)
        if len(record) < len(pairs):
            keys = [key for key, _ in pairs]
            self._repeated.append(next(key for key in keys if keys.count(key) > 1))
        return record
