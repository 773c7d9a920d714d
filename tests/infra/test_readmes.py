"""What the READMEs say is so: paths exist, the walk names each file once, tables load, and Python runs as it stands."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from models.interventions.registry import registered
from pipelines.calibration import config as calibration
from pipelines.config.load import build
from pipelines.dataset.schema import VERSION
from pipelines.flows.finish import finish
from pipelines.serve.settings import ServeArgs
from tests.conftest import ROOT
from tests.support.docs import GUIDES, README, blocks, plain_blocks
from tests.support.job import write_job
from tests.support.served import serving
from tests.support.toy_run import Toy, write_run

PIPELINES, MODELS = GUIDES["pipelines/README.md"], GUIDES["models/README.md"]
PLUGIN = re.compile(r"<!-- plugin: (\w+) -->\n```python\n(.+?)```", re.DOTALL)
PLUGINS = dict(PLUGIN.findall(PIPELINES + MODELS))
"""Module -> its whole text."""
FILE = re.compile(r"[\w./-]+\.(?:py|toml|csv|md|ya?ml)")
NOT_HERE = ("out/", "s3://", "captions/", "run.toml", "my.toml")
"""Beginnings of what looks like a file here and is one of a run, or of the reader's."""
ROOMS = ("jobs", "pipelines", "models", "infra", "tests")
NOT_ON_THE_WAY = ("serve/", "evaluation/", "calibration/")
"""Rooms of pipelines/ of which the walk names no more than the entrance."""


def named(text: str) -> list[str]:
    """The files that a text names in backquotes, without those that the reader is to make."""
    words = [word for quoted in re.findall(r"`([^`\n]+)`", text) for word in quoted.split()]
    own = {f"{module}.py" for module in PLUGINS}
    return [w for w in words if FILE.fullmatch(w) and "NAME" not in w and not w.startswith(NOT_HERE) and w not in own]


def missing(guide: str, text: str) -> list[str]:
    """Files that are named and are not there, from the guide's folder or from the top. A bare name may be anywhere."""
    places = (ROOT / Path(guide).parent, ROOT)
    names = {path.name for room in ROOMS for path in (ROOT / room).rglob("*")} | {path.name for path in ROOT.iterdir()}
    return [
        file
        for file in named(text)
        if not any((place / file).exists() for place in places) and not ("/" not in file and file in names)
    ]


@pytest.mark.parametrize("guide", GUIDES)
def test_every_file_that_is_named_is_there(guide: str) -> None:
    assert missing(guide, GUIDES[guide]) == []
    links = re.findall(r"\]\((?!http)([^)#]+)\)", GUIDES[guide])
    assert [link for link in links if not (ROOT / Path(guide).parent / link).exists()] == []


def test_a_file_that_is_not_there_is_found_out() -> None:
    assert missing("pipelines/README.md", "`plan/write.py` `plan/wrong.py` `jobs/synth.py` `wrong.py` `card.py`") == [
        "plan/wrong.py",
        "wrong.py",
    ]


def part(name: str) -> str:
    (text,) = re.findall(rf"<!-- {name} -->\n(.+?)<!-- end -->", PIPELINES, re.DOTALL)
    return str(text)


def test_the_walk_names_each_file_once_and_forgets_none() -> None:
    walk, afterwards = named(part("walk")), named(part("afterwards"))
    assert sorted(walk) == sorted({*walk})
    here = ROOT / "pipelines"
    files = {str(file.relative_to(here)) for file in here.rglob("*.py") if file.stat().st_size}
    on_the_way = {file for file in files if not file.startswith(NOT_ON_THE_WAY)}
    assert {file for file in (*walk, *afterwards) if not file.startswith(("jobs/", *NOT_ON_THE_WAY))} == on_the_way


@pytest.mark.parametrize("guide", ["pipelines", "models", "tests"])
def test_every_room_has_its_line(guide: str) -> None:
    rooms = {path.name for path in (ROOT / guide).iterdir() if path.is_dir() and not path.name.startswith("_")}
    table = re.findall(r"^\| `([\w/]+)/` \|", GUIDES[f"{guide}/README.md"], re.MULTILINE)
    assert rooms <= {*table}


@pytest.mark.parametrize(
    ("guide", "text"), [(guide, text) for guide in GUIDES for text in blocks(GUIDES[guide], "toml")]
)
def test_tables_of_settings_load(guide: str, text: str) -> None:
    table = tomllib.loads(text)
    if plugins := table.get("run", {}).get("plugins"):
        assert {*plugins} <= {*PLUGINS}  # their words are known where they are imported: see below
        return
    needed = {
        "run": {"output": "out/x"},
        "prompts": {"path": "p.txt"},
        "model": {"path": "owner/model"},
        "scoring": {"model": "ViT-B-32"},
    }
    load = calibration.build if calibration.TABLE in table else build
    assert load({**needed, **table}, file=guide)


def test_the_readme_has_every_intervention() -> None:
    rivals = re.findall(r"^\| `(\w+)` \| .+ \| arXiv [\d.]+ \| .+ \|$", README, re.MULTILINE)
    assert rivals == sorted(entry.name for entry in registered() if not entry.in_every_row)


def test_the_changelog_has_every_version_of_the_rows() -> None:
    versions = re.findall(r"^\| (\d+) \| \d+ \w+ \d{4} \|", GUIDES["infra/CHANGELOG.md"], re.MULTILINE)
    assert [int(version) for version in versions] == [*range(1, VERSION + 1)]


