"""The first stage of a rescoring: reads a shard's images, whole groups in the order of the plan."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.cluster.progress import Progress
from pipelines.cluster.telemetry import Telemetry
from pipelines.dataset import parquet, schema
from pipelines.dataset.names import image_files, shard_file
from pipelines.dataset.storage import Storage
from pipelines.plan.files import read_shard
from pipelines.stages.block import Shard, pack, read_request


class ReadShard:
    """Actor. Reads a request for a shard; writes a block with images of `schema.generated`, kept and dropped ones.

    dataset: the output folder of the run.
    progress: where it reports to.
    """

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
    """The images in the order in which they were generated and first scored, so that scorers get the same batches."""
    parts = []
    for file in image_files(dataset, shard_file(shard)):
        columns = schema.generated_in(parquet.schema_of(dataset, file))
        parts.append(parquet.read(dataset, file, columns.names).cast(columns))
    rows = pa.concat_tables(parts)
    planned = read_shard(dataset, shard)["group_id"].combine_chunks()
    group = pc.index_in(rows["group_id"], value_set=planned).to_numpy()
    return rows.take(np.lexsort((rows["index_in_group"].to_numpy(), group))).combine_chunks()
