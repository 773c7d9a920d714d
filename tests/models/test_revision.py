"""The name of a model folder's contents."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import ModelError
from models.generator import Generator
from models.loading.revision import folder_revision, hub_commit
from models.spec import ModelSpec


def test_follows_contents_and_names_only(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "weights.bin").write_bytes(b"\1" * (20 << 20))
        (tmp_path / name / "config.json").write_text("{}")
    before = folder_revision(tmp_path / "a")
    assert before == folder_revision(tmp_path / "b")
    (tmp_path / "a" / "config.json").write_text("{ }")
    assert folder_revision(tmp_path / "a") != before
    with (tmp_path / "b" / "sub" / "weights.bin").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\2")
    assert folder_revision(tmp_path / "b") != before


def test_other_weights_than_planned_are_refused(tiny_pipeline: str) -> None:
    with pytest.raises(ModelError, match="was planned with content-0"):
        Generator(ModelSpec(path=tiny_pipeline, revision="content-0", dtype="float32"))


def test_a_hub_model_s_commit_is_found_in_the_cache_when_the_hub_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert hub_commit("owner/model", "") == ""
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "models--owner--model" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").write_text("{}")
    refs = tmp_path / "models--owner--model" / "refs"
    refs.mkdir()
    (refs / "main").write_text(commit)
    assert hub_commit("owner/model", "") == commit
    assert hub_commit("owner/model", "1" * 40) == "1" * 40
