"""The last stage: a shard becomes files. `data/shard-XXXXXX.parquet` is written last; its presence says "done"."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines import plan, schema
from pipelines.manifest import shard_file
from pipelines.stages.block import Shard, unpack
from pipelines.storage import Storage

ROWS_PER_ROW_GROUP = 200
BYTES_PER_ROW_GROUP = 128 << 20
"""Small row groups, so that viewers and streaming readers fetch a few images and not a whole file."""


class WriteShard:
    """Actor. Reads a scored block, writes its files, and gives one row of counts and seconds.

    An actor and not a task, so that its process is warm when the first shard comes.
    """

    def __init__(self, output: Storage) -> None:
        self._output = output

    def __call__(self, block: pa.Table) -> pa.Table:
        return write_shard(block, self._output)


def write_shard(block: pa.Table, output: Storage) -> pa.Table:
    """Write a shard; returns one row: shard, kept, rejected, failed, generate_seconds, score_seconds."""
    shard = unpack(block)
    _check_complete(shard, plan.read_shard(output, shard.shard))
    name = shard_file(shard.shard)
    keep = shard.images["keep"]
    kept, rejected = shard.images.filter(keep), shard.images.filter(pc.invert(keep))
    for path, rows in ((f"rejected/{name}", rejected), (f"failed/{name}", shard.failed)):
        if rows.num_rows:
            _write(output, path, rows)
        else:  # an earlier, interrupted attempt may have left one
            output.remove(path)
    _write(output, f"data/{name}", kept)
    return pa.table(
        {
            "shard": [shard.shard],
            "kept": [kept.num_rows],
            "rejected": [rejected.num_rows],
            "failed": [shard.failed.num_rows],
            "generate_seconds": [shard.generate_seconds],
            "score_seconds": [shard.score_seconds],
        }
    )


def _check_complete(shard: Shard, planned: pa.Table) -> None:
    """Every planned group is there exactly once: with all its images, or as one failure."""
    found = Counter(shard.images["group_id"].to_pylist())
    failed = Counter(shard.failed["group_id"].to_pylist())
    sizes = {
        row["group_id"]: len(row["group_seeds"]) for row in planned.select(["group_id", "group_seeds"]).to_pylist()
    }
    wrong = [
        group_id for group_id, size in sizes.items() if (found[group_id], failed[group_id]) not in ((size, 0), (0, 1))
    ]
    if wrong or (found.keys() | failed.keys()) - sizes.keys():
        raise RuntimeError(
            f"shard {shard.shard} is not whole: of {len(sizes)} groups, {len(wrong)} are incomplete ({wrong[:3]}), "
            f"and {len((found.keys() | failed.keys()) - sizes.keys())} are not in the plan"
        )


def _write(output: Storage, path: str, rows: pa.Table) -> None:
    if "embedding" in rows.column_names:
        rows = rows.cast(schema.scored(rows.schema.field("embedding").type.list_size))  # with its metadata
    with output.open_output(path) as file, pq.ParquetWriter(file, rows.schema, compression="zstd") as writer:
        if (
            rows.num_rows
        ):  # a row group without rows makes Hugging Face datasets fail; a file without row groups does not
            bytes_per_row = max(1, rows.nbytes // rows.num_rows)
            writer.write_table(rows, max(1, min(ROWS_PER_ROW_GROUP, BYTES_PER_ROW_GROUP // bytes_per_row)))
