"""Exports of runs whose prompts edit pictures: every format has the pictures, as its readers look for them."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from PIL import Image

from pipelines.dataset.prompt_columns import PICTURE_FIELDS
from pipelines.dataset.schema import declared
from pipelines.dataset.sources import SourceWriter, picture
from pipelines.export.formats import FORMATS
from pipelines.export.sources import _sources
from pipelines.flows.finish import finish
from tests.support.exports import export
from tests.support.toy_run import Toy, write_run


def made(colour: str, kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (9, 7), colour).save(file, kind)
    return file.getvalue()


FILES = [made("red", "PNG"), made("green", "JPEG"), made("blue", "PNG"), made("white", "PNG")]
IDS = [picture(data).id for data in FILES]
PROMPTS: list[tuple[list[str] | None, str | None]] = [(IDS[:1], None), (IDS[1:3], IDS[3]), (None, None)]
"""The pictures and the mask of each prompt: a PNG; a JPEG, a PNG and a mask; nothing."""


@pytest.fixture(scope="module")
def edits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three prompts, two shards, two arms and two images in each group."""
    folder = tmp_path_factory.mktemp("edits")
    output = write_run(folder, Toy(prompts=3, arms=("base", "tora"), prompts_per_shard=2, side=16, size=2))
    with SourceWriter(output, 0) as writer:
        for data in FILES:
            writer.add(picture(data))
    for path in [*folder.glob("plan/*"), *folder.glob("data/*"), *folder.glob("rejected/*")]:
        _name_pictures(path)
    finish(output)
    return folder


def _name_pictures(path: Path) -> None:
    """As rows of a run that edits pictures have them."""
    file = pq.ParquetFile(path)
    groups = [_with_ids(file.read_row_group(number)) for number in range(file.num_row_groups)]
    with pq.ParquetWriter(path, groups[0].schema) as writer:
        for group in groups:
            writer.write_table(group)


def _with_ids(rows: pa.Table) -> pa.Table:
    of = [PROMPTS[int(str(name)[1:])] for name in rows["prompt_id"].to_pylist()]
    values: dict[str, list[Any]] = {
        "source_images": [ids for ids, _ in of],
        "source_mask": [mask for _, mask in of],
        "target_caption": [None for _ in of],
        "denoising_strength": [0.5 if ids else None for ids, _ in of],
    }
    at = rows.schema.get_field_index("repulsion") + 1
    for number, field in enumerate(PICTURE_FIELDS):
        rows = rows.add_column(at + number, field, pa.array(values[field.name], field.type))
    return rows.cast(declared(rows.schema))


def pixels(image: Image.Image | None) -> Any:
    return None if image is None else np.asarray(image.convert("RGB")).tolist()


def shown(data: bytes) -> Any:
    return pixels(Image.open(io.BytesIO(data)))


EXPECTED = {
    "source_image": [shown(FILES[0]), shown(FILES[1]), None],
    "source_image_2": [None, shown(FILES[2]), None],
    "mask_image": [None, shown(FILES[3]), None],
}


def by_prompt(rows: list[Any], column: str) -> list[Any]:
    found = {int(row["prompt_id"][1:]): pixels(row[column]) for row in rows}
    return [found[number] for number in sorted(found)]


@pytest.mark.parametrize("kind", ["huggingface", "imagefolder", "coco"])
def test_datasets_reads_the_pictures_as_columns(kind: str, edits: Path, tmp_path: Path) -> None:
    assert export(edits, tmp_path / "out", kind, "--rejected") == 0
    rows = [*load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))]
    assert len(rows) == 6
    for column, wanted in EXPECTED.items():
        assert by_prompt(rows, column) == wanted, column
    card = (tmp_path / "out/README.md").read_text()
    assert all(f"`{column}` | `struct<bytes, path>`" in card for column in EXPECTED)


def test_tars_have_a_file_for_every_picture(edits: Path, tmp_path: Path) -> None:
    assert export(edits, tmp_path / "out", "webdataset", shard_bytes=10**6) == 0
    rows = [*load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))]
    of = {int(row["json"]["prompt_id"][1:]): row for row in rows}
    assert [shown_of(of[at], "source_image") for at in sorted(of)] == EXPECTED["source_image"]
    assert [shown_of(of[at], "mask_image") for at in sorted(of)] == EXPECTED["mask_image"]
    (tar,) = (tmp_path / "out").glob("*.tar")
    webdataset = pytest.importorskip("webdataset")
    samples = [*webdataset.WebDataset(str(tar), shardshuffle=False)]
    endings = {ending for sample in samples for ending in sample if not ending.startswith("__")}
    assert {"source_image.png", "source_image.jpg", "source_image_2.png", "mask_image.png"} < endings
    assert {sample["source_image.png"] for sample in samples if "source_image.png" in sample} == {FILES[0]}
    assert all("source_image" not in json.loads(sample["json"]) for sample in samples)


def shown_of(row: dict[str, Any], column: str) -> Any:
    found = [pixels(row[name]) for name in row if name.startswith(f"{column}.") and row[name] is not None]
    return found[0] if found else None


def test_a_folder_of_images_has_each_picture_once_as_it_was_given(edits: Path, tmp_path: Path) -> None:
    assert export(edits, tmp_path / "out", "imagefolder", shard_bytes=10**6) == 0
    folder = tmp_path / "out/train/00000"
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.stem in IDS}
    assert files == {f"{id}.{'jpg' if at == 1 else 'png'}": FILES[at] for at, id in enumerate(IDS)}
    manifest = json.loads((tmp_path / "out/manifest.json").read_bytes())
    assert {f"train/00000/{name}" for name in files} < {file["path"] for file in manifest["files"]}


def test_coco_and_mds_name_and_hold_them(edits: Path, tmp_path: Path) -> None:
    assert export(edits, tmp_path / "coco", "coco", shard_bytes=10**6) == 0
    images = json.loads((tmp_path / "coco/annotations/captions_train.json").read_bytes())["images"]
    named = {image["source_image_file_name"] for image in images} - {None}
    assert {(tmp_path / "coco" / name).read_bytes() for name in named} == {*FILES[:2]}
    assert export(edits, tmp_path / "mds", "mds", shard_bytes=10**6) == 0
    index = json.loads((tmp_path / "mds/train/index.json").read_bytes())["shards"][0]
    encodings = dict(zip(index["column_names"], index["column_encodings"], strict=True))
    assert (encodings["source_image"], encodings["image"]) == ("bytes", "png")
    assert all(data in (tmp_path / "mds/train/shard.00000.mds").read_bytes() for data in FILES)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_run_without_pictures_has_no_such_columns(kind: str, toy_run: Path, tmp_path: Path) -> None:
    assert export(toy_run, tmp_path / "out", kind) == 0
    assert "source_image" not in (tmp_path / "out/README.md").read_text()


def test_an_export_reads_few_rows_at_a_time_and_says_when_a_picture_is_gone(
    edits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipelines.export.sources._ROWS", 1)
    copy = Path(shutil.copytree(edits, tmp_path / "copy"))
    assert export(copy, tmp_path / "out", "huggingface", shard_bytes=10**6) == 0
    rows = [row for path in (tmp_path / "out/data").iterdir() for row in pq.read_table(path).to_pylist()]
    assert {row["source_image"] and row["source_image"]["bytes"] for row in rows} == {*FILES[:2], None}
    (copy / "sources/sources-000000-0000.parquet").unlink()
    _sources.cache_clear()
    assert export(copy, tmp_path / "none", "huggingface") == 2
    assert "does not hold the picture" in capsys.readouterr().err
