"""No job writes into a folder of somebody else's, and none removes what it has not written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.dataset import owned, run_json
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.evaluation import config as evaluation_config
from pipelines.evaluation import flow as evaluation
from pipelines.flows import dry_run, synth
from pipelines.plan import files as plan_files
from tests.conftest import ROOT, Configure

FOREIGN = (
    "README.md",
    "manifest.json",
    "gallery.html",
    "data/prompts.csv",
    "failed/prompts.parquet",
    "plan/plan-000000.parquet",
    ".notes.tmp",
    ".git/config",
    "run.lock",
    "a file with spaces\nand lines",
)


def content(folder: Path) -> dict[str, bytes | str]:
    """Everything below a folder, links and empty folders too."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else ""
        for path in sorted(folder.rglob("*"))
    }


def refusal(job: Callable[[], object]) -> str:
    with pytest.raises(UserError) as raised:
        job()
    return str(raised.value)


@pytest.fixture(params=["synth", "dry run", "evaluate"])
def job(request: pytest.FixtureRequest, configure: Configure, tmp_path: Path) -> Callable[[], object]:
    """A job whose output is tmp_path/out."""
    if request.param == "evaluate":
        file = ROOT / "jobs" / "configs" / "evaluate_embedded.toml"
        settings = evaluation_config.load(file, [f"output='{tmp_path}/out'"])
        return lambda: evaluation.run(settings)
    settings_of_run = configure()
    return (
        (lambda: synth.run(settings_of_run)) if request.param == "synth" else lambda: dry_run.describe(settings_of_run)
    )


@pytest.mark.parametrize("name", FOREIGN)
def test_a_folder_of_somebody_else_s_is_left_as_it_is(job: Callable[[], object], name: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("mine")
    before = content(out)
    message = refusal(job)
    assert f"{out} is not empty ({Path(name).parts[0]})" in message
    assert "output" in message.rpartition("Choose")[2]
    assert content(out) == before


def test_broken_links_and_empty_folders_are_somebody_s_too(job: Callable[[], object], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "run.lock").symlink_to("gone")
    (out / "later").mkdir()
    before = content(out)
    assert "is not empty (later, run.lock)" in refusal(job)
    assert content(out) == before


@pytest.mark.parametrize("name", ["README.md", "data/prompts.csv", ".notes.tmp", "run.lock"])
def test_in_s3_as_well(name: str, s3: Storage, configure: Configure) -> None:
    s3.write_bytes(name, b"mine")
    config = configure(run={"output": s3.uri})
    assert f"{s3.uri} is not empty ({name.split('/')[0]})" in refusal(lambda: synth.run(config))
    assert s3.read_bytes(name) == b"mine"
    assert list(s3.everything()) == [name.split("/")[0]]


@given(st.sets(st.text("abc.~#%é ", min_size=1, max_size=8).filter(lambda name: name.strip(".") != ""), max_size=4))
def test_only_an_empty_folder_is_free(tmp_path_factory: pytest.TempPathFactory, names: set[str]) -> None:
    folder = tmp_path_factory.mktemp("any")
    for name in names:
        (folder / name).write_bytes(b"mine")
    if not names:
        owned.check(Storage.open(folder), run_json.FILE, setting="run.output")
    else:
        assert "is not empty" in refusal(lambda: owned.check(Storage.open(folder), run_json.FILE, setting="run.output"))
    Storage.open(folder).sweep("")
    assert {path.name for path in folder.iterdir()} == names


def test_what_a_killed_job_leaves_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "run.lock").write_text('{"owner": "a job that is dead", "beat": 3}')
    (tmp_path / f".run.json.{'0' * 32}.tmp").write_text("half")
    owned.check(Storage.open(tmp_path), run_json.FILE, setting="run.output")


def test_only_plan_files_are_trimmed(tmp_path: Path) -> None:
    (tmp_path / "plan").mkdir()
    for name in ("plan-000000.parquet", "notes.txt", "plan-x.parquet", "my-plan-000001.parquet"):
        (tmp_path / "plan" / name).write_bytes(b"")
    plan_files.trim(Storage.open(tmp_path), ())
    assert sorted(path.name for path in (tmp_path / "plan").iterdir()) == [
        "my-plan-000001.parquet",
        "notes.txt",
        "plan-x.parquet",
    ]
