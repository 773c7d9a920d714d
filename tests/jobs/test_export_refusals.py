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
from pipelines.flows.finish import finish
from tests.support.exports import export
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


def test_a_folder_with_something_else_is_refused(
    toy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "to"
    to.mkdir()
    (to / "thesis.tex").write_text("")
    assert "is not empty (thesis.tex" in refused(capsys, export(toy_run, to, "webdataset"))
    assert "is not empty" in refused(capsys, export(toy_run, toy_run, "webdataset"))
    assert [path.name for path in to.iterdir()] == ["thesis.tex"]


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
    ],
)
def test_wrong_options_are_named(
    options: list[str], words: str, toy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(capsys, export(toy_run, tmp_path / "to", "webdataset", *options))
    assert export(toy_run, tmp_path / "to", "webdataset") == 0  # a mistake leaves nothing in the way


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
