"""The last stage of a rescoring: a shard's scores become files beside its images, row for row."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.cluster.progress import Progress
from pipelines.cluster.telemetry import Telemetry
from pipelines.dataset import scores as score_files
from pipelines.dataset.finished import FinishedRun
from pipelines.dataset.names import shard_file
from pipelines.dataset.schema import FAILED, GENERATED
from pipelines.stages.block import Shard, unpack


class WriteScores:
    """Actor. Reads a scored block, writes its scores below `scores/NAME`, and gives one row of counts."""

    def __init__(self, run: FinishedRun, name: str, progress: Progress) -> None:
        self._run = run
        self._name = name
        self._telemetry = Telemetry("write", progress)

    def __call__(self, block: pa.Table) -> pa.Table:
        shard = unpack(block)
        with self._telemetry.busy("write"):
            rows = self._write(shard)
        self._telemetry.images(shard.images.num_rows)
        return pa.table({"shard": [shard.shard], "images": [rows], "failed": [shard.failed.num_rows]})

    def _write(self, shard: Shard) -> int:
        """`data/`, the mark of a finished shard, comes last. Returns the rows of both files."""
        name = shard_file(shard.shard)
        added = [field for field in shard.images.schema if field.name not in GENERATED.names]
        target = score_files.columns(added, source=score_files.source_of(self._run, name))
        self._write_or_remove(f"failed/{name}", shard.failed.cast(FAILED))
        rows = 0
        for folder in ("rejected", "data"):
            scores = self._beside(shard.images, f"{folder}/{name}", target)
            rows += scores.num_rows
            if folder == "data":
                self._write_file(f"{folder}/{name}", scores)
            else:
                self._write_or_remove(f"{folder}/{name}", scores)
        return rows

    def _beside(self, images: pa.Table, file: str, target: pa.Schema) -> pa.Table:
        """The scores of a shard file's rows, in its order; null for images of a group that failed."""
        if file not in self._run.files:
            return target.empty_table()
        with self._run.dataset.open_input(file) as source:
            keys = pq.ParquetFile(source).read(columns=list(score_files.KEYS))
        place = {key: number for number, key in enumerate(_keys(images))}
        at = pa.array([place.get(key) for key in _keys(keys)], pa.int64())
        scores = [images[name].combine_chunks().take(at) for name in target.names if name not in keys.column_names]
        return pa.table([*keys.columns, *scores], schema=target)

    def _write_or_remove(self, file: str, rows: pa.Table) -> None:
        if rows.num_rows:
            self._write_file(file, rows)
        else:
            self._run.dataset.remove(score_files.path(self._name, file))

    def _write_file(self, file: str, rows: pa.Table) -> None:
        with (
            self._run.dataset.open_output(score_files.path(self._name, file)) as sink,
            pq.ParquetWriter(sink, rows.schema, compression="zstd") as writer,
        ):
            if rows.num_rows:  # as for images: a row group without rows is more than some readers bear
                writer.write_table(rows)


def _keys(rows: pa.Table) -> list[tuple[object, object]]:
    return list(zip(rows["group_id"].to_pylist(), rows["index_in_group"].to_pylist(), strict=True))
