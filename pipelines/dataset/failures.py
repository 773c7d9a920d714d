"""What could not be done, and the rows of `failed/` that say so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pyarrow as pa

from pipelines.dataset import schema

Stage = Literal["plan", "generate", "score"]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a prompt or a group could not be done."""

    error_type: str
    """Short name: of the exception, or of the problem where there was none."""
    error: str
    """The problem in words."""
    attempts: int = 1
    """How often it was tried."""


def failed_rows(stage: Stage, failed: Iterable[tuple[Mapping[str, Any], Failure]]) -> pa.Table:
    """Rows of `schema.FAILED`: for each failure the columns that say of what, such as `of_group` gives or `source`."""
    rows = [{**of, "stage": stage, **asdict(failure)} for of, failure in failed]
    return pa.Table.from_pylist(rows, schema=schema.FAILED)


def of_group(table: pa.Table, row: int) -> dict[str, Any]:
    """The columns of `schema.FAILED` that name the group of this row of a plan or of images."""
    return table.select(["group_id", "prompt_id", "prompt", "arm"]).slice(row, 1).to_pylist()[0]
