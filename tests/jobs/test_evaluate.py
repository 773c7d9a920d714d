"""The evaluation job on the untrained embedded model and an untrained oracle: real parts, tiny numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from jobs import evaluate
from models.embedded.oracle import OracleNet
from models.embedded.training.untrained import save_untrained
from models.generator import Generator
from models.spec import Sampling
from pipelines.errors import UserError
from pipelines.evaluation import config
from pipelines.evaluation.prompts import prompt_sets, thinned
from tests.conftest import ROOT

CONFIGS = ROOT / "jobs" / "configs"
SAMPLING = Sampling(steps=2, guidance_scale=9.0, width=16, height=16, max_sequence_length=4)

TOML = """
output = "{folder}/out"
oracle = "{folder}/oracle.safetensors"
[model]
path = "{model}"
dtype = "float32"
[sampling]
steps = 2
guidance_scale = 4.0
width = 64
height = 64
max_sequence_length = 0
[prompts]
per_set = 1
open = 2
group_size = 2
[[arms]]
name = "base"
[[arms]]
name = "<TORA>"
tora = {{}}
[[sweeps]]
question = "weight"
setting = "particle_guidance.weight"
values = [0, 3]
particle_guidance = {{}}
"""


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_untrained(tmp_path_factory.mktemp("embedded"))


@pytest.fixture
def toml(tmp_path: Path, untrained: str) -> Path:
    torch.manual_seed(0)
    save_file(OracleNet().state_dict(), tmp_path / "oracle.safetensors")
    path = tmp_path / "evaluate.toml"
    path.write_text(TOML.format(folder=tmp_path, model=untrained))
    return path


def test_report_page_and_pictures_and_a_second_run_that_makes_nothing(
    toml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate.main(["--config", str(toml)]) == 0
    out = tmp_path / "out"
    result = json.loads((out / "report.json").read_text())
    arms: dict[str, Any] = {entry["arm"]: entry["measures"] for entry in result["arms"]}
    assert list(arms) == ["base", "<TORA>", "weight: 0", "weight: 3"]
    for name in ("right: rare", "right: unseen, relation", "pair_vendi: open", "kernel_distance"):
        assert np.isfinite([arms["<TORA>"][name][k] for k in ("mean", "low", "high")]).all()
    assert arms["base"]["right: rare"]["difference"] is None
    # A weight of 0 is base, seed by seed; other arms are not.
    assert all(m["difference"]["mean"] == 0.0 for m in arms["weight: 0"].values())
    for other in ("<TORA>", "weight: 3"):
        assert arms[other]["confidence: open"]["difference"]["mean"] != 0.0
    assert result["real"]["pair_vendi: open"]["mean"] > 1.0
    table = (out / "report.md").read_text()
    for question in ("the methods", "weight"):
        _, _, section = table.partition(f"## {question}\n")
        rows = [line.count("|") for line in section.partition("##")[0].splitlines() if line]
        assert rows == [10] * 5  # two lines of head, three arms (here real renders are one, there base)
    page = (out / "report.html").read_text()
    assert "<TORA>" not in page
    assert all(part in page for part in ("&lt;TORA&gt;", "data:image/png", "<polyline"))
    assert 'src="http' not in page
    assert len(list((out / "images").glob("*.png"))) == 4 * 8

    first = {path.name: path.read_bytes() for path in out.glob("report.*")}
    monkeypatch.setattr(Generator, "__init__", lambda *_: pytest.fail("all arms are there"))
    assert evaluate.main(["--config", str(toml)]) == 0
    assert first == {path.name: path.read_bytes() for path in out.glob("report.*")}


def test_wrong_input_is_named(toml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--config", str(toml), "--set", "model.path=/missing"]) == 2
    said = capsys.readouterr().err
    assert "model.path: /missing/model_index.json does not exist" in said
    assert said.startswith("warning: model.path = '/missing' is not in models/checkpoints.py")
    assert evaluate.main(["--config", str(toml), "--set", "prompts.group_size=1"]) == 2
    assert "needs 2 or more" in capsys.readouterr().err
    toml.write_text(toml.read_text().replace("guidance.weight", "guidance.wight"))
    with pytest.raises(UserError, match=r"setting = 'particle_guidance.wight'"):
        config.load(toml)


@pytest.mark.parametrize(("name", "arms"), [("evaluate_embedded", 8), ("evaluate_settings", 15)])
def test_shipped_configs(name: str, arms: int) -> None:
    loaded = config.load(CONFIGS / f"{name}.toml")
    assert loaded.arms[0].settings() == {"guidance_scale": None}
    made = [json.dumps(arm.settings()) for arm in loaded.all_arms]
    assert len(made) == len({*made}) > arms
    assert len(prompt_sets(config.quick(loaded).prompts)) == 7


def test_prompts_are_thinned_evenly() -> None:
    assert thinned(list(range(10)), 3) == [0, 4, 9]
