"""Columns that hold settings: of how a model was loaded, of LoRAs, of interventions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pyarrow as pa

from models.interventions.registry import find, registered
from models.spec import PLACES, Interval, Lora, ModelSpec
from pipelines.dataset.columns import MEANING

_SETTING_TYPES: dict[Any, pa.DataType] = {
    float: pa.float64(),
    int: pa.int32(),
    bool: pa.bool_(),
    str: pa.string(),
    Interval: pa.list_(pa.float64(), 2),
}


def _struct_of(config: type[Any], *, but: tuple[str, ...] = ()) -> pa.StructType:
    types_of = get_type_hints(config)
    return pa.struct([pa.field(f.name, _setting_type(types_of[f.name])) for f in fields(config) if f.name not in but])


def _setting_type(kind: Any) -> pa.DataType:
    if is_dataclass(kind) and isinstance(kind, type):
        return _struct_of(kind)
    if get_origin(kind) is tuple and get_args(kind)[1] is Ellipsis:
        return pa.list_(_setting_type(get_args(kind)[0]))
    return pa.string() if get_origin(kind) is Literal else _SETTING_TYPES[kind]


def in_every_row() -> list[str]:
    """The names of the interventions with a column in the rows of every run."""
    return [entry.name for entry in registered() if entry.in_every_row]


def interventions_in(columns: Sequence[str]) -> list[str]:
    """Those of some column names that are interventions."""
    return [entry.name for entry in registered() if entry.name in columns]


def intervention_fields(names: Sequence[str]) -> Iterator[pa.Field[Any]]:
    """A struct column for each name, with one field per setting; null where the intervention is off."""
    for name in names:
        entry = find(name)
        assert entry is not None, name
        metadata = None if entry.in_every_row else {MEANING: entry.meaning}
        yield pa.field(name, _struct_of(entry.config), metadata=metadata)


MODEL_OPTIONS = _struct_of(ModelSpec, but=("path", "revision", "dtype", "loras", *PLACES))
"""Struct with the settings of `ModelSpec` that change pixels and have no column of their own."""

LORAS = pa.list_(_struct_of(Lora))
"""Type of the column with the LoRAs that acted."""
