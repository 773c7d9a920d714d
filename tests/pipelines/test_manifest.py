"""manifest.json: the files of a run, and whether every planned group is in exactly one place."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import console
from pipelines.cluster.session import ordered_map
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.flows import replay
from pipelines.flows.finish import finish
from pipelines.plan.files import planned_shards
from pipelines.summary.audit import PROBLEMS_SHOWN, check_shard
from tests.support.exports import export
from tests.support.toy_run import Toy, write_run

FIRST = "shard-000000.parquet"


def manifest_of(output: Storage) -> dict[str, Any]:
    finish(output)
    content: dict[str, Any] = json.loads(output.read_bytes("manifest.json"))
    return content


def test_a_whole_run(tmp_path: Path) -> None:
    output = write_run(tmp_path, Toy(prompts=8, fail_every=5, bad_prompts=3))
    manifest = manifest_of(output)
    assert manifest["complete"] is True
    assert manifest["problems"] == []
    totals = manifest["totals"]
    assert totals == {
        "prompts_planned": 8,
        "prompts_failed": 3,
        "groups_planned": 32,
        "groups_done": 26,
        "groups_failed": 6,
        "images_kept": 26 * 3,
        "images_rejected": 26,
    }
    for folder, total in (("data", "images_kept"), ("rejected", "images_rejected")):
        assert sum(f["rows"] for f in manifest["files"] if f["path"].startswith(folder)) == totals[total]


def test_files_have_their_digests_and_nothing_derived_is_listed(tmp_path: Path) -> None:
    output = write_run(tmp_path, Toy(fail_every=5, bad_prompts=1))
    finish(output)
    files = manifest_of(output)["files"]
    on_disk = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    derived = {"manifest.json", "report.json", "README.md", "gallery.html"}
    assert [f["path"] for f in files] == [path for path in on_disk if path not in derived]
    for file in files:
        content = (tmp_path / file["path"]).read_bytes()
        assert file["bytes"] == len(content)
        assert file["sha256"] == hashlib.sha256(content).hexdigest()


def _remove_shard(folder: Path) -> None:
    (folder / "data" / FIRST).unlink()


def _edit(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def _lose_an_image(folder: Path) -> None:
    _edit(folder / "data" / FIRST, lambda rows: rows.slice(1))


def _repeat_an_image(folder: Path) -> None:
    _edit(folder / "data" / FIRST, lambda rows: pa.concat_tables([rows, rows.slice(0, 1)]))


def _lose_rejected(folder: Path) -> None:
    (folder / "rejected" / FIRST).unlink()


def _fail_a_done_group(folder: Path) -> None:
    done = pq.read_table(folder / "data" / FIRST)["group_id"][0].as_py()
    _edit(folder / "failed" / FIRST, lambda rows: _with_group(rows, pa.array([done])))


def _lose_a_failure(folder: Path) -> None:
    _edit(folder / "failed" / FIRST, lambda rows: rows.slice(0, 0))


def _fail_an_unknown_group(folder: Path) -> None:
    _edit(folder / "failed" / FIRST, lambda rows: pa.concat_tables([rows, _with_group(rows, pa.array(["unknown"]))]))


def _with_group(rows: pa.Table, group_ids: pa.Array[Any]) -> pa.Table:
    return rows.slice(0, 1).set_column(0, rows.schema.field("group_id"), group_ids)


def _add_a_stray_shard(folder: Path) -> None:
    (folder / "data" / "shard-000999.parquet").write_bytes((folder / "data" / FIRST).read_bytes())


@pytest.mark.parametrize(
    "path",
    [
        "data/prompts.csv",
        "data/more/x.parquet",
        "data/shard-0.parquet",
        "rejected/notes.txt",
        "failed/mine.parquet",
        "plan/notes.txt",
        "plan/plan-x.parquet",
    ],
)
def test_a_stray_file_is_named_wherever_the_state_of_the_run_is_shown(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = write_run(tmp_path, Toy(prompts=1, arms=("base",), side=16))
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text("mine")
    summary = finish(output)
    stray = "/".join(Path(path).parts[:2])
    sentence = f"{stray} is none of this run's files: move it elsewhere first"
    card = output.read_bytes("README.md").decode()
    assert f"**The run is not complete**: `{sentence}`. Start the same job again" in card
    assert f"NOT COMPLETE: {sentence}. Start the same command again" in console.table(summary)
    assert manifest_of(output)["problems"] == [sentence]
    assert export(tmp_path, tmp_path / "to", "webdataset") == 2
    assert f"is not finished: {sentence}. Start the run's own command again" in capsys.readouterr().err
    assert (tmp_path / path).read_text() == "mine"
    (tmp_path / path).unlink()
    if stray != path:
        (tmp_path / stray).rmdir()
    assert finish(output).complete


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_remove_shard, "not finished"),
        (_lose_an_image, "has images"),
        (_repeat_an_image, "has images"),
        (_lose_rejected, "has images"),
        (_fail_a_done_group, "1 failed rows: remove data/shard-000000.parquet first, so that the shard is made anew"),
        (_lose_a_failure, "0 images and 0 failed rows"),
        (_fail_an_unknown_group, "not in the plan"),
        (_add_a_stray_shard, "data/shard-000999.parquet is none of this run's files: move it"),
    ],
)
def test_every_damage_is_found_and_named(tmp_path: Path, damage: Callable[[Path], None], words: str) -> None:
    output = write_run(tmp_path, Toy(fail_every=5))
    damage(tmp_path)
    manifest = manifest_of(output)
    assert manifest["complete"] is False
    assert any(words in problem for problem in manifest["problems"])
    assert "not complete" in output.read_bytes("README.md").decode()


def _other_columns(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": [1]}), sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("path", ["data", "rejected", "failed", "plan"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:0],
        lambda data: data[: len(data) // 2],
        lambda data: bytes(len(data) // 2) + data[len(data) // 2 :],
        _other_columns,
    ],
    ids=["empty", "cut", "zeros", "other columns"],
)
def test_a_damaged_file_is_a_sentence_to_whoever_reads_it(
    path: str, damage: Callable[[bytes], bytes], damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = damaged / path / (FIRST if path != "plan" else "plan-000000.parquet")
    whole = file.read_bytes()
    try:
        file.write_bytes(damage(whole))
        output = Storage.open(damaged)
        with pytest.raises(
            UserError, match=f"^{file} (is not readable as parquet:|has no column) .+ start the job that wrote it again"
        ):
            finish(output)
        if path == "data":
            with pytest.raises(UserError, match=r"is not readable|has no column"):
                list(replay.pick(output, sample=0))
            assert export(damaged, damaged.parent / "to", "webdataset") == 2
            assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")
    finally:
        file.write_bytes(whole)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one shard with images of all kinds; whoever changes it changes it back."""
    folder = tmp_path_factory.mktemp("damaged")
    finish(write_run(folder, Toy(prompts=2, arms=("base", "both"), side=16, fail_every=4)))
    return folder


