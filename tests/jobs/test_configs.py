"""The complete configs in jobs/configs/: what they promise in their comments."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs import synth
from models.checkpoints import CHECKPOINTS, repulsion_strength
from models.embedded.attributes import HEADS, NAMES
from models.embedded.oracle import Oracle
from models.interventions.repulsion.config import RepulsionConfig
from models.spec import Sampling, span
from pipelines.cluster.session import _check_resources
from pipelines.config.load import load
from pipelines.dataset.images import decode
from pipelines.dataset.storage import Storage
from tests.conftest import ROOT
from tests.support.job import run_inline

CONFIGS = ROOT / "jobs" / "configs"
PAPERS = {
    "tora": {"site": "block", "sigma": 1.3},
    "repulsion": {
        "blocks": (0.0, 1.0),
        "branch": "both",
        "inner_steps": 100,
        "strength": repulsion_strength(38),
        "max_displacement": 0.5,
    },
}


def test_the_gpu_config_is_the_papers_form_on_the_checkpoints_sampling() -> None:
    config = load(CONFIGS / "sd35_large_gpu.toml")
    assert config.sampling == Sampling(**CHECKPOINTS[config.model.path].sampling)
    tora, repulsion = config.interventions["tora"], config.interventions["repulsion"]
    for name, settings in PAPERS.items():
        assert {key: getattr(config.interventions[name], key) for key in settings} == settings
    assert [(arm.name, arm.interventions) for arm in config.arms] == [
        ("stock", ()),
        ("tora", (tora,)),
        ("repulsion", (repulsion,)),
        ("both", (tora, repulsion)),
    ]
    assert isinstance(repulsion, RepulsionConfig)
    assert len(span(repulsion.steps, config.sampling.steps)) == 4
    _check_resources(config.ray, [{"CPU": 32.0, "GPU": 8.0}], "machine")


def test_the_gpu_config_is_planned_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("models.loading.revision.hub_commit", lambda _, revision: revision)
    assert synth.main(["--config", str(CONFIGS / "sd35_large_gpu.toml"), "--dry-run"]) == 0
    plan = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line)
    assert plan["prompts"].startswith("10 (0 unusable, 0 repeats")
    assert plan["images"] == "160 of 1024 x 1024"
    assert int(plan["shards"]) >= load(CONFIGS / "sd35_large_gpu.toml").ray.generators
    assert float(plan["memory"].split()[1]) < 48


def test_the_config_of_videos_is_planned_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What runs of videos make, tests/jobs/test_videos.py sees on a toy of the same classes."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("models.loading.revision.hub_commit", lambda _, revision: revision)
    file = str(CONFIGS / "cogvideox_gpu.toml")
    assert synth.main(["--config", file, "--dry-run"]) == 0
    plan = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line)
    assert plan["images"] == "80 of 720 x 480 x 49 frames"
    assert plan["shards"] == "10"
    assert plan["output"].endswith("about 122 MB")
    config = load(CONFIGS / "cogvideox_gpu.toml")
    assert config.sampling == Sampling(**CHECKPOINTS[config.model.path].sampling)
    large = ["--set", "model.path=hunyuanvideo-community/HunyuanVideo"]
    assert synth.main(["--config", file, "--dry-run", *large]) == 0
    assert synth.main(["--config", file, "--dry-run", *large, "--set", "output.video_format=webp"]) == 2
    said = "2 groups of 4 of 1280 x 720 x 129 frames, which lie in one file, could exceed 2 GiB: use a smaller group"
    assert said in capsys.readouterr().err


def test_the_edit_config_edits_the_pictures_beside_its_prompt_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it stands, but for the arms and the number of images; the oracle says what they show."""
    monkeypatch.chdir(ROOT)
    (tmp_path / "run.toml").write_text((CONFIGS / "edits.toml").read_text())
    few = (f"run.output={tmp_path}/out", "arms=[{name='stock'}]", "group.size=1", "group.groups_per_batch=5")
    assert run_inline(tmp_path, *few).complete
    rows = [row for path in (tmp_path / "out/data").iterdir() for row in pq.read_table(path).to_pylist()]
    read = Oracle().read(np.stack([decode(row["image"]["bytes"]) for row in rows])).labels
    for row, labels in zip(rows, read, strict=True):
        shown = dict(zip(NAMES, labels.tolist(), strict=True))
        assert HEADS["background"][shown["background"]] == row["prompt"].split()[-1]  # what nobody asked for stays
        if row["concept"] == "green square":
            assert (HEADS["colour_0"][shown["colour_0"]], HEADS["shape_0"][shown["shape_0"]]) == ("green", "square")
    assert len({tuple(row["source_images"]) for row in rows}) == 5


def test_the_s3_config_makes_a_dataset_in_s3(s3: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands, but for the number of prompts and steps."""
    monkeypatch.chdir(ROOT)
    text = (CONFIGS / "s3.toml").read_text()
    (tmp_path / "run.toml").write_text(text)
    Storage.open("s3://bucket").write_bytes("prompts/demo.csv", (CONFIGS / "demo_prompts.csv").read_bytes())
    assert run_inline(tmp_path, "prompts.limit=2", "sampling.steps=2").complete
    run = Storage.open("s3://bucket/runs/s3")
    assert json.loads(run.read_bytes("manifest.json"))["complete"]
    rows = [row for name in run.list("data") for row in pq.read_table(run.open_input(f"data/{name}")).to_pylist()]
    assert sorted({(row["prompt"], row["arm"]) for row in rows}) == [
        ("a checkered triangle", "both"),
        ("a checkered triangle", "stock"),
        ("an orange star", "both"),
        ("an orange star", "stock"),
    ]
    assert all(
        name in text for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL")
    )
