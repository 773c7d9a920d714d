"""Columns whose values say what an image shows, for formats that know labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipelines.errors import UserError

LABELS = ("concept",)
"""The columns, where nobody says which."""


def check(schema: pa.Schema, labels: Sequence[str]) -> None:
    """Check that columns can be labels.

    schema: of the exported rows.
    labels: names of columns.

    Raises:
        UserError: when one is not there, or holds anything but text, whole numbers, true and false, or lists of those.
    """
    good = [field.name for field in schema if _can_be(field.type)]
    for label in labels:
        if label not in good:
            raise UserError(f"--label {label!r} is no column with labels; those that can be: {', '.join(good)}")


def _can_be(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind):
        return _can_be(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)


def values(row: Mapping[str, Any], label: str) -> list[str]:
    """The labels of an image, each once; none for null, and for an empty text, as empty cells of CSV are.

    row: its columns.
    label: name of the column.
    """
    value = row[label]
    each = value if isinstance(value, list) else [value]
    return list(dict.fromkeys(str(one) for one in each if one is not None and one != ""))
