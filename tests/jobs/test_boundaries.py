"""What jobs say of folders that hold no finished run: one line, and not a file is touched."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import export, replay, score
from tests.support.exports import bytes_of


def _missing(folder: Path) -> str:
    shutil.rmtree(folder)
    return "holds no run"


def _empty(folder: Path) -> str:
    shutil.rmtree(folder)
    folder.mkdir()
    return "holds no run"


def _a_file(folder: Path) -> str:
    shutil.rmtree(folder)
    folder.write_text("mine")
    return "is not a folder"


def _foreign(folder: Path) -> str:
    (folder / "run.json").unlink()
    return "holds no run"


def _of_another_tool(folder: Path) -> str:
    (folder / "run.json").write_text('{"name": "another tool\'s"}')
    return "run.json"


def _not_planned(folder: Path) -> str:
    text = (folder / "run.json").read_text()
    (folder / "run.json").write_text(text[: text.index('"plan":')] + '"plan": null, "plan_made_from": null}')
    for name in ("data", "rejected", "plan"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "manifest.json").unlink()
    return "not finished|holds no image"


def _without_images(folder: Path) -> str:
    for name in ("data", "rejected"):
        shutil.rmtree(folder / name, ignore_errors=True)
    return "is not there|is gone|holds no image"


def _cut(folder: Path) -> str:
    for file in (folder / "data").iterdir():
        file.write_bytes(file.read_bytes()[:-9])
    return "since the run was summed up|is not readable"


JOBS: dict[str, Callable[[Path], int]] = {
    "export": lambda run: export.main(["--dataset", str(run), "--to", f"{run}-to", "--format", "huggingface"]),
    "score": lambda run: score.main(["--dataset", str(run), "--scorer", "b=ViT-B-32"]),
    "replay": lambda run: replay.main(["--dataset", str(run)]),
}
FOLDERS = (_missing, _empty, _a_file, _foreign, _of_another_tool, _not_planned, _without_images, _cut)


@pytest.mark.parametrize("prepare", FOLDERS)
@pytest.mark.parametrize("job", JOBS)
def test_a_folder_without_a_finished_run_is_one_line(
    job: str, prepare: Callable[[Path], str], own_toy_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = prepare(own_toy_run).split("|")
    before = bytes_of(own_toy_run)
    assert JOBS[job](own_toy_run) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    assert str(own_toy_run) in line
    assert any(word in line for word in words), line
    assert bytes_of(own_toy_run) == before
