"""Other scores beside a finished run: real stages, a real open_clip model at toy size, real files."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import export, publish, quality, score
from pipelines.cluster.progress import Tracker
from pipelines.config.scorers import Scoring, checked
from pipelines.dataset import images, score_columns
from pipelines.dataset import scores as score_files
from pipelines.dataset.finished import open_finished
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.flows import rescore
from pipelines.flows.finish import finish
from pipelines.flows.rescore import RescoreConfig
from tests.support.docs import GUIDES, README, blocks, plain_blocks
from tests.support.job import make_inline, run_inline, write_job

FOLDERS = ("data", "rejected")
PROMPTS = [
    {"prompt": "a red square", "rarity": "common"},
    {"prompt": "a star", "rarity": "rare", "counterfactual": "a sun"},
    {"prompt": "a dot"},
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: str, tiny_clip: str) -> Path:
    """Output folder of a run with kept and rejected images, for tests that only look."""
    folder = tmp_path_factory.mktemp("finished")
    write_job(folder, tiny_pipeline, tiny_clip, PROMPTS)
    assert run_inline(folder, "selection.keep_per_group=2").complete
    return folder / "out"


@pytest.fixture
def own_run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "own"))


def score_inline(folder: Path, name: str, clip: str, *, embeddings: bool = False) -> list[dict[str, Any]]:
    """`rescore.rescore` without Ray; the last stage's row for each shard that was scored."""
    run = open_finished(Storage.open(folder))
    config = RescoreConfig(scoring=checked(Scoring(model=clip)), embeddings=embeddings)
    rescore.claim(run, name, config)
    pending = rescore.pending_shards(run, name)
    return make_inline(pending, rescore.stages(run, name, config, Tracker([*rescore.STAGES])))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_scorer_gives_the_same_numbers(own_run: Path, tiny_clip: str) -> None:
    before = bytes_of(own_run)
    made = score_inline(own_run, "again", tiny_clip, embeddings=True)
    assert sum(row["images"] for row in made) == 18
    after = bytes_of(own_run)
    assert {name: after[name] for name in before} == before
    assert {name.removeprefix("scores/again/") for name in after.keys() - before.keys()} == {
        score_files.RECORD,
        *(name for name in before if name.startswith(tuple(f"{folder}/" for folder in FOLDERS))),
    }
    for folder in FOLDERS:
        for file in (own_run / folder).iterdir():
            first, second = pq.read_table(file), pq.read_table(own_run / "scores" / "again" / folder / file.name)
            assert [second[key].to_pylist() for key in score_files.KEYS] == [
                first[key].to_pylist() for key in score_files.KEYS
            ]
            for column in score_columns.COLUMNS:
                assert second[f"again_{column}"].type == first[column].type
                assert second[f"again_{column}"].to_pylist() == first[column].to_pylist(), column


def test_only_what_is_open_is_scored(own_run: Path, tiny_clip: str) -> None:
    assert len(score_inline(own_run, "b", tiny_clip)) == 3
    whole = bytes_of(own_run)
    assert score_inline(own_run, "b", tiny_clip) == []
    # As a crash leaves it: rejected/ is written before data/, the mark.
    (own_run / "scores" / "b" / "data" / "shard-000001.parquet").unlink()
    (own_run / "scores" / "b" / "rejected" / "shard-000001.parquet").write_bytes(b"old")
    assert [row["shard"] for row in score_inline(own_run, "b", tiny_clip)] == [1]
    assert bytes_of(own_run) == whole
    # As a retry of failed groups changes it.
    run = open_finished(Storage.open(own_run))
    entry = run.files["data/shard-000002.parquet"]
    run.files[entry.path] = replace(entry, sha256="0" * 64)
    assert [order["shard"] for order in rescore.pending_shards(run, "b")] == [2]


