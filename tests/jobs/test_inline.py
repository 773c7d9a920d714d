"""Growth, faults, retries and many prompts of a run with its real stages, one after the other in this process."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest

from pipelines.cluster.progress import Tracker
from pipelines.config.scorers import Scoring, checked
from pipelines.dataset.failures import Failure
from pipelines.dataset.finished import open_finished
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.flows import rescore, synth
from pipelines.flows.rescore import RescoreConfig
from pipelines.prompts.columns import Columns
from pipelines.prompts.formats import FORMATS
from pipelines.prompts.wanted import Wanted
from tests.conftest import PROMPTS
from tests.support.exports import export
from tests.support.faults import FaultyGenerateShard
from tests.support.job import PLAIN, WORDS, complete, files_of, make_inline, rows, run_inline, write_job


def test_a_run_grows_without_being_redone(
    undisturbed: Path, tmp_path: Path, tiny_pipeline: str, tiny_clip: str
) -> None:
    write_job(tmp_path, tiny_pipeline, tiny_clip, [*PLAIN, {"prompt": "a moon"}])
    out = Path(shutil.copytree(undisturbed, tmp_path / "out"))
    first = files_of(out)
    assert run_inline(tmp_path, "group.groups_per_prompt=2").complete
    grown = files_of(out)
    assert {name: data for name, data in grown.items() if name in first} == first
    groups = rows(out / "data", "prompt, arm, group_id")
    assert Counter((prompt, arm) for prompt, arm, _ in groups) == {
        (word, arm): 6 for word in (*WORDS, "a moon") for arm in ("stock", "both")
    }
    assert len({group for _, _, group in groups}) == 4 * 9
    assert json.loads((out / "report.json").read_bytes())["counts"]["prompts"] == 9
    # It says no to shrinking, and leaves the run as it was.
    with pytest.raises(UserError, match="18 of the 36 groups planned"):
        run_inline(tmp_path)
    assert files_of(out) == grown


def test_rows_and_the_report_say_how_far_the_text_was_moved(undisturbed: Path) -> None:
    for arm, moved in rows(undisturbed / "data", "arm, displacement"):
        assert moved.keys() == {"tora", "repulsion"}
        assert all((share is None) if arm == "stock" else 0.001 < share < 1.0 for share in moved.values())
    stock, both = json.loads((undisturbed / "report.json").read_bytes())["by_arm"]
    assert "displacement" not in stock
    assert both["displacement"]["tora"]["groups"] == 8


def test_faults_cost_their_groups_and_retrying_them_heals(
    tmp_path: Path, tiny_pipeline: str, tiny_clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["a dot", "raises", "memory", "crowd", "nan", "black", "a sun"]
    write_job(tmp_path, tiny_pipeline, tiny_clip, [{"prompt": word} for word in words])
    out = tmp_path / "out"
    settings = ("arms=[{name='stock'}]", "output.groups_per_shard=8")
    with monkeypatch.context() as faulty:
        faulty.setattr(synth, "GenerateShard", FaultyGenerateShard)
        assert run_inline(tmp_path, *settings).groups_failed == 4
    assert complete(out)
    assert {prompt for (prompt,) in rows(out / "data", "prompt")} == {"a dot", "crowd", "a sun"}
    assert rows(out / "failed", "prompt, error_type, attempts") == [
        ("black", "BlankImage", 1),
        ("memory", "RuntimeError", 2),
        ("nan", "ImageError", 2),
        ("raises", "KeyError", 2),
    ]
    untouched = {row for row in rows(out / "data", "prompt, image_id") if row[0] in ("a dot", "crowd", "a sun")}
    assert run_inline(tmp_path, *settings, retry_failed=True).complete
    assert not list((out / "failed").iterdir())
    assert pq.read_table(out / "data")["prompt"].to_pylist() == [word for word in words for _ in range(3)]
    assert untouched < set(rows(out / "data", "prompt, image_id"))


@pytest.mark.skipif(not PROMPTS.is_dir(), reason="the PartiPrompts file is not beside this checkout")
def test_all_parti_prompts_are_accounted_for(tmp_path: Path, tiny_pipeline: str, tiny_clip: str) -> None:
    """1,632 prompts, many of them longer than the tiny text encoder reads."""
    write_job(tmp_path, tiny_pipeline, tiny_clip)
    path = PROMPTS / "partiprompts" / "PartiPrompts.tsv"
    prompts = (f"prompts.path={path}", "prompts.columns.prompt=Prompt", "prompts.duplicates=keep")
    groups = ("group.size=1", "group.groups_per_batch=16", "output.groups_per_shard=64", "arms=[{name='stock'}]")
    assert run_inline(tmp_path, *prompts, *groups).complete
    drawn, failed = (rows(tmp_path / "out" / folder, "prompt") for folder in ("data", "failed"))
    assert drawn
    assert failed
    with path.open("rb") as file:
        read = FORMATS["tsv"].read(file, str(path), Wanted(Columns(prompt="Prompt")))
        wanted = [" ".join(values["Prompt"].split()) for _, values in read if not isinstance(values, Failure)]
    assert len(wanted) == 1632
    assert Counter(prompt for (prompt,) in drawn + failed) == Counter(wanted)


def test_what_goes_along_reaches_every_end(tmp_path: Path, tiny_pipeline: str, tiny_clip: str) -> None:
    """Rows, exports, a rescoring and the gallery."""
    lines: list[dict[str, Any]] = [
        {"prompt": "a red square", "label": 3, "meta": {"lang": "en", "tags": ["a", "b"]}},
        {"prompt": "a star", "label": None, "meta": {"lang": "de", "tags": []}, "steps": 1},
    ]
    write_job(tmp_path, tiny_pipeline, tiny_clip, lines)
    out = tmp_path / "out"
    assert run_inline(tmp_path, "prompts.carry=['label', 'meta']", "selection.keep_per_group=2").complete
    along = {(line["prompt"], line["label"], json.dumps(line["meta"])) for line in lines}
    for folder in ("plan", "data", "rejected"):
        assert {
            (text, label, json.dumps(meta)) for text, label, meta in rows(out / folder, "prompt, label, meta")
        } == along
    assert export(out, tmp_path / "hub", "huggingface", shard_bytes=1 << 20) == 0
    loaded = datasets.load_dataset("parquet", data_files=f"{tmp_path}/hub/data/*.parquet", split="train")
    assert {(row["prompt"], row["label"], json.dumps(row["meta"])) for row in loaded} == along
    assert export(out, tmp_path / "tars", "webdataset", shard_bytes=1 << 20) == 0
    with tarfile.open(tmp_path / "tars" / "train-000000.tar") as tar:
        found = [json.load(tar.extractfile(one) or io.BytesIO()) for one in tar if one.name.endswith(".json")]
    assert {(row["label"], json.dumps(row["meta"])) for row in found} == {one[1:] for one in along}
    run = open_finished(Storage.open(out))
    config = RescoreConfig(scoring=checked(Scoring(model=tiny_clip)))
    rescore.claim(run, "again", config)
    make_inline(rescore.pending_shards(run, "again"), rescore.stages(run, "again", config, Tracker([*rescore.STAGES])))
    assert export(out, tmp_path / "both", "huggingface", "--scores", "again", shard_bytes=1 << 20) == 0
    assert {"label", "again_clip_score"} <= {*pq.read_schema(next((tmp_path / "both" / "data").iterdir())).names}
    page, card = (out / "gallery.html").read_text(), (out / "README.md").read_text()
    assert '"carried": {"label": 3, "meta": "{\\"lang\\": \\"en\\", \\"tags\\": [\\"a\\", \\"b\\"]}"}' in page
    assert "| `label` | `int64` | `label` of the prompt file, carried along |" in card


def test_a_run_with_quotas_ends_like_any_run(tmp_path: Path, tiny_pipeline: str, tiny_clip: str) -> None:
    """Complete, and exported with what was accepted; a replay needs its rows alone."""
    lines = [{"prompt": "a red square", "concept": "square"}, {"prompt": "a dot"}]
    write_job(tmp_path, tiny_pipeline, tiny_clip, lines)
    quotas = ("quota.accepted=5", "quota.most_groups=6", "quota.distinct_similarity=0.9999999")
    assert run_inline(tmp_path, *quotas).complete
    out = tmp_path / "out"
    assert Counter(concept for (concept,) in rows(out / "data", "concept")) == {"square": 5, None: 5}
    assert rows(out / "rejected", "drop_reason") == [("over quota",)] * 2
    assert export(out, tmp_path / "hub", "huggingface", shard_bytes=1 << 20) == 0
    assert pq.read_table(tmp_path / "hub" / "data").num_rows == 10
