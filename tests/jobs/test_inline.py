"""Growth, faults, retries and many prompts of a run with its real stages, one after the other in this process."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.errors import UserError
from pipelines.flows import synth
from pipelines.prompts.columns import Columns
from pipelines.prompts.formats import FORMATS
from tests.conftest import PROMPTS
from tests.support.faults import FaultyGenerateShard
from tests.support.job import PLAIN, WORDS, complete, files_of, rows, run_inline, write_job


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
        read = FORMATS["tsv"].read(file, str(path), Columns(prompt="Prompt"))
        wanted = [" ".join(str(values[0]).split()) for _, values in read]
    assert len(wanted) == 1632
    assert Counter(prompt for (prompt,) in drawn + failed) == Counter(wanted)
