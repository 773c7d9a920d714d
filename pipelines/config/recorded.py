"""Reads the settings of an existing run from its run.json."""

from __future__ import annotations

from typing import TypeVar

from pipelines.config import toml
from pipelines.dataset.run_json import FILE, RunRecord

T = TypeVar("T")


def recorded(run: RunRecord, table: str, kind: type[T]) -> T:
    """A table of the config in run.json as its class.

    run: run.json.
    table: name of the table.
    kind: dataclass of the table.

    Raises:
        UserError: when the table does not fit the class.
    """
    return toml.build(kind, run.config.get(table, {}), file=FILE, at=table)
