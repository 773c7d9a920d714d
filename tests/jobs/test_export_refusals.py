"""What exports refuse, and what they say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.dataset.schema import scored
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.flows.finish import finish
from tests.support.exports import bytes_of, export
from tests.support.toy_run import DIM


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
    damage: Callable[[Path], None], words: str, own_toy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(own_toy_run)
    message = refused(capsys, export(own_toy_run, tmp_path / "to", "webdataset"))
    assert words in message
    assert str(own_toy_run) in message
    assert "jobs/synth.py" in message


@pytest.mark.parametrize("name", ["thesis.tex", ".notes.tmp", "data/train-00000-of-00001.parquet", "README.md"])
def test_a_folder_with_something_else_is_refused(
    name: str, toy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "to"
    (to / name).parent.mkdir(parents=True)
    (to / name).write_text("mine")
    assert f"is not empty ({Path(name).parts[0]})" in refused(capsys, export(toy_run, to, "huggingface"))
    assert bytes_of(to) == {name: b"mine"}


def test_a_run_is_no_place_for_an_export(toy_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = bytes_of(toy_run)
    assert "is not empty" in refused(capsys, export(toy_run, toy_run, "webdataset"))
    assert bytes_of(toy_run) == before


def test_an_export_removes_nothing_that_it_did_not_write(toy_run: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    assert export(toy_run, to, "huggingface") == 0
    for name in (".notes.tmp", "data/.notes.tmp", "notes.txt"):
        (to / name).write_text("mine")
    (to / "data" / f".train-00000-of-00001.parquet.{'0' * 32}.tmp").write_text("half")
    assert export(toy_run, to, "huggingface") == 0
    assert [path.read_text() for path in sorted(to.rglob("*notes*"))] == ["mine"] * 3
    assert not list(to.rglob("*0.tmp"))


def test_an_export_that_wrote_nothing_is_not_in_the_way(
    toy_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "to"

    def full_disk(*_: object) -> None:
        raise UserError("the disk is full")

    with monkeypatch.context() as failing:
        failing.setattr("pipelines.export.work.write_file", full_disk)
        assert export(toy_run, to, "webdataset", "--license", "mti") == 2
    assert [path.name for path in to.iterdir()] == ["export.json"]
    assert export(toy_run, to, "webdataset", "--license", "mit") == 0


def test_notes_beside_scores_and_retries_are_not_taken_for_them(own_toy_run: Path, tmp_path: Path) -> None:
    for name in ("scores/Notes of 2026/scores.json", "scores/notes/x", "retry/notes.txt", "retry/requested"):
        (own_toy_run / name).parent.mkdir(parents=True, exist_ok=True)
        (own_toy_run / name).write_text("mine")
    assert export(own_toy_run, tmp_path / "to", "huggingface") == 0


def test_another_export_is_refused(toy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = tmp_path / "to"
    assert export(toy_run, to, "webdataset") == 0
    message = refused(capsys, export(toy_run, to, "webdataset", "--arm", "both", "--rejected"))
    assert "rejected was False and is True" in message
    assert "arms was ['base', 'both'] and is ['both']" in message
    assert f"{to}/export.json" in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--arm", "bath"], "--arm 'bath': the run in"),
        (["--scores", "b32"], "has no scores 'b32'; there are: none"),
        (["--shard-bytes", "1000"], "--shard-bytes 1000 leaves no room"),
        (["--label", "image"], "--label 'image' is no column with labels; those that can be: image_id, index_in_group"),
        (["--split", "test=1e-9"], "for --split test=1e-09: with so few values of prompt, choose other shares"),
        (["--split", "test=0.999999999"], "for --split train, which is what the splits leave"),
    ],
)
def test_wrong_options_are_named(
    options: list[str], words: str, toy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = "coco" if "--label" in options else "webdataset"
    assert words in refused(capsys, export(toy_run, tmp_path / "to", kind, *options))
    assert export(toy_run, tmp_path / "to", "webdataset") == 0  # a mistake leaves nothing in the way


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--label", "concept"], "--label: a webdataset export has no labels but its columns"),
        (["--split-by", "concept"], "--split-by concept: there are no splits; name them with --split NAME=SHARE"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    options: list[str], words: str, toy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        export(toy_run, tmp_path / "to", "webdataset", *options)
    assert words in capsys.readouterr().err


def test_a_picture_that_no_reader_would_know_is_named(
    own_toy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = own_toy_run / "data" / "shard-000001.parquet"
    rows = pq.read_table(file).to_pylist()
    rows[2]["image"]["path"] = "x.bmp"
    pq.write_table(pa.Table.from_pylist(rows, scored(DIM)), file)
    finish(Storage.open(own_toy_run))
    message = refused(capsys, export(own_toy_run, tmp_path / "to", "webdataset"))
    assert f"{file}, rows 0 to" in message
    assert f"image {rows[2]['group_id']}-{rows[2]['index_in_group']} (image.path = 'x.bmp')" in message
