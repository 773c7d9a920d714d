"""Exports, read back by tools that know nothing of this project."""

from __future__ import annotations

import io
import json
import random
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jobs.export import main
from pipelines.cluster import bars
from pipelines.dataset import images
from pipelines.dataset.schema import scored
from pipelines.dataset.storage import Storage
from pipelines.export import flow as export_run
from pipelines.export.card import yaml_features
from pipelines.export.formats import FORMATS
from pipelines.export.layout import Weighed, lay_out
from pipelines.flows.finish import finish
from tests.support.killing import ended
from tests.support.toy_run import DIM, Toy, write_run

TOY = Toy(prompts=5, arms=("base", "both"), prompts_per_shard=2, side=16)
KILLS = 5
SHARD_BYTES = 40960

Row = dict[str, Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, for tests that only read it: three shards, two arms."""
    folder = tmp_path_factory.mktemp("run")
    finish(write_run(folder, TOY))
    return folder


@pytest.fixture
def own_run(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "own"))


def export(dataset: Path | str, to: Path | str, kind: str, *more: str, shard_bytes: int = SHARD_BYTES) -> int:
    words = ["--dataset", str(dataset), "--to", str(to), "--format", kind, "--shard-bytes", str(shard_bytes), *more]
    return main(words)


def rows_of(run: Path, folder: str = "data") -> list[Row]:
    """All rows of a run in the order of its shards."""
    return [row for file in sorted((run / folder).iterdir()) for row in pq.read_table(file).to_pylist()]


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


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_tars_hold_every_image_once_with_all_its_columns(run: Path, tmp_path: Path) -> None:
    to = tmp_path / "tars"
    assert export(run, to, "webdataset", "--embeddings") == 0
    tars = sorted(to.glob("*.tar"))
    assert len(tars) > 1
    assert [tar.name for tar in tars] == [f"train-{number:06d}.tar" for number in range(len(tars))]
    assert all(tar.stat().st_size <= SHARD_BYTES for tar in tars)
    samples, rows = list(samples_of(tars)), rows_of(run)
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


def test_tars_read_by_datasets(run: Path, tmp_path: Path) -> None:
    to, cache = tmp_path / "tars", str(tmp_path / "cache")
    assert export(run, to, "webdataset", "--rejected", "--embeddings") == 0
    for config, folder in (("default", "data"), ("rejected", "rejected")):
        rows = rows_of(run, folder)
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


def test_a_guessing_reader_gets_the_tars_of_one_arm(run: Path, tmp_path: Path) -> None:
    assert export(run, tmp_path / "tars", "webdataset", "--arm", "both") == 0
    files = f"{tmp_path}/tars/train-*.tar"
    loaded: Any = datasets.load_dataset("webdataset", data_files=files, split="train", streaming=True)
    expected = [row["prompt"] for row in rows_of(run) if row["arm"] == "both"]
    assert [row["txt"] for row in loaded.select_columns(["txt"])] == expected


def test_a_hugging_face_folder(run: Path, tmp_path: Path) -> None:
    to = tmp_path / "hf"
    assert (
        export(run, to, "huggingface", "--rejected", "--embeddings", "--license", "cc-by-4.0", shard_bytes=20000) == 0
    )
    count = len(list((to / "data").iterdir()))
    assert count > 1
    assert sorted(path.name for path in (to / "data").iterdir()) == [
        f"train-{number:05d}-of-{count:05d}.parquet" for number in range(count)
    ]
    for config, folder in (("default", "data"), ("rejected", "rejected")):
        rows = rows_of(run, folder)
        loaded: Any = datasets.load_dataset(str(to), config, split="train", cache_dir=str(tmp_path / "cache"))
        assert loaded.features == datasets.Features.from_arrow_schema(scored(DIM))
        assert np.array_equal(np.asarray(loaded[0]["image"]), images.decode(rows[0]["image"]["bytes"]))
        assert loaded.cast_column("image", datasets.Image(decode=False)).to_list() == rows
    (found,) = duckdb.connect().execute(f"select count(*), max(clip_score) from '{to}/data/*.parquet'").fetchall()
    assert found == (len(rows_of(run)), max(row["clip_score"] for row in rows_of(run)))
    card = (to / "README.md").read_text()
    assert "\nlicense: cc-by-4.0\n" in card
    assert "| `embedding` |" in card


def test_features_in_a_card_are_written_as_datasets_writes_them() -> None:
    features = datasets.Features.from_arrow_schema(scored(DIM))
    content = json.loads(json.dumps(features.to_dict()))
    assert yaml_features({name: content[name] for name in features}) == features._to_yaml_list()


def test_without_embeddings_there_are_none(run: Path, tmp_path: Path) -> None:
    assert export(run, tmp_path / "hf", "huggingface") == 0
    names = pq.read_schema(next((tmp_path / "hf" / "data").iterdir())).names
    assert names == [name for name in scored(DIM).names if name != "embedding"]


@pytest.mark.parametrize("kind", FORMATS)
def test_equal_runs_give_equal_bytes_wherever_they_lie(kind: str, run: Path, own_run: Path, tmp_path: Path) -> None:
    assert export(run, tmp_path / "a", kind, "--rejected") == 0
    assert export(own_run, tmp_path / "b", kind, "--rejected") == 0
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_killed_export_goes_on(kind: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Forked processes share the lock of the bars, and one that is killed would keep it.
    monkeypatch.setattr(bars, "bar", lambda *_: nullcontext(SimpleNamespace(update=lambda _: None)))
    started = time.monotonic()
    assert export(run, tmp_path / "whole", kind, shard_bytes=20480) == 0
    longest = time.monotonic() - started
    dice = random.Random(kind)
    for kill in range(KILLS):
        to = tmp_path / f"killed-{kill}"
        while not ended(partial(export, run, to, kind, shard_bytes=20480), dice.uniform(0.0, 1.2) * longest):
            for path in to.rglob("*.tar"):
                tarfile.open(path).close()  # whole, if it is there
        assert bytes_of(to) == bytes_of(tmp_path / "whole")


def test_what_is_there_is_not_written_again(run: Path, tmp_path: Path) -> None:
    to = tmp_path / "tars"
    assert export(run, to, "webdataset") == 0
    whole = bytes_of(to)
    kept, lost = to / "train-000001.tar", to / "train-000000.tar"
    before = kept.stat().st_mtime_ns
    lost.unlink()
    (to / "README.md").unlink()
    assert export(run, to, "webdataset") == 0
    assert bytes_of(to) == whole
    assert kept.stat().st_mtime_ns == before


def test_from_s3_to_s3(s3: Storage, run: Path, tmp_path: Path) -> None:
    for name, content in bytes_of(run).items():
        s3.write_bytes(f"run/{name}", content)
    for kind in FORMATS:
        assert export(run, tmp_path / kind, kind) == 0
        assert export(s3.path("run"), s3.path(kind), kind) == 0
        for name, content in bytes_of(tmp_path / kind).items():
            assert s3.read_bytes(f"{kind}/{name}") == content
        assert export(s3.path("run"), s3.path(kind), kind) == 0


def test_many_files_are_written_over_ray(
    run: Path, tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert export(run, tmp_path / "here", "webdataset") == 0
    monkeypatch.setattr(export_run, "_FILES_WORTH_RAY", 2)
    assert export(run, tmp_path / "spread", "webdataset") == 0
    assert bytes_of(tmp_path / "spread") == bytes_of(tmp_path / "here")


def test_videos_stay_animated(own_run: Path, tmp_path: Path) -> None:
    video = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    data = images.encode_video(video, 8)

    def film(rows: pa.Table) -> pa.Table:
        cells = [{"bytes": data, "path": f"{key}.webp"} for key in rows["image_id"].to_pylist()]
        return rows.set_column(0, rows.schema.field("image"), pa.array(cells, rows.schema.field("image").type))

    for file in (own_run / "data").iterdir():
        pq.write_table(film(pq.read_table(file)), file)
    finish(Storage.open(own_run))
    assert export(own_run, tmp_path / "tars", "webdataset") == 0
    _, sample = next(samples_of(sorted((tmp_path / "tars").glob("*.tar"))))
    assert sample["webp"] == data
    with Image.open(io.BytesIO(sample["webp"])) as opened:
        assert getattr(opened, "n_frames", 1) == 3


def refused(capsys: pytest.CaptureFixture[str], status: int) -> str:
    assert status == 2
    return capsys.readouterr().err


def _not_summed_up(run: Path) -> None:
    (run / "manifest.json").unlink()


def _damaged(run: Path) -> None:
    (run / "data" / "shard-000001.parquet").unlink()
    finish(Storage.open(run))


def _grown(run: Path) -> None:
    record = json.loads((run / "run.json").read_bytes())
    record["plan"]["groups"] += 1
    (run / "run.json").write_text(json.dumps(record))


def _retried(run: Path) -> None:
    (run / "retry").mkdir()
    for name in ("requested", "shard-000000.parquet"):
        (run / "retry" / name).write_bytes(b"")


def _rewritten(run: Path) -> None:
    file = run / "data" / "shard-000001.parquet"
    pq.write_table(pq.read_table(file), file, compression="none")


def _no_run(run: Path) -> None:
    shutil.rmtree(run)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_not_summed_up, "is not finished: it has no manifest.json"),
        (_damaged, "data/shard-000001.parquet is not there"),
        (_grown, "run.json plans 11 groups, manifest.json has counted 10"),
        (_retried, "a retry of its failed groups has begun"),
        (_rewritten, "data/shard-000001.parquet has "),
        (_no_run, "holds no run"),
    ],
)
def test_a_run_that_is_not_finished_is_refused(
    damage: Callable[[Path], None], words: str, own_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(own_run)
    message = refused(capsys, export(own_run, tmp_path / "to", "webdataset"))
    assert words in message
    assert str(own_run) in message
    assert "jobs/synth.py" in message


def test_a_folder_with_something_else_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = tmp_path / "to"
    to.mkdir()
    (to / "thesis.tex").write_text("")
    assert "is not empty (thesis.tex" in refused(capsys, export(run, to, "webdataset"))
    assert "is not empty" in refused(capsys, export(run, run, "webdataset"))
    assert [path.name for path in to.iterdir()] == ["thesis.tex"]


def test_another_export_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = tmp_path / "to"
    assert export(run, to, "webdataset") == 0
    message = refused(capsys, export(run, to, "webdataset", "--arm", "both", "--rejected"))
    assert "rejected was False and is True" in message
    assert "arms was ['base', 'both'] and is ['both']" in message
    assert f"{to}/export.json" in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--arm", "bath"], "--arm 'bath': the run in"),
        (["--scores", "b32"], "has no scores 'b32'; there are: none"),
        (["--shard-bytes", "1000"], "--shard-bytes 1000 leaves no room"),
    ],
)
def test_wrong_options_are_named(
    options: list[str], words: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(capsys, export(run, tmp_path / "to", "webdataset", *options))
    assert export(run, tmp_path / "to", "webdataset") == 0  # a mistake leaves nothing in the way


def test_a_picture_that_no_reader_would_know_is_named(
    own_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = own_run / "data" / "shard-000001.parquet"
    rows = pq.read_table(file).to_pylist()
    rows[2]["image"]["path"] = "x.bmp"
    pq.write_table(pa.Table.from_pylist(rows, scored(DIM)), file)
    finish(Storage.open(own_run))
    message = refused(capsys, export(own_run, tmp_path / "to", "webdataset"))
    assert f"{file}, rows 0 to" in message
    assert f"image {rows[2]['group_id']}-{rows[2]['index_in_group']} (image.path = 'x.bmp')" in message


@given(st.lists(st.lists(st.integers(1, 50), max_size=8), max_size=6), st.integers(1, 120))
def test_files_hold_every_row_once_in_order_and_are_full(sizes: list[list[int]], room: int) -> None:
    shards = [
        Weighed(
            file=f"data/{number}",
            places=np.arange(0, 2 * len(of), 2),
            sizes=np.array(of, np.int64),
            endings=frozenset(),
        )
        for number, of in enumerate(sizes)
    ]
    files = list(lay_out(shards, room))
    found = [
        (piece.file, place)
        for file in files
        for piece in file.pieces
        for place in range(piece.first, piece.end)
        if place % 2 == 0
    ]
    assert found == [(f"data/{number}", 2 * at) for number, of in enumerate(sizes) for at in range(len(of))]
    assert all(file.bytes <= room or file.rows == 1 for file in files)
    flat = iter([size for of in sizes for size in of])
    filled = [[next(flat) for _ in range(file.rows)] for file in files]
    assert [sum(of) for of in filled] == [file.bytes for file in files]
    assert all(sum(of) + after[0] > room for of, after in pairwise(filled))