def test_a_group_that_cannot_be_scored_has_no_scores(own_run: Path, tiny_clip: str, tmp_path: Path) -> None:
    whole = own_run / "data" / "shard-000000.parquet"
    shutil.copy(whole, tmp_path / "whole")
    table = pq.read_table(whole)
    rows = table.to_pylist()
    rows[0]["image"]["bytes"] = images.encode(np.zeros((4, 4, 3), np.uint8), "png")  # not as large as its group's
    pq.write_table(pa.Table.from_pylist(rows, table.schema), whole)
    finish(Storage.open(own_run))
    made = score_inline(own_run, "b", tiny_clip)
    assert [row["failed"] for row in made] == [1, 0, 0]
    scores = pq.read_table(own_run / "scores" / "b" / "data" / whole.name).to_pylist()
    bad = rows[0]["group_id"]
    for row, source in zip(scores, rows, strict=True):
        assert row["image_id"] == source["image_id"]
        assert (row["b_clip_score"] is None) == (row["b_group_vendi"] is None) == (row["group_id"] == bad)
    (failure,) = pq.read_table(own_run / "scores" / "b" / "failed" / whole.name).to_pylist()
    assert (failure["group_id"], failure["stage"]) == (bad, "score")
    # Once the picture is there again, the same command scores it, and nothing of the failure is left.
    shutil.copy(tmp_path / "whole", whole)
    finish(Storage.open(own_run))
    assert [row["failed"] for row in score_inline(own_run, "b", tiny_clip)] == [0]
    assert not (own_run / "scores" / "b" / "failed" / whole.name).exists()


def test_a_name_stands_for_one_scorer(own_run: Path, tiny_clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    score_inline(own_run, "b", tiny_clip)
    assert score.main(["--dataset", str(own_run), "--scorer", f"b={tiny_clip}", "--set", "scoring.batch_size=3"]) == 2
    message = capsys.readouterr().err
    assert "scores/b/scores.json says that the scores 'b' were made otherwise" in message
    assert "scoring.batch_size was 64 and is 3" in message


def test_a_name_is_free_as_long_as_nothing_has_scores_of_it(own_run: Path, tiny_clip: str) -> None:
    run = open_finished(Storage.open(own_run))
    for batch_size in (3, 64):
        rescore.claim(run, "b", RescoreConfig(scoring=Scoring(model=tiny_clip, batch_size=batch_size)))
    assert score_files.record(run.dataset, "b").scoring["batch_size"] == 64


def test_a_folder_of_somebody_else_s_is_no_place_for_scores(own_run: Path, tiny_clip: str) -> None:
    notes = own_run / "scores" / "b" / ".notes.tmp"
    notes.parent.mkdir(parents=True)
    notes.write_text("mine")
    with pytest.raises(UserError, match=r"scores/b is not empty \(\.notes\.tmp\)"):
        rescore.rescore(Storage.open(own_run), "b", RescoreConfig(scoring=Scoring(model=tiny_clip)))
    assert [path.name for path in notes.parent.iterdir()] == [notes.name]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scorer", "b32"], "--scorer 'b32': write NAME=MODEL"),
        (["--scorer", "B-32=ViT-B-32"], "the scorer name 'B-32'"),
        (["--scorer", "b=ViT-B-23:openai"], "scoring.model = 'ViT-B-23': open_clip has no such model"),
        (["--scorer", "b=ViT-B-32"], "scoring.pretrained = '' leaves"),
        (["--scorer", "b=local-dir:/none"], "there is no folder '/none'"),
        (["--scorer", "b=ViT-B-32:openai", "--set", "ray.scorer=2"], "did you mean 'scorers'?"),
    ],
)
def test_wrong_settings_are_named(
    words: list[str], message: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score.main(["--dataset", str(finished), *words]) == 2
    assert message in capsys.readouterr().err


def test_images_that_are_not_those_of_a_run_are_named(
    own_run: Path, tiny_clip: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = own_run / "data" / "shard-000000.parquet"
    manifest = json.loads((own_run / "manifest.json").read_bytes())

    def said(content: bytes | None) -> str:
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_bytes(content)
            entries = [
                {**e, "bytes": len(content)} if e["path"] == f"data/{file.name}" else e for e in manifest["files"]
            ]
            (own_run / "manifest.json").write_text(json.dumps({**manifest, "files": entries}))
        assert score.main(["--dataset", str(own_run), "--scorer", f"b={tiny_clip}"]) == 2
        return capsys.readouterr().err

    foreign = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1]}), foreign)
    assert f"{file} has no column 'group_id': it is no file of a run" in said(foreign.getvalue().to_pybytes())
    assert f"{file} is not readable as parquet" in said(b"PAR1")
    assert f"{file} is gone, but manifest.json says" in said(None)


