"""What exports hold, read back by tools that know nothing of this project."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import datasets
import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.dataset import images
from pipelines.dataset.ai_mark import SOURCE_TYPE
from pipelines.dataset.schema import scored
from pipelines.export.card import yaml_features
from pipelines.export.formats import FORMATS
from tests.support.docs import run_blocks
from tests.support.exports import SHARD_BYTES, Row, export, marked_rows_of, rows_of
from tests.support.toy_run import DIM

FOR_DATASETS = [name for name, kind in FORMATS.items() if kind.features(scored(DIM), ["png"])]
"""Formats that `datasets` reads."""


def samples_of(tars: list[Path]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(key, ending -> content), as the members lie next to each other."""
    for tar in tars:
        samples: dict[str, dict[str, bytes]] = {}
        with tarfile.open(tar) as opened:
            for member in opened:
                assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
                assert member.isfile()
                key, _, ending = member.name.partition(".")
                assert key not in samples or key == next(reversed(samples))
                content = opened.extractfile(member)
                assert content is not None
                samples.setdefault(key, {})[ending] = content.read()
        yield from samples.items()


def test_tars_hold_every_image_once_with_all_its_columns(toy_run: Path, tmp_path: Path) -> None:
    to = tmp_path / "tars"
    assert export(toy_run, to, "webdataset", "--embeddings") == 0
    tars = sorted(to.glob("*.tar"))
    assert len(tars) > 1
    assert [tar.name for tar in tars] == [f"train-{number:06d}.tar" for number in range(len(tars))]
    assert all(tar.stat().st_size <= SHARD_BYTES for tar in tars)
    samples, rows = list(samples_of(tars)), marked_rows_of(toy_run)
    assert len({key for key, _ in samples}) == len(samples) == len(rows) > 0
    for (key, sample), row in zip(samples, rows, strict=True):
        assert key == f"{row['group_id']}-{row['index_in_group']}"
        assert sample["png"] == row.pop("image")["bytes"]
        assert sample["txt"].decode() == row.pop("prompt")
        vector = np.load(io.BytesIO(sample["embedding.npy"]))
        assert vector.dtype == np.float16
        assert vector.tolist() == row.pop("embedding")
        assert json.loads(sample["json"]) == row
    index = json.loads((to / "train-index.json").read_bytes())
    assert [shard["url"] for shard in index["shardlist"]] == [tar.name for tar in tars]
    assert [shard["filesize"] for shard in index["shardlist"]] == [tar.stat().st_size for tar in tars]
    assert sum(shard["nsamples"] for shard in index["shardlist"]) == len(rows)


def test_tars_read_by_datasets(toy_run: Path, tmp_path: Path) -> None:
    to, cache = tmp_path / "tars", str(tmp_path / "cache")
    assert export(toy_run, to, "webdataset", "--rejected", "--embeddings") == 0
    for config, folder in (("default", "data"), ("rejected", "rejected")):
        rows = rows_of(toy_run, folder)
        loaded: Any = datasets.load_dataset(str(to), config, split="train", cache_dir=cache)
        check_tars(loaded, rows)
        types = datasets.load_dataset_builder(str(to), config, cache_dir=cache).info.features
        by_files: Any = datasets.load_dataset(
            "webdataset",
            data_files=f"{to}/{'train' if config == 'default' else config}-*.tar",
            features=types,
            split="train",
            cache_dir=cache,
        )
        check_tars(by_files, rows)


def check_tars(loaded: Any, rows: list[Row]) -> None:
    assert loaded.num_rows == len(rows)
    for sample, row in zip(loaded, rows, strict=True):
        assert np.array_equal(np.asarray(sample["png"]), images.decode(row["image"]["bytes"]))
        assert sample["txt"] == row["prompt"]
        assert sample["embedding.npy"] == row["embedding"]
        left = {name: row[name] for name in row if name not in ("image", "prompt", "embedding")}
        assert sample["json"] == left


