"""Reads, checks, writes and compares small JSON files as frozen dataclasses.

A field is a key of the file, under its own name or under that of `named`. A field with a default is left out of the
file where it has that value, and may be missing in it; unknown keys are ignored, so that a file of a later release can
be read.
"""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, get_args, get_origin

from pipelines.dataset.storage import Storage
from pipelines.errors import UserError

T = TypeVar("T")

_SHOWN = 8
_MOST = 1 << 63
_KEY = "key of the file"
_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def named(key: str) -> dict[str, str]:
    """The metadata of a field whose key in the file is not the field's name: `field(metadata=named("a.b"))`."""
    return {_KEY: key}


def read(storage: Storage, path: str, kind: type[T], advice: str) -> T:
    """The record in a file.

    storage: the folder.
    path: of the file, relative to it.
    kind: dataclass of the record.
    advice: what to do where the file is not such a record, for the message.

    Raises:
        FileNotFoundError: when there is no file.
        UserError: when it is not JSON, or a key is missing or has another type.
    """
    return parse(storage.read_bytes(path), kind, file=storage.path(path), advice=advice)


def parse(data: bytes, kind: type[T], *, file: str, advice: str) -> T:
    """The record in the bytes of a file.

    data: the bytes.
    kind: dataclass of the record.
    file: its name, for the message.
    advice: what to do where it is not such a record, for the message.

    Raises:
        UserError: when it is not JSON, or a key is missing or has another type.
    """
    try:
        content = _loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not valid JSON: {error}. {advice}") from error
    try:
        record: T = _typed(kind, content, "")
    except _Wrong as wrong:
        raise UserError(f"{file}: {wrong}. {advice}") from None
    return record


def _loads(data: bytes) -> Any:
    """What `write` could have written: `json.loads` also takes NaN, infinite numbers and halves of characters."""
    content = json.loads(data, parse_float=_finite, parse_constant=_finite)
    if b"\\ud" in data.lower():
        json.dumps(content, ensure_ascii=False).encode()
    return content


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is no number")
    return number


def write(storage: Storage, path: str, record: Any, *, indent: int | None = 1) -> None:
    """Write a record; equal records give equal bytes.

    storage: the folder.
    path: of the file, relative to it.
    record: a dataclass.
    indent: as for `json.dumps`.
    """
    text = json.dumps(to_json(record), indent=indent, ensure_ascii=False, allow_nan=False)
    storage.write_bytes(path, (text + "\n").encode())


def to_json(value: Any) -> Any:
    """A record, or a part of one, as values that JSON has."""
    if is_dataclass(value) and not isinstance(value, type):
        kept = [f for f in fields(value) if f.default is MISSING or getattr(value, f.name) != f.default]
        return {_key(f): to_json(getattr(value, f.name)) for f in kept}
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    return value


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """A text with the first few keys (`table.key`) whose values differ between two nested tables."""
    before, now = dict(_flat(old)), dict(_flat(new))
    keys = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    shown = [f"{_shown(key)} was {before.get(key)!r} and is {now.get(key)!r}" for key in keys[:_SHOWN]]
    return "; ".join(shown) + (f"; and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else "")


def _shown(key: str) -> str:
    """A key in a message of one line."""
    return key if key.isprintable() else repr(key)


def _flat(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{at}.{key}" if at else key)
    else:
        yield at, value


class _Wrong(Exception):
    """A value does not fit; the message has its key and the rule."""


def _typed(kind: Any, value: Any, at: str) -> Any:
    """`value`, as json.loads gives it, in the type `kind`; `at` is its key, for messages."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin is types.UnionType:  # `X | None` is all that records need
        return None if value is None else _typed(parts[0], value, at)
    if is_dataclass(kind):
        return _dataclass(kind, value, at)
    if origin is tuple:
        _check(isinstance(value, list) and (parts[-1] is ... or len(value) == len(parts)), "a list", value, at)
        each = [parts[0]] * len(value) if parts[-1] is ... else parts
        return tuple(_typed(part, item, f"{at}[{i}]") for i, (part, item) in enumerate(zip(each, value, strict=True)))
    if isinstance(kind, type) and issubclass(kind, tuple):  # a NamedTuple is a list in the file
        hints = typing.get_type_hints(kind)
        _check(isinstance(value, list) and len(value) == len(hints), f"a list of {len(hints)}", value, at)
        return kind(*(_typed(hint, item, f"{at}.{n}") for (n, hint), item in zip(hints.items(), value, strict=True)))
    if origin is dict:
        _check(isinstance(value, dict), "a table", value, at)
        return {key: _typed(parts[1], item, f"{at}.{_shown(key)}") for key, item in value.items()}
    good = type(value) in (int, float) if kind is float else type(value) is kind
    _check(good and not (type(value) is int and abs(value) >= _MOST), _WORDS[kind], value, at)
    return value


def _dataclass(kind: Any, value: Any, at: str) -> Any:
    _check(isinstance(value, dict), "a table", value, at)
    values = {}
    for f, hint in _hints(kind):
        where = f"{at}.{_key(f)}" if at else _key(f)
        if _key(f) in value:
            values[f.name] = _typed(hint, value[_key(f)], where)
        elif f.default is MISSING:
            raise _Wrong(f"the key {where!r} is missing")
    try:
        return kind(**values)
    except ValueError as error:
        raise _Wrong(f"{at}.{error}" if at else str(error)) from None


@cache
def _hints(kind: Any) -> list[tuple[Field[Any], Any]]:
    hints = typing.get_type_hints(kind)
    return [(f, hints[f.name]) for f in fields(kind)]


def _key(f: Field[Any]) -> str:
    return str(f.metadata.get(_KEY, f.name))


def _check(good: bool, needed: str, value: Any, at: str) -> None:
    if not good:
        raise _Wrong(f"{at or 'the file'} = {value!r:.80} must be {needed}")
