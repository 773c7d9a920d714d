"""Exports of runs of videos, in both kinds of files, read back by tools that know nothing of this project."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import av
import datasets
import duckdb
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.dataset.ai_mark import SOURCE_TYPE
from pipelines.export.formats import FORMATS
from pipelines.flows.finish import finish
from tests.jobs.test_export import samples_of, shard
from tests.support.docs import run_blocks
from tests.support.exports import export, marked_rows_of
from tests.support.toy_run import FPS, FRAMES, Toy, write_run

FOR_VIDEOS = sorted(name for name, kind in FORMATS.items() if kind.videos)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("videos")
    for kind in ("webp", "mp4"):
        finish(write_run(folder / kind, Toy(prompts=2, arms=("base",), side=16, videos=kind)))
    return {kind: folder / kind for kind in ("webp", "mp4")}


@pytest.fixture(params=["webp", "mp4"])
def run(request: Any, runs: dict[str, Path]) -> Path:
    return runs[request.param]


def plays(data: bytes) -> tuple[int, int]:
    """Its frames, and how many milliseconds each is shown."""
    if data.startswith(b"RIFF"):
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()  # a frame's duration is known once it is read
            return getattr(opened, "n_frames", 1), int(opened.info["duration"])
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        return stream.frames, round(1000 / (stream.average_rate or 1))


def files_in(to: Path, kind: str, ending: str) -> list[bytes]:
    """The files of the videos, as each format has them."""
    if kind == "webdataset":
        return [sample[ending] for _, sample in samples_of(sorted(to.glob("*.tar")))]
    if kind == "mds":
        return [sample["image"] for file in sorted((to / "train").glob("*.mds")) for sample in shard(file)]
    if kind == "imagefolder":
        return [file.read_bytes() for file in sorted(to.rglob(f"*.{ending}"))]
    return [row["image"]["bytes"] for row in pq.read_table(to / "data").to_pylist()]


@pytest.mark.parametrize("kind", FOR_VIDEOS)
def test_every_format_keeps_marked_videos_that_play(kind: str, run: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    assert export(run, to, kind) == 0
    files = files_in(to, kind, run.name)
    assert sorted(files) == sorted(row["image"]["bytes"] for row in marked_rows_of(run))
    assert {plays(data) for data in files} == {(FRAMES, 1000 // FPS)}
    assert all(SOURCE_TYPE.encode() in data for data in files)


@pytest.mark.parametrize("kind", [kind for kind in FOR_VIDEOS if kind != "mds"])
def test_datasets_reads_them_as_their_cards_say(
    kind: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    assert export(run, tmp_path / "to", kind) == 0
    rows: Any = run_blocks((tmp_path / "to" / "README.md").read_text(), tmp_path / "to")[0]["rows"]
    assert rows.num_rows == 6
    column = {"webdataset": run.name, "imagefolder": "video" if run.name == "mp4" else "image"}.get(kind, "image")
    feature = datasets.Video if run.name == "mp4" else datasets.Image
    assert isinstance(rows.features[column], feature)
    cells = rows.cast_column(column, feature(decode=False))[column]
    found = [cell["bytes"] or Path(cell["path"]).read_bytes() for cell in cells]
    assert sorted(found) == sorted(row["image"]["bytes"] for row in marked_rows_of(run))


def test_mds_says_what_its_reader_gets(run: Path, tmp_path: Path) -> None:
    assert export(run, tmp_path / "mds", "mds") == 0
    index = json.loads((tmp_path / "mds" / "train" / "index.json").read_bytes())["shards"][0]
    encodings = dict(zip(index["column_names"], index["column_encodings"], strict=True))
    assert encodings["image"] == ("bytes" if run.name == "mp4" else "png")
    text = (tmp_path / "mds" / "README.md").read_text()
    assert ("the bytes of an MP4" if run.name == "mp4" else "a PIL image") in text


def test_coco_is_refused_as_it_is_of_pictures(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(run, tmp_path / "coco", "coco") == 2
    assert f"{run} has videos; choose webdataset, huggingface, imagefolder, mds" in capsys.readouterr().err
    assert not (tmp_path / "coco").exists()


def test_the_run_itself_is_read_as_its_card_says(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    run_blocks((run / "README.md").read_text(), run)
    query = f"select count(*), min(fps), min(octet_length(image.bytes)) > 100 from '{run}/data/*.parquet'"
    assert duckdb.connect().execute(query).fetchall() == [(6, FPS, True)]
