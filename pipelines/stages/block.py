"""The block that travels through the flow: one row is one shard, so that Ray can neither split nor mix shards.

shard: int64   images: large_list<struct: one row per image>   failed: list<struct FAILED>   seconds per stage: float64
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines import schema


@dataclass(frozen=True, kw_only=True)
class Shard:
    """images: columns of `schema.GENERATED` or `schema.scored`; failed: `schema.FAILED`; times in seconds of work."""

    shard: int
    images: pa.Table
    failed: pa.Table
    generate_seconds: float
    score_seconds: float


def pack(shard: Shard) -> pa.Table:
    return pa.table(
        {
            "shard": pa.array([shard.shard], pa.int64()),
            "images": _one_list(shard.images),
            "failed": _one_list(shard.failed),
            "generate_seconds": pa.array([shard.generate_seconds], pa.float64()),
            "score_seconds": pa.array([shard.score_seconds], pa.float64()),
        }
    )


def unpack(block: pa.Table) -> Shard:
    row = {name: block[name][0].as_py() for name in ("shard", "generate_seconds", "score_seconds")}
    return Shard(images=_table(block["images"]), failed=_table(block["failed"]), **row)


def shard_number(block: pa.Table) -> int:
    """The shard of a block that has only the column `shard`."""
    number: Any = block["shard"][0].as_py()
    return int(number)


def failures(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema.FAILED)


def _one_list(table: pa.Table) -> pa.Array[Any]:
    structs = pa.StructArray.from_arrays(
        [column.combine_chunks() for column in table.columns], fields=list(table.schema)
    )
    return pa.LargeListArray.from_arrays(pa.array([0, len(structs)], pa.int64()), structs)


def _table(column: pa.ChunkedArray[Any]) -> pa.Table:
    structs: Any = pc.list_flatten(column.combine_chunks())
    return pa.Table.from_batches([pa.RecordBatch.from_struct_array(structs)])
