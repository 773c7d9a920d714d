"""The last stage: writes the files of a shard. `data/shard-XXXXXX.parquet` marks a finished shard."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.cluster.progress import Progress
from pipelines.cluster.telemetry import Telemetry
from pipelines.dataset import parquet, retry, schema
from pipelines.dataset.names import shard_file
from pipelines.dataset.storage import Storage
from pipelines.plan.files import read_shard
from pipelines.stages.block import Shard, unpack


class WriteShard:
    """Actor. Reads a scored block, writes its files, and returns one row of counts.

    It is an actor and not a task, so that its process is ready when the first shard arrives.

    output: the output folder.
    progress: where it reports to.
    """

    def __init__(self, output: Storage, progress: Progress) -> None:
        self._output = output
        self._telemetry = Telemetry("write", progress)

    def __call__(self, block: pa.Table) -> pa.Table:
        with self._telemetry.busy("write"):
            written = write_shard(block, self._output)
        self._telemetry.images(written["images"][0].as_py())
        return written


def write_shard(block: pa.Table, output: Storage) -> pa.Table:
    """Write the files of a shard, and return one row: its number, and how many images and failures are new in it.

    block: with images of `schema.scored`.
    output: the output folder.
    """
    shard = unpack(block)
    planned = read_shard(output, shard.shard)
    if shard.retry:
        asked = retry.only_failed(output, shard.shard, planned)
        if asked.num_rows:  # none where Ray repeats the call, as the worker died right after the first one
            _check_complete(shard, asked)
            _write_again(output, shard, planned["group_id"])
    else:
        _check_complete(shard, planned)
        _write_first(output, shard)
    return pa.table({"shard": [shard.shard], "images": [shard.images.num_rows], "failed": [shard.failed.num_rows]})


def _write_first(output: Storage, shard: Shard) -> None:
    """Write a new shard; the file in data/ is last, as without it the whole shard is made again."""
    name = shard_file(shard.shard)
    kept, rejected = _split(shard.images)
    parquet.write_or_remove(output, f"rejected/{name}", rejected)
    parquet.write_or_remove(output, f"failed/{name}", shard.failed)
    parquet.write(output, f"data/{name}", kept)


def _write_again(output: Storage, shard: Shard, group_ids: pa.ChunkedArray[pa.StringScalar]) -> None:
    """Add the retried groups to the others, in plan order; the request is removed last."""
    name = shard_file(shard.shard)
    before = retry.read(output, shard.shard)
    attempts = dict(zip(before["group_id"].to_pylist(), before["attempts"].to_pylist(), strict=True))
    total = [row["attempts"] + attempts[row["group_id"]] for row in shard.failed.to_pylist()]
    at = shard.failed.schema.get_field_index("attempts")
    still = shard.failed.set_column(at, shard.failed.schema.field(at), pa.array(total, pa.int32()))

    def merged(path: str, new: pa.Table) -> pa.Table:
        if not output.exists(path):
            return new
        old = parquet.read(output, path)
        stays = pc.invert(pc.is_in(old["group_id"], value_set=before["group_id"].combine_chunks()))
        rows = pa.concat_tables([old.filter(stays).cast(new.schema), new])
        place: Any = pc.index_in(rows["group_id"], value_set=group_ids.combine_chunks())
        # A stable sort, as the images of a group are in order.
        return rows.take(np.argsort(place.to_numpy(), kind="stable")).combine_chunks()

    kept, rejected = _split(shard.images)
    parquet.write(output, f"data/{name}", merged(f"data/{name}", kept))
    parquet.write_or_remove(output, f"rejected/{name}", merged(f"rejected/{name}", rejected))
    parquet.write_or_remove(output, f"failed/{name}", merged(f"failed/{name}", still))
    retry.done(output, shard.shard)


def _split(images: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The kept and the dropped rows, with the metadata of their schema, which a block does not have."""
    declared = schema.declared(images.schema)
    return images.filter(images["keep"]).cast(declared), images.filter(pc.invert(images["keep"])).cast(declared)


def _check_complete(shard: Shard, planned: pa.Table) -> None:
    """Raise RuntimeError unless every planned group is there exactly once: with all its images, or as one failure."""
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