def test_a_guessing_reader_gets_the_tars_of_one_arm(toy_run: Path, tmp_path: Path) -> None:
    assert export(toy_run, tmp_path / "tars", "webdataset", "--arm", "both") == 0
    files = f"{tmp_path}/tars/train-*.tar"
    loaded: Any = datasets.load_dataset("webdataset", data_files=files, split="train", streaming=True)
    expected = [row["prompt"] for row in rows_of(toy_run) if row["arm"] == "both"]
    assert [row["txt"] for row in loaded.select_columns(["txt"])] == expected


def test_a_hugging_face_folder(toy_run: Path, tmp_path: Path) -> None:
    to = tmp_path / "hf"
    assert (
        export(toy_run, to, "huggingface", "--rejected", "--embeddings", "--license", "cc-by-4.0", shard_bytes=20000)
        == 0
    )
    count = len(list((to / "data").iterdir()))
    assert count > 1
    assert sorted(path.name for path in (to / "data").iterdir()) == [
        f"train-{number:05d}-of-{count:05d}.parquet" for number in range(count)
    ]
    for config, folder in (("default", "data"), ("rejected", "rejected")):
        rows = marked_rows_of(toy_run, folder)
        loaded: Any = datasets.load_dataset(str(to), config, split="train", cache_dir=str(tmp_path / "cache"))
        assert loaded.features == datasets.Features.from_arrow_schema(scored(DIM))
        assert np.array_equal(np.asarray(loaded[0]["image"]), images.decode(rows[0]["image"]["bytes"]))
        assert loaded.cast_column("image", datasets.Image(decode=False)).to_list() == rows
    (found,) = duckdb.connect().execute(f"select count(*), max(clip_score) from '{to}/data/*.parquet'").fetchall()
    assert found == (len(rows_of(toy_run)), max(row["clip_score"] for row in rows_of(toy_run)))
    card = (to / "README.md").read_text()
    assert "\nlicense: cc-by-4.0\n" in card
    assert "| `embedding` |" in card