def test_many_problems_are_counted_and_the_first_are_shown(tmp_path: Path) -> None:
    output = write_run(tmp_path, Toy(prompts=30, prompts_per_shard=1, arms=("base",)))
    for path in (tmp_path / "data").iterdir():
        path.unlink()
    manifest = manifest_of(output)
    assert manifest["problem_count"] == 30
    assert len(manifest["problems"]) == PROBLEMS_SHOWN


def test_shards_may_be_checked_elsewhere_and_at_the_same_time(tmp_path: Path, local_ray: None) -> None:
    output = write_run(tmp_path, Toy(prompts=12, prompts_per_shard=1, fail_every=5))
    finish(output)
    one_by_one = output.read_bytes("manifest.json"), output.read_bytes("report.json")
    with ThreadPoolExecutor(4) as pool:
        finish(output, map_shards=pool.map)
    assert (output.read_bytes("manifest.json"), output.read_bytes("report.json")) == one_by_one
    finish(output, map_shards=ordered_map)
    assert (output.read_bytes("manifest.json"), output.read_bytes("report.json")) == one_by_one


def test_the_check_and_its_result_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    output = write_run(tmp_path)
    check, shard = pickle.loads(pickle.dumps((partial(check_shard, output, ()), next(planned_shards(output)))))  # noqa: S301 (our own bytes)
    assert pickle.loads(pickle.dumps(check(shard))) == check(shard)  # noqa: S301 (our own bytes)
