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
from models.embedded import measures
from models.embedded.attributes import NAMES, labels_of
from models.embedded.measures import KernelSums
from models.embedded.oracle import OracleNet, Reading
from models.embedded.training.untrained import save_untrained
from models.embedded.world import Scene, Thing
from models.generator import Generator
from models.interventions.rivals import Progress, anneal, repulsion_of_particles, rival
from models.spec import Group, ModelSpec, RivalConfig, Sampling
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
setting = "rival.weight"
values = [0, 3]
rival = {{ method = "particle" }}
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
    assert "model.path: /missing/model_index.json does not exist" in capsys.readouterr().err
    assert evaluate.main(["--config", str(toml), "--set", "prompts.group_size=1"]) == 2
    assert "needs 2 or more" in capsys.readouterr().err
    toml.write_text(toml.read_text().replace("rival.weight", "rival.wight"))
    with pytest.raises(UserError, match=r"setting = 'rival.wight'"):
        config.load(toml)


@pytest.mark.parametrize(("name", "arms"), [("evaluate_embedded", 8), ("evaluate_settings", 15)])
def test_shipped_configs(name: str, arms: int) -> None:
    loaded = config.load(CONFIGS / f"{name}.toml")
    assert loaded.arms[0].settings() == {"tora": None, "repulsion": None, "rival": None, "guidance_scale": None}
    made = [json.dumps(arm.settings()) for arm in loaded.all_arms]
    assert len(made) == len({*made}) > arms
    assert len(prompt_sets(config.quick(loaded).prompts)) == 7


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "interval", "steps": (0.0, 0.5)},
        {"method": "cads", "weight": 0.5, "steps": (0.1, 0.9)},
        {"method": "dave", "weight": 0.5, "steps": (0.0, 0.5)},
        {"method": "particle", "weight": 3.0},
    ],
)
def test_rivals_change_pictures_depend_on_the_group_alone_and_leave_no_trace(
    tiny_pipeline: str, settings: dict[str, Any]
) -> None:
    generator = Generator(ModelSpec(path=tiny_pipeline, dtype="float32"))
    groups = [Group(prompt=p, seeds=s, sampling=SAMPLING) for p, s in (("red", (1, 2)), ("a ring", (3, 4)))]

    def make(some: list[Group], config: RivalConfig | None) -> list[Any]:
        progress = Progress(steps=2, seeds=[group.seeds for group in some])
        with rival(generator.transformer, config, progress):
            return generator.generate(some, progress.note)

    stock = make(groups, None)
    changed = make(groups, RivalConfig(**settings))
    assert not any(np.array_equal(a, b) for a, b in zip(changed, stock, strict=True))
    alone = make(groups[1:], RivalConfig(**settings))[0]
    assert np.abs(alone.astype(int) - changed[1]).max() <= 2
    assert all(np.array_equal(a, b) for a, b in zip(make(groups, None), stock, strict=True))


def test_particle_guidance_is_the_gradient_of_the_summed_similarity() -> None:
    latents = torch.randn(1, 4, 2, 3, 3, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    flat = latents[0].flatten(1)
    distances = torch.pdist(flat.detach())
    width = distances.median().square() / np.log(4)
    similarity = torch.exp(-torch.cdist(flat, flat).square() / width).sum() / 2
    (gradient,) = torch.autograd.grad(similarity, latents)
    found = repulsion_of_particles(latents.detach())
    torch.testing.assert_close(found.double(), -width / 2 * gradient, rtol=1e-4, atol=1e-5)


def test_cads_keeps_mean_and_spread_and_fades() -> None:
    config_ = RivalConfig(method="cads", weight=0.5, steps=(0.1, 0.4))
    text, noise = torch.randn(2, 5, 7) * 3 + 1, torch.randn(2, 5, 7)
    torch.testing.assert_close(anneal(text, noise, 0.5, config_), text, rtol=1e-4, atol=1e-4)
    early = anneal(text, noise, 1.0, config_)
    assert (early - text).abs().max() > 1
    torch.testing.assert_close(early.std((1, 2)), text.std((1, 2)))
    torch.testing.assert_close(early.mean((1, 2)), text.mean((1, 2)))


def test_measures() -> None:
    def scene(colour: str, background: str) -> Scene:
        things = (Thing(shape="star", colour=colour, texture="plain"),)
        return Scene(arrangement="single", things=things, background=background, size="small", position="left")

    labels = np.stack(
        [labels_of(scene("red", "snow")), labels_of(scene("blue", "sky")), labels_of(scene("red", "sky"))]
    )
    reading = Reading(
        labels=labels, confidence=np.full((3, len(NAMES)), 0.5, np.float32), features=np.eye(3, dtype=np.float32)
    )
    assert measures.success("a red star", reading).tolist() == [1.0, 0.0, 1.0]
    # Open: background 2, size 1, position 1, colour 2, texture 1 values.
    assert measures.distinct_values("a star", reading) == pytest.approx(7 / 5)
    assert measures.pair_vendi(reading) == pytest.approx(2.0)
    assert measures.confidence("a star", reading).tolist() == [0.5] * 3
    assert thinned(list(range(10)), 3) == [0, 4, 9]


def test_kernel_distance_tells_sets_apart() -> None:
    rng = np.random.default_rng(0)

    def features(shift: float) -> list[Any]:
        return [rng.normal(shift, 1, (6, 8)).astype(np.float32) for _ in range(20)]

    real, every = features(0.0), np.ones(20)
    same, other = KernelSums.of(features(0.0), real).distance(every), KernelSums.of(features(1.0), real).distance(every)
    assert abs(same) < 0.2 < 1.0 < other


def test_real_pictures_show_what_is_named() -> None:
    pictures = measures.real_pictures("a purple star on snow", 3, np.random.default_rng(0))
    assert pictures.shape == (3, 64, 64, 3)
    assert len({picture.tobytes() for picture in pictures}) == 3
