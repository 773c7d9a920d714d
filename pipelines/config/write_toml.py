"""Writes plain values as TOML, which Python reads but does not write."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_text(tables: Mapping[str, Any]) -> str:
    """A TOML file: plain values first, then tables ([name]) and arrays of tables ([[name]]).

    tables: texts, numbers, booleans, and arrays and tables of them.
    """
    plain = [f"{key_text(name)} = {_value(value)}\n" for name, value in tables.items() if not _is_table(value)]
    parts = ["".join(plain)] if plain else []
    for name, value in tables.items():
        if isinstance(value, Mapping):
            parts.append(f"[{key_text(name)}]\n{_lines(value)}")
        elif _is_table(value):
            parts += [f"[[{key_text(name)}]]\n{_lines(table)}" for table in value]
    return "\n".join(parts)


def _is_table(value: Any) -> bool:
    several = isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)
    return isinstance(value, Mapping) or several


def _lines(table: Mapping[str, Any]) -> str:
    return "".join(f"{key_text(name)} = {_value(value)}\n" for name, value in table.items())


def key_text(name: str) -> str:
    """A key, in quotes where TOML needs them."""
    return name if _BARE.fullmatch(name) else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key_text(name)} = {_value(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value)  # of a number: inf, nan and exponents are TOML's too


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
