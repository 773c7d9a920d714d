"""A value inside of a row's values by its path, such as "meta.caption" or "captions.0"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

ABSENT: Final = object()
"""Stands for no value, where None is one."""


def inside(value: Any, parts: Sequence[str]) -> Any:
    """What lies inside of objects and arrays; `ABSENT` where nothing does.

    value: of JSON.
    parts: of the path: keys, and numbers from 0.
    """
    for part in parts:
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return ABSENT
    return value


def leads_on(kind: Any, parts: Sequence[str]) -> bool:
    """Whether values of a type (of Arrow) can have something inside at a path."""
    for part in parts:
        if pa.types.is_struct(kind) and kind.get_field_index(part) >= 0:
            kind = kind.field(kind.get_field_index(part)).type
        elif is_list(kind) and part.isdecimal():
            kind = kind.value_type
        else:
            return False
    return True


def is_list(kind: pa.DataType) -> bool:
    """Whether a type of Arrow is one of its lists."""
    return any(of(kind) for of in _LISTS)


def column_inside(column: pa.Array[Any], parts: Sequence[str]) -> pa.Array[Any]:
    """`inside` for a column, null where a row has nothing there.

    column: of a type that `leads_on` to the path.
    parts: of the path.
    """
    for part in parts:
        column = _item(column, int(part)) if is_list(column.type) else pc.struct_field(column, part)
    return column


_LISTS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)


def _item(column: pa.Array[Any], index: int) -> pa.Array[Any]:
    """The items of one index; `list_element` of Arrow fails where a list is shorter."""
    lists: Any = column.cast(pa.large_list(column.type.value_field))
    first, end = lists.offsets[:-1], lists.offsets[1:]
    at = pc.add(first, index)
    there = pc.and_(pc.less(at, end), lists.is_valid())
    return lists.values.take(pc.if_else(there, at, None))  # type: ignore[no-any-return]
