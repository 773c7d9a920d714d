"""Writes plain values as TOML, which Python reads but does not write."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_text(tables: Mapping[str, Any]) -> str:
    """A TOML file: plain values first, then tables ([name]) and arrays of tables ([[name]]).

    tables: texts, numbers, booleans, and arrays and tables of them.
    """
    plain = [f"{_key(name)} = {inline(value)}\n" for name, value in tables.items() if not _is_table(value)]
    parts = ["".join(plain)] if plain else []
    for name, value in tables.items():
        if isinstance(value, Mapping):
            parts.append(f"[{_key(name)}]\n{_lines(value)}")
        elif _is_table(value):
            parts += [f"[[{_key(name)}]]\n{_lines(table)}" for table in value]
    return "\n".join(parts)


def _is_table(value: Any) -> bool:
    several = isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)
    return isinstance(value, Mapping) or several


def _lines(table: Mapping[str, Any]) -> str:
    return "".join(f"{_key(name)} = {inline(value)}\n" for name, value in table.items())


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def value_text(value: Any, single: Callable[[Any], str]) -> str:
    """A value on one line.

    value: anything.
    single: writes what is no boolean, table or array.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        items = (f"{_key(str(name))} = {value_text(item, single)}" for name, item in value.items())
        return "{" + ", ".join(items) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(value_text(item, single) for item in value) + "]"
    return single(value)


def inline(value: Any) -> str:
    """A value on one line of a TOML file; a table is `{...}`.

    value: as in `toml_text`.
    """
    # repr is of numbers: inf, nan and exponents are TOML's too.
    return value_text(value, lambda one: _text(one) if isinstance(one, str) else repr(one))


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
