"""The settings of a run that is there already, as its run.json has them."""

from __future__ import annotations

from typing import TypeVar

from pipelines.config import toml
from pipelines.dataset.run_json import FILE, RunRecord

T = TypeVar("T")


def recorded(run: RunRecord, table: str, kind: type[T]) -> T:
    """A table of the config in run.json as its class, `kind`. Raises UserError where it does not fit."""
    return toml.build(kind, run.config.get(table, {}), file=FILE, at=table)
