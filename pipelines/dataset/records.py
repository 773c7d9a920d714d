"""The small JSON records of a folder, compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_SHOWN = 8


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """In words, the keys (`table.key`) whose values two nested tables do not share; the first few of them."""
    before, now = dict(_flat(old)), dict(_flat(new))
    keys = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    shown = [f"{key} was {before.get(key)!r} and is {now.get(key)!r}" for key in keys[:_SHOWN]]
    return "; ".join(shown) + (f"; and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else "")


def _flat(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{at}.{key}" if at else key)
    else:
        yield at, value
