"""The name of a model folder's contents."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import ModelError
from models.generator import Generator
from models.revision import folder_revision
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
