"""The rows of a finished run with all numbers of their scores, and what expressions over them give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from pipelines.dataset import parquet, schema
from pipelines.dataset import scores as score_files
from pipelines.dataset.finished import FinishedRun, check
from pipelines.dataset.names import IMAGE_FOLDERS
from pipelines.dataset.prompt_columns import TARGET_CAPTION

NUMBERS = (pa.float32(), pa.int32())
"""Types of the columns that an expression may read."""

ROWS = [*score_files.KEYS, "prompt_id", "prompt", "rarity", "arm"]
"""Columns of every row that come along; of runs of edits `TARGET_CAPTION` does too."""


def shards(run: FinishedRun, scorers: Sequence[str], *, pixels: bool = False) -> Iterator[pa.Table]:
    """The rows of each shard, kept and rejected ones, group by group, with the columns file and row, which say where
    they lie.

    run: the finished run.
    scorers: names of those whose scores were added later, and are read too.
    pixels: whether the column image is read.

    Raises:
        UserError: when a file is damaged, or has no such scores yet.
    """
    rejected = {entry.path.rpartition("/")[2]: entry for entry in run.images(IMAGE_FOLDERS[1])}
    for kept in run.images(IMAGE_FOLDERS[0]):
        both = [kept, *filter(None, [rejected.get(kept.path.rpartition("/")[2])])]
        tables: list[pa.Table] = []
        for entry in both:
            check(run.dataset, entry)
            there = parquet.schema_of(run.dataset, entry.path)
            names = [field.name for field in numbers_of(there)]
            names += [name for name in (TARGET_CAPTION,) if name in there.names]
            rows = parquet.read(run.dataset, entry.path, [*ROWS, *names, *(["image"] if pixels else [])])
            for name in scorers:
                scores = score_files.read(run.dataset, name, entry.path)
                rows = score_files.merged(run.dataset, name, entry.path, 0, rows, scores)
            rows = rows.append_column("file", pa.array([entry.path] * rows.num_rows, pa.string()))
            rows = rows.append_column("row", pa.array(range(rows.num_rows), pa.int64()))
            tables.append(rows)
        yield _by_group(pa.concat_tables(tables))


def numbers_of(rows: pa.Schema) -> list[pa.Field[Any]]:
    """The columns of numbers that scorers have given rows.

    rows: schema of a shard file, or of what `shards` gives.
    """
    generated = "fingerprint" in rows.names
    made = {*(schema.generated_in(rows).names if generated else ROWS)}
    return [field for field in rows if field.type in NUMBERS and field.name not in made]


def _by_group(rows: pa.Table) -> pa.Table:
    ids = rows["group_id"].to_pylist()
    numbers = {group: number for number, group in enumerate(dict.fromkeys(ids))}
    order = sorted(range(len(ids)), key=lambda at: (numbers[ids[at]], at))
    return rows.take(pa.array(order, pa.int64()))
