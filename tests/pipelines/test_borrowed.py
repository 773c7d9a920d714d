"""Who draws without a LoRA is told where the settings are recommended with it: a few-step LoRA's steps are nothing
without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.embedded import TURBO, WEIGHTS
from models.spec import ModelSpec
from pipelines.config.borrowed import borrowed
from pipelines.config.recommended import settings_of
from pipelines.evaluation.config import load
from pipelines.flows.dry_run import settings
from pipelines.flows.warnings import of_arms
from tests.conftest import Configure

MODEL = {"path": str(WEIGHTS / "pipeline"), "loras": [{"name": "turbo", "path": TURBO.path}]}
FEW_STEPS = {"steps": 4, "sigmas": [1.0, 0.75, 0.5, 0.25], "guidance_scale": 1.0}
ITS_OWN = {"steps": 28, "sigmas": [], "guidance_scale": 4.0}
WARNING = (
    "arms.x is without the LoRA 'turbo', but has settings that are recommended with it: sampling = {steps = 4, "
    "sigmas = [1.0, 0.75, 0.5, 0.25], guidance_scale = 1.0}. Without it, say in the arm as is recommended: "
    "sampling = {steps = 28, sigmas = [], guidance_scale = 4.0}"
)


@pytest.mark.parametrize(
    ("arm", "told"),
    [
        ({}, ""),
        ({"loras": ["turbo"], "tora": True}, ""),
        ({"loras": [{"name": "turbo", "scale": 0.5}]}, ""),
        ({"loras": []}, WARNING),
        ({"loras": [{"name": "turbo", "scale": 0.0}]}, WARNING),
        ({"loras": [], "sampling": ITS_OWN}, ""),
        ({"loras": [], "sampling": FEW_STEPS}, ""),  # that is what was asked for
        ({"loras": [], "sampling": {"steps": 28, "sigmas": []}}, "sampling = {guidance_scale = 4.0}"),
        (
            {"loras": [], "sampling": ITS_OWN, "tora": True},
            "it: tora = {sigma = 6.0}. Without it, say in the arm as is recommended: tora = {sigma = 4.0}",
        ),
    ],
)
def test_an_arm_without_a_lora_is_told_what_it_draws_with(arm: dict[str, Any], told: str, configure: Configure) -> None:
    config = configure(model=MODEL, arms=[{"name": "x", **arm}])
    said = list(of_arms(config))
    assert [told in one for one in said] == [True] * bool(told)
    if told == WARNING:
        assert said == [WARNING]


def test_settings_that_a_run_says_itself_are_its_own(configure: Configure) -> None:
    own = {"steps": 9, "sigmas": [], "guidance_scale": 3.0}
    assert not list(of_arms(configure(model=MODEL, sampling=own, arms=[{"name": "x", "loras": []}])))


def test_a_lora_without_settings_of_its_own_changes_nothing(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    model = {**MODEL, "loras": [{"name": "ink", "path": "owner/ink"}]}
    assert not list(of_arms(configure(model=model, arms=[{"name": "x", "loras": []}])))


def test_an_arm_of_an_evaluation_is_told_too(tmp_path: Path) -> None:
    file = tmp_path / "evaluate.toml"
    file.write_text(f"""
        output = "out"
        oracle = "oracle"
        model = {{path = "{MODEL["path"]}", loras = [{{name = "turbo", path = "{TURBO.path}"}}]}}
        arms = [{{name = "stock"}}, {{name = "x", loras = []}},
            {{name = "its own", loras = [], guidance_scale = 4.0, sampling = {{steps = 28, sigmas = []}}}}]
    """)
    assert list(load(file).warnings()) == [WARNING]


def test_a_request_is_told_in_its_own_fields() -> None:
    known = settings_of(str(MODEL["path"]), [TURBO])
    model = ModelSpec(path=str(MODEL["path"]), loras=(TURBO,))
    found = borrowed(model, (), known.sampling, [known.interventions["tora"]], {"sigmas", "guidance_scale"})
    assert found is not None
    assert found.of_request() == (
        "the request is without the LoRA 'turbo', but has settings that are recommended with it: steps = 4, tora = "
        "{sigma = 6.0}. Without it, ask for what is recommended: steps = 28, tora = {sigma = 4.0}"
    )


def test_a_dry_run_says_which_loras_an_arm_has_of_its_own(configure: Configure) -> None:
    arms = [
        {"name": "all"},
        {"name": "none", "loras": []},
        {"name": "pale", "loras": [{"name": "turbo", "scale": 0.5}]},
    ]
    said = [line for line in settings(configure(model=MODEL, arms=arms)) if "loras" in line]
    assert said == ["none: loras = [] (the arm)", 'pale: loras = [{name = "turbo", scale = 0.5}] (the arm)']