@pytest.mark.parametrize("kind", FOR_DATASETS)
def test_examples_of_an_export_s_card_run(
    kind: str, toy_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert export(toy_run, tmp_path / f"my {kind}", kind, "--rejected") == 0
    to = (tmp_path / f"my {kind}").rename(tmp_path / "seed=7")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    by_datasets, *_ = run_blocks((to / "README.md").read_text(), to)
    rows = by_datasets["rows"]
    assert rows.num_rows == len(rows_of(toy_run))
    assert rows.features == datasets.load_dataset_builder(str(to), cache_dir=str(tmp_path / "cache")).info.features


@pytest.mark.parametrize("kind", FOR_DATASETS)
def test_splits_share_no_concept_and_lose_no_image(kind: str, toy_run: Path, tmp_path: Path) -> None:
    to, cache = tmp_path / "to", str(tmp_path / "cache")
    words = ("--split", "test=0.6", "--split", "val=0.2", "--split-by", "concept", "--rejected")
    assert export(toy_run, to, kind, *words) == 0
    for config, folder in (("default", "data"), ("rejected", "rejected")):
        concepts, ids = [], []
        loaded: Any = datasets.load_dataset(str(to), config, cache_dir=cache)
        for split in loaded.values():
            columns = [sample.get("json", sample) for sample in split]
            concepts.append({row["concept"] for row in columns})
            ids += [row["image_id"] for row in columns]
        assert sorted(ids) == sorted(row["image_id"] for row in rows_of(toy_run, folder))
        assert len(concepts) == 3
        assert sum(map(len, concepts)) == len(set.union(*concepts))


def test_features_in_a_card_are_written_as_datasets_writes_them() -> None:
    features = datasets.Features.from_arrow_schema(scored(DIM))
    content = json.loads(json.dumps(features.to_dict()))
    assert yaml_features({name: content[name] for name in features}) == features._to_yaml_list()


def test_an_image_folder_has_typed_columns_beside_the_files(toy_run: Path, tmp_path: Path) -> None:
    to, cache = tmp_path / "images", str(tmp_path / "cache")
    assert export(toy_run, to, "imagefolder", "--rejected", "--embeddings", shard_bytes=20000) == 0
    folders = sorted((to / "train").iterdir())
    assert [folder.name for folder in folders] == [f"{number:05d}" for number in range(len(folders))]
    assert len(folders) > 1
    for config, folder in (("default", "data"), ("rejected", "rejected")):
        rows = rows_of(toy_run, folder)
        loaded: Any = datasets.load_dataset(str(to), config, split="train", cache_dir=cache)
        assert loaded.features == datasets.Features.from_arrow_schema(scored(DIM))
        samples = {(sample["group_id"], sample["index_in_group"]): sample for sample in loaded}  # folders in any order
        assert len(samples) == len(rows)
        for row in rows:
            sample = samples[row["group_id"], row["index_in_group"]]
            assert np.array_equal(np.asarray(sample["image"]), images.decode(row["image"]["bytes"]))
            assert without(sample, "image") == without(row, "image")
    files = {path.name: path.read_bytes() for path in to.glob("train/*/*.png")}
    marked = marked_rows_of(toy_run)
    assert files == {f"{row['group_id']}-{row['index_in_group']}.png": row["image"]["bytes"] for row in marked}


def without(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}


def test_coco_has_captions_and_labels(toy_run: Path, tmp_path: Path) -> None:
    to = tmp_path / "coco"
    words = ("--label", "rarity", "--label", "group_seeds", "--split", "test=0.6", "--embeddings", "--arm", "both")
    assert export(toy_run, to, "coco", *words) == 0
    rows = {row["image_id"]: row for row in marked_rows_of(toy_run) if row["arm"] == "both"}
    ids, categories = [], []
    for split in ("train", "test"):
        captions, labels = (
            json.loads((to / f"annotations/{kind}_{split}.json").read_bytes()) for kind in ("captions", "labels")
        )
        categories.append(labels["categories"])
        assert labels["images"] == captions["images"]
        names = {one["id"]: (one["supercategory"], one["name"]) for one in labels["categories"]}
        for image, caption in zip(captions["images"], captions["annotations"], strict=True):
            row = rows.pop(image["image_id"])
            assert caption["image_id"] == image["id"]
            assert caption["caption"] == row["prompt"]
            assert (to / image["file_name"]).read_bytes() == row["image"]["bytes"]
            assert without(image, "id", "file_name") == without(row, "image", "embedding")
            found = {names[one["category_id"]] for one in labels["annotations"] if one["image_id"] == image["id"]}
            seeds = {("group_seeds", str(seed)) for seed in row["group_seeds"]}
            assert found == {("rarity", row["rarity"]), *seeds}
            ids.append(image["id"])
        assert [one["id"] for one in labels["annotations"]] == [*range(1, len(labels["annotations"]) + 1)]
    assert rows == {}
    assert ids == [*range(1, len(ids) + 1)]
    assert categories[0] == categories[1]


def shard(file: Path) -> Iterator[dict[str, bytes]]:
    """The samples of a shard of MDS, column by column, read as its reader reads them."""
    data = file.read_bytes()
    count = int(np.frombuffer(data, np.uint32, 1)[0])
    borders = np.frombuffer(data, np.uint32, count + 1, 4)
    names = json.loads(data[8 + 4 * count : int(borders[0])])["column_names"]
    for start, end in pairwise(borders.tolist()):
        sample = data[start:end]
        ends = np.cumsum([4 * len(names), *np.frombuffer(sample, np.uint32, len(names))]).tolist()
        yield {name: sample[first:last] for name, (first, last) in zip(names, pairwise(ends), strict=True)}


def test_shards_of_mds(toy_run: Path, tmp_path: Path) -> None:
    to = tmp_path / "mds"
    assert export(toy_run, to, "mds", "--rejected", "--embeddings", shard_bytes=20000) == 0
    for name, folder in (("train", "data"), ("rejected", "rejected")):
        rows, index = marked_rows_of(toy_run, folder), json.loads((to / name / "index.json").read_bytes())
        files = [to / name / one["raw_data"]["basename"] for one in index["shards"]]
        assert [one["raw_data"]["bytes"] for one in index["shards"]] == [file.stat().st_size for file in files]
        assert [one["samples"] for one in index["shards"]] == [len([*shard(file)]) for file in files]
        samples = [sample for file in files for sample in shard(file)]
        for sample, row in zip(samples, rows, strict=True):
            assert sample.pop("image") == row.pop("image")["bytes"]
            assert sample.pop("prompt").decode() == row.pop("prompt")
            assert {column: json.loads(value) for column, value in sample.items()} == row


def test_mosaicml_reads_shards_of_mds(toy_run: Path, tmp_path: Path) -> None:
    streaming = pytest.importorskip("streaming")
    assert export(toy_run, tmp_path / "mds", "mds", "--embeddings", shard_bytes=20000) == 0
    run_blocks((tmp_path / "mds" / "README.md").read_text(), tmp_path / "mds")
    samples = [*streaming.StreamingDataset(local=str(tmp_path / "mds" / "train"), batch_size=1, shuffle=False)]
    for sample, row in zip(samples, rows_of(toy_run), strict=True):
        assert np.array_equal(np.asarray(sample["image"]), images.decode(row["image"]["bytes"]))
        assert without(sample, "image") == without(row, "image")


def test_without_embeddings_there_are_none(toy_run: Path, tmp_path: Path) -> None:
    assert export(toy_run, tmp_path / "hf", "huggingface") == 0
    names = pq.read_schema(next((tmp_path / "hf" / "data").iterdir())).names
    assert names == [name for name in scored(DIM).names if name != "embedding"]


def beside(metadata: Path, row: Row) -> bytes:
    return (metadata.parent / str(row["file_name"])).read_bytes()


@pytest.mark.parametrize("kind", FOR_DATASETS)
def test_a_switch_leaves_the_mark_out_and_the_card_says_so(kind: str, toy_run: Path, tmp_path: Path) -> None:
    for words, mark in (((), True), (("--no-mark",), False)):
        to = tmp_path / f"marked-{mark}"
        assert export(toy_run, to, kind, *words, shard_bytes=10**9) == 0
        (file,) = [path for path in to.rglob("*") if path.suffix in (".tar", ".parquet")]
        files = [row["image"]["bytes"] for row in (marked_rows_of if mark else rows_of)(toy_run)]
        if file.suffix == ".tar":
            assert [sample["png"] for _, sample in samples_of([file])] == files
        else:
            rows: Any = pq.read_table(file).to_pylist()
            stored = [row["image"]["bytes"] if kind == "huggingface" else beside(file, row) for row in rows]
            assert stored == files
        assert (SOURCE_TYPE in (to / "README.md").read_text()) == mark
        assert json.loads((to / "export.json").read_bytes())["export"].get("mark", False) == mark
    assert export(toy_run, tmp_path / "marked-True", kind, "--no-mark", shard_bytes=10**9) == 2


@pytest.mark.parametrize("kind", ["imagefolder", "coco"])
def test_the_size_of_an_export_is_that_of_its_images_too(
    kind: str, toy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(toy_run, tmp_path, kind) == 0
    files = [path.stat().st_size for path in (tmp_path / "train").rglob("*") if path.is_file()]
    assert f"30 images in {len(files)} files, {sum(files) / 1e6:.1f} MB" in capsys.readouterr().out
    card = (tmp_path / "README.md").read_text()
    assert (f"download_size: {sum(files)}\n" in card) == (kind in FOR_DATASETS)
