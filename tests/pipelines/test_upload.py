"""What is sent to a cluster: the code, no outputs, and never more than Ray takes."""

from __future__ import annotations

import os
from pathlib import Path
from zipfile import ZipFile

import pytest
from ray._private.runtime_env import packaging

from pipelines.cluster.upload import _walk, working_directory
from pipelines.errors import UserError
from tests.conftest import ROOT


def sent(folder: Path) -> set[str]:
    """The files that Ray's own packing takes with the environment for a folder."""
    target = folder.parent / "package.zip"
    target.unlink(missing_ok=True)
    excludes = working_directory(folder)["excludes"]
    packaging.create_package(str(folder), target, include_gitignore=True, excludes=excludes)
    with ZipFile(target) as package:
        return set(package.namelist())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "work"
    for path in (
        "run.py",
        "plugins/mine.py",
        "models/w.bin",
        "[odd] *name!/data/a.parquet",
        "exports/b/x.tar",
        "secret/k",
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"12345")
    (root / "[odd] *name!" / "run.json").write_text("{}")
    (root / "exports" / "b" / "export.json").write_text("{}")
    (root / "secret" / ".gitignore").write_text("*")
    return root


def test_outputs_and_what_is_ignored_stay_here(folder: Path) -> None:
    assert sent(folder) == {"run.py", "plugins/mine.py", "models/w.bin"}
    (folder / ".rayignore").write_text("/models\n")
    assert sent(folder) == {".rayignore", "run.py", "plugins/mine.py"}


def test_the_bytes_are_those_of_the_package(folder: Path) -> None:
    files, left_out = _walk(folder)
    assert files == {"run.py": 5, "plugins/mine.py": 5, "models/w.bin": 5}
    assert sorted(left_out) == ["[odd] *name!", "exports/b"]


def test_a_link_to_a_folder_above_and_a_pipe_are_left_out(folder: Path) -> None:
    """Ray would walk the one for ever, and wait at the other."""
    (folder / "plugins" / "again").symlink_to(folder)
    (folder / "gone").symlink_to("/nowhere/at/all")
    os.mkfifo(folder / "pipe")
    assert sent(folder) == {"run.py", "plugins/mine.py", "models/w.bin"}


def test_what_is_large_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaging, "GCS_STORAGE_MAX_SIZE", 300 << 20)
    for name, mib in {"models/w.bin": 250, "plugins/a.bin": 30, "plugins/b.bin": 31, "[odd] *name!/big": 999}.items():
        with (folder / name).open("wb") as file:
            file.truncate(mib << 20)
    with pytest.raises(UserError) as raised:
        working_directory(folder)
    for words in ("has 311 MiB", "less than 300 MiB", "models/ (250 MiB), plugins/ (61 MiB)", ".rayignore"):
        assert words in str(raised.value)
    (folder / ".rayignore").write_text("*.bin")
    working_directory(folder)


def test_this_project_s_own_folder_is_small() -> None:
    files, _ = _walk(ROOT)
    assert "jobs/synth.py" in files
    assert "models/embedded/weights/pipeline/model_index.json" in files
    assert not any(path.startswith((".venv/", "tests/", ".git/")) for path in files)
    assert sum(files.values()) < 100 << 20  # also the most that `ray job submit` takes
