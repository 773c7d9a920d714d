"""The block that stages pass on: one row is one shard, so that Ray can neither split nor mix shards.

shard: int64   retry: bool   images: large_list<struct: one row per image>   failed: list<struct FAILED>
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.cluster.executor import Columns
from pipelines.dataset.score_columns import meaning

REQUEST: Columns = {"shard": "number of the shard", "retry": "make only the groups that failed before"}
"""Columns of a block that requests a shard."""

COUNTS: Columns = {
    "shard": "number of the shard",
    "images": "how many images of the shard are new",
    "failed": "how many of its groups have failed",
}
"""Columns of the last stage's block."""

COUNTS_OF_SCORES: Columns = {**COUNTS, "cut": "of how many of its images the scorer did not read a text to its end"}
"""The same of a rescoring."""


def with_images(columns: Iterable[pa.Field[Any]]) -> Columns:
    """The columns of a block with images.

    columns: of the images.
    """
    images = {f"images.{column.name}": meaning(column) for column in columns}
    return {**REQUEST, **images, "failed": "groups that could not be done, with the error"}


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The content of a block with images."""

    shard: int
    """Number of the shard."""
    retry: bool
    """Whether it has only the groups that failed before."""
    images: pa.Table
    """One row per image, with the columns of `schema.generated` or `schema.scored`."""
    failed: pa.Table
    """One row per failed group, with the columns of `schema.FAILED`."""


def make_request(shard: int, *, retry: bool) -> dict[str, Any]:
    """The row that requests a shard.

    shard: number of the shard.
    retry: make only the groups that failed before.
    """
    return {"shard": shard, "retry": retry}


def read_request(block: pa.Table) -> tuple[int, bool]:
    """The values (shard, retry) of a block that requests a shard."""
    row = block.slice(0, 1).to_pylist()[0]
    return row["shard"], row["retry"]


def pack(shard: Shard) -> pa.Table:
    """The block of a shard."""
    return pa.table(
        {
            "shard": pa.array([shard.shard], pa.int64()),
            "retry": pa.array([shard.retry]),
            "images": _one_list(shard.images),
            "failed": _one_list(shard.failed),
        }
    )


def unpack(block: pa.Table) -> Shard:
    """The content of a block with images."""
    shard, retry = read_request(block.select(["shard", "retry"]))
    return Shard(shard=shard, retry=retry, images=_table(block["images"]), failed=_table(block["failed"]))


def _one_list(table: pa.Table) -> pa.Array[Any]:
    structs = pa.StructArray.from_arrays(
        [column.combine_chunks() for column in table.columns], fields=list(table.schema)
    )
    return pa.LargeListArray.from_arrays(pa.array([0, len(structs)], pa.int64()), structs)


def _table(column: pa.ChunkedArray[Any]) -> pa.Table:
    structs: Any = pc.list_flatten(column.combine_chunks())
    return pa.Table.from_batches([pa.RecordBatch.from_struct_array(structs)])
