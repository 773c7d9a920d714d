"""Exports of a toy run, and what lies in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from jobs.export import main
from pipelines.dataset.ai_mark import marked

SHARD_BYTES = 40960

Row = dict[str, Any]


def export(dataset: Path | str, to: Path | str, kind: str, *more: str, shard_bytes: int = SHARD_BYTES) -> int:
    words = ["--dataset", str(dataset), "--to", str(to), "--format", kind, "--shard-bytes", str(shard_bytes), *more]
    return main(words)


def rows_of(run: Path, folder: str = "data") -> list[Row]:
    """All rows of a run in the order of its shards."""
    return [row for file in sorted((run / folder).iterdir()) for row in pq.read_table(file).to_pylist()]


def marked_rows_of(run: Path, folder: str = "data") -> list[Row]:
    """The same with the images as exports have them."""
    rows = rows_of(run, folder)
    return [{**row, "image": {**row["image"], "bytes": marked(row["image"]["bytes"])}} for row in rows]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