def test_exports_take_scores_along(own_run: Path, tiny_clip: str, tmp_path: Path) -> None:
    score_inline(own_run, "b", tiny_clip, embeddings=True)
    words = ["--dataset", str(own_run), "--format", "huggingface", "--rejected", "--embeddings"]
    assert export.main([*words, "--to", str(tmp_path / "hf")]) == 0
    loaded: Any = datasets.load_dataset(str(tmp_path / "hf"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["b_clip_score"][:] == loaded["clip_score"][:]
    assert loaded["b_embedding"][:] == loaded["embedding"][:]
    assert "by the scorer `b`" in (tmp_path / "hf" / "README.md").read_text()
    assert export.main([*words, "--to", str(tmp_path / "without"), "--scores"]) == 0
    names = pq.read_schema(next((tmp_path / "without" / "data").iterdir())).names
    assert not [name for name in names if name.startswith("b_")]


def test_scores_of_other_images_are_refused(
    own_run: Path, tiny_clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    score_inline(own_run, "b", tiny_clip)
    words = ["--dataset", str(own_run), "--format", "huggingface", "--to", str(tmp_path / "hf")]
    file = own_run / "scores" / "b" / "data" / "shard-000001.parquet"
    pq.write_table(pq.read_table(file).slice(1), file)
    assert export.main(words) == 2
    message = capsys.readouterr().err
    assert f"{file}: row " in message
    assert "jobs/score.py" in message
    file.unlink()
    assert export.main(words) == 2
    assert f"{file} is not there yet" in capsys.readouterr().err


def test_a_scorer_in_words() -> None:
    assert score.scorer("b32=ViT-B-32:openai") == ("b32", {"model": "ViT-B-32", "pretrained": "openai"})
    assert score.scorer("x=local-dir:/a=b:c") == ("x", {"model": "local-dir:/a=b:c"})
    assert score.scorer("x=hf-hub:a/b") == ("x", {"model": "hf-hub:a/b"})
    with pytest.raises(UserError, match="write NAME="):
        score.scorer("x=")


def test_the_commands_of_the_readme(
    own_run: Path, tiny_clip: str, local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scorers of its examples need a download, and the hub an account; here they are the tiny one and a folder."""
    (section,) = re.findall(r"## Export, publishing and rescoring\n(.*?)\n## ", README, re.S)
    section = re.sub(r"ViT-[BL]-\d\d:openai", tiny_clip, section).replace("OWNER/NAME", f"file://{tmp_path}/there")
    (commands,), (code,) = plain_blocks(section), blocks(GUIDES["pipelines/dataset/README.md"], "python")
    (tmp_path / "out").mkdir()
    own_run.rename(tmp_path / "out" / "demo")
    monkeypatch.chdir(tmp_path)
    jobs = {f"jobs/{job.__name__.split('.')[1]}.py": job.main for job in (export, publish, quality, score)}
    for line in commands.splitlines():
        python, job, *words = shlex.split(line, comments=True)
        assert python == "python"
        if "--oracle" in words:  # it reads the embedded world's prompts alone: tests/jobs/test_calibrate_judge.py
            continue
        assert jobs[job](words) == 0, line
    (tmp_path / "join.py").write_text(code)
    names = runpy.run_path(str(tmp_path / "join.py"))
    zipped = names["zipped"]
    assert len(names["joined"].fetchall()) == zipped.num_rows == 12
    assert zipped["b32"].to_pylist() == zipped["clip_score"].to_pylist()
    record = json.loads(Path("out/demo/scores/l14/progress.json").read_bytes())
    assert (record["state"], record["images_done"]) == ("finished", 18)
