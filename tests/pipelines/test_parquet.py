"""The one writer and the one reader of Parquet: no other file opens one, and bytes stay what they were."""

from __future__ import annotations

import ast
import io
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.dataset import parquet
from pipelines.dataset.parquet import Reader
from pipelines.dataset.storage import Storage
from tests.conftest import ROOT


def rows(count: int, bytes_each: int = 10) -> pa.Table:
    dice = np.random.default_rng(0)
    return pa.table({"id": [f"{number}" for number in range(count)], "data": [dice.bytes(bytes_each)] * count})


def imports_parquet(file: Path) -> bool:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [f"{n.module}.{alias.name}" for n in nodes if isinstance(n, ast.ImportFrom) for alias in n.names]
    return any(name.startswith("pyarrow.parquet") for name in names)


def test_parquet_is_opened_in_one_file() -> None:
    files = [file for file in (ROOT / "pipelines").rglob("*.py") if imports_parquet(file)]
    assert files == [ROOT / "pipelines/dataset/parquet.py"]


@pytest.mark.parametrize(
    ("packing", "options"),
    [
        (parquet.PLAN, {"compression": "snappy", "use_dictionary": False, "write_statistics": False}),
        (
            parquet.ROWS,
            {
                "compression": "zstd",
                "write_page_index": True,
                "use_content_defined_chunking": {
                    "min_chunk_size": 256 * 1024,
                    "max_chunk_size": 1024 * 1024,
                    "norm_level": 0,
                },
            },
        ),
    ],
    ids=["plan", "rows"],
)
def test_files_have_the_bytes_that_they_always_had(packing: parquet.Packing, options: dict[str, Any]) -> None:
    """A resumed run must not tell by its bytes which release wrote a shard."""
    table, ours, plain = rows(30, 60_000), io.BytesIO(), io.BytesIO()
    with parquet.Writer(ours, table.schema, packing) as writer:
        writer.write(table)
        writer.write(table.slice(3))
    with pq.ParquetWriter(plain, table.schema, **options) as expected:
        expected.write_table(table)
        expected.write_table(table.slice(3))
    assert ours.getvalue() == plain.getvalue()


def test_a_file_of_images_has_an_index_of_its_pages_and_the_same_bytes_each_time() -> None:
    written = []
    for _ in range(2):
        file, table = io.BytesIO(), rows(40, 60_000)
        with parquet.Writer(file, table.schema) as writer:
            writer.write(table)
        written.append(file.getvalue())
    assert written[0] == written[1]
    column = pq.ParquetFile(io.BytesIO(written[0])).metadata.row_group(0).column(1)
    assert (column.path_in_schema, column.has_offset_index) == ("data", True)


@pytest.mark.parametrize(("count", "bytes_each", "groups"), [(450, 10, [200, 200, 50]), (5, 60 << 20, [2, 2, 1])])
def test_row_groups_of_images_are_small(count: int, bytes_each: int, groups: list[int], tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    parquet.write(storage, "a.parquet", rows(count, bytes_each))
    with parquet.opened(storage, "a.parquet") as reader:
        assert (reader.rows, reader.rows_of_groups) == (count, groups)
    assert [table.num_rows for table in parquet.small_groups([rows(count, bytes_each)])] == groups


def test_a_file_without_rows_has_no_row_group(tmp_path: Path) -> None:
    storage, none = Storage.open(tmp_path), rows(0)
    parquet.write(storage, "a.parquet", none)
    with parquet.opened(storage, "a.parquet") as reader:
        assert (reader.rows_of_groups, reader.schema) == ([], none.schema)
    parquet.write_or_remove(storage, "a.parquet", none)
    assert not storage.exists("a.parquet")


def test_parts_of_a_file_can_be_read(tmp_path: Path) -> None:
    storage, table = Storage.open(tmp_path), rows(450)
    parquet.write(storage, "a.parquet", table)
    assert parquet.read(storage, "a.parquet") == table
    assert parquet.schema_of(storage, "a.parquet") == table.schema
    assert parquet.read(storage, "a.parquet", ["id"]).column_names == ["id"]
    with parquet.opened(storage, "a.parquet") as reader:
        assert reader.group(1, ["id"]) == table.select(["id"]).slice(200, 200)
        assert [batch.num_rows for batch in reader.batches(30, ["id"], 2)] == [30, 20]
    with pytest.raises(FileNotFoundError):
        parquet.read(storage, "b.parquet")


def test_one_row_group_is_in_memory_at_a_time(tmp_path: Path) -> None:
    schema = pa.schema([("image", pa.struct([("bytes", pa.binary())]))])
    with pq.ParquetWriter(tmp_path / "p.parquet", schema, compression="none", use_dictionary=False) as writer:
        for _ in range(16):
            rows = [{"image": {"bytes": os.urandom(250_000)}} for _ in range(4)]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    with (tmp_path / "p.parquet").open("rb") as file:
        reader = Reader(file, "p.parquet")
        tracemalloc.start()  # pyarrow reads from a Python file through Python's bytes
        try:
            assert sum(batch.num_rows for batch in reader.batches(3, ["image"])) == 64
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most < 4_000_000
