"""Failures of prompts and groups, and their rows in `failed/`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pyarrow as pa

from pipelines.dataset import schema

Stage = Literal["plan", "generate", "score"]
"""Where a prompt or a group failed."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a prompt or a group failed."""

    error_type: str
    """Name of the exception, or a short name of the problem where there was none."""
    error: str
    """The message."""
    attempts: int = 1
    """How often it was tried."""


def failed_rows(stage: Stage, failed: Iterable[tuple[Mapping[str, Any], Failure]]) -> pa.Table:
    """Rows of `schema.FAILED`.

    stage: where it failed.
    failed: for each failure the columns that name the prompt or the group (such as those of `of_group`), and the
        reason.
    """
    rows = [{**of, "stage": stage, **asdict(failure)} for of, failure in failed]
    return pa.Table.from_pylist(rows, schema=schema.FAILED)


def of_group(table: pa.Table, row: int) -> dict[str, Any]:
    """The columns of `schema.FAILED` that name a group.

    table: rows of a plan or of images.
    row: number of a row of the group.
    """
    names = ["group_id", "prompt_id", "prompt", "prompt_changes", "arm"]
    there = [name for name in names if name in table.column_names]  # rows of older versions have fewer
    return table.select(there).slice(row, 1).to_pylist()[0]