def run_python(code: str, folder: Path) -> None:
    """In a process of its own, with one thread: two fight where other tests run beside."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


RUN = {
    "README.md": ["python"] * 2,  # below
    "pipelines/dataset/README.md": ["python"],  # in tests/jobs/test_rescore.py
    "pipelines/README.md": ["python"],  # below, as all modules of PLUGINS
    "models/README.md": ["python"],
    "pipelines/serve/README.md": ["python"] * 3,  # below, and in tests/serve/test_serve_videos.py
    "pipelines/prompts/README.md": ["python"],  # in tests/pipelines/test_mining.py
    "models/embedded/weights/README.md": ["python"],  # in tests/models/test_embedded.py
}
"""Document -> the code in it that a test runs. Cards of runs and exports: `test_card.py` and `test_export.py`."""


def test_all_code_in_documents_is_run() -> None:
    found = {}
    for file in (*ROOT.glob("*.md"), *(file for room in ROOMS for file in (ROOT / room).rglob("*.md"))):
        languages = re.findall(r"^ *```(\w+)$", file.read_text(), re.MULTILINE)
        assert {*languages} <= {"python", "sql", "toml"}, file
        if code := [language for language in languages if language != "toml"]:
            found[str(file.relative_to(ROOT))] = code
    assert found == RUN | {"models/embedded/training/card.md": ["python"]}  # a template: it becomes the weights' card


SEES_THAT_EACH_ACTS = """
from dataclasses import replace
fewer = replace(group.sampling, steps=8)
def made(*acting):
    return generator.generate([replace(group, sampling=fewer, interventions=acting)])[0].astype(float)
stock = made()
assert len(both) == 2
for acting in both:
    apart = abs(made(acting) - stock).mean()
    assert apart > 1.0, (acting, apart)  # of 255; with the settings of large models, repulsion is at 0.2 here
"""


def test_the_readme_s_python_runs(tmp_path: Path) -> None:
    reads, draws = blocks(README, "python")
    finish(write_run(tmp_path / "out" / "demo", Toy(prompts=2)))
    run_python(f"{reads}\nassert image.size == (64, 64)", tmp_path)
    run_python(f"{draws}\n{SEES_THAT_EACH_ACTS}", tmp_path)
    pictures = [Image.open(file) for file in sorted(tmp_path.glob("star-*.png"))]
    assert [picture.size for picture in pictures] == [(64, 64)] * 4
    assert len({picture.tobytes() for picture in pictures}) == 4


def test_the_endpoint_s_python_runs(tmp_path: Path) -> None:
    """On the embedded model, as `python jobs/serve.py` has it, in fewer steps."""
    guide = GUIDES["pipelines/serve/README.md"]
    draws, edits, _ = blocks(guide, "python")
    curl = next(block for block in plain_blocks(guide) if block.startswith("curl "))
    with serving(ServeArgs(steps=3)) as served:
        (tmp_path / "asks.py").write_text(f"{draws}\n{edits}".replace("http://127.0.0.1:8000", served.url))
        found = runpy.run_path(str(tmp_path / "asks.py"))
        if shutil.which("curl"):
            asked = curl.replace("http://127.0.0.1:8000", served.url)
            answer = subprocess.run(["sh", "-c", asked], capture_output=True, text=True, check=True).stdout
            assert json.loads(answer)["group"]["seed"] == 7
    made, edited = found["made"], found["edited"]
    assert len(edited.data) == 4
    assert edited.group["denoising_strength"] == 0.7
    assert len(made.data) == 4
    assert made.group["seed"] == 7
    assert made.group["tora"]
    assert made.group["repulsion"]


@pytest.fixture(scope="module")
def plugged(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: str, tiny_clip: str) -> Path:
    """A run with the modules of the READMEs as they stand, in a process of its own, since modules register for good."""
    folder = tmp_path_factory.mktemp("plugged")
    write_job(folder, tiny_pipeline, tiny_clip, [{"prompt": "a red square"}, {"prompt": "a dot"}])
    table: dict[str, Any] = tomllib.loads((folder / "run.toml").read_text())
    for text in (*blocks(PIPELINES, "toml"), *blocks(MODELS, "toml")):
        added = tomllib.loads(text)
        if "plugins" not in added.get("run", {}):
            continue
        plugins = [*table["run"].get("plugins", []), *added.pop("run")["plugins"]]
        table = {**table, **added, "run": {**table["run"], "plugins": plugins}}
    assert table["run"]["plugins"] == [*PLUGINS]
    for module, text in PLUGINS.items():
        (folder / f"{module}.py").write_text(text)
    settings = [f"{name}={_toml(value)}" for name, value in table.items()]
    code = f"""
from pathlib import Path
from tests.support.job import run_inline
assert run_inline(Path({str(folder)!r}), *{settings!r}).complete
"""
    run_python(code, folder)
    return folder / "out"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(map(_toml, value)) + "]" if isinstance(value, list) else json.dumps(value)


def test_the_examples_of_one_s_own_act(plugged: Path) -> None:
    rows = pq.read_table(plugged / "data").to_pylist()
    loud = {"factor": 1.5, "steps": [0.0, 0.3]}
    assert {row["arm"]: row["emphasis"] for row in rows} == {"stock": None, "loud": loud}
    assert len({row["image_id"] for row in rows}) == len(rows) == 12
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["group_id"], []).append(row)
    for group in groups.values():
        by_colour = sorted(group, key=lambda row: -row["colour_clip_score"])
        assert [row["rank_in_group"] for row in by_colour] == [1, 2, 3]
    assert "Emphasis" in (plugged / "gallery.html").read_text()
