"""The evaluation job on the untrained embedded model and an untrained oracle: real parts, tiny numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs import evaluate
from models.generator import Generator
from models.spec import Sampling
from pipelines.config import toml as toml_of
from pipelines.errors import UserError
from pipelines.evaluation import config
from pipelines.evaluation.prompts import prompt_sets
from tests.conftest import ROOT

CONFIGS = ROOT / "jobs" / "configs"
SAMPLING = Sampling(steps=2, guidance_scale=9.0, width=16, height=16, max_sequence_length=4)

TOML = """
output = "{folder}/out"
oracle = "{oracle}"
scorer = "{scorer}"
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
open = 1
group_size = 2
wide_group = 3
seeds = [0, 1]
[[arms]]
name = "base"
[[arms]]
name = "<TORA>"
tora = {{}}
[[arms]]
name = "many"
question = "cost"
sampling = {{ steps = 1 }}
draw_times = 2
[[arms]]
name = "long"
question = "cost"
guidance_scale = 1.0
expand = "uniform"
[[sweeps]]
question = "weight"
setting = "particle_guidance.weight"
values = [0, 3]
particle_guidance = {{}}
"""


@pytest.fixture
def toml(tmp_path: Path, untrained: str, untrained_oracle: Path, tiny_clip: str) -> Path:
    path = tmp_path / "evaluate.toml"
    path.write_text(TOML.format(folder=tmp_path, oracle=untrained_oracle, model=untrained, scorer=tiny_clip))
    return path


def test_report_page_and_pictures_and_a_second_run_that_makes_nothing(
    toml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate.main(["--config", str(toml)]) == 0
    out = tmp_path / "out"
    result = json.loads((out / "report.json").read_text())
    arms: dict[str, Any] = {entry["arm"]: entry["measures"] for entry in result["arms"]}
    assert list(arms) == ["base", "<TORA>", "many", "long", "weight: 0", "weight: 3"]
    for name in ("right: rare", "right: unseen, relation", "distinct_right: wide", "kernel_distance"):
        assert np.isfinite([arms["<TORA>"][name][k] for k in ("mean", "low", "high")]).all()
    assert arms["base"]["right: rare"]["difference"] is None
    # A weight of 0 is base, picture by picture; other arms are not.
    assert all(m["difference"]["mean"] == 0.0 for m in arms["weight: 0"].values())
    for other in ("<TORA>", "many", "long", "weight: 3"):
        assert arms[other]["confidence: open"]["difference"]["mean"] != 0.0
    for name, measure in arms["base"].items():
        if name != "kernel_distance":
            assert np.mean(measure["seeds"]) == pytest.approx(measure["mean"])
    cost = {entry["arm"]: entry["passes"] for entry in result["arms"]}
    # Two steps with guidance, one step with guidance for twice the pictures, two steps without guidance.
    assert cost == {"base": 4, "<TORA>": 4, "many": 4, "long": 2, "weight: 0": 4, "weight: 3": 4}
    assert result["real"]["pair_vendi: open"]["mean"] > 1.0
    text = (out / "report.md").read_text()
    rows = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert rows == [11] * 5  # two lines of head, base, real renders, and the other arm of its question
    assert "In report.html besides: cost, weight." in text
    page = (out / "report.html").read_text()
    assert "<TORA>" not in page
    assert all(part in page for part in ("&lt;TORA&gt;", "data:image/png", "<polyline", "distinct right ones"))
    assert 'src="http' not in page
    assert (out / "figure.svg").read_text().strip() in page
    assert len(list((out / "images").glob("*.png"))) == 6 * 8

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
    assert evaluate.main(["--config", str(toml), "--set", "prompts.half=report"]) == 2
    assert "needs words on what the settings were chosen on" in capsys.readouterr().err
    assert evaluate.main(["--config", str(toml), "--set", "scorer="]) == 2
    assert "'many' needs one" in capsys.readouterr().err
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


@pytest.mark.parametrize("name", ["evidence", "evidence_turbo"])
def test_configs_may_be_like_another(name: str) -> None:
    loaded = config.load(CONFIGS / f"{name}.toml")
    shared = toml_of.read(CONFIGS / "evidence_arms.toml")
    assert [arm.name for arm in loaded.arms[: len(shared["arms"])]] == [arm["name"] for arm in shared["arms"]]
    assert len(loaded.arms) > len(shared["arms"])
    assert loaded.prompts.seeds == (2, 3)
    assert loaded.sampling.width == 64
    few = config.load(CONFIGS / f"{name}.toml", ['questions=["CADS: weight"]'])
    assert [arm.name for arm in few.all_arms] == ["base", *(f"CADS: weight: {value}" for value in (0.03, 0.25, 0.5))]
    with pytest.raises(UserError, match=r"questions = \('CADS',\) is out of range: needs some of"):
        config.load(CONFIGS / f"{name}.toml", ['questions=["CADS"]'])
