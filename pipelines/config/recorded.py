"""Reads the settings of an existing run from its run.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pipelines.config import toml
from pipelines.dataset.run_json import FILE, RunRecord

T = TypeVar("T")


def recorded_tables(run: RunRecord, name: str) -> Sequence[Mapping[str, Any]]:
    """An array of tables of the config in run.json, such as `arms`, whose tables each have a name.

    run: run.json.
    name: of the array; a config that has none is taken to have an empty one.

    Raises:
        UserError: when it is no array of tables with names.
    """
    tables = run.config.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise toml.wrong(FILE, f"config.{name}", tables, "an array of tables")
    for number, table in enumerate(tables):
        if not isinstance(own := table.get("name"), str):
            raise toml.wrong(FILE, f"config.{name}[{number}].name", own, "text")
    return tables


def recorded(run: RunRecord, table: str, kind: type[T]) -> T:
    """A table of the config in run.json as its class.

    run: run.json.
    table: name of the table.
    kind: dataclass of the table.

    Raises:
        UserError: when the table does not fit the class.
    """
    return toml.build(kind, run.config.get(table, {}), file=FILE, at=table)
