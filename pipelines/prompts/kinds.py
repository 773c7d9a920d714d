"""Types of what prompt files have, as rows of datasets can have them: what JSON has, no pictures and no bytes."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa

from pipelines.prompts.text import SURROGATE

_SCALARS: dict[type, pa.DataType] = {
    type(None): pa.null(),
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
}
_KEPT = (pa.types.is_null, pa.types.is_boolean, pa.types.is_integer, pa.types.is_float32, pa.types.is_float64)
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_AS_TEXT = (pa.types.is_date, pa.types.is_time, pa.types.is_timestamp, pa.types.is_decimal)
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view)
_EXACT = 1 << 53
"""From here on floating-point numbers leave whole ones out."""


def kind_of(value: Any) -> pa.DataType:
    """The type of a value of a JSON file. Objects without keys are no value: Parquet has no type for them.

    Raises:
        TypeError: when no column can have it; the message says what it is.
    """
    if isinstance(value, dict):
        if unspeakable := [name for name in value if SURROGATE.search(name)]:
            raise TypeError(f"a key {unspeakable[0]!r} with bytes that are not UTF-8")
        return pa.struct([pa.field(name, kind_of(item)) for name, item in value.items()]) if value else pa.null()
    if isinstance(value, list):
        kind: pa.DataType = pa.null()
        for item in value:
            kind = joined(kind, kind_of(item))
        return pa.list_(kind)
    if isinstance(value, int) and abs(value) >= 1 << 63:
        raise TypeError("a whole number beyond 64 bits")
    return _SCALARS[type(value)]


def joined(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type that has the values of both: of whole numbers and others the floating-point one; lists and structs are
    joined inside.

    Raises:
        TypeError: when there is none.
    """
    if one == other:
        return one
    schemas = [pa.schema([("value", kind)]) for kind in (one, other)]
    try:
        together = pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowException as error:
        raise TypeError(f"{one} and {other}") from error
    kind: pa.DataType = together.field("value").type
    return kind


def plain(kind: pa.DataType) -> pa.DataType:
    """The type that values of a Parquet file's column have in rows: text for dates, times and decimals.

    Raises:
        TypeError: when rows cannot have it; the message names the type.
    """
    if any(of(kind) for of in _KEPT):
        return kind
    if any(of(kind) for of in _TEXTS) or any(of(kind) for of in _AS_TEXT):
        return pa.string()
    if pa.types.is_float16(kind):
        return pa.float32()
    if isinstance(kind, pa.DictionaryType):
        return plain(kind.value_type)
    if any(of(kind) for of in _LISTS):
        return pa.list_(plain(kind.value_type))  # type: ignore[attr-defined]
    if isinstance(kind, pa.StructType):
        return pa.struct([pa.field(field.name, plain(field.type)) for field in kind])
    raise TypeError(str(kind))


def settled(kind: pa.DataType) -> pa.DataType:
    """A type without unknown parts: what never has a value is text."""
    if pa.types.is_null(kind):
        return pa.string()
    if isinstance(kind, pa.ListType):
        return pa.list_(settled(kind.value_type))
    if isinstance(kind, pa.StructType):
        return pa.struct([pa.field(field.name, settled(field.type)) for field in kind])
    return kind


def clean(value: Any, kind: pa.DataType) -> Any:
    """A value as rows have it: without numbers that JSON does not have, and without objects that have no keys.

    value: as the file has it.
    kind: of all values of the column together.

    Raises:
        ValueError: when a text has bytes that are not UTF-8, or a whole number is too large for a column that has
            others too.
    """
    if isinstance(value, int) and pa.types.is_floating(kind) and abs(value) > _EXACT:
        raise ValueError(f"has the whole number {value}, too large beside others that are not whole")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str) and not value.isascii() and SURROGATE.search(value):
        raise ValueError("has bytes that are not UTF-8 (or half a surrogate pair)")
    if isinstance(value, list):
        return [clean(item, kind.value_type) for item in value]  # type: ignore[attr-defined]
    if isinstance(value, dict):
        return {name: clean(item, kind.field(name).type) for name, item in value.items()} or None
    return value
