"""Rows of prompt files, planned without any model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.dataset.storage import Storage
from pipelines.plan.files import FAILED_PROMPTS, read_shard
from pipelines.plan.write import count_plan, write_plan
from tests.conftest import Configure

EMBEDDED = "models/embedded/weights/pipeline"
SCORING = {"model": "local-dir:models/embedded/weights/clip"}
ARMS = [{"name": "stock"}, {"name": "both", "tora": True, "repulsion": True}]
Rows = list[dict[str, Any]]


class Planner:
    """Plans rows in a new folder each time."""

    def __init__(self, folder: Path, configure: Configure) -> None:
        self._folder, self._configure, self._count = folder, configure, 0

    def __call__(self, rows: Rows, columns: dict[str, str] | None = None, **tables: Any) -> list[pa.Table]:
        """The shards."""
        self._count += 1
        self.out = self._folder / str(self._count)
        self.out.mkdir()
        path = self.out / "p.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        prompts = {"path": str(path), **tables.pop("prompts", {}), **({"columns": columns} if columns else {})}
        self.config = self._configure(prompts=prompts, **{"arms": ARMS, "group": {"size": 2}, **tables})
        self.counts = write_plan(self.config, Storage.open(self.out))
        assert count_plan(self.config) == self.counts
        return [read_shard(Storage.open(self.out), shard) for shard in self.counts.shard_numbers()]

    def failures(self) -> list[str]:
        if not (self.out / FAILED_PROMPTS).exists():
            return []
        failed = pq.read_table(self.out / FAILED_PROMPTS).to_pylist()
        return [f"{row['source'].rpartition(':')[2]}: {row['error']}" for row in failed]


def groups(shards: list[pa.Table], prompt: str = "") -> Rows:
    """The planned groups of a prompt, or of all, without their shards' numbers."""
    rows = [{**row, "shard": 0} for shard in shards for row in shard.to_pylist()]
    return [row for row in rows if prompt in ("", row["prompt"])]
