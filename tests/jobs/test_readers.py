"""Tools that know nothing of this project read a run and its exports, wherever these may lie."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import datasets
import duckdb
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.support.exports import Row, export, marked_rows_of, rows_of

ODD = "it is 100% a+b, 20%20 & (ünï); @7:00 ~x"
"""All that a path may have beside letters: pipelines/export/README.md says what it may not."""

Summary = tuple[list[str], list[str], int]
"""Sorted prompts and arms, and the bytes of all images: what a reader must have found."""


def summary(rows: Iterable[Row]) -> Summary:
    every = [*rows]
    sizes = [len(row["image"]["bytes"]) for row in every]
    return sorted(row["prompt"] for row in every), sorted(row["arm"] for row in every), sum(sizes)


def by_duckdb(files: Path) -> Summary:
    found = duckdb.connect().execute(f"select prompt, arm, image from '{files}/*.parquet'").fetchall()
    return summary({"prompt": prompt, "arm": arm, "image": image} for prompt, arm, image in found)


def by_pandas(files: Path) -> Summary:
    frame = pytest.importorskip("pandas").read_parquet(files)
    return summary(frame.to_dict("records"))


def by_pyarrow(files: Path) -> Summary:
    table = pq.read_table(files)
    assert ds.dataset(files, format="parquet").to_table() == table
    return summary(table.to_pylist())


def by_datasets(files: Path) -> Summary:
    rows: Any = datasets.load_dataset(
        "parquet", data_files=f"{files}/*.parquet", split="train", cache_dir=str(files.parents[1] / "cache")
    )
    return summary(rows.cast_column("image", datasets.Image(decode=False)))


def by_streaming_datasets(files: Path) -> Summary:
    rows: Any = datasets.load_dataset("parquet", data_files=f"{files}/*.parquet", split="train", streaming=True)
    return summary(rows.cast_column("image", datasets.Image(decode=False)))


def by_polars(files: Path) -> Summary:
    polars = pytest.importorskip("polars")
    lazy = polars.scan_parquet(f"{files}/*.parquet").select("prompt", "arm", "image").collect()
    assert lazy.equals(polars.read_parquet(f"{files}/*.parquet").select("prompt", "arm", "image"))
    return summary(lazy.to_dicts())


def by_daft(files: Path) -> Summary:
    daft = pytest.importorskip("daft")
    return summary(daft.read_parquet(f"{files}/*.parquet").select("prompt", "arm", "image").to_pylist())


def by_spark(files: Path) -> Summary:
    """With a schema that leaves the image vectors out: Spark 4 does not know their numbers of 16 bits."""
    sql = pytest.importorskip("pyspark.sql")
    spark = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    rows = spark.read.schema("prompt string, arm string, image struct<bytes: binary>").parquet(str(files)).collect()
    return summary(row.asDict(recursive=True) for row in rows)


READERS: list[Callable[[Path], Summary]] = [
    by_duckdb,
    by_pandas,
    by_pyarrow,
    by_datasets,
    by_streaming_datasets,
    by_polars,
    by_daft,
    by_spark,
]


@pytest.fixture(scope="module")
def places(toy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of Parquet files: of a run, and of an export with all columns."""
    odd = tmp_path_factory.mktemp("readers") / ODD
    shutil.copytree(toy_run, odd / "run")
    assert export(odd / "run", odd / "export", "huggingface", "--embeddings") == 0
    return {"run": odd / "run" / "data", "export": odd / "export" / "data"}


@pytest.mark.parametrize("what", ["run", "export"])
@pytest.mark.parametrize("read", READERS)
def test_a_reader_finds_every_image(
    read: Callable[[Path], Summary], what: str, places: dict[str, Path], toy_run: Path
) -> None:
    assert read(places[what]) == summary((rows_of if what == "run" else marked_rows_of)(toy_run))


def test_spark_reads_an_export_as_it_is(places: dict[str, Path], tmp_path: Path) -> None:
    sql = pytest.importorskip("pyspark.sql")
    assert export(places["run"].parent, tmp_path / "to", "huggingface") == 0
    spark = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    rows = spark.read.parquet(str(tmp_path / "to" / "data")).collect()
    assert summary(row.asDict(recursive=True) for row in rows) == summary(marked_rows_of(places["run"].parent))


@pytest.mark.parametrize("kind", ["webdataset", "imagefolder", "coco"])
def test_datasets_reads_each_format_streamed_too(kind: str, places: dict[str, Path], tmp_path: Path) -> None:
    to = tmp_path / ODD / kind
    assert export(places["run"].parent, to, kind) == 0
    expected = sorted(row["image_id"] for row in rows_of(places["run"].parent))
    for streaming in (False, True):
        rows: Any = datasets.load_dataset(
            str(to), split="train", streaming=streaming, cache_dir=str(tmp_path / f"cache-{streaming}")
        )
        assert sorted(row.get("json", row)["image_id"] for row in rows) == expected


def test_webdataset_reads_tars(places: dict[str, Path], tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    to = tmp_path / ODD / "tars"
    assert export(places["run"].parent, to, "webdataset") == 0
    last = len([*to.glob("*.tar")]) - 1
    tars = webdataset.WebDataset(f"{to}/train-{{000000..{last:06d}}}.tar", shardshuffle=False)
    found = [
        (text, row["image_id"], picture.size)
        for picture, text, row in tars.decode("pil").to_tuple("png", "txt", "json")
    ]
    rows = rows_of(places["run"].parent)
    assert found == [(row["prompt"], row["image_id"], (16, 16)) for row in rows]
