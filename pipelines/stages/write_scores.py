"""The last stage of a rescoring: writes the scores of a shard, row for row as in the files of its images."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from pipelines.cluster.progress import Progress
from pipelines.cluster.telemetry import Telemetry
from pipelines.dataset import parquet
from pipelines.dataset import scores as score_files
from pipelines.dataset.finished import FinishedRun
from pipelines.dataset.names import shard_file
from pipelines.dataset.schema import FAILED
from pipelines.stages.block import Shard, unpack


class WriteScores:
    """Actor. Reads a scored block, writes its scores below `scores/NAME`, and returns one row of counts.

    run: the finished run.
    name: of the scores.
    columns: those that the scorer has added to the images.
    progress: where it reports to.
    """

    def __init__(self, run: FinishedRun, name: str, columns: Sequence[str], progress: Progress) -> None:
        self._run = run
        self._name = name
        self._columns = columns
        self._telemetry = Telemetry("write", progress)

    def __call__(self, block: pa.Table) -> pa.Table:
        shard = unpack(block)
        with self._telemetry.busy("write"):
            rows = self._write(shard)
        self._telemetry.images(shard.images.num_rows)
        cut = [column for column in self._columns if column.endswith("_clip_tokens_cut")]
        count = sum(any((one or {}).values()) for column in cut for one in shard.images[column].to_pylist())
        return pa.table({"shard": [shard.shard], "images": [rows], "failed": [shard.failed.num_rows], "cut": [count]})

    def _write(self, shard: Shard) -> int:
        """Write the files, the one in `data/` last, which marks a finished shard; returns the number of rows."""
        name = shard_file(shard.shard)
        added = [shard.images.schema.field(column) for column in self._columns]
        target = score_files.columns(added, source=score_files.source_of(self._run, name))
        rejected, kept = (self._scores_for(shard.images, f"{folder}/{name}", target) for folder in ("rejected", "data"))
        dataset = self._run.dataset
        for folder, rows in (("failed", shard.failed.cast(FAILED)), ("rejected", rejected)):
            parquet.write_or_remove(dataset, self._path(f"{folder}/{name}"), rows, small_groups=False)
        parquet.write(dataset, self._path(f"data/{name}"), kept, small_groups=False)
        return rejected.num_rows + kept.num_rows

    def _scores_for(self, images: pa.Table, file: str, target: pa.Schema) -> pa.Table:
        """The scores for the rows of a shard file, in its order; null for images of a group that failed."""
        if file not in self._run.files:
            return target.empty_table()
        keys = parquet.read(self._run.dataset, file, score_files.KEYS)
        place = {key: number for number, key in enumerate(_keys(images))}
        at = pa.array([place.get(key) for key in _keys(keys)], pa.int64())
        scores = [images[name].combine_chunks().take(at) for name in target.names if name not in keys.column_names]
        return pa.table([*keys.columns, *scores], schema=target)

    def _path(self, file: str) -> str:
        return score_files.path(self._name, file)


def _keys(rows: pa.Table) -> list[tuple[object, object]]:
    return list(zip(rows["group_id"].to_pylist(), rows["index_in_group"].to_pylist(), strict=True))
