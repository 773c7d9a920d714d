"""The first stage of a rescoring: a shard's images come back from its files, whole groups in the order of the plan."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.cluster.progress import Progress
from pipelines.cluster.telemetry import Telemetry
from pipelines.dataset import schema
from pipelines.dataset.names import shard_file
from pipelines.dataset.storage import Storage
from pipelines.plan.files import read_shard
from pipelines.stages.block import Shard, pack, read_request


class ReadShard:
    """Actor. Reads `shard` and `retry`; writes a block with images of `schema.GENERATED`, kept and dropped ones."""

    def __init__(self, dataset: Storage, progress: Progress) -> None:
        self._dataset = dataset
        self._telemetry = Telemetry("read", progress)

    def __call__(self, block: pa.Table) -> pa.Table:
        shard, again = read_request(block)
        with self._telemetry.busy("read"):
            images = _images(self._dataset, shard)
        self._telemetry.images(images.num_rows)
        return pack(Shard(shard=shard, retry=again, images=images, failed=schema.FAILED.empty_table()))


def _images(dataset: Storage, shard: int) -> pa.Table:
    """In the order in which they were generated and first scored, so that equal scorers see equal batches."""
    parts = []
    for folder in ("data", "rejected"):
        path = f"{folder}/{shard_file(shard)}"
        if folder == "data" or dataset.exists(path):
            with dataset.open_input(path) as file:
                parts.append(pq.ParquetFile(file).read(columns=schema.GENERATED.names))
    rows = pa.concat_tables(parts).cast(schema.GENERATED)
    planned = read_shard(dataset, shard)["group_id"].combine_chunks()
    group = pc.index_in(rows["group_id"], value_set=planned).to_numpy()
    return rows.take(np.lexsort((rows["index_in_group"].to_numpy(), group))).combine_chunks()
